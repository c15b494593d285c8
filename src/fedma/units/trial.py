"""A perturbed copy of a model and its outputs, with which reordered and widened copies are compared."""

import copy
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor, nn

from fedma.errors import GraphError
from fedma.seeds import generator
from fedma.units.graph import UnitGraph
from fedma.units.inputs import Inputs, marks, unmarked
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
    unlike,
    variation,
)
from fedma.units.state import tensors

EXACT = 1e-9
"""Largest relative difference of outputs in float64 that counts as zero for every model."""
ROUNDED = 50.0
"""Differences up to this multiple of the effect of rounding all weights count as zero."""
WORST = {True: 1e-6, False: 1e-3}
"""Upper bound on a difference that counts as zero: in float64, and in the model's own precision."""
WAYS = ((True, True), (False, True), (True, False), (False, False))
"""How models run: in float64 or not, watched or not. The first way that works is taken."""
DRAWS = 2
"""How many random orders are tried: one on each set of inputs."""
FIXED = "its size is fixed in the model"
NOTHING = 1e-13
"""A gradient smaller than this share of the largest counts as zero."""
TURNS = 32
"""How many answers are turned at once. More could keep a loop going forever."""
FEW = 3
"""How many answers are turned one at a time."""
MOST = 7
"""Most units that a group gains in a first draw."""
CONTROLS = 4
"""In how many tensors a group's weights are changed, one at a time, to see whether the outputs show it."""


@dataclass(frozen=True)
class Case:
    """One set of inputs.

    Attributes:
        inputs: arguments of the model's forward.
        base: the perturbed model's results for them.
        sizes: for each output, the unit in which differences are measured; empty if there is only one case.
        turned: which of the answers that Python code reads are turned.
    """

    inputs: Inputs
    base: Pass
    sizes: Sequence[float] = ()
    turned: Collection[int] = ()


class Trial:
    """One perturbed copy of a model and its outputs on the given and on perturbed inputs.

    Attributes:
        model: the copy. It is never run itself; copies of it are.
        double: whether everything is computed in float64, instead of the model's own precision.
        watched: whether every operation is seen. Some models run only without this.
        cases: the given inputs, and perturbed inputs if the model runs on them.
    """

    def __init__(self, model: nn.Module, inputs: Inputs) -> None:
        self._last: tuple[tuple[frozenset[str], int], Pass] | None = None
        self._quiet: frozenset[str] = frozenset()
        fault: Exception | None = None
        for self.double, self.watched in WAYS:
            try:
                return self._begin(model, in_double(inputs) if self.double else inputs)
            except Exception as error:
                fault = error
        if isinstance(fault, GraphError):
            raise fault
        raise GraphError(f"{type(model).__name__} runs, but a copy of it does not ({_line(fault)})") from fault

    def _begin(self, model: nn.Module, inputs: Inputs) -> None:
        """Perturb the model and run it on given and other inputs. Perturb it less if the outputs lose their meaning."""
        for by in (SHAKE, SHAKE / 10, 0.0):
            self.model = shaken(model, double=self.double, by=by)
            used = copied(self.model)
            before = marks(used)
            given = Case(inputs, self._run(used, inputs, traced=True))
            if _has_meaning(given.base):
                break
        if not any(tensor.numel() for tensor in given.base.outputs):
            raise GraphError(
                f"{type(model).__name__} gives no number on the example inputs; give inputs that are not empty"
            )
        if all(bool(tensor.isnan().all()) for tensor in given.base.outputs):
            raise GraphError(
                f"{type(model).__name__} gives nothing but NaN on the example inputs, whatever its weights, and "
                "nothing can be compared with that; look for inputs that are not finite"
            )
        self._used = None if unmarked(before, marks(used)) else used
        other = self._perturbed(given)
        sizes = variation(given.base.outputs, other.base.outputs) if other else ()
        self.cases = [Case(case.inputs, case.base, sizes) for case in (given, other) if case]

    def _perturbed(self, given: Case) -> Case | None:
        """Perturbed inputs on which the model runs as well as on the given ones; None if there are none."""
        for spread in SPREADS:
            inputs = perturbed(given.inputs, spread)
            try:
                base = self._run(copied(self.model), inputs, traced=True)
            except Exception:
                continue
            if _has_meaning(base) or not _has_meaning(given.base):
                return Case(inputs, base)
        return None

    def _run(self, model: nn.Module, inputs: Inputs, *, traced: bool = False, turned: Collection[int] = ()) -> Pass:
        return forward(model, inputs, double=self.double, traced=traced, watched=self.watched, turned=turned)

    def elsewhere(self) -> "Trial | None":
        """The same trial where the example does not lead: in a model that ran before, and in its other branches.

        None where a model leaves nothing behind in itself, and no branch depends on values.
        """
        given, other = self.cases[0], copy.copy(self)
        other._last, other._used = None, None
        other.model = self.model if self._used is None else self._used
        found = [other._tried(case.inputs) for case in self.cases if self._used is not None]
        if given.base.asked or given.inputs.unseen:
            found += [other._tried(inputs) for inputs in unlike(given.inputs)]
        if given.base.asked:
            found += other._turned(given)
        other.cases = [case for case in found if case is not None]
        return other if other.cases else None

    def _turned(self, given: Case) -> list[Case | None]:
        """The other branches: all at once, or where the model does not run so, the first ones one by one."""
        all_turned = self._tried(given.inputs, range(TURNS))
        if all_turned is not None:
            return [all_turned]
        return [self._tried(given.inputs, (k,)) for k in range(min(given.base.asked, FEW))]

    def _tried(self, inputs: Inputs, turned: Collection[int] = ()) -> Case | None:
        """A case that the model runs in; None where it does not, or its outputs have no meaning."""
        try:
            base = self._run(copied(self.model), inputs, traced=True, turned=turned)
        except Exception:
            return None
        return Case(inputs, base, turned=turned) if _has_meaning(base) else None

    def roused(self, seed: int) -> "Trial | None":
        """The same trial with other weights, at which inactive units may act; None if its outputs are meaningless."""
        try:
            other = Trial(roused(self.model, seed), self.cases[0].inputs)
        except Exception:
            return None
        return other if _has_meaning(other.cases[0].base) else None

    @property
    def flat(self) -> bool:
        """Whether some operation hides its operands (a dead ReLU), so that reordering may not show."""
        return any(case.base.flat for case in self.cases)

    @cached_property
    def tolerance(self) -> float:
        """Largest relative difference that counts as zero: a multiple of the effect of rounding, within limits."""
        case = self.cases[0]
        try:
            rounding = self._gap(case, self._run(trembling(self.model), case.inputs))
        except Exception:
            return EXACT
        return min(max(EXACT, ROUNDED * rounding), WORST[self.double])

    @cached_property
    def unsteady(self) -> bool:
        """Whether two runs give different outputs, so that nothing can be compared."""
        case = self.cases[0]
        try:
            return self._gap(case, self._run(copied(self.model), case.inputs)) > WORST[self.double]
        except Exception:
            return True

    def _gap(self, case: Case, found: Pass) -> float:
        return difference(case.base.outputs, found.outputs, case.sizes)

    def _differs(self, case: Case, found: Pass) -> float:
        """How far these outputs are from the expected ones; zero if the difference may be rounding."""
        gap = self._gap(case, found)
        return gap if gap > WORST[self.double] or (gap > EXACT and gap > self.tolerance) else 0.0

    def permuted(self, graph: UnitGraph, groups: Collection[str]) -> str:
        """What goes wrong when only these groups are reordered at random; empty if nothing does."""
        for draw in range(max(DRAWS, len(self.cases))):
            try:
                found = self._reordered(graph, groups, draw)
            except Exception as error:
                return f"reordered, the model does not run ({_line(error)})"
            if gap := self._differs(self._case(draw), found):
                return f"reordering it changes the outputs (by {gap:.1e} of their size)"
        return ""

    def telling(self, graph: UnitGraph, groups: Collection[str]) -> Trace | None:
        """The first operation whose values change when these groups are reordered at random; outputs do not count."""
        if self._quiet == frozenset(groups):
            return None
        try:
            found = self._reordered(graph, groups, DRAWS - 1)
        except Exception as error:
            return Trace(_line(error), "", torch.zeros(3))
        return parting(self._case(DRAWS - 1).base.traces, found.traces, WORST[self.double])

    def _reordered(self, graph: UnitGraph, groups: Collection[str], draw: int) -> Pass:
        """The model's results when these groups are reordered at random. The last answer is kept."""
        key = (frozenset(groups), draw)
        if self._last is None or self._last[0] != key:
            other = self._moved(graph, _cycles(graph, groups, draw), {})
            case = self._case(draw)
            self._last = (key, self._run(other, case.inputs, traced=draw == DRAWS - 1, turned=case.turned))
        return self._last[1]

    def _case(self, draw: int) -> Case:
        return self.cases[draw % len(self.cases)]

    def widened(self, graph: UnitGraph, groups: Collection[str], *, ordered: bool) -> str:
        """What goes wrong when these groups get zero units, each another number of them; empty if nothing does.

        Args:
            graph: of the model.
            groups: some of its groups.
            ordered: also reorder all groups at random, including groups that keep their size.
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
        """Whether the outputs change when a group's weights change a little.

        Outputs that do not show this (an argmax, signs) cannot show that the group is right either.
        """
        own = tensors(self.model)
        return any(
            self._differs(case, self._run(rebuild(self.model, {name: touched(own[name])}), case.inputs))
            for name in list(dict.fromkeys(place.tensor for place in graph.places(group)))[:CONTROLS]
            for case in self.cases
        )

    def silent(self, graph: UnitGraph) -> set[str]:
        """The groups on which the outputs do not depend, to first order; none if that is unknown."""
        case = next((case for case in self.cases if not case.base.flat), self.cases[0])
        try:
            found = gradients(copied(self.model), case.inputs, double=self.double, watched=self.watched)
        except Exception:
            return set()
        sizes = {name: float(gradient.abs().max()) for name, gradient in found.items() if gradient.numel()}
        largest = max(sizes.values(), default=0.0)
        heard = {name for name, size in sizes.items() if not size <= NOTHING * largest}
        return {n for n in graph.groups if largest and not any(place.tensor in heard for place in graph.places(n))}

    def _moved(self, graph: UnitGraph, orders: Mapping[str, Tensor], widths: Mapping[str, int]) -> nn.Module:
        """A copy of the model with its units in these orders, at these widths."""
        own = {name: tensor.detach() for name, tensor in tensors(self.model).items()}
        moving = {name: tensor for name, tensor in own.items() if graph.groups_of(name) & {*orders, *widths}}
        if widths:
            places = {**{name: _all(graph, name) for name in widths}, **orders}
            return rebuild(self.model, graph.scatter(moving, places, widths), handed_over=True)
        return rebuild(self.model, graph.gather(moving, orders), handed_over=True)


def wider(graph: UnitGraph, groups: Collection[str], draw: int) -> dict[str, int]:
    """Widths at which these groups have more units: an even number more in one draw, an odd number in the other.

    Neighbours never get the same number. So two groups that must have one size cannot seem free.
    """
    more: dict[str, int] = {}
    for k, name in enumerate(graph.groups):
        first = 1 + 3 * k % MOST
        more[name] = first if draw == 0 else first + 1 + 2 * (k // MOST % 3)
    return {name: graph.groups[name].size + more[name] for name in groups}


def _all(graph: UnitGraph, name: str) -> Tensor:
    """All units of a group in their order, in every block."""
    group = graph.groups[name]
    return torch.arange(group.size).expand(*(graph.groups[block].size for block in group.per), -1)


def _cycles(graph: UnitGraph, groups: Collection[str], draw: int) -> dict[str, Tensor]:
    """For each group and block, a random cyclic order of its units: no unit keeps its place.

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
    """Whether a result has no NaN and at least one finite number."""
    outputs = [tensor for tensor in found.outputs if tensor.is_floating_point() and tensor.numel()]
    return not any(bool(t.isnan().any()) for t in outputs) and any(bool(t.isfinite().any()) for t in outputs or [_ONE])


_ONE = torch.ones(1)


def _line(error: Exception | None) -> str:
    line = str(error).strip().partition("\n")[0]
    return f"{type(error).__name__}: {line[:80]}"
