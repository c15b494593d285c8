"""The permutation law: random orders of all groups at once leave a model's outputs as they are, and zero units too.

The law is tested on a copy whose numbers are all shaken: a bias that starts at zero, or a scale that starts at one,
could not tell a wrong order from a right one.
"""

import warnings
from collections.abc import Callable, Sequence
from dataclasses import replace

import torch
from torch import Tensor, nn

from fedma.errors import GraphError, PinnedWarning
from fedma.seeds import generator, number
from fedma.units import layout
from fedma.units.axes import BAKED
from fedma.units.graph import UnitGraph
from fedma.units.inputs import Inputs, outputs
from fedma.units.resize import copied
from fedma.units.state import tensors

SHAKE = 0.1
"""How far the numbers are moved, in terms of their own size."""
TOLERANCE = {torch.float64: 1e-5, torch.float32: 1e-2}
"""Largest relative difference of outputs that still counts as none: some models compute in float32 whatever comes."""

DRAWS, MOST = 2, 7
"""How often widening is tried, and by how many units at most: two groups that must stay of one size grow apart."""


def shaken(model: nn.Module, *, double: bool = True) -> nn.Module:
    """A copy with other numbers everywhere: the function is another, its symmetries are the same."""
    fresh = copied(model)
    fresh = fresh.double() if double else fresh
    unsaved = {id(m._buffers.get(name)) for m in fresh.modules() for name in m._non_persistent_buffers_set}
    random = generator(0, "shake")
    with torch.no_grad():
        for tensor in tensors(fresh).values():
            if tensor.is_floating_point() and id(tensor) not in unsaved:
                tensor.mul_(1 + SHAKE * _uniform(tensor, random))
                if isinstance(tensor, nn.Parameter):
                    tensor.add_(SHAKE * (2 * _uniform(tensor, random) - 1) * max(float(tensor.abs().mean()), SHAKE))
                else:
                    tensor.add_(SHAKE * _uniform(tensor, random))
    return fresh


def _uniform(tensor: Tensor, random: torch.Generator) -> Tensor:
    return torch.rand(tensor.shape, generator=random, dtype=torch.float64).to(tensor)


def in_double(inputs: Inputs) -> Inputs:
    """The same arguments with floating-point tensors in double precision."""
    return inputs.map(lambda tensor: tensor.double() if tensor.is_floating_point() else tensor)


def difference(first: Sequence[Tensor], second: Sequence[Tensor]) -> float:
    """The largest difference of two sets of outputs, relative to their size; infinite if they cannot be compared."""
    worst = 0.0
    if len(first) != len(second):
        return float("inf")
    for a, b in zip(first, second, strict=True):
        if a.shape != b.shape:
            return float("inf")
        if a.numel():
            scale = float(a.double().abs().max()) or 1.0
            gap = float((a.double() - b.double()).abs().max()) / scale
            worst = max(worst, gap if gap == gap else float("inf"))
    return worst


class Trial:
    """One shaken copy of a model and its outputs, against which permuted and widened copies are compared.

    Attributes:
        random: whether two runs give different outputs, so that nothing can be compared.
    """

    def __init__(self, model: nn.Module, inputs: Inputs, *, double: bool = True) -> None:
        try:
            self.model, self.inputs = shaken(model, double=double), in_double(inputs) if double else inputs
            self.expected = _quietly(self.model, self.inputs)
        except Exception:
            if not double:
                raise
            self.model, self.inputs = shaken(model, double=False), inputs
            self.expected = _quietly(self.model, self.inputs)
        kinds = {tensor.dtype for tensor in self.model.parameters()}
        self.tolerance = TOLERANCE[torch.float64] if kinds == {torch.float64} else TOLERANCE[torch.float32]
        self.random = difference(self.expected, _quietly(self.model, self.inputs)) > self.tolerance

    def permuted(self, graph: UnitGraph, groups: Sequence[str]) -> str:
        """What goes wrong when these groups alone are put in random order; empty when nothing does.

        Raises:
            GraphError: the model is random.
        """
        if self.random:
            raise GraphError(
                "the model gives other outputs every time, in evaluation mode too: nothing can be verified"
            )
        orders = graph.random_orders(generator(0, "orders"))
        other = graph.permute(self.model, {name: orders[name] for name in groups})
        gap = difference(self.expected, _quietly(other, self.inputs))
        return "" if gap <= self.tolerance else f"reordering it changes the outputs (by {gap:.1e} of their size)"

    def widened(self, graph: UnitGraph, groups: Sequence[str]) -> str:
        """What goes wrong when these groups get some zero units more, each another number; empty when nothing does."""
        if self.random:
            return "the model gives other outputs every time, so it cannot be tried"
        return next((wrong for draw in range(DRAWS) if (wrong := self._widened(graph, groups, draw))), "")

    def _widened(self, graph: UnitGraph, groups: Sequence[str], draw: int) -> str:
        more = {name: 1 + number(draw, "zero units", name) % MOST for name in groups}
        wider = graph.resized(self.model, {name: graph.groups[name].size + more[name] for name in groups})
        try:
            found = _quietly(wider, self.inputs)
        except Exception as error:
            line = str(error).strip().partition("\n")[0]
            return f"its size is fixed in the model ({type(error).__name__}: {line[:80]})"
        return "" if difference(self.expected, found) <= self.tolerance else "zero units change the function"


def _quietly(model: nn.Module, inputs: Inputs) -> list[Tensor]:
    """The outputs without the model's own warnings, which its user has seen already."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return outputs(model, inputs)


def failing(names: Sequence[str], test: Callable[[Sequence[str]], str]) -> dict[str, str]:
    """The groups that fail a test, with what goes wrong, by bisection."""
    if not names:
        return {}
    wrong = test(names)
    if not wrong:
        return {}
    if len(names) == 1:
        return {names[0]: wrong}
    half = len(names) // 2
    found = {**failing(names[:half], test), **failing(names[half:], test)}
    return found or {name: f"together with others: {wrong}" for name in names}


def growable(graph: UnitGraph, trial: Trial) -> UnitGraph:
    """The graph with its groups marked as growable or not, by trying; what views seem to fix is tried too, at once."""
    free = [name for name, group in graph.groups.items() if group.growable]
    baked = [name for name, group in graph.groups.items() if group.reason == BAKED]
    stuck = failing(free, lambda some: trial.widened(graph, some))
    if baked and not trial.widened(graph, [*(name for name in free if name not in stuck), *baked]):
        free += baked
    groups = {
        name: replace(group, growable=name in free and name not in stuck, reason=stuck.get(name, group.reason))
        for name, group in graph.groups.items()
    }
    groups = {name: replace(group, reason="" if group.growable else group.reason) for name, group in groups.items()}
    return replace(graph, groups=groups)


def lawful(graph: UnitGraph, trial: Trial) -> UnitGraph:
    """The graph without the groups that break the law, each with a warning."""
    wrong = failing(list(graph.groups), lambda some: trial.permuted(graph, some))
    for name, why in wrong.items():
        warnings.warn(
            f"group {name} is left in place: {why}; a rule for one of its operations is wrong",
            PinnedWarning,
            stacklevel=3,
        )
        graph = graph.pin(name, "breaks the permutation law")
    return graph


def check(graph: UnitGraph, model: nn.Module, inputs: Inputs) -> None:
    """Test a graph, hand-written or derived, against a model.

    Raises:
        GraphError: a tensor is missing, of another shape, or a group breaks the permutation law.
    """
    own = tensors(model)
    for name in sorted(own.keys() ^ graph.layouts.keys()):
        known = "the model has it, the graph does not" if name in own else "the graph has it, the model does not"
        raise GraphError(f"tensor {name!r}: {known}; every parameter and buffer needs a layout")
    for name, tensor in own.items():
        if tuple(tensor.shape) != graph.shape(name, {}):
            raise GraphError(
                f"tensor {name!r} has shape {tuple(tensor.shape)}, its layout {graph.shape(name, {})}; "
                "was the model rebuilt at other widths?"
            )
    for name in sorted(set().union(*map(layout.groups_of, graph.layouts.values())) - graph.groups.keys()):
        raise GraphError(f"the layouts speak of a group {name!r} that is not among the groups")
    trial = Trial(model, inputs)
    wrong = failing(list(graph.groups), lambda some: trial.permuted(graph, some))
    for name, why in wrong.items():
        places = ", ".join(f"{place.tensor} axis {place.axis}" for place in graph.places(name))
        raise GraphError(f"group {name} is wrong: {why}; its places are {places}; is one missing, or one too many?")
