"""What the default matching must do with clients whose answer is known."""

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fedma.matching import match
from fedma.matching.bbp.prior import Prior
from fedma.matching.bbp.slots import OWN, Scoring, Slots
from fedma.matching.bbp.sweep import sweep
from fedma.seeds import generator
from matching.made import check, gauss, pairs, planted, seeds

few = settings(max_examples=20, deadline=None, derandomize=True)


@few
@given(seed=seeds, J=st.integers(1, 16), width=st.integers(1, 12), features=st.integers(1, 8))
def test_identical_clients_give_that_client_back(seed: int, J: int, width: int, features: int) -> None:
    client = gauss(seed, width, features)
    found = match([client] * J)
    assert found.counts.tolist() == [J] * width
    for assignments in found.assignments:
        assert assignments.tolist() == list(range(width))
    torch.testing.assert_close(found.slots, client, rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("value", [0.0, 3.0])
@pytest.mark.parametrize("J", [1, 3])
def test_constant_clients_keep_their_width(value: float, J: int) -> None:
    client = torch.full((4, 3), value)
    found = match([client] * J)
    assert found.counts.tolist() == [J] * 4
    torch.testing.assert_close(found.slots, client)


@few
@given(seed=seeds, J=st.sampled_from([2, 3, 5, 16]), scale=st.sampled_from([1e-6, 0.03, 1.0, 1e5]))
def test_permuted_noisy_copies_are_recovered(seed: int, J: int, scale: float) -> None:
    clients, truth = planted(seed, clients=J, common=10, private=0, noise=0.1)
    found = match([scale * w for w in clients])
    check(found, clients)
    assert pairs(found.assignments) == pairs(truth)


@few
@given(seed=seeds, J=st.sampled_from([2, 5]))
def test_noise_above_the_signal_opens_no_slots(seed: int, J: int) -> None:
    clients, truth = planted(seed, clients=J, common=10, private=0, features=2000, noise=2.0)
    assert pairs(match(clients).assignments) == pairs(truth)


@few
@given(seed=seeds, J=st.sampled_from([2, 3, 5, 16]), private=st.integers(1, 4))
def test_private_units_get_slots_of_their_own_and_common_ones_do_not(seed: int, J: int, private: int) -> None:
    clients, truth = planted(seed, clients=J, common=10, private=private, features=20)
    found = match(clients)
    check(found, clients)
    assert pairs(found.assignments) == pairs(truth)


@few
@given(
    seed=seeds,
    noise=st.floats(0.01, 1.5),
    scale=st.floats(1e-4, 1e4) | st.sampled_from([1e-30, 1e-19, 1e-11, 1e11, 1e19, 1e30]),
    grow=st.booleans(),
)
def test_the_clients_scale_changes_no_assignment(seed: int, noise: float, scale: float, grow: bool) -> None:
    clients, _ = planted(seed, clients=4, common=8, private=2, noise=noise)
    found, scaled = match(clients, grow=grow), match([scale * w for w in clients], grow=grow)
    assert [a.tolist() for a in scaled.assignments] == [a.tolist() for a in found.assignments]
    torch.testing.assert_close(scaled.slots, scale * found.slots)
    torch.testing.assert_close(scaled.sigma, scale**2 * found.sigma)


@few
@given(seed=seeds, hyper=st.sampled_from(["empirical", "fixed", "reference"]), noise=st.floats(0.01, 1.5))
def test_permuting_a_clients_units_permutes_its_assignment(seed: int, hyper: Any, noise: float) -> None:
    clients, _ = planted(seed, clients=3, common=8, private=2, noise=noise)
    order = torch.randperm(10, generator=generator(seed, "order"))
    found = match(clients, hyper=hyper)
    for j in range(3):
        turned = [w[order] if q == j else w for q, w in enumerate(clients)]
        assignments = list(match(turned, hyper=hyper).assignments)
        assignments[j] = torch.empty_like(assignments[j]).index_put((order,), assignments[j])
        assert pairs(assignments) == pairs(found.assignments)


@few
@given(seed=seeds, width=st.integers(1, 9), D=st.integers(1, 5), grow=st.booleans())
def test_one_client_is_its_own_matching(seed: int, width: int, D: int, grow: bool) -> None:
    client = gauss(seed, width, D)
    found = match([client], grow=grow)
    assert found.assignments[0].tolist() == list(range(width))
    torch.testing.assert_close(found.slots, client)


@few
@given(seed=seeds, J=st.integers(2, 5), hyper=st.sampled_from(["empirical", "fixed"]))
def test_without_growth_there_are_as_many_slots_as_the_widest_has_units(seed: int, J: int, hyper: Any) -> None:
    clients = [gauss(seed + j, 3 + (seed + 5 * j) % 7, 4) for j in range(J)]
    found = match(clients, grow=False, hyper=hyper)
    check(found, clients)
    assert len(found.counts) == max(map(len, clients))


@few
@given(seed=seeds, J=st.integers(2, 5), dtype=st.sampled_from([torch.float32, torch.bfloat16]))
def test_widths_differ_and_the_dtype_stays(seed: int, J: int, dtype: torch.dtype) -> None:
    clients = [gauss(seed + j, 1 + (seed + 3 * j) % 8, 6).to(dtype) for j in range(J)]
    found = match(clients)
    check(found, clients)
    assert found.slots.dtype == dtype


@few
@given(seed=seeds, hyper=st.sampled_from(["empirical", "fixed", "reference"]))
def test_a_feature_of_infinite_variance_carries_no_weight(seed: int, hyper: Any) -> None:
    clients, _ = planted(seed, clients=3, common=6, private=1)
    sigma = torch.ones(3, 12, dtype=torch.float64)
    sigma[1, :4] = torch.inf
    other = [w.clone() for w in clients]
    other[1][:, :4] = 10 * gauss(seed, 7, 4)
    found, changed = match(clients, sigma=sigma, hyper=hyper), match(other, sigma=sigma, hyper=hyper)
    assert pairs(found.assignments) == pairs(changed.assignments)
    assert found.sigma[1, :4].isinf().all()


def test_the_same_call_gives_the_same_matching_and_the_generator_decides_the_orders() -> None:
    clients = [gauss(j, 20, 4) for j in range(5)]
    found, again = match(clients), match(clients)
    assert found.history == again.history
    seeded = [match(clients, generator=generator(seed, "orders")).history for seed in range(5)]
    assert len(set(seeded)) > 1


def test_equal_precisions_take_the_short_way_to_the_same_answer() -> None:
    """Per-feature variances that are all but equal go through the general arithmetic."""
    clients, _ = planted(1, clients=4, common=8, private=2, noise=0.3)
    nearly = torch.ones(12, dtype=torch.float64)
    nearly[0] += 1e-12
    for hyper in ("empirical", "fixed", "reference"):
        short = match(clients, hyper=hyper, sigma=1.0)  # type: ignore[arg-type]
        general = match(clients, hyper=hyper, sigma=nearly)  # type: ignore[arg-type]
        assert [a.tolist() for a in short.assignments] == [a.tolist() for a in general.assignments]
        torch.testing.assert_close(short.slots, general.slots)
        torch.testing.assert_close(torch.tensor(short.history), torch.tensor(general.history))


def test_a_client_that_could_only_do_as_well_stays() -> None:
    client = torch.ones(2, 3)
    prior = Prior(mean=np.zeros(3), slot=np.ones(1), unit=(np.ones(1), np.ones(1)))
    slots = Slots([client, client], prior, Scoring(gamma=1.0, clients=2))
    slots.assign(0, np.array([OWN, OWN]))
    slots.assign(1, slots.rows[[1, 0]])
    assert not sweep(slots, [1])
    assert slots.assignments()[1].tolist() == [1, 0]


def test_the_clients_tensors_are_left_alone() -> None:
    clients, _ = planted(1, clients=3, common=5, private=1)
    copies = [w.clone().requires_grad_() for w in clients]
    match(copies)
    torch.testing.assert_close([w.detach() for w in copies], clients, rtol=0, atol=0)


@pytest.mark.parametrize("hyper", ["empirical", "fixed", "reference"])
@pytest.mark.parametrize("most", [8, 10, 13])
def test_there_are_never_more_slots_than_allowed(hyper: str, most: int) -> None:
    clients = [torch.randn(8, 30, generator=generator(j, "private")).double() for j in range(4)]
    free = match(clients, hyper="empirical", gamma=1e3)
    assert len(free.counts) > 13
    bound = {"grow": False} if most == 8 else {"max_slots": most}
    matching = match(clients, hyper=hyper, gamma=1e3, **bound)
    assert 8 <= len(matching.counts) <= most
    for own in matching.assignments:
        assert len(own.unique()) == 8


@few
@given(seed=seeds, J=st.integers(2, 5), value=st.floats(-100, 100))
def test_a_feature_that_all_units_share_hides_no_private_unit(seed: int, J: int, value: float) -> None:
    clients, truth = planted(seed, clients=J, common=12, private=4)
    constant = [torch.cat([w, torch.full((len(w), 1), value, dtype=w.dtype)], dim=1) for w in clients]
    assert pairs(match(constant).assignments) == pairs(truth)
