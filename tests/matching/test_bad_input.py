"""What cannot be matched is refused with a message that says what and where."""

from typing import Any

import pytest
import torch

from fedma.errors import InputError, MatchingError
from fedma.matching import match
from matching.made import gauss

OK = [gauss(0, 3, 4), gauss(1, 2, 4)]


@pytest.mark.parametrize(
    ("clients", "says"),
    [
        ([], "no clients"),
        ([OK[0], OK[1][0]], "client 1"),
        ([OK[0], OK[1].int()], "client 1"),
        ([OK[0], [[1.0] * 4]], "client 1"),
        ([OK[0], OK[1][:0]], "client 1 has 0 units"),
        ([OK[0], OK[1][:, :3]], "client 1 has 3 features, client 0 has 4"),
        ([OK[0], OK[1] * torch.nan], "client 1 has values that are not finite"),
        ([OK[0] / 0, OK[1]], "client 0 has values that are not finite"),
    ],
)
def test_clients_that_cannot_be_matched(clients: Any, says: str) -> None:
    with pytest.raises(MatchingError, match=says):
        match(clients)


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
    ],
)
def test_arguments_out_of_range(options: Any, says: str) -> None:
    with pytest.raises(InputError, match=says):
        match(OK, **options)


def test_the_reference_says_where_its_limit_is() -> None:
    with pytest.raises(MatchingError, match="its limit is 700"):
        match([torch.ones(800, 1), torch.ones(3, 1)], hyper="reference", sweeps=1, orders=[[0, 1]])
