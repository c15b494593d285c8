"""What is kept in place while clients come and go is what one would compute afresh, in bounded memory."""

import tracemalloc
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fedma.matching import match
from fedma.matching.bbp import slots as module
from fedma.matching.bbp.prior import Prior
from fedma.matching.bbp.slots import Scoring, Slots
from fedma.matching.bbp.sweep import sweep
from matching.made import gauss, pairs, planted, seeds

few = settings(max_examples=20, deadline=None, derandomize=True)


def assigned(seed: int, *, varied: bool, rough: bool = False) -> Slots:
    """Slots after a few sweeps over noisy clients of different widths."""
    clients = [w[: 6 + j] for j, w in enumerate(planted(seed, clients=4, common=8, private=2, noise=0.8)[0])]
    axis = 12 if varied else 1
    prior = Prior(np.full(12, 0.1), np.ones(axis), tuple(np.exp(gauss(seed, 4, axis).numpy())))
    found = Slots(clients, prior, Scoring(gamma=2.0, clients=4, rough=rough))
    for order in ([3, 2, 1, 0], [0, 1, 2, 3], [2, 0, 3, 1]):
        sweep(found, order)
    return found


@few
@given(seed=seeds, varied=st.booleans())
def test_sums_weights_and_owners_are_those_of_the_assignment(seed: int, varied: bool) -> None:
    found = assigned(seed, varied=varied)
    sums, weights, owners = 0 * found.sums[found.rows], 0 * found.weights(), 0 * found.rows
    for j, slots in enumerate(found.assignments()):
        sums[slots] += found.prior.unit[j] * (found.clients[j].numpy() - 0.1)
        weights[slots] += found.prior.unit[j]
        owners[slots] += 1
    np.testing.assert_allclose(found.sums[found.rows], sums, atol=1e-12)
    np.testing.assert_allclose(found.weights(), weights, atol=1e-12)
    assert found.owners[found.rows].tolist() == owners.tolist()
    assert found.owners.sum() == owners.sum()


@few
@given(seed=seeds, rough=st.booleans())
def test_kept_products_give_the_gains_of_fresh_ones(seed: int, rough: bool) -> None:
    found = assigned(seed, varied=False, rough=rough)
    for j in range(4):
        kept = found.gains(j, found.open_to(j))
        found._products.clear()
        afresh = found.gains(j, found.open_to(j))
        np.testing.assert_allclose(kept, afresh, rtol=1e-9, atol=1e-4 if rough else 1e-9)


@few
@given(seed=seeds, hyper=st.sampled_from(["empirical", "fixed", "reference"]), varied=st.booleans())
def test_blocks_and_forgotten_products_change_nothing(seed: int, hyper: Any, varied: bool) -> None:
    clients, _ = planted(seed, clients=4, common=8, private=2, noise=0.5)
    sigma = gauss(seed, 12).exp() if varied else None
    whole = match(clients, hyper=hyper, sigma=sigma)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "_BLOCK", 30)
        patch.setattr(module, "_KEPT", 150)
        parts = match(clients, hyper=hyper, sigma=sigma)
    assert [a.tolist() for a in parts.assignments] == [a.tolist() for a in whole.assignments]
    np.testing.assert_allclose(parts.history, whole.history)


@few
@given(seed=seeds, J=st.integers(2, 6), noise=st.floats(0.2, 1.0))
def test_float32_products_assign_noisy_units_as_float64_ones_do(seed: int, J: int, noise: float) -> None:
    clients, _ = planted(seed, clients=J, common=12, private=2, noise=noise)
    rough = match(clients)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "_NOISY", float("inf"))
        precise = match(clients)
    assert pairs(rough.assignments) == pairs(precise.assignments)


@pytest.mark.parametrize("sigma", [None, torch.linspace(0.5, 2.0, 200)])
def test_memory_beyond_the_clients_does_not_grow_with_their_number(sigma: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Clients hold 0.15 MiB each in float32: twenty more of them would show, were any copy kept."""
    monkeypatch.setattr(module, "_KEPT", 2**15)
    peaks = []
    for J in (10, 40):
        clients = [gauss(j % 5, 100, 200).float() for j in range(J)]
        tracemalloc.start()
        match(clients, max_slots=120, sweeps=1, sigma=sigma)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < peaks[0] + 2**20
