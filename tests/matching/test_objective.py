"""The objective is the density it is said to be, and no step lowers it."""

from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from fedma.matching import Matching, match
from matching.made import check, gauss, pairs, planted, seeds
from reference import naive_matching

few = settings(max_examples=30, deadline=None, derandomize=True)


def twin(clients: list[Tensor], assignments: Any, found: Matching, gamma: float) -> float:
    D = clients[0].shape[1]
    sigma = found.sigma if found.sigma.ndim == 2 else found.sigma.expand(len(clients), D)
    return naive_matching.objective(
        [w.numpy() for w in clients],
        [list(map(int, own)) for own in assignments],
        mu0=found.mu0.expand(D).numpy(),
        sigma=sigma.numpy(),
        sigma0=found.sigma0.expand(D).numpy(),
        gamma=gamma,
    )


def never_falls(history: tuple[float, ...]) -> bool:
    slack = 1e-9 * max(1.0, *map(abs, history))
    return all(after >= before - slack for before, after in pairwise(history))


@few
@given(seed=seeds, J=st.integers(1, 4), D=st.integers(1, 3), grow=st.booleans(), varied=st.booleans())
def test_fixed_reports_the_log_density(seed: int, J: int, D: int, grow: bool, varied: bool) -> None:
    clients = [gauss(seed + j, 2 + (seed + j) % 3, D) for j in range(J)]
    sigma: Any = 0.7
    if varied:
        sigma = gauss(seed, J, D).exp()
        sigma[0, : D - 1] = torch.inf
    sigma0 = gauss(seed + 1, D).exp() if varied else 1.3
    found = match(clients, hyper="fixed", mu0=0.2, sigma=sigma, sigma0=sigma0, gamma=1.5, grow=grow)
    check(found, clients)
    np.testing.assert_allclose(found.objective, twin(clients, found.assignments, found, 1.5), rtol=1e-9, atol=1e-9)


@few
@given(seed=seeds, J=st.integers(2, 4), varied=st.booleans(), given_mean=st.booleans())
def test_empirical_reports_the_log_density_under_what_it_learnt(
    seed: int, J: int, varied: bool, given_mean: bool
) -> None:
    clients = [gauss(seed + j, 4, 3) for j in range(J)]
    sigma = gauss(seed, J, 3).exp() if varied else None
    found = match(clients, sigma=sigma, mu0=0.1 if given_mean else None, gamma=2.0)
    check(found, clients)
    np.testing.assert_allclose(found.objective, twin(clients, found.assignments, found, 2.0), rtol=1e-6, atol=1e-6)
    assert not given_mean or float(found.mu0) == 0.1


@few
@given(seed=seeds, hyper=st.sampled_from(["fixed", "empirical"]), grow=st.booleans(), noise=st.floats(0.05, 2))
def test_the_objective_never_falls(seed: int, hyper: Any, grow: bool, noise: float) -> None:
    clients, _ = planted(seed, clients=4, common=6, private=2, noise=noise, features=5)
    sigma = gauss(seed, 4, 5).exp() if seed % 2 else None
    found = match(clients, hyper=hyper, grow=grow, sigma=sigma, gamma=1.0)
    assert len(found.history) > 1
    assert never_falls(found.history)


@few
@given(seed=seeds, grow=st.booleans())
def test_no_single_step_lowers_the_objective(seed: int, grow: bool) -> None:
    """Runs that differ by one more sweep of the same orders: each prefix ends no lower than the one before."""
    clients, _ = planted(seed, clients=3, common=5, private=1, noise=1.0, features=3)
    orders = [torch.randperm(3, generator=torch.Generator().manual_seed(seed + s)).tolist() for s in range(4)]
    ends = [match(clients, hyper="fixed", orders=orders[:n], grow=grow).objective for n in range(5)]
    whole = match(clients, hyper="fixed", orders=orders, grow=grow).history
    assert never_falls(tuple(ends))
    np.testing.assert_allclose(ends[: len(whole)], whole)


@few
@given(seed=seeds, J=st.integers(2, 3), gamma=st.sampled_from([0.05, 1.0, 30.0]), varied=st.booleans())
def test_one_clients_step_is_the_best_of_all(seed: int, J: int, gamma: float, varied: bool) -> None:
    """The last client of the first pass, the others held: compared with every injective choice there is."""
    clients = [gauss(seed + j, 3, 2) for j in range(J)]
    sigma = gauss(seed, J, 2).exp() if varied else torch.full((J, 2), 0.5)
    found = match(clients, hyper="fixed", sigma=sigma, gamma=gamma, sweeps=0)
    held = [a.tolist() for a in found.assignments[:-1]]
    slots = 1 + max(place for own in held for place in own)
    best = max(twin(clients, [*held, way], found, gamma) for way in naive_matching.choices(3, slots, slots))
    np.testing.assert_allclose(found.objective, best, rtol=1e-9)


@few
@given(seed=seeds)
def test_where_the_sweeps_end_no_client_can_do_better(seed: int) -> None:
    clients = [gauss(seed + j, 3, 2) for j in range(3)]
    found = match(clients, hyper="fixed", sigma=0.3, gamma=2.0)
    again = match(clients, hyper="fixed", sigma=0.3, gamma=2.0, sweeps=len(found.history) - 1)
    assert pairs(found.assignments) == pairs(again.assignments)
    for j in range(3):
        held = [a.tolist() for a in found.assignments]
        slots = len(found.counts)
        options = ([*held[:j], way, *held[j + 1 :]] for way in naive_matching.choices(3, slots, slots))
        assert max(twin(clients, option, found, 2.0) for option in options) <= found.objective + 1e-9


def test_restarts_keep_the_best_objective() -> None:
    clients = [gauss(j, 12, 4) for j in range(4)]
    alone = match(clients, restarts=1).objective
    assert match(clients, restarts=8).objective > alone


@pytest.mark.parametrize("hyper", ["fixed", "empirical"])
def test_learnt_and_given_variances_can_be_handed_back(hyper: Any) -> None:
    clients, _ = planted(3, clients=3, common=6, private=1, noise=0.1)
    found = match(clients, hyper=hyper, gamma=2.0)
    held = match(clients, hyper="fixed", mu0=found.mu0, sigma=found.sigma, sigma0=found.sigma0, gamma=2.0)
    assert pairs(held.assignments) == pairs(found.assignments)
    np.testing.assert_allclose(held.objective, found.objective, rtol=1e-9)
