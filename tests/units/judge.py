"""Whether a unit graph is right, judged without the library's own verification.

Orders are single cycles, so that every unit moves and no part of them keeps to itself. Outputs are collected by a
walk of its own, from whatever holds them; they are compared in double precision, on the example and on fresh inputs,
for the model's own numbers and for others.
"""

import copy
import dataclasses
import numbers
from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor, nn

from fedma.seeds import generator

TOLERANCE = 1e-7
"""Largest difference of outputs, relative to their size, that rounding in double precision explains."""
SINGLE = 1e-4
"""The same for a model that does not run in double precision."""
FLOOR = 1e-2
"""Outputs smaller than this are compared as if they were of this size: they may be nothing but rounding."""
MOVED = 0.3
"""How far the other numbers lie from the model's own."""


@dataclasses.dataclass(frozen=True)
class Verdict:
    """What is wrong with a graph, by group; empty when it is right."""

    wrong: Mapping[str, str]

    def __bool__(self):
        return not self.wrong


def numbers_in(thing, seen=None):
    """Every array of numbers in `thing`, however deep it hides."""
    seen = set() if seen is None else seen
    if isinstance(thing, Tensor):
        thing = thing.detach() if thing.layout is torch.strided else thing.detach().to_dense()
        return [thing.to(torch.complex128 if thing.is_complex() else torch.float64)]
    if isinstance(thing, np.ndarray | numbers.Number):
        return [torch.as_tensor(np.asarray(thing)).double()]
    if thing is None or isinstance(thing, str | bytes | type | nn.Module) or callable(thing) or id(thing) in seen:
        return []
    seen.add(id(thing))
    inside = thing.values() if isinstance(thing, Mapping) else thing if isinstance(thing, list | tuple) else None
    if inside is None:
        inside = vars(thing).values() if hasattr(thing, "__dict__") else ()
    return [array for part in inside for array in numbers_in(part, seen)]


SMALL = 8
"""Groups of fewer units than this may get the same order by chance."""


def outputs(model, inputs):
    """What a model gives for these arguments, as a list of arrays; the arguments stay as they are."""
    args = copy.deepcopy(inputs)
    with torch.no_grad():
        given = model(**args) if isinstance(args, Mapping) else model(*args)
    return [array.clone() for array in numbers_in(given)]


def gap(first, second):
    """Largest difference relative to the size of each array; infinite where they cannot be compared."""
    if [a.shape for a in first] != [b.shape for b in second]:
        return float("inf")
    worst = 0.0
    for a, b in zip(first, second, strict=True):
        same = (a == b) | (a.isnan() & b.isnan())
        off = torch.where(same, 0.0, (a - b).abs())
        size = a.abs()[a.isfinite()].max() if a.isfinite().any() else torch.ones(())
        worst = max(worst, float(off.nan_to_num(nan=torch.inf).max() / size.clamp(min=FLOOR))) if a.numel() else worst
    return worst


def doubled(thing):
    """The same in double precision: floating-point tensors and NumPy arrays in lists, tuples and mappings."""
    if isinstance(thing, Tensor):
        return thing.double() if thing.is_floating_point() else thing
    if isinstance(thing, np.ndarray):
        return thing.astype(np.float64) if thing.dtype.kind == "f" else thing
    if type(thing) in (list, tuple):
        return type(thing)(doubled(part) for part in thing)
    if type(thing) is dict:
        return {key: doubled(part) for key, part in thing.items()}
    return thing


def twin(model):
    """A copy, also of a model that keeps tensors with a history."""
    kept = [value for module in model.modules() for value in vars(module).values() if isinstance(value, Tensor)]
    return copy.deepcopy(model, {id(tensor): tensor.detach().clone() for tensor in kept if tensor.grad_fn})


def elsewhere(model, seed=0):
    """A copy with other numbers in its parameters and saved buffers."""
    other, random = twin(model), generator(seed, "elsewhere")
    aside = {id(m._buffers.get(name)) for m in other.modules() for name in m._non_persistent_buffers_set}
    with torch.no_grad():
        for tensor in [*other.parameters(), *other.buffers()]:
            if tensor.is_floating_point() and id(tensor) not in aside:
                noise = torch.rand(tensor.shape, generator=random, dtype=torch.float64)
                tensor.add_(MOVED * noise.to(tensor.dtype))
    return other


def cycles(graph, seed):
    """An order for every group in which each unit takes the place of another, all in one cycle."""
    random, orders = generator(seed, "cycles"), {}
    for name, group in graph.groups.items():
        blocks = [graph.groups[block].size for block in group.per]
        rows = [_cycle(group.size, random) for _ in range(int(np.prod(blocks, dtype=int)))]
        orders[name] = torch.stack(rows).reshape(*blocks, group.size)
    return orders


def _cycle(size, random):
    round_trip = torch.randperm(size, generator=random)
    order = torch.empty_like(round_trip)
    order[round_trip] = round_trip.roll(1)
    return order


class Judge:
    """One model, in double precision, on several inputs.

    Args:
        model: as the user has it.
        inputs: positional arguments or a mapping, several of them.
    """

    def __init__(self, model, inputs, *, tolerance=TOLERANCE, seeds=(0, 1)):
        self.seeds = seeds
        try:
            self._see(twin(model).double().eval(), [doubled(some) for some in inputs], tolerance)
        except RuntimeError:
            self._see(twin(model).eval(), inputs, max(tolerance, SINGLE))

    def _see(self, model, inputs, tolerance):
        self.models, self.inputs, self.tolerance = [model, elsewhere(model)], inputs, tolerance
        self.expected = [[outputs(model, some) for some in inputs] for model in self.models]

    def verdict(self, graph):
        """What is wrong, group by group, and of all groups together."""
        together = self._fault(graph, list(graph.groups))
        if not together and len(graph.groups) < 2:
            return Verdict({})
        found = {name: why for name in graph.groups if (why := self._fault(graph, [name]))}
        return Verdict(found or ({" + ".join(graph.groups): together} if together else {}))

    def glance(self, graph):
        """The same for many groups at less cost: all together, then halves that tell any two small groups apart."""
        small = [name for name, group in graph.groups.items() if group.size < SMALL]
        halves = [[n for k, n in enumerate(small) if k >> bit & 1] for bit in range(len(small).bit_length())]
        if not any(self._fault(graph, some) for some in (list(graph.groups), *halves)):
            return Verdict({})
        return self.verdict(graph)

    def settled(self, nudge=1e-9):
        """Whether outputs hardly change when the numbers hardly do: rounding cannot be taken for a fault."""
        for model, expected in zip(self.models, self.expected, strict=True):
            other, random = twin(model), generator(0, "nudge")
            with torch.no_grad():
                for tensor in other.parameters():
                    tensor.mul_(1 + nudge * torch.randn(tensor.shape, generator=random).to(tensor))
            if any(gap(e, outputs(other, some)) > 1e-6 for e, some in zip(expected, self.inputs, strict=True)):
                return False
        return True

    def _fault(self, graph, names):
        return self._moved(graph, names) or self._grown(graph, [n for n in names if graph.groups[n].growable])

    def _moved(self, graph, names):
        for seed in self.seeds if names else ():
            orders = cycles(graph, seed)
            some = {name: orders[name] for name in names}
            for model, expected in zip(self.models, self.expected, strict=True):
                wrong = self._off(graph.permute(model, some), expected)
                if wrong:
                    return f"permuted: {wrong}"
        return ""

    def _grown(self, graph, names):
        wider = {name: graph.groups[name].size + 2 + k % 3 for k, name in enumerate(names)}
        if not names:
            return ""
        try:
            wrong = self._off(graph.widen(self.models[0], wider), self.expected[0])
        except Exception as error:
            wrong = f"{type(error).__name__}: {error}"
        return f"widened: {wrong}" if wrong else ""

    def _off(self, model, expected):
        worst = max(gap(e, outputs(model, some)) for e, some in zip(expected, self.inputs, strict=True))
        return f"outputs differ by {worst:.1e}" if worst > self.tolerance else ""
