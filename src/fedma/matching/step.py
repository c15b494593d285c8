"""The steps of matching on a unit graph: which tensors become complete when one more group is matched."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from fedma.matching.features import output_axis, sources, telling
from fedma.matching.slices import beside, blocks_first
from fedma.units import UnitGraph


@dataclass(frozen=True)
class Step:
    """What one exchange settles.

    Attributes:
        groups: whose units are matched, in this order; none in the last step, as a rule.
        tensors: the tensors that are complete then, by name.
    """

    groups: tuple[str, ...]
    tensors: tuple[str, ...]


def steps(graph: UnitGraph) -> tuple[Step, ...]:
    """One step for each group in order, blocks before the units in them, and a last step for unmatched tensors.

    A tensor that reads units and makes units is complete once all its groups are matched. A tensor that reads units and
    makes none (the output layer) belongs to the last step. A tensor that reads nothing (a bias, a normalisation)
    belongs to the step of the tensor that makes its units. So a chain of layers gives
    exactly the paper's steps. In a residual network, a normalisation waits for the branch that it normalises.

    A group waits until a tensor that distinguishes its units is complete. Groups that only distinguish each other share
    a step (attention heads and their dimensions). In it, groups whose tensors wait for no other group come first.

    Source: FedMA, Algorithm 1, generalised from layers to unit groups.
    """
    result: list[Step] = []
    waiting: tuple[str, ...] = ()
    pending: tuple[str, ...] = ()
    found = {group: set(sources(graph, group)) for group in graph.groups}
    tells = {group: _telling(graph, group, names) for group, names in found.items()}
    for group, tensors in zip([*blocks_first(graph), None], _completed(graph, found), strict=True):
        waiting = waiting if group is None else (*waiting, group)
        pending = (*pending, *tensors)
        groups, complete = (waiting, pending) if group is None else _told(graph, tells, waiting, pending)
        if groups or group is None:
            result.append(Step(_in_order(groups, complete, graph), complete))
            waiting = tuple(name for name in waiting if name not in groups)
            pending = tuple(name for name in pending if name not in complete)
    return tuple(result)


def _told(
    graph: UnitGraph, tells: Mapping[str, Collection[str]], waiting: Sequence[str], pending: Sequence[str]
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The most of the waiting groups that can be matched together, and the tensors that are complete then."""
    groups, before = tuple(waiting), None
    complete: tuple[str, ...] = ()
    while groups != before:
        before, left = groups, set(waiting) - set(groups)
        complete = tuple(name for name in pending if not graph.groups_of(name) & left)
        groups = tuple(
            name
            for name in groups
            if not set(complete).isdisjoint(tells[name]) and left.isdisjoint(graph.groups[name].per)
        )
    return groups, complete


def _telling(graph: UnitGraph, group: str, found: set[str]) -> set[str]:
    """The tensors of which one must be complete for a group to be matched: a scale alone only where it is all."""
    return {name for name in found if telling(graph, name, group)} or found


def _in_order(groups: Sequence[str], tensors: Collection[str], graph: UnitGraph) -> tuple[str, ...]:
    """The groups of a step, blocks first, and none that waits for another before one that waits for none."""
    order: list[str] = []
    while waiting := [group for group in groups if group not in order]:
        able = [group for group in waiting if not set(graph.groups[group].per) & set(waiting)]
        order.append(next((group for group in able if not _waits(graph, group, tensors, waiting)), able[0]))
    return tuple(order)


def _waits(graph: UnitGraph, group: str, tensors: Collection[str], waiting: Collection[str]) -> bool:
    """Whether some of these tensors make the group's units out of units of other groups that wait."""
    places = (place for place in graph.places(group) if place.role == "out" and place.tensor in tensors)
    return any(beside(graph, place, group) & (set(waiting) - {group}) for place in places)


def _completed(graph: UnitGraph, found: Mapping[str, Collection[str]]) -> list[tuple[str, ...]]:
    """For each group, blocks first, the tensors that it completes; at the end, the tensors of the output layer.

    Of a group that nothing makes, the tensors found to tell its units apart count as made.
    """
    made = {group: number for number, group in enumerate(blocks_first(graph))}
    order = dict(made)
    result: list[list[str]] = [[] for _ in range(len(order) + 1)]
    before = 0
    for tensor in graph.layouts:
        groups = graph.groups_of(tensor)
        own = graph.made_by(tensor)
        if not own and output_axis(graph, tensor) is None:
            own = {group for group in groups if tensor in found[group]}
        if tensor not in graph.reading:
            step = max((made[group] for group in groups), default=before)
        elif own:
            step = max(order[group] for group in groups)
            made.update((group, max(made[group], step)) for group in own)
        else:
            step = len(order)
        before = step
        result[step].append(tensor)
    return [tuple(tensors) for tensors in result]
