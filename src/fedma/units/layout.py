"""Where the units of a group lie along a tensor's axes, and how to move tensors between widths.

An axis is a concatenation of segments. A segment is a product of factors, outermost first. A factor is the units of
one group, or a fixed extent. Examples are:

- a flattened channel (`channel × 49 fixed`);
- the four gates of an LSTM (four segments of the same group);
- a dense block (segments of different groups);
- attention heads (`head × dimension`).

One question serves every operation on a model: **where in the wide tensor does each entry of the narrow one lie?**
`index` answers it; gathering there permutes or slices, scattering there widens.
"""

import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Factor:
    """`size` consecutive steps along an axis: the units of `group`, or a fixed extent when `group` is None."""

    size: int
    group: str | None = None


Segment = tuple[Factor, ...]
Axis = tuple[Segment, ...]
Maps = Mapping[str, Tensor]
"""Per group a LongTensor (…, units): the position in the wide model of each unit of the narrow model.

A group with `per` (units that are ordered separately inside each block) has a leading dimension per block group.
"""
Widths = Mapping[str, int]


@dataclass(frozen=True)
class _Run:
    """One segment of an axis at given widths: where it starts and the size and stride of each factor."""

    start: int
    length: int
    sizes: tuple[int, ...]
    strides: tuple[int, ...]


def _runs(axis: Axis, widths: Widths) -> list[_Run]:
    """The segments of an axis, one after the other, at these widths."""
    runs, start = [], 0
    for segment in axis:
        sizes = tuple(f.size if f.group is None else widths.get(f.group, f.size) for f in segment)
        strides = tuple(math.prod(sizes[k + 1 :]) for k in range(len(sizes)))
        runs.append(_Run(start, math.prod(sizes), sizes, strides))
        start += runs[-1].length
    return runs


def extent(axis: Axis, widths: Widths) -> int:
    """The length of an axis at these widths. A group that is not named keeps its own width."""
    return sum(run.length for run in _runs(axis, widths))


def shape(axes: tuple[Axis, ...], widths: Widths) -> tuple[int, ...]:
    """The shape of a tensor at these widths."""
    return tuple(extent(axis, widths) for axis in axes)


def without(axis: Axis, groups: Collection[str]) -> Axis:
    """The same axis with some groups replaced by fixed extents."""
    return tuple(tuple(Factor(f.size) if f.group in groups else f for f in segment) for segment in axis)


def groups_of(axes: tuple[Axis, ...]) -> set[str]:
    """The groups that these axes are indexed by."""
    return {f.group for axis in axes for segment in axis for f in segment if f.group is not None}


def positions(axis: Axis, group: str, widths: Widths, *, blocks: tuple[str, ...] = ()) -> Tensor:
    """The steps along an axis that belong to each unit of a group: LongTensor (blocks…, units, steps of a unit).

    Steps of a unit keep their order along the axis. Segments that do not hold the group (and all its blocks) are
    left out.
    """
    names = (*blocks, group)
    steps, keys, sizes = [], [], [0] * len(names)
    for segment, run in zip(axis, _runs(axis, widths), strict=True):
        held = [f.group for f in segment]
        if not set(names) <= set(held):
            continue
        local = torch.arange(run.length)
        sizes = [run.sizes[held.index(name)] for name in names]
        key = torch.zeros_like(local)
        for name, size in zip(names, sizes, strict=True):
            key = key * size + local // run.strides[held.index(name)] % size
        steps.append(local + run.start)
        keys.append(key)
    if not steps:
        return torch.zeros(*sizes, 0, dtype=torch.long)
    order = torch.cat(keys).argsort(stable=True)
    return torch.cat(steps)[order].view(*sizes, -1)


def index(
    axes: tuple[Axis, ...], maps: Maps, widths: Widths, *, per: Mapping[str, tuple[str, ...]]
) -> tuple[Tensor, ...]:
    """For every entry of the narrow tensor, its position in the wide one: `wide[index]` has the narrow shape.

    Args:
        axes: the tensor's layout.
        maps: narrow unit → wide unit, by group. A group that is not named keeps its order and width.
        widths: the wide model's widths. A group that is not named keeps the width in the layout.
        per: for groups that are ordered separately inside blocks, the groups of these blocks.

    Returns:
        One LongTensor for each axis, each broadcastable to the narrow tensor's shape.
    """
    narrow = {**widths, **{group: order.shape[-1] for group, order in maps.items()}}
    if all(len(axis) == len(axis[0]) == 1 and axis[0][0].group not in per for axis in axes):
        return tuple(_along(_lone(axis[0][0], maps, narrow), a, len(axes)) for a, axis in enumerate(axes))
    coordinates = [_coordinates(axis, narrow) for axis in axes]
    result = []
    for a, axis in enumerate(axes):
        place = torch.zeros([1] * len(axes), dtype=torch.long)
        for s, (segment, wide, here) in enumerate(zip(axis, _runs(axis, widths), _runs(axis, narrow), strict=True)):
            local = torch.full((here.length,), wide.start)
            target = _along(local, a, len(axes))
            for factor, stride, unit in zip(segment, wide.strides, coordinates[a][s], strict=True):
                target = target + stride * _mapped(factor, unit, (a, s), axes, coordinates, maps, per)
            place = target if s == 0 else torch.cat(_alike(place, target, a), dim=a)
        result.append(place)
    return tuple(result)


def _lone(factor: Factor, maps: Maps, widths: Widths) -> Tensor:
    """The places along an axis that one group, or none, has for its own."""
    if factor.group is not None and factor.group in maps:
        return maps[factor.group]
    return torch.arange(factor.size if factor.group is None else widths.get(factor.group, factor.size))


def take(tensor: Tensor, index: tuple[Tensor, ...]) -> Tensor:
    """The narrow tensor at the positions `index` of a wide one; a copy."""
    if (steps := _separate(index)) is None:
        return tensor[index]
    taken = tensor
    for axis, own in enumerate(steps):
        if not all_in_order(own, tensor.shape[axis]):
            taken = taken.index_select(axis, own.to(tensor.device))
    return taken.clone(memory_format=torch.contiguous_format) if taken is tensor else taken


def put(tensor: Tensor, index: tuple[Tensor, ...], shape: tuple[int, ...], filler: float) -> Tensor:
    """A wide tensor of this shape that holds the narrow one at the positions `index`, and the filler elsewhere."""
    if (steps := _separate(index)) is None:
        wide = tensor.new_full(shape, filler)
        wide[index] = tensor
        return wide
    wide = tensor
    for axis, own in enumerate(steps):
        if not all_in_order(own, shape[axis]):
            wide = _spread(wide, axis, own.to(tensor.device), shape[axis], filler)
    return wide.clone(memory_format=torch.contiguous_format) if wide is tensor else wide


def _spread(tensor: Tensor, axis: int, steps: Tensor, length: int, filler: float) -> Tensor:
    """The tensor with its slices along an axis at these steps of a longer one, and the filler at the others."""
    if not len(steps):
        return tensor.new_full((*tensor.shape[:axis], length, *tensor.shape[axis + 1 :]), filler)
    sources = steps.new_full((length,), -1)
    sources[steps] = torch.arange(len(steps), device=steps.device)
    wide = tensor.index_select(axis, sources.clamp(min=0))
    return wide.index_fill_(axis, (sources < 0).nonzero().flatten(), filler)


def _separate(index: tuple[Tensor, ...]) -> list[Tensor] | None:
    """The steps along each axis, if they depend on no other axis. Then whole slices can be moved, which is faster."""
    alone = all(where.numel() == where.shape[axis] for axis, where in enumerate(index))
    return [where.flatten() for where in index] if alone else None


def all_in_order(steps: Tensor, length: int) -> bool:
    """Whether these steps are all steps of an axis, in order."""
    return len(steps) == length and torch.equal(steps, torch.arange(length))


def _coordinates(axis: Axis, widths: Widths) -> list[list[Tensor]]:
    """For each segment and factor, the factor's coordinate at every step along the segment."""
    return [
        [torch.arange(run.length) // stride % size for size, stride in zip(run.sizes, run.strides, strict=True)]
        for run in _runs(axis, widths)
    ]


def _mapped(
    factor: Factor,
    unit: Tensor,
    where: tuple[int, int],
    axes: tuple[Axis, ...],
    coordinates: list[list[list[Tensor]]],
    maps: Maps,
    per: Mapping[str, tuple[str, ...]],
) -> Tensor:
    """The wide coordinate of one factor at every step of its segment, shaped to broadcast over the tensor."""
    a, _ = where
    here = _along(unit, a, len(axes))
    if factor.group is None or factor.group not in maps:
        return here
    blocks = [_block(group, where, axes, coordinates) for group in per.get(factor.group, ())]
    return maps[factor.group][(*blocks, here)]


def _block(group: str, where: tuple[int, int], axes: tuple[Axis, ...], coordinates: list[list[list[Tensor]]]) -> Tensor:
    """The coordinate of a block's group, seen from a segment: on that segment itself, else along another axis."""
    a, s = where
    for f, factor in enumerate(axes[a][s]):
        if factor.group == group:
            return _along(coordinates[a][s][f], a, len(axes))
    for b, axis in enumerate(axes):
        if b != a and group in groups_of((axis,)):
            steps = [
                next((coordinates[b][t][f] for f, x in enumerate(segment) if x.group == group), None)
                for t, segment in enumerate(axis)
            ]
            lengths = [len(c[0]) if c else 1 for c in coordinates[b]]
            whole = [torch.zeros(n, dtype=torch.long) if c is None else c for c, n in zip(steps, lengths, strict=True)]
            return _along(torch.cat(whole), b, len(axes))
    raise KeyError(group)


def _along(values: Tensor, axis: int, dims: int) -> Tensor:
    """A vector laid along one axis of a tensor with `dims` axes."""
    return values.view([-1 if d == axis else 1 for d in range(dims)])


def _alike(left: Tensor, right: Tensor, axis: int) -> list[Tensor]:
    """Two index tensors broadcast to each other on every axis but one, so that they can be concatenated on it."""
    common = torch.broadcast_shapes(
        [1 if d == axis else n for d, n in enumerate(left.shape)],
        [1 if d == axis else n for d, n in enumerate(right.shape)],
    )
    return [t.expand([t.shape[axis] if d == axis else n for d, n in enumerate(common)]) for t in (left, right)]
