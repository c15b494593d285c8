"""hyper="reference" against assignments saved from the public reference code, and against its naive twin."""

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fedma.matching import match
from matching.made import gauss, seeds
from reference import naive_matching

SMALL = Path(__file__).with_name("cases")
ALL = Path(__file__).parents[2] / "../shared/cases"
CASES = {path.stem: path for folder in (ALL, SMALL) for path in sorted(folder.glob("*.npz"))}
"""The small ones lie beside this file; larger ones are tested too where they are at hand."""


@pytest.mark.parametrize("name", CASES)
def test_the_saved_assignments_come_out_exactly(name: str) -> None:
    case = np.load(CASES[name])
    J = range(int(case["J"]))
    found = match(
        [torch.from_numpy(case[f"W{j}"]).double() for j in J],
        hyper="reference",
        mu0=torch.from_numpy(case["mean_prior"]),
        sigma=[1 / torch.from_numpy(case[f"inv{j}"]) for j in J],
        sigma0=1 / torch.from_numpy(case["sigma_inv_prior"]),
        gamma=float(case["gamma"]),
        sweeps=int(case["it"]),
        orders=case["orders"].tolist(),
        init_order=case["init_order"].tolist(),
    )
    for j in J:
        assert found.assignments[j].tolist() == case[f"assign64_{j}"].tolist()
    np.testing.assert_allclose(found.slots.numpy(), case["atoms64"], rtol=0, atol=1e-13)
    np.testing.assert_allclose(found.objective, float(case["obj64_Q"]), rtol=1e-12)


@settings(max_examples=25, deadline=None, derandomize=True)
@given(seed=seeds, J=st.integers(2, 4), D=st.integers(1, 4), varied=st.booleans())
def test_it_follows_the_naive_twin(seed: int, J: int, D: int, varied: bool) -> None:
    widths = (2 + gauss(seed, J).abs() * 2).int().tolist()
    clients = [gauss(seed + j, width, D) for j, width in enumerate(widths)]
    sigma, sigma0 = gauss(seed, J, D).exp() if varied else torch.ones(J, D), gauss(seed + 1, D).exp()
    if varied:
        sigma[0, 0], sigma[1, -1] = torch.inf, 3.0
        sigma[0, -1] = 1.0 if D == 1 else sigma[0, -1]
    orders = [torch.randperm(J).tolist() for _ in range(2)]
    found = match(clients, hyper="reference", mu0=0.3, sigma=sigma, sigma0=sigma0, gamma=2.0, orders=orders, sweeps=2)
    twin = naive_matching.reference(
        [w.numpy() for w in clients],
        mu0=np.full(D, 0.3),
        sigma=sigma.numpy(),
        sigma0=sigma0.numpy(),
        gamma=2.0,
        orders=orders,
    )
    assert [a.tolist() for a in found.assignments] == twin


def test_no_more_than_ten_owners_count() -> None:
    for seed in range(5):
        clients = [gauss(50 * seed + j, 3, 1) for j in range(13)]
        orders = [list(range(13))]
        found = match(clients, hyper="reference", mu0=0.0, orders=orders)
        twin = naive_matching.reference(
            [w.numpy() for w in clients],
            mu0=np.zeros(1),
            sigma=np.ones((13, 1)),
            sigma0=np.ones(1),
            gamma=7.0,
            orders=orders,
        )
        assert [a.tolist() for a in found.assignments] == twin


def test_defaults_are_the_reference_codes_own() -> None:
    clients = [gauss(j, 9, 5) for j in range(3)]
    given_all = match(clients, hyper="reference", mu0=0.0, sigma=1.0, sigma0=1.0, gamma=7.0, sweeps=5)
    by_default = match(clients, hyper="reference")
    assert [a.tolist() for a in by_default.assignments] == [a.tolist() for a in given_all.assignments]
    assert len(by_default.history) == 6
