"""What cannot be matched is refused with a message that says what and where."""

from typing import Any

import pytest
import torch

from fedma.errors import InputError, MatchingError
from fedma.matching import match
from fedma.matching.bbp.checks import bad_clients
from matching.made import gauss, pairs, planted

OK = [gauss(0, 3, 4), gauss(1, 2, 4)]


@pytest.mark.parametrize(
    ("clients", "says"),
    [
        ([], "no clients"),
        ([OK[0], OK[1][0]], "client 1"),
        ([OK[0], OK[1].int()], "client 1"),
        ([OK[0], [[1.0] * 4]], "client 1"),
        ([OK[0], OK[1][:0]], "client 1 has 0 units"),
        ([OK[0], OK[1][:, :3]], "client 1 has 3 features where most have 4"),
        ([OK[0], OK[1] * torch.nan], "client 1 has values that are not finite"),
        ([OK[0] / 0, OK[1]], "client 0 has values that are not finite"),
        ([OK[0], 100 * OK[1]], "client 1 has units of median length .* its training diverged"),
        ([OK[0], OK[1] * torch.tensor([[1e6], [1.0]])], "client 1 has a unit of length .* diverged"),
        ([1e-160 * own.double() for own in OK], "length .*e-160, whose square float64 cannot hold"),
        ([1e160 * own.double() for own in OK], r"length inf, whose square float64 cannot hold"),
    ],
)
def test_clients_that_cannot_be_matched(clients: Any, says: str) -> None:
    with pytest.raises(MatchingError, match=says):
        match(clients)


SPOILT = {
    "nan": lambda w: w.index_fill(0, torch.tensor([1]), torch.nan),
    "infinite": lambda w: w / 0,
    "empty": lambda w: w[:0],
    "other features": lambda w: w[:, :-1],
    "integers": lambda w: w.int(),
    "no matrix": lambda w: w[0],
    "wild": lambda w: 1e6 * w,
    "one wild unit": lambda w: torch.cat([1e6 * w[:1], w[1:]]),
    "overflowing": lambda w: 1e300 * w,
}


@pytest.mark.parametrize("hyper", ["empirical", "fixed", "reference"])
@pytest.mark.parametrize("how", SPOILT)
def test_a_bad_client_is_excluded_when_asked_as_if_it_were_not_there(how: str, hyper: Any) -> None:
    clients, _ = planted(4, clients=4, common=6, private=1)
    orders = [[3, 1, 2, 0], [0, 1, 2, 3]]
    good = [clients[0], clients[2], clients[3]]
    clients[1] = SPOILT[how](clients[1])
    sigma = [0.5, 7.0, 0.6, 0.7]
    found = match(clients, hyper=hyper, sigma=sigma, orders=orders, on_bad="exclude")
    alone = match(good, hyper=hyper, sigma=[0.5, 0.6, 0.7], orders=[[2, 1, 0], [0, 1, 2]])
    assert list(found.excluded) == [1]
    assert found.excluded[1].startswith(("is ", "has "))
    assert [a.tolist() for a in found.assignments] == [
        alone.assignments[0].tolist(),
        [],
        *(a.tolist() for a in alone.assignments[1:]),
    ]
    torch.testing.assert_close(found.slots, alone.slots)
    assert found.history == alone.history
    assert not alone.excluded
    assert len(found.sigma) == 4


def test_nobody_left_to_match_is_an_error_however_bad_clients_are_treated() -> None:
    with pytest.raises(MatchingError, match=r"client 0 has values that are not finite.*client 1 has 0 units"):
        match([OK[0] / 0, OK[1][:0]], on_bad="exclude")


def test_many_dead_units_are_no_reason_to_refuse_the_living() -> None:
    clients, _ = planted(2, clients=4, common=8, private=0)
    dead = [torch.cat([own, 1e-8 * gauss(j, 20, own.shape[1])]) for j, own in enumerate(clients)]
    assert not bad_clients(dead)


@pytest.mark.parametrize("scale", [1e-6, 0.1, 5.0])
def test_heterogeneous_clients_are_not_bad(scale: float) -> None:
    clients, truth = planted(2, clients=4, common=8, private=2)
    found = match([scale * clients[0], *clients[1:]])
    assert not found.excluded
    assert pairs(found.assignments[1:]) == pairs(truth[1:])


def test_clients_may_be_looked_at_before_their_features_are_aligned() -> None:
    clients = [OK[0], gauss(2, 3, 7), gauss(3, 3, 5) * torch.nan]
    assert list(bad_clients(clients, aligned=False)) == [2]
    assert list(bad_clients(clients)) == [1, 2]


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"sigma": -1.0}, "sigma of client 0 must be positive"),
        ({"sigma": [1.0, 0.0]}, "sigma of client 1 must be positive"),
        ({"sigma": float("nan")}, "sigma of client 0 must be positive"),
        ({"sigma": [1.0, float("inf")]}, "sigma of client 1 is infinite in every feature"),
        ({"sigma": [1.0, 1.0, 1.0]}, "3 clients, but there are 2"),
        ({"sigma": torch.ones(3)}, r"sigma of client 0 has shape \(3,\)"),
        ({"sigma0": 0.0}, "sigma0"),
        ({"sigma0": float("inf")}, "sigma0"),
        ({"mu0": torch.ones(3)}, r"mu0 has shape \(3,\)"),
        ({"mu0": float("nan")}, "mu0"),
    ],
)
def test_hyper_parameters_that_cannot_be(options: Any, says: str) -> None:
    with pytest.raises(MatchingError, match=says):
        match(OK, **options)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"gamma": 0.0}, "gamma is 0.0"),
        ({"gamma": float("nan")}, "gamma is nan"),
        ({"hyper": "bayes"}, "'empirical', 'fixed', 'reference'"),
        ({"orders": [[0, 1], [0, 0]]}, r"orders\[1\] is \(0, 0\)"),
        ({"init_order": [0]}, "init_order"),
        ({"orders": [[0, 1]], "sweeps": 2}, "sweeps is 2"),
        ({"sweeps": -1}, "sweeps is -1"),
        ({"restarts": 0}, "restarts is 0"),
        ({"max_slots": 1}, "max_slots is 1, but a client has"),
        ({"hyper": "reference", "restarts": 2}, "reference"),
        ({"on_bad": "skip"}, "'raise', 'exclude'"),
    ],
)
def test_arguments_out_of_range(options: Any, says: str) -> None:
    with pytest.raises(InputError, match=says):
        match(OK, **options)


def test_the_reference_says_where_its_limit_is() -> None:
    with pytest.raises(MatchingError, match="its limit is 700"):
        match([torch.ones(800, 1), torch.ones(3, 1)], hyper="reference", sweeps=1, orders=[[0, 1]])
