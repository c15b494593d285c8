"""Tensors cut into the slices of a group's units, and transformed along the axes that a group indexes.

`rows` cuts a tensor at one place into one row for each unit. `transform` applies a matrix along every axis that a group
indexes: the linear counterpart of a permutation.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from fedma.units import Place, UnitGraph
from fedma.units.layout import Maps, Widths, all_in_order, extent, positions


def inner(graph: UnitGraph, block: str) -> list[str]:
    """The groups whose units are ordered separately inside each unit of this group."""
    return [name for name, group in graph.groups.items() if block in group.per]


def blocks_first(graph: UnitGraph) -> list[str]:
    """The groups in the model's order, but none before the groups of its blocks."""
    order: dict[str, None] = {}

    def take(group: str) -> None:
        for block in graph.groups[group].per:
            take(block)
        order[group] = None

    for group in graph.groups:
        take(group)
    return list(order)


def comparable(graph: UnitGraph, group: str, *, names: Iterable[str], settled: Iterable[str]) -> list[Place]:
    """The places where units of two clients can be compared: beside this group, only settled groups index their rows.

    With the group itself among the settled ones, also the places of tensors that hold it twice (recurrent matrices).
    """
    names, settled = set(names), set(settled)
    return [p for p in graph.places(group) if p.tensor in names and beside(graph, p, group) <= settled]


def beside(graph: UnitGraph, place: Place, group: str) -> set[str]:
    """The groups that index a row of this group's units at a place."""
    return set().union(*(along(graph, place, group, axis) for axis in range(len(graph.layouts[place.tensor]))))


def along(graph: UnitGraph, place: Place, group: str, axis: int) -> set[str]:
    """The groups that index a row of this group's units along an axis; along the place's own, within its segments."""
    if axis != place.axis:
        return graph.groups_on(place.tensor, axis)
    segments = [{f.group for f in segment} for segment in graph.layouts[place.tensor][axis]]
    return {name for held in segments if group in held for name in held if name is not None} - {group}


def rows(tensor: Tensor, graph: UnitGraph, place: Place, *, group: str, widths: Widths) -> Tensor:
    """One row for each unit of a group at one place: (blocks…, units, features).

    Args:
        tensor: of these widths.
        graph: the model's unit graph.
        place: which tensor and axis.
        group: whose units.
        widths: units per group.
    """
    entries, axes = entries_of(tensor, graph, place, group=group, widths=widths)
    return entries.flatten(entries.dim() - len(axes))


def entries_of(
    tensor: Tensor, graph: UnitGraph, place: Place, *, group: str, widths: Widths
) -> tuple[Tensor, tuple[int, ...]]:
    """The entries of each unit of a group at one place: (blocks…, units, …), and the tensor's axis that each further
    dimension runs along; args as for `rows`.
    """
    cut = _cut(graph, place.tensor, place.axis, group=group, widths=[widths] * tensor.dim())
    others = (axis for axis in range(tensor.dim()) if axis not in cut.axes)
    return cut.of(tensor), (*cut.axes, *others)


def transform(
    tensor: Tensor,
    graph: UnitGraph,
    name: str,
    *,
    matrices: Maps,
    widths: Widths,
    incoming: Maps | None = None,
    skip: tuple[int, str] | None = None,
) -> Tensor:
    """A tensor with a matrix applied along every axis that a group indexes: a soft permutation.

    Args:
        tensor: of these widths.
        graph: the model's unit graph.
        name: the tensor's.
        matrices: per group a matrix (blocks…, new units, units), blocks in the new order; a group not named stays.
        widths: the tensor's units per group.
        incoming: other matrices for the axes that the model sums over; by default the same.
        skip: an (axis, group) that stays as it is.
    """
    present = [dict(widths) for _ in range(tensor.dim())]
    for group in blocks_first(graph):
        for axis in range(tensor.dim()):
            chosen = matrices if incoming is None or (name, axis) not in graph.incoming else incoming
            if group in chosen and group in graph.groups_on(name, axis) and (axis, group) != skip:
                old = _cut(graph, name, axis, group=group, widths=present)
                present[axis][group] = chosen[group].shape[-2]
                new = _cut(graph, name, axis, group=group, widths=present)
                tensor = _applied(chosen[group], tensor, old=old, new=new)
    return tensor


@dataclass(frozen=True)
class _Cut:
    """Which entries of a tensor belong to each unit of a group, at one place.

    Attributes:
        axes: the tensor's axes to bring to the front; the place's own first.
        index: one LongTensor for each of them, broadcastable to (blocks…, units, steps…).
        lead: the sizes (blocks…, units).
        length: of the place's axis.
    """

    axes: tuple[int, ...]
    index: tuple[Tensor, ...]
    lead: tuple[int, ...]
    length: int

    @property
    def front(self) -> tuple[int, ...]:
        return tuple(range(len(self.axes)))

    @property
    def whole(self) -> bool:
        """Whether the units, one after the other, are the whole axis: nothing needs to be picked out then."""
        return len(self.index) == 1 and all_in_order(self.index[0].flatten(), self.length)

    @property
    def shape(self) -> tuple[int, ...]:
        """(blocks…, units, steps…)."""
        return torch.broadcast_shapes(*(index.shape for index in self.index))

    def of(self, tensor: Tensor) -> Tensor:
        """The tensor's entries: (blocks…, units, steps…, …)."""
        first = tensor.movedim(self.axes, self.front)
        return first.reshape(*self.shape, *first.shape[1:]) if self.whole else first[self.index]


def _cut(graph: UnitGraph, name: str, axis: int, *, group: str, widths: Sequence[Widths]) -> _Cut:
    """The cut of a tensor whose axes have these widths; blocks may lie on the same axis or on others."""
    layouts, lead = graph.layouts[name], (*graph.groups[group].per, group)
    home = {unit: _home(graph, Place(name, axis, "out"), group, unit) for unit in lead}
    axes = tuple(dict.fromkeys([axis, *home.values()]))
    index = []
    for number, here in enumerate(axes):
        held = [unit for unit in lead if home[unit] == here]
        steps = positions(layouts[here], held[-1], widths[here], blocks=tuple(held[:-1]))
        shape = [1] * (len(lead) + len(axes))
        for unit, size in zip(held, steps.shape, strict=False):
            shape[lead.index(unit)] = size
        shape[len(lead) + number] = steps.shape[-1]
        index.append(steps.reshape(shape))
    sizes = torch.broadcast_shapes(*(i.shape for i in index))[: len(lead)]
    return _Cut(axes, tuple(index), tuple(sizes), extent(layouts[axis], widths[axis]))


def _home(graph: UnitGraph, place: Place, group: str, block: str) -> int:
    """The axis that a block of this group's units runs along: the place's own axis, or another where it does not."""
    axes = range(len(graph.layouts[place.tensor]))
    if block == group or block in along(graph, place, group, place.axis):
        return place.axis
    return next(axis for axis in axes if axis != place.axis and block in graph.groups_on(place.tensor, axis))


def _applied(matrix: Tensor, tensor: Tensor, *, old: _Cut, new: _Cut) -> Tensor:
    """The matrix along one place: its units' entries are mixed, all others of the axis stay."""
    source = tensor.movedim(old.axes, old.front)
    units = old.of(tensor).reshape(*old.lead, -1)
    mixed = matrix.to(tensor.dtype) @ units
    if old.whole and new.whole:
        return mixed.reshape(new.length, *source.shape[1:]).movedim(0, new.axes[0])
    target = source.new_zeros([new.length, *source.shape[1:]])
    kept, others = (_others(cut) for cut in (old, new))
    target[others] = source[kept]
    target[new.index] = mixed.reshape([*new.shape, *source.shape[len(new.axes) :]])
    return target.movedim(new.front, new.axes)


def _others(cut: _Cut) -> Tensor:
    """The steps along the place's axis that belong to no unit of the group."""
    mask = torch.ones(cut.length, dtype=torch.bool)
    mask[cut.index[0].flatten()] = False
    return mask.nonzero().flatten()
