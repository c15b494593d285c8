"""What may be given: inputs in containers of any kind, models in any state, and what is refused in one true sentence."""  # noqa: E501

import collections
import dataclasses
import threading
import types
import warnings

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn.utils import parametrize, prune

from fedma.errors import GraphError, PinnedWarning
from fedma.seeds import generator
from fedma.units import units, weights
from fedma.units.inputs import Inputs, at_rest, outputs
from fedma.units.shake import difference, perturbed
from fedma.units.walk import leaves, mapped

X = torch.randn(4, 3, generator=torch.Generator().manual_seed(0))
ONES = torch.ones(4, 3)


@dataclasses.dataclass(frozen=True)
class Frozen:
    x: object


@dataclasses.dataclass(slots=True)
class Slotted:
    x: object


Pair = collections.namedtuple("Pair", "x label")


class Plain:
    """A container of somebody's own."""

    def __init__(self, x):
        self.x = x


def within(kind):
    """Where the numbers stand, and how a forward pass comes by them."""
    rows = [[1.0] * 3] * 4
    return {
        "array": (ONES.numpy(), torch.from_numpy),
        "array copied": (np.ones((4, 3)), lambda given: torch.tensor(given).float()),
        "whole numbers": ([[1, 1, 1]] * 4, lambda given: torch.tensor(given).float()),
        "rows": (rows, torch.tensor),
        "tuples": (tuple(map(tuple, rows)), torch.tensor),
        "dict": ({"x": rows}, lambda given: torch.as_tensor(given["x"])),
        "frozen": (Frozen(ONES), lambda given: given.x),
        "frozen rows": (Frozen(rows), lambda given: torch.tensor(given.x)),
        "slots": (Slotted(ONES.numpy()), lambda given: torch.from_numpy(given.x)),
        "named": (Pair(ONES, 1), lambda given: given.x),
        "namespace": (types.SimpleNamespace(x=rows), lambda given: torch.tensor(given.x)),
        "own": (Plain([ONES]), lambda given: given.x[0]),
        "user's dict": (collections.UserDict(x=ONES.numpy()), lambda given: torch.tensor(given["x"])),
        "user's list": (collections.UserList([ONES]), lambda given: given[0]),
    }[kind]


KINDS = ["array", "array copied", "whole numbers", "rows", "tuples", "dict", "frozen", "frozen rows", "slots", "named"]
KINDS += ["namespace", "own", "user's dict", "user's list"]


class Taking(nn.Module):
    """Two layers that take their input out of what is given."""

    def __init__(self, take=lambda x: x):
        super().__init__()
        torch.manual_seed(0)  # noqa: TID251
        self.a, self.out, self.take = nn.Linear(3, 5), nn.Linear(5, 2), take

    def forward(self, x):
        return self.out(torch.relu(self.a(self.take(x))))


@pytest.mark.parametrize("kind", KINDS)
def test_features_of_the_input_are_no_units_whatever_holds_them(kind):
    given_, take = within(kind)
    graph = units(Taking(take), (given_,), front_end="record")
    assert graph.widths == {"a": 5}
    assert graph.groups["a"].growable


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "whole numbers"])
def test_perturbing_reaches_every_number_and_leaves_the_given_ones(kind):
    given_, take = within(kind)
    other = perturbed(Inputs.of((given_,)), 0.5).args[0]
    assert type(other) is type(given_)
    values = take(other).double()
    assert values.shape == (4, 3)
    assert not (values == 1).all(0).any()
    torch.testing.assert_close(take(given_).double(), torch.ones(4, 3, dtype=torch.float64), rtol=0, atol=0)


NUMBERS = st.integers(-3, 3) | st.floats(-2, 2)
THINGS = st.recursive(
    NUMBERS | st.text(max_size=2) | st.none(),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=2), inner, max_size=3) | inner.map(Plain)
    ),
    max_leaves=5,
)


@settings(max_examples=40, deadline=None)
@given(THINGS)
def test_mapping_keeps_the_structure(thing):
    assert mapped(thing, lambda leaf: leaf) is thing
    before = list(leaves(thing))
    after = list(leaves(mapped(thing, lambda leaf: leaf + 1)))
    assert after == [leaf + 1 for leaf in before]
    assert list(leaves(thing)) == before


def test_a_walk_ends_in_circles_and_keeps_what_is_shared():
    ring: list = [ONES]
    ring.append(ring)
    other = mapped([ring, ONES], lambda leaf: leaf + 1)
    assert len(list(leaves(ring))) == 1
    assert other[0][1] is other[0]
    assert other[0][0] is other[1]


def test_a_model_that_asserts_its_input_is_verified_on_the_given_one():
    def ones(x):
        assert bool((x == 1).all())
        return x

    def images(x):
        assert 0 <= float(x.min()) <= float(x.max()) <= 1
        return x

    for take in (ones, images):
        assert units(Taking(take), ONES).widths == {"a": 5}


MODEL = nn.Sequential(nn.Linear(3, 5), nn.ReLU(), nn.Linear(5, 2))


def quantised():
    return torch.ao.quantization.quantize_dynamic(MODEL, {nn.Linear})


REFUSED = {
    "None": (lambda: None, "the model is None; give"),
    "function": (lambda: torch.relu, "relu is a function"),
    "state dict": (MODEL.state_dict, "this is a state dict"),
    "class": (lambda: nn.Linear, "Linear is a class, not a model"),
    "optimiser": (lambda: torch.optim.SGD(MODEL.parameters(), 0.1), "SGD is an optimiser"),
    "list": (lambda: [MODEL], "a list of 1 things"),
    "number": (lambda: 3, "int is not a model"),
    "traced": (lambda: torch.jit.trace(MODEL, X), "compiled by TorchScript.*give the original nn.Module"),
    "scripted": (lambda: torch.jit.script(MODEL), "compiled by TorchScript"),
    "part scripted": (lambda: nn.Sequential(torch.jit.script(MODEL), nn.ReLU()), "in its part '0': it is compiled"),
    "quantised": (quantised, "in its part '0': its weights are quantised"),
    "lazy": (lambda: nn.Sequential(nn.LazyLinear(5), nn.Linear(5, 2)), "'0.weight' is lazy"),
    "meta": (lambda: nn.Linear(3, 5, device="meta"), "'weight' is on the meta device"),
    "nan": (lambda: Taking(lambda x: x * torch.nan), "gives nothing but NaN on the example inputs"),
}


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning", "ignore::FutureWarning")
@pytest.mark.parametrize("name", REFUSED)
def test_refused_in_one_true_sentence(name):
    make, why = REFUSED[name]
    with pytest.raises(GraphError, match=why) as caught:
        units(make(), X)
    assert "\n" not in str(caught.value)


def test_parallel_models_are_fine():
    assert units(nn.DataParallel(MODEL), X).widths == {"module.0": 5}


class Keeping(Taking):
    """Keeps what it computes, in many places."""

    def forward(self, x):
        h = torch.relu(self.a(x))
        self.feat, self.each, self.frozen = h, [h, {"h": h}], Frozen(h)
        return self.out(h)


def old(norm):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        model = Taking()
        norm(model.a)
        norm(model.out)
    return model


STATES = {
    "keeping": Keeping,
    "weight norm": lambda: old(nn.utils.weight_norm),
    "spectral norm": lambda: old(nn.utils.spectral_norm),
    "pruned": lambda: old(lambda layer: prune.l1_unstructured(layer, "weight", 4)),
    "parametrised": lambda: old(nn.utils.parametrizations.weight_norm),
}


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("run", [True, False])
@pytest.mark.parametrize("name", STATES)
def test_copies_do_not_depend_on_what_ran_before(name, run, training):
    model = STATES[name]().train(training)
    if run:
        model(X)
    graph = units(model, X)
    assert list(graph.widths.values()) == [5]
    inputs = Inputs.of(X)
    for other in (
        graph.permute(model, graph.random_orders(generator(0, "orders"))),
        graph.widen(model, {name: group.size + 2 for name, group in graph.groups.items() if group.growable}),
    ):
        assert difference(outputs(model, inputs), outputs(other, inputs)) < 1e-5
        assert other.training == training
    assert not parametrize.is_parametrized(model) or name == "parametrised"


@pytest.mark.parametrize("thing", [threading.Lock, lambda: (row for row in X)])
def test_what_python_cannot_copy_is_named(thing):
    model = Taking()
    model.thing = thing()
    with pytest.raises(GraphError, match="Taking cannot be copied .*cannot pickle"):  # noqa: RUF043
        units(model, X)


def test_modes_are_restored_when_the_forward_pass_raises():
    def broken(x):
        torch.set_grad_enabled(True)
        raise ValueError("no")

    model = Taking(broken)
    model.out.eval()
    before, kept = [module.training for module in model.modules()], weights(model)
    with pytest.raises(GraphError, match="ValueError: no"):
        units(model, X)
    assert [module.training for module in model.modules()] == before
    assert torch.is_grad_enabled()
    assert torch.get_default_dtype() == torch.float32
    torch.testing.assert_close(weights(model), kept, rtol=0, atol=0)


def test_numbers_of_global_generators_are_as_they_were():
    model = Taking(lambda x: x + torch.randn_like(x) * np.random.rand())  # noqa: NPY002
    before, others = torch.get_rng_state(), np.random.get_state()[1].copy()  # noqa: NPY002
    assert units(model, X).widths == {"a": 5}
    assert torch.equal(torch.get_rng_state(), before)
    np.testing.assert_array_equal(np.random.get_state()[1], others)  # noqa: NPY002


def test_a_model_at_rest_forgets_what_it_kept():
    model = Keeping()
    with at_rest(model):
        model(X)
    assert not hasattr(model, "feat")


def test_warnings_say_what_is_left_in_place():
    with pytest.warns(PinnedWarning, match="not used"):  # noqa: PT031
        model = Taking()
        model.extra = nn.Linear(2, 2)
        units(model, X)
