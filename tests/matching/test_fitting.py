"""Carrying weights over to fused units: placed where units match, fitted where they do not."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from fedma import fuse
from fedma.errors import InputError
from fedma.matching.averaging.fit_readers import (
    Target,
    can_fit,
    carry,
    covariance,
    fit,
    read_products,
    slot_means,
    unexplained,
)
from fedma.models import build
from fedma.seeds import generator
from fedma.units import rebuild, units, weights
from networks import made

LAW = settings(max_examples=20, deadline=None, derandomize=True)
SIZES = st.tuples(st.integers(1, 12), st.integers(1, 6), st.integers(0, 99))


@LAW
@given(SIZES)
def test_units_that_equal_their_slots_are_placed(sizes: tuple[int, int, int]) -> None:
    slots, features, seed = sizes
    random = generator(seed, "rows")
    means = torch.randn(slots, features, generator=random, dtype=torch.float64)
    order = torch.randperm(slots, generator=random)
    wanted = torch.nn.functional.one_hot(order, slots).double()
    torch.testing.assert_close(fit(means[order], means, order), wanted, rtol=1e-9, atol=1e-9)


@LAW
@given(SIZES, st.floats(0.01, 10))
def test_scale_makes_no_difference(sizes: tuple[int, int, int], scale: float) -> None:
    slots, features, seed = sizes
    random = generator(seed, "rows")
    means, rows = torch.randn(2, slots, features, generator=random, dtype=torch.float64)
    order = torch.randperm(slots, generator=random)
    torch.testing.assert_close(fit(scale * rows, scale * means, order), fit(rows, means, order), rtol=1e-7, atol=1e-7)


@LAW
@given(st.integers(0, 99))
def test_fitted_units_come_nearer_than_placed_ones(seed: int) -> None:
    random = generator(seed, "near")
    rows = [torch.randn(8, 5, generator=random, dtype=torch.float64) for _ in range(3)]
    assignments = [torch.randperm(8, generator=random) for _ in range(3)]
    means = slot_means(rows, assignments, [1.0, 2.0, 3.0])
    inputs = torch.randn(20_000, 5, generator=random, dtype=torch.float64)
    slots = (inputs @ means.T).relu()
    for own, placed in zip(rows, assignments, strict=True):
        wanted = (inputs @ own.T).relu()
        by_fit = wanted - slots @ fit(own, means, placed, ridge=1e-6).T
        assert float(by_fit.var(0).sum()) < float((wanted - slots[:, placed]).var(0).sum())


def test_the_ridge_decides_how_near_to_placing_it_stays() -> None:
    random = generator(0, "ridge")
    rows, means = torch.randn(2, 6, 4, generator=random, dtype=torch.float64)
    order = torch.arange(6)
    far = [float((fit(rows, means, order, ridge=ridge) - torch.eye(6)).norm()) for ridge in (0.01, 1.0, 100.0, 1e9)]
    assert far == sorted(far, reverse=True)
    assert far[-1] < 1e-6
    with pytest.raises(InputError, match="above 0"):
        fit(rows, means, order, ridge=0.0)


def test_carrying_by_a_permutation_is_scattering() -> None:
    model = build("cnn", (1, 8, 8), 4, seed=0)
    graph = units(model, torch.zeros(2, 1, 8, 8))
    order = torch.randperm(40, generator=generator(0, "order"))[:32]
    combination = torch.nn.functional.one_hot(order, 40).double()
    carried = carry(weights(model), graph, "conv2", combination, widths=graph.widths)
    wide = graph.scatter(weights(model), {"conv2": order}, {**graph.widths, "conv2": 40})
    assert list(carried) == ["fc1.weight"]
    torch.testing.assert_close(carried["fc1.weight"], wide["fc1.weight"])


@pytest.mark.parametrize(
    ("name", "wanted"),
    [("residual", {"inner"}), ("disordered", {"hidden"}), ("speaker", set()), ("attention", {"layer.linear1"})],
)
def test_only_units_of_one_weight_are_fitted(name: str, wanted: set[str]) -> None:
    x = torch.zeros(2, 7, dtype=torch.long) if name == "speaker" else torch.zeros(2, 1, 8, 8)
    graph = units(made(name, seed=0), x)
    assert {group for group in graph.groups if can_fit(graph, group)} == wanted


@LAW
@given(st.integers(0, 99))
def test_what_the_slots_do_not_explain_is_a_share(seed: int) -> None:
    model = build("mlp-8", (5,), 3, seed=seed)
    graph = units(model, torch.zeros(2, 5))
    random, order = generator(seed, "lost"), torch.arange(8)
    rows = torch.randn(8, 6, generator=random, dtype=torch.float64)
    slots = rows + torch.randn(8, 6, generator=random, dtype=torch.float64)
    own, read = covariance(rows, rows), read_products(weights(model), graph, "fc1", widths=graph.widths)
    exact, apart = (unexplained(read, own=own, missed=Target(s).fit(rows, order).missed(own)) for s in (rows, slots))
    assert abs(exact) < 1e-9
    assert 1e-3 < apart < 1.5


class Outer(nn.Module):
    """Reads the products of all pairs of its units."""

    def __init__(self) -> None:
        super().__init__()
        self.fc, self.out = nn.Linear(5, 4), nn.Linear(16, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        units = torch.relu(self.fc(x))
        return self.out((units[:, :, None] * units[:, None, :]).flatten(1))


def test_units_that_are_multiplied_with_each_other_are_placed() -> None:
    inputs = torch.randn(6, 5, generator=generator(0, "inputs"))
    model, other = Outer(), Outer()
    graph = units(model, inputs)
    assert not can_fit(graph, "fc")
    turned = rebuild(model, graph.gather(weights(model), {"fc": torch.tensor([2, 0, 3, 1])}, graph.widths))
    torch.testing.assert_close(fuse([model, turned], inputs).model(inputs), model(inputs))
    assert fuse([model, other], inputs).model(inputs).shape == (6, 3)
