"""The law of the rule table: what a rule leaves free may be reordered, and the results are reordered as it says."""

import contextlib
import itertools
import warnings
from collections import defaultdict

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode
from torch.utils import _pytree as pytree
from torch.utils._python_dispatch import TorchDispatchMode

from fedma.seeds import generator
from fedma.units import registry, units
from fedma.units.axes import leaf, leaves
from fedma.units.tracer import Tracer
from fedma.units.values import Value
from units.calls import SAMPLES, WAYS, direct
from units.test_axes import induced


class Heard(TorchDispatchMode):
    """Every call of an operation that has a rule and writes nothing, by name."""

    def __init__(self, most):
        super().__init__()
        self.most, self.calls, self.known = most, defaultdict(list), set()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.hear(func, args, kwargs or {})
        return func(*args, **(kwargs or {}))

    def hear(self, func, args, kwargs):
        name = func._schema.name.removeprefix("aten::")
        if name.removeprefix("new_").startswith("empty") or not all(map(plain, pytree.tree_leaves((args, kwargs)))):
            return
        form = str(pytree.tree_map_only(Tensor, lambda t: (tuple(t.shape), t.dtype), (func, args, kwargs)))
        fresh = form not in self.known and len(self.calls[name]) < self.most
        if registry.find(name) is not None and not func._schema.is_mutable and fresh:
            self.known.add(form)
            self.calls[name].append((func, *pytree.tree_map_only(Tensor, torch.clone, (args, kwargs))))


class Whole(TorchFunctionMode):
    """Calls from Python as they are, before an operation is carried out as several others."""

    def __init__(self, heard):
        super().__init__()
        self.heard = heard

    def __torch_function__(self, func, types, args=(), kwargs=None):
        name = getattr(func, "__name__", "")
        packet = getattr(torch.ops.aten, name, None) if registry.find(name) else None
        if packet is not None:
            with contextlib.suppress(RuntimeError, TypeError):
                overload = torch._C._jit_resolve_packet(f"aten::{name}", *args, **(kwargs or {}))
                self.heard.hear(getattr(packet, overload or "default"), args, kwargs or {})
        return func(*args, **(kwargs or {}))


def plain(thing):
    return not isinstance(thing, Tensor) or (thing.device.type == "cpu" and type(thing) in (Tensor, nn.Parameter))


def heard(most, ways):
    """The calls in all samples, carried out in these ways."""
    heard = Heard(most)
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for way, (sample, x) in itertools.product(ways, SAMPLES.values()):
            try:
                with heard, Whole(heard) if way == "plain" else contextlib.nullcontext():
                    WAYS[way](sample, x)
            except (RuntimeError, NotImplementedError):
                assert way != "plain"
        for func, given in direct(set(heard.calls)):
            heard.hear(func, given, {})
    return heard.calls


def otherwise(arguments, random):
    """The same arguments with other numbers, in no order and of no symmetry."""

    def other(tensor):
        if not tensor.is_floating_point():
            return tensor
        return 0.3 + 0.5 * torch.rand(tensor.shape, generator=random, dtype=tensor.dtype)

    return pytree.tree_map_only(Tensor, other, arguments)


def ran(func, arguments):
    """The results that are tensors; None where the operation refuses."""
    args, kwargs = pytree.tree_map_only(Tensor, torch.clone, arguments)
    try:
        result = func(*args, **kwargs)
    except RuntimeError:
        return None
    results = list(result) if isinstance(result, tuple | list) else [result]
    return results if all(r.device.type == "cpu" for r in results if isinstance(r, Tensor)) else None


def same(first, second):
    pairs = [(a, b) for a, b in zip(first, second, strict=True) if isinstance(a, Tensor)]
    return all(a.shape == b.shape and close(a, b) for a, b in pairs)


def close(a, b):
    if not (a.is_floating_point() or a.is_complex()):
        return torch.equal(a, b)
    size = b[b.isfinite()].abs().max().item() if b.isfinite().any() else 0.0
    return bool(torch.isclose(a, b, rtol=1e-7, atol=1e-9 * size, equal_nan=True).all())


def reordered(tensor, symbols, orders):
    for axis, symbol in enumerate(symbols):
        tensor = tensor.index_select(axis, torch.as_tensor(induced(symbol, orders)))
    return tensor


def cycle(size, random):
    """An order in which no unit, and no set of units, stays."""
    around = torch.randperm(size, generator=random)
    order = torch.empty_like(around)
    order[around] = around.roll(1)
    return order.numpy()


def told(func, arguments, results):
    """What the rule says of a call: values of its tensors, and of its results."""
    values = {}

    def value(tensor):
        return values.setdefault(id(tensor), (Value(tuple(map(leaf, tensor.shape))), tensor))[0]

    args, kwargs = pytree.tree_map_only(Tensor, value, arguments)
    shapes = [tuple(r.shape) if isinstance(r, Tensor) else None for r in results]
    tracer = Tracer()
    made = tracer.apply(func, args, kwargs, shapes, where="")
    return {key: own for key, (own, _) in values.items()}, made, [why for why in tracer.warned if "failed" in why]


def fault(func, arguments, random, *, every):
    """What is wrong in what the rule says; with every result used, or with those only that cost nothing."""
    results = ran(func, arguments)
    if results is None or not same(results, ran(func, arguments)):
        return ""
    values, made, failed = told(func, arguments, results)
    if failed:
        return failed[0]
    shown = {k: value.symbols for k, value in enumerate(made) if value is not None and (every or value.settled)}
    axes = [symbol for value in values.values() for symbol in value.symbols]
    axes += [symbol for symbols in shown.values() for symbol in symbols]
    orders = {unit: cycle(unit.size, random) for symbol in axes for unit in leaves(symbol)}
    moved = pytree.tree_map_only(Tensor, lambda t: reordered(t, values[id(t)].symbols, orders), arguments)
    found = ran(func, moved)
    if found is None:
        return "cannot be run on reordered tensors"
    wrong = [k for k, symbols in shown.items() if not same([found[k]], [reordered(results[k], symbols, orders)])]
    return f"results {wrong} are not reordered as it says" if wrong else ""


def faults(calls, seed=0):
    """Of every operation, what is wrong."""
    random = generator(seed, "rules")
    wrong = {}
    for name, own in calls.items():
        for func, *arguments in own:
            for numbers in (arguments, otherwise(arguments, random)):
                for every in (True, False):
                    if why := fault(func, tuple(numbers), random, every=every):
                        shown = pytree.tree_map_only(Tensor, lambda t: tuple(t.shape), arguments)
                        wrong[name] = f"{why}: {shown}, every={every}"
    return wrong


def test_what_a_rule_leaves_free_may_be_reordered():
    calls = heard(2, ["plain", "grad"])
    assert faults(calls) == {}
    assert len(calls) > 0.8 * len(registry._RULES), sorted(registry._RULES.keys() - calls.keys())


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(3))
def test_what_a_rule_leaves_free_may_be_reordered_however_it_is_called(seed):
    calls = heard(8, WAYS)
    print("no sample reaches", *sorted(registry._RULES.keys() - calls.keys()))
    assert faults(calls, seed) == {}


ALONE = {
    "conv": lambda h: F.conv1d(h, torch.ones(1, 3, 1)),
    "same": lambda h: F.conv1d(h, torch.ones(1, 3, 1), padding="same"),
    "transposed": lambda h: F.conv_transpose2d(h[None], torch.ones(2, 1, 2, 1))[0],
    "depthwise": lambda h: F.conv2d(h[None], torch.ones(2, 1, 2, 1), groups=2)[0],
    "mean": lambda h: F.avg_pool2d(h, (2, 1), ceil_mode=True),
    "largest": lambda h: F.max_pool1d(h, 1, stride=1),
}
JOINED = {
    "stride": lambda h: F.conv1d(h, torch.ones(1, 3, 1), stride=2, padding=3),
    "padding": lambda h: F.conv1d(h, torch.ones(1, 3, 1), padding=1),
    "more": lambda h: F.conv_transpose1d(h, torch.ones(3, 1, 1), stride=2, output_padding=1),
    "window": lambda h: F.avg_pool2d(h, (1, 3), stride=1, padding=(0, 1)),
    "largest": lambda h: F.max_pool1d(h, 1, stride=2),
}


@pytest.mark.parametrize("window", [*ALONE.values(), *JOINED.values()], ids=[*ALONE, *(f"not {n}" for n in JOINED)])
def test_positions_that_a_window_shows_alone_may_be_reordered(window):
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.make = nn.Linear(4, 7)
            self.read = nn.Parameter(torch.rand(21, 2, generator=generator(0, "read")))

        def forward(self, x):
            made = window(self.make(x).tanh())
            return made @ self.read[: made.shape[-1]]

    graph = units(Net(), torch.rand(2, 3, 4, generator=generator(0, "x")))
    assert bool(graph.groups) == (window in ALONE.values())


@pytest.mark.parametrize("pool", [nn.AdaptiveAvgPool2d(1), nn.AdaptiveMaxPool2d(1)])
def test_channels_that_lie_last_in_memory_are_pooled_as_others(pool):
    net = nn.Sequential(nn.Conv2d(3, 8, 3), pool, nn.Flatten(), nn.Linear(8, 2))
    x = torch.rand(2, 3, 8, 8, generator=generator(0, "x")).to(memory_format=torch.channels_last)
    assert units(net.to(memory_format=torch.channels_last), x).widths == {"0": 8}


def test_other_strides_of_the_same_shape_are_other_entries():
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.make = nn.Linear(4, 3)

        def forward(self, x):
            return torch.linalg.det(self.make(x).tanh().as_strided((3, 3), (1, 3)) + torch.eye(3))

    assert not units(Net(), torch.rand(3, 4, generator=generator(0, "x")), verify=False).groups
