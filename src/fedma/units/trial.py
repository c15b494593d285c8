"""A shaken copy of a model, and what it gives, against which reordered and widened copies are compared."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor, nn

from fedma.errors import GraphError
from fedma.seeds import generator
from fedma.units.graph import UnitGraph
from fedma.units.inputs import Inputs
from fedma.units.reference import Pass, Trace, forward, gradients, parting
from fedma.units.resize import copied, rebuild
from fedma.units.shake import (
    SHAKE,
    SPREADS,
    difference,
    in_double,
    perturbed,
    roused,
    shaken,
    touched,
    trembling,
    variation,
)
from fedma.units.state import tensors

EXACT = 1e-9
"""Largest relative difference of outputs in float64 that counts as none, whatever the model."""
ROUNDED = 50.0
"""How many times what the last digits of all weights do counts as none."""
WORST = {True: 1e-6, False: 1e-3}
"""Largest difference that may count as none at all, in float64 and in the model's own precision."""
DRAWS = 2
"""How many orders are tried: one on each set of inputs."""
FIXED = "its size is fixed in the model"
SILENT = 1e-13
"""A gradient this much smaller than the largest is none."""
MOST = 7
"""By how many units groups are widened at most in a first draw."""
CONTROLS = 4
"""In how many places the numbers of a group are touched, one at a time, to see whether the outputs show it."""


@dataclass(frozen=True)
class Case:
    """One set of inputs.

    Attributes:
        inputs: arguments of the model's forward.
        base: what the shaken model gives for them.
        sizes: what differences of each output are measured by; empty where one case alone tells nothing of it.
    """

    inputs: Inputs
    base: Pass
    sizes: Sequence[float] = ()


class Trial:
    """One shaken copy of a model and its outputs on given and on perturbed inputs.

    Attributes:
        model: the copy; it is never run itself, only copies of it.
        double: whether everything is computed in float64; else in the model's own precision.
        cases: the given inputs, and where the model runs with them, others.
    """

    def __init__(self, model: nn.Module, inputs: Inputs) -> None:
        self._last: tuple[tuple[frozenset[str], int], Pass] | None = None
        self._quiet: frozenset[str] = frozenset()
        self.double = True
        try:
            self._begin(model, in_double(inputs))
        except Exception:
            self.double = False
            self._begin(model, inputs)

    def _begin(self, model: nn.Module, inputs: Inputs) -> None:
        """Shake the model, less where that alone makes numbers of no meaning, and run it on given and other inputs."""
        for by in (SHAKE, SHAKE / 10, 0.0):
            self.model = shaken(model, double=self.double, by=by)
            given = Case(inputs, self._run(copied(self.model), inputs, traced=True))
            if _has_meaning(given.base):
                break
        if all(bool(tensor.isnan().all()) for tensor in given.base.outputs):
            raise GraphError(
                f"{type(model).__name__} gives nothing but NaN on the example inputs, whatever its weights, and "
                "nothing can be compared with that; look for inputs that are not finite"
            )
        other = self._perturbed(given)
        sizes = variation(given.base.outputs, other.base.outputs) if other else ()
        self.cases = [Case(case.inputs, case.base, sizes) for case in (given, other) if case]

    def _perturbed(self, given: Case) -> Case | None:
        """Other inputs that the model runs with, and does as well as with the given ones."""
        for spread in SPREADS:
            inputs = perturbed(given.inputs, spread)
            try:
                base = self._run(copied(self.model), inputs, traced=True)
            except Exception:
                continue
            if _has_meaning(base) or not _has_meaning(given.base):
                return Case(inputs, base)
        return None

    def _run(self, model: nn.Module, inputs: Inputs, *, traced: bool = False) -> Pass:
        return forward(model, inputs, double=self.double, traced=traced)

    def roused(self, seed: int) -> "Trial | None":
        """The same trial with other numbers, in which what slept may work; None where they have no meaning."""
        try:
            other = Trial(roused(self.model, seed), self.cases[0].inputs)
        except Exception:
            return None
        return other if _has_meaning(other.cases[0].base) else None

    @property
    def flat(self) -> bool:
        """Whether some operation told nothing of its operands (a dead ReLU), so that orders may not show."""
        return any(case.base.flat for case in self.cases)

    @cached_property
    def tolerance(self) -> float:
        """Largest relative difference that counts as none: a multiple of what the last digits do, within limits."""
        case = self.cases[0]
        rounding = self._gap(case, self._run(trembling(self.model), case.inputs))
        return min(max(EXACT, ROUNDED * rounding), WORST[self.double])

    @cached_property
    def unsteady(self) -> bool:
        """Whether two runs give different outputs, so that nothing can be compared."""
        case = self.cases[0]
        return self._gap(case, self._run(copied(self.model), case.inputs)) > WORST[self.double]

    def _gap(self, case: Case, found: Pass) -> float:
        return difference(case.base.outputs, found.outputs, case.sizes)

    def _differs(self, case: Case, found: Pass) -> float:
        """How far these outputs are from the expected ones; zero where that may be rounding."""
        gap = self._gap(case, found)
        return gap if gap > WORST[self.double] or (gap > EXACT and gap > self.tolerance) else 0.0

    def permuted(self, graph: UnitGraph, groups: Collection[str]) -> str:
        """What goes wrong when these groups alone are put in random order; empty when nothing does."""
        for draw in range(DRAWS):
            try:
                found = self._reordered(graph, groups, draw)
            except Exception as error:
                return f"reordered, the model does not run ({_line(error)})"
            if gap := self._differs(self._case(draw), found):
                return f"reordering it changes the outputs (by {gap:.1e} of their size)"
        return ""

    def telling(self, graph: UnitGraph, groups: Collection[str]) -> Trace | None:
        """The first operation whose values change when these groups are put in random order, outputs aside."""
        if self._quiet == frozenset(groups):
            return None
        found = self._reordered(graph, groups, DRAWS - 1)
        return parting(self._case(DRAWS - 1).base.traces, found.traces, WORST[self.double])

    def _reordered(self, graph: UnitGraph, groups: Collection[str], draw: int) -> Pass:
        """What the model gives when these groups are put in random order; what was asked last is remembered."""
        key = (frozenset(groups), draw)
        if self._last is None or self._last[0] != key:
            other = self._moved(graph, _cycles(graph, groups, draw), {})
            self._last = (key, self._run(other, self._case(draw).inputs, traced=draw == DRAWS - 1))
        return self._last[1]

    def _case(self, draw: int) -> Case:
        return self.cases[draw % len(self.cases)]

    def widened(self, graph: UnitGraph, groups: Collection[str], *, ordered: bool) -> str:
        """What goes wrong when these groups get some zero units more, each another number; empty when nothing does.

        Args:
            graph: of the model.
            groups: some of its groups.
            ordered: put all groups, those that stay of one size included, in random order besides.
        """
        for draw in range(DRAWS):
            case = self._case(draw)
            orders = _cycles(graph, graph.groups if ordered else (), draw)
            try:
                moved = self._moved(graph, orders, wider(graph, groups, draw))
                found = self._run(moved, case.inputs, traced=ordered and draw == DRAWS - 1)
            except Exception as error:
                return f"{FIXED} ({_line(error)})"
            if self._differs(case, found):
                return "zero units change the function"
        if ordered and parting(case.base.traces, found.traces, WORST[self.double]) is None:
            self._quiet = frozenset(orders)
        return ""

    def shows(self, graph: UnitGraph, group: str) -> bool:
        """Whether the outputs change when the numbers in some place of a group change by little.

        Outputs that do not show this (the largest's place, signs) do not show either that the group is right.
        """
        own = tensors(self.model)
        return any(
            self._differs(case, self._run(rebuild(self.model, {name: touched(own[name])}), case.inputs))
            for name in list(dict.fromkeys(place.tensor for place in graph.places(group)))[:CONTROLS]
            for case in self.cases
        )

    def silent(self, graph: UnitGraph) -> set[str]:
        """The groups that the outputs do not depend on, to first order; none where it cannot be told."""
        case = next((case for case in self.cases if not case.base.flat), self.cases[0])
        try:
            found = gradients(copied(self.model), case.inputs, double=self.double)
        except Exception:
            return set()
        sizes = {name: float(gradient.abs().max()) for name, gradient in found.items() if gradient.numel()}
        largest = max(sizes.values(), default=0.0)
        heard = {name for name, size in sizes.items() if not size <= SILENT * largest}
        return {n for n in graph.groups if largest and not any(place.tensor in heard for place in graph.places(n))}

    def _moved(self, graph: UnitGraph, orders: Mapping[str, Tensor], widths: Mapping[str, int]) -> nn.Module:
        """A copy of the model in these orders and at these widths."""
        own = {name: tensor.detach() for name, tensor in tensors(self.model).items()}
        moving = {name: tensor for name, tensor in own.items() if graph.groups_of(name) & {*orders, *widths}}
        if widths:
            places = {**{name: _all(graph, name) for name in widths}, **orders}
            return rebuild(self.model, graph.scatter(moving, places, widths), handed_over=True)
        return rebuild(self.model, graph.gather(moving, orders), handed_over=True)


def wider(graph: UnitGraph, groups: Collection[str], draw: int) -> dict[str, int]:
    """Widths at which these groups have some units more, an even number in one draw and an odd one in the other.

    Neighbours never get as many, so that two groups which must stay of one size cannot seem free.
    """
    more: dict[str, int] = {}
    for k, name in enumerate(graph.groups):
        first = 1 + 3 * k % MOST
        more[name] = first if draw == 0 else first + 1 + 2 * (k // MOST % 3)
    return {name: graph.groups[name].size + more[name] for name in groups}


def _all(graph: UnitGraph, name: str) -> Tensor:
    """All units of a group in order, in every block."""
    group = graph.groups[name]
    return torch.arange(group.size).expand(*(graph.groups[block].size for block in group.per), -1)


def _cycles(graph: UnitGraph, groups: Collection[str], draw: int) -> dict[str, Tensor]:
    """A random order of the units of each group that is one cycle, in every block: it keeps no part of them in place.

    Source: Sattolo, An algorithm to generate a random cyclic permutation, 1986.
    """
    orders = {}
    for name in groups:
        group, random = graph.groups[name], generator(draw, "cycle", name)
        keys = torch.rand([*(graph.groups[b].size for b in group.per), group.size], generator=random)
        around = keys.argsort(dim=-1)
        orders[name] = torch.empty_like(around).scatter_(-1, around, around.roll(1, -1))
    return orders


def _has_meaning(found: Pass) -> bool:
    """Whether there are no NaN, and not infinities alone."""
    outputs = [tensor for tensor in found.outputs if tensor.is_floating_point() and tensor.numel()]
    return not any(bool(t.isnan().any()) for t in outputs) and any(bool(t.isfinite().any()) for t in outputs or [_ONE])


_ONE = torch.ones(1)


def _line(error: Exception) -> str:
    line = str(error).strip().partition("\n")[0]
    return f"{type(error).__name__}: {line[:80]}"
