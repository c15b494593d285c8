"""Matching the groups of one step: one after the other, and those that tell each other apart until nothing gains."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial

from torch import Tensor

from fedma.matching.assignment import original_order, own_numbers, slots
from fedma.matching.by_steps import match_group
from fedma.matching.features import sources
from fedma.matching.matcher import Matcher
from fedma.matching.slices import beside, inner
from fedma.matching.step import Step
from fedma.matching.whole_model.weights import agreement, compared
from fedma.units import UnitGraph, Weights
from fedma.units.layout import Widths

Matched = dict[str, tuple[Tensor, ...]]
_Turn = Callable[[Sequence[Weights], Sequence[str], Sequence[Widths]], Matched]
"""Matches some groups of a step, one after the other, of clients whose other groups are in global order."""

_SWEEPS = 10
_GAIN = 1e-9
"""The least rise of the agreement, in parts of its size, for which a matching is given up."""


def match_step(
    clients: Sequence[Mapping[str, Tensor]],
    graph: UnitGraph,
    step: Step,
    *,
    widths: Sequence[Widths],
    matcher: Matcher,
    class_counts: Tensor | None = None,
) -> Matched:
    """For each group of a step, the slots of every client's units; args as for `match_group`.

    Groups that tell each other apart are matched by what does not depend on the others' order. Each is then matched
    anew, given the others, as long as the clients' weights agree in more.
    """
    turn = partial(_in_turn, graph=graph, names=step.tensors, matcher=matcher, class_counts=class_counts)
    first = turn(clients, step.groups, widths)
    if not matcher.entry.moves or not entangled(graph, step):
        return first
    starts = [first]
    if all(own == widths[0] for own in widths):
        here = own_numbers(graph, widths[0], widths[0])
        starts.append({group: (here[group],) * len(clients) for group in step.groups})
    ends = [_swept(_Joint(clients, graph, step, widths, start), turn) for start in starts]
    return max(ends, key=lambda end: end.value).matched


def entangled(graph: UnitGraph, step: Step) -> bool:
    """Whether a group of this step is matched while others, whose units its weights belong to, are not.

    A block's inner units are none of these: in another order they say the same of the block.
    """
    return any(
        beside(graph, place, group) & (set(step.groups[number + 1 :]) - set(inner(graph, group)))
        for number, group in enumerate(step.groups)
        for name, places in sources(graph, group).items()
        for place in places
        if name in step.tensors
    )


@dataclass(frozen=True)
class _Joint:
    """A matching of all groups of a step.

    Attributes:
        clients: their tensors, earlier groups in global order.
        graph: the model's unit graph.
        step: whose groups.
        widths: the clients' present widths.
        matched: per group the clients' slots, blocks in global order.
    """

    clients: Sequence[Mapping[str, Tensor]]
    graph: UnitGraph
    step: Step
    widths: Sequence[Widths]
    matched: Matched

    @cached_property
    def value(self) -> float:
        """What the clients' aligned weights agree in."""
        placed, _ = self.placed(self.step.groups)
        names = compared(placed[0], self.graph)
        return agreement([{name: own[name] for name in names} for own in placed])

    def placed(self, groups: Sequence[str]) -> tuple[list[Weights], list[dict[str, int]]]:
        """The clients' tensors of this step with these groups in global order, and the clients' widths then."""
        wide = {group: slots(self.matched[group]) for group in groups}
        widths = [{**own, **wide} for own in self.widths]
        return [
            self.graph.scatter(
                {name: own[name] for name in self.step.tensors},
                original_order({group: self.matched[group][j] for group in groups}, self.graph),
                widths[j],
            )
            for j, own in enumerate(self.clients)
        ], widths

    def again(self, group: str, turn: _Turn) -> "_Joint":
        """The same with one group, and the units inside it, matched given the others."""
        moving = [name for name in self.step.groups if name == group or name in inner(self.graph, group)]
        placed, widths = self.placed([name for name in self.step.groups if name not in moving])
        return replace(self, matched={**self.matched, **turn(placed, moving, widths)})


def _swept(joint: _Joint, turn: _Turn) -> _Joint:
    """The matching after matching group after group anew, until none gains."""
    for _ in range(_SWEEPS):
        before = joint
        for group in joint.step.groups:
            other = joint.again(group, turn)
            joint = other if other.value - joint.value > _GAIN * abs(joint.value) else joint
        if joint is before:
            break
    return joint


def _in_turn(
    clients: Sequence[Mapping[str, Tensor]],
    groups: Sequence[str],
    widths: Sequence[Widths],
    *,
    graph: UnitGraph,
    names: Sequence[str],
    matcher: Matcher,
    class_counts: Tensor | None,
) -> Matched:
    """The slots of every client's units, groups one after the other."""
    moved = [dict(client) for client in clients]
    present = [dict(own) for own in widths]
    matched: Matched = {}
    for number, group in enumerate(groups):
        matched[group] = match_group(
            moved,
            graph,
            group,
            names=names,
            widths=present,
            matcher=matcher,
            class_counts=class_counts,
            later=groups[number + 1 :],
        )
        for own, width, assignment in zip(moved, present, matched[group], strict=True):
            width[group] = slots(matched[group])
            own.update(graph.scatter({name: own[name] for name in names}, {group: assignment}, width))
    return matched
