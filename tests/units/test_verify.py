"""Verification cannot be fooled: wrong groups are found whatever the outputs show, right ones stay."""

import dataclasses

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional as F

from fedma.errors import GraphError, PinnedWarning
from fedma.units import growth, registry, rule, trial, units
from fedma.units.halving import failing
from fedma.units.inputs import Inputs, outputs
from fedma.units.shake import difference
from units.zoo_unusual import ZOO

LIBRARY = torch.library.Library("fooled", "DEF")
LIBRARY.define("weigh(Tensor x) -> Tensor")
LIBRARY.define("nudge(Tensor x) -> Tensor")
LIBRARY.impl("weigh", lambda x: x * torch.linspace(0.5, 1.5, x.shape[-1]).to(x), "CompositeExplicitAutograd")
LIBRARY.impl("nudge", lambda x: x * torch.linspace(1.0, 1.005, x.shape[-1]).to(x), "CompositeExplicitAutograd")
X = torch.randn(4, 3, generator=torch.Generator().manual_seed(0))


@pytest.fixture(autouse=True)
def wrong_rules():
    """Two operations that treat units unequally, whose rules say that they do not."""
    before = dict(registry._RULES)
    for name in ("fooled::weigh", "fooled::nudge"):
        rule(name)(lambda op: op["x"].symbols)
    yield
    registry._RULES.clear()
    registry._RULES.update(before)


@dataclasses.dataclass
class Answer:
    logits: torch.Tensor


def masked(out):
    out[:, 0] = -torch.inf
    return out


def huge(out):
    out[:, 0] -= 1e9
    return out


SHOWN = {
    "plain": lambda out: out,
    "argmax": lambda out: out.argmax(-1),
    "sign": torch.sign,
    "minus infinity": masked,
    "huge": huge,
    "saturated": lambda out: (1e5 * out).sigmoid(),
    "half": lambda out: out.half().float(),
    "numpy": lambda out: out.numpy(),
    "list of floats": lambda out: out[:, 0].tolist(),
    "dataclass": Answer,
    "distribution": lambda out: torch.distributions.Normal(out, 1.0, validate_args=False),
    "closure": lambda out: lambda: out,
    "generator": lambda out: (row for row in out),
    "noisy": lambda out: out + torch.randn_like(out),
    "noisy by NumPy": lambda out: out * np.random.rand(),  # noqa: NPY002
    "complex": lambda out: torch.fft.fft(out),
    "nan": lambda out: torch.cat([out, out.new_full((4, 1), torch.nan)], 1),
}


class Fooled(nn.Module):
    """Two layers, with something between them, and outputs that show more or less of it."""

    def __init__(self, between, shown, **settings):
        super().__init__()
        torch.manual_seed(0)  # noqa: TID251
        self.a, self.out = nn.Linear(3, 5, **settings), nn.Linear(5, 3, **settings)
        self.between, self.shown = between, shown

    def forward(self, x):
        return self.shown(self.out(self.between(self.a(x))))


@pytest.mark.parametrize("shown", SHOWN)
@pytest.mark.parametrize("between", ["weigh", "nudge"])
def test_a_wrong_group_is_found_whatever_the_outputs_show(between, shown):
    model = Fooled(getattr(torch.ops.fooled, between), SHOWN[shown])
    with pytest.warns(PinnedWarning, match=rf"group a is left in place: .*fooled::{between} in the model itself"):
        graph = units(model, X)
    assert not graph.groups
    assert graph.fixed["a.weight", 0] == graph.fixed["out.weight", 1] == "breaks the permutation law"


@pytest.mark.parametrize("shown", SHOWN)
def test_a_right_group_stays_whatever_the_outputs_show(shown):
    graph = units(Fooled(torch.relu, SHOWN[shown]), X)
    assert graph.widths == {"a": 5}
    assert graph.groups["a"].growable


@pytest.mark.parametrize("kind", [torch.float32, torch.float16, torch.bfloat16, torch.float64])
def test_half_a_percent_is_found_in_any_precision(kind):
    with pytest.warns(PinnedWarning, match="group a is left in place"):
        assert not units(Fooled(torch.ops.fooled.nudge, SHOWN["plain"], dtype=kind), X.to(kind)).groups


def test_half_a_percent_is_found_where_float64_cannot_be_had():
    def picky(x):
        assert x.dtype == torch.float32
        return torch.ops.fooled.nudge(x)

    with pytest.warns(PinnedWarning, match="group a is left in place"):
        assert not units(Fooled(picky, SHOWN["plain"]), X).groups
    graph = units(Fooled(lambda x: torch.relu(x) if x.dtype == torch.float32 else 1 / 0, SHOWN["plain"]), X)
    assert graph.widths == {"a": 5}
    assert graph.groups["a"].growable


def test_casts_within_the_model_do_not_blur_the_law():
    def blurred(x):
        with torch.autocast("cpu", dtype=torch.bfloat16):
            return (x.float() @ torch.eye(5)).to(torch.bfloat16).float() * torch.ones(5, dtype=torch.float32)

    seen = trial.Trial(Fooled(blurred, SHOWN["plain"]), Inputs.of(X))
    assert seen.double
    assert seen.cases[0].base.outputs[0].dtype == torch.float64
    assert seen.tolerance == trial.EXACT


def test_what_sleeps_is_woken_or_left_in_place():
    biased = Fooled(torch.relu, SHOWN["plain"])
    biased.a.bias.data.fill_(-100.0)
    assert units(biased, X).widths == {"a": 5}
    biased.between = lambda x: torch.ops.fooled.weigh(torch.relu(x))
    with pytest.warns(PinnedWarning, match="group a is left in place: reordering it changes the outputs"):
        assert not units(biased, X).groups
    with pytest.warns(PinnedWarning, match="on these inputs it does not affect the outputs"):
        assert not units(Fooled(lambda x: torch.ops.fooled.weigh(torch.relu(x - 1e4)), SHOWN["plain"]), X).groups


def test_a_model_that_nothing_steadies_stays_in_place():
    draws = iter(range(1000))
    model = Fooled(torch.relu, lambda out: out * (1 + next(draws)))
    with pytest.warns(PinnedWarning, match="all units are left in place: the model gives other outputs every time"):
        graph = units(model, X)
    assert graph.fixed["a.weight", 0] == "not verified: the model gives other outputs every time"
    unverified = units(model, X, verify=False)
    assert unverified.widths == {"a": 5}
    assert "other outputs every time" in unverified.groups["a"].reason
    with pytest.raises(GraphError, match="other outputs every time"):
        unverified.check(model, X)


def test_what_a_forward_pass_keeps_is_the_same_for_every_run():
    class Counting(Fooled):
        calls = 0

        def forward(self, x):
            self.calls += 1
            self.seen.append(x)
            return super().forward(x) * self.calls + self.memory.setdefault("h", self.a(x)).sum()

    model = Counting(torch.relu, SHOWN["plain"])
    model.seen, model.memory = [], {}
    assert units(model, X).widths == {"a": 5}
    assert (model.calls, model.seen, model.memory) == (0, [], {})


def test_cost_of_verifying_is_four_passes(monkeypatch):
    passes = []
    monkeypatch.setattr(trial, "forward", lambda *a, real=trial.forward, **k: (passes.append(1), real(*a, **k))[1])
    units(*ZOO["ResNet"]())
    assert len(passes) == 4


@given(st.integers(1, 60), st.sets(st.integers(0, 59)))
def test_those_that_fail_are_found_and_the_others_pass(n, bad):
    names = [f"{'ab'[k % 2]}.{k}.weight" for k in range(n)]
    wrong = {names[k] for k in bad if k < n}
    found = failing(names, lambda some: ",".join(sorted(wrong.intersection(some))))
    assert wrong <= found.keys()
    assert found.keys() - wrong == {name for name in found if "like it" in found[name]} - wrong


@given(st.integers(2, 20), st.data())
def test_of_two_that_fail_together_one_goes(n, data):
    names = [f"{'abcdefghijklmnopqrst'[k]}" for k in range(n)]
    pair = set(data.draw(st.lists(st.sampled_from(names), min_size=2, max_size=2, unique=True)))
    found = failing(names, lambda some: "both" if pair <= set(some) else "")
    assert len(found) == 1
    assert found.keys() < pair


def test_things_of_one_kind_fail_in_few_tests():
    tests = []
    found = failing([f"layer.{k}" for k in range(2000)], lambda some: tests.append(1) or ("stuck" if some else ""))
    assert len(found) == 2000
    assert len(tests) < 10


@pytest.mark.parametrize("draw", range(5))
def test_orders_are_single_cycles(draw):
    graph = units(*ZOO["ChunkedAttention"](), verify=False, front_end="record")
    for order in trial._cycles(graph, graph.groups, draw).values():
        for row in order.reshape(-1, order.shape[-1]):
            place, seen = 0, []
            while place not in seen:
                seen.append(place)
                place = int(row[place])
            assert len(seen) == len(row)


class Standardised(nn.Conv2d):
    """Weight standardisation: a unit of zero weights is no unit of zeros where an epsilon is added."""

    def forward(self, x):
        w = self.weight
        mean, var = w.mean((1, 2, 3), keepdim=True), w.var((1, 2, 3), keepdim=True)
        return F.conv2d(x, (w - mean) / (var + 1e-5).sqrt(), self.bias, padding=1)


def test_groups_that_growth_changes_by_little_do_not_grow():
    model = nn.Sequential(Standardised(2, 6, 3), nn.ReLU(), Standardised(6, 4, 3), nn.ReLU(), nn.Conv2d(4, 2, 1))
    graph = units(model, torch.randn(2, 2, 5, 5))
    assert not graph.groups["0"].growable
    wide = graph.widen(model, {n: g.size + 2 for n, g in graph.groups.items() if g.growable})
    x = Inputs.of(torch.randn(2, 2, 5, 5))
    assert difference(outputs(model, x), outputs(wide, x)) < 1e-5


class Halves(nn.Module):
    """One half of a tensor is read apart from the other: they grow together or not at all."""

    def __init__(self):
        super().__init__()
        self.a, self.one, self.other = nn.Linear(3, 8), nn.Linear(4, 2), nn.Linear(4, 2)

    def forward(self, x):
        one, other = self.a(x).chunk(2, -1)
        return self.one(torch.tanh(one)) + self.other(torch.relu(other))


def test_halves_of_a_tensor_do_not_grow_apart():
    graph = units(Halves(), X)
    assert sorted(graph.widths.values()) == [4, 4]
    assert not any(group.growable for group in graph.groups.values())
    assert all("size is fixed" in group.reason for group in graph.groups.values())


class Scales(nn.Module):
    """Splits by a number that the model keeps, as Res2Net does, block after block."""

    def __init__(self, blocks):
        super().__init__()
        self.width = 3
        self.blocks = nn.ModuleList(
            nn.ModuleDict({"first": nn.Conv2d(6, 9, 1), "each": nn.Conv2d(3, 3, 1), "last": nn.Conv2d(9, 6, 1)})
            for _ in range(blocks)
        )
        self.head = nn.Linear(6, 2)

    def forward(self, x):
        for block in self.blocks:
            parts = torch.split(torch.relu(block["first"](x)), self.width, 1)
            x = x + block["last"](torch.cat([parts[0], block["each"](parts[1]), parts[2]], 1))
        return self.head(x.mean((2, 3)))


def test_sizes_fixed_in_every_block_are_found_in_few_passes(monkeypatch):
    passes, shapes = [], []
    monkeypatch.setattr(trial, "forward", lambda *a, real=trial.forward, **k: (passes.append(1), real(*a, **k))[1])
    monkeypatch.setattr(growth, "holding", lambda *a, real=growth.holding: (shapes.append(1), real(*a))[1])
    graph = units(Scales(12), torch.randn(2, 6, 4, 4))
    assert len(graph.groups) > 30
    assert len(passes) <= 7
    assert len(shapes) < 60
    assert not any("first" in name and group.growable for name, group in graph.groups.items())


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_compiled_models_run_as_they_are_written():
    model = torch.compile(nn.Sequential(nn.Linear(3, 5), nn.ReLU(), nn.Linear(5, 2)), backend="eager")
    graph = units(model, X)
    assert graph.widths == {"_orig_mod.0": 5}
