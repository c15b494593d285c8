"""Assignments: for one client and group, the slot of each unit.

An assignment is a LongTensor (units), or (blocks…, units) for a group that is ordered separately inside blocks.
"""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from fedma.errors import MatchingError
from fedma.matching.slices import blocks_first
from fedma.units import UnitGraph
from fedma.units.layout import Maps, Widths

Assignments = Mapping[str, tuple[Tensor, ...]]
"""Per group, the assignment of each client."""


def slots(assignments: Sequence[Tensor]) -> int:
    """The number of slots that these assignments use."""
    return max(int(own.max()) for own in assignments) + 1


def same_number(rows: Sequence[Tensor], most: int | None) -> tuple[Tensor, ...]:
    """The matcher that leaves every unit where it is: in the slot of its own number.

    Args: as for `fedma.matching.registry.GroupFunction`; `most` is not used.

    Raises:
        MatchingError: clients of different widths.
    """
    if len({len(own) for own in rows}) > 1:
        found = ", ".join(str(len(own)) for own in rows)
        raise MatchingError(f"without matching all clients need one width, found {found}")
    return tuple(torch.arange(len(own)) for own in rows)


def own_numbers(graph: UnitGraph, own: Widths, wide: Widths) -> dict[str, Tensor]:
    """Every unit in the slot of its own number, in every block of the wide model."""
    return {
        name: torch.arange(own[name]).expand(*(wide[block] for block in group.per), -1).clone()
        for name, group in graph.groups.items()
    }


def checked_slots(found: Sequence[Tensor], units: Sequence[int], *, most: int | None) -> tuple[Tensor, ...]:
    """The slots that a matcher gives, if they can be used.

    Args:
        found: for each client what should be a LongTensor (units).
        units: each client's number of units.
        most: how many slots there may be; None for any number.

    Raises:
        MatchingError: no tensors, or tensors of other shapes; slots that are not numbered from 0 without gaps; two
            units of one client in one slot; too many slots.
    """
    try:
        slots = tuple(torch.as_tensor(own) for own in found)
    except (TypeError, ValueError, RuntimeError) as error:
        raise MatchingError(
            f"the matcher gives {type(found).__name__} ({error}); it must give a sequence of {len(units)} LongTensors, "
            "one for each client: the slot of each unit"
        ) from error
    if [tuple(own.shape) for own in slots] != [(number,) for number in units]:
        raise MatchingError(
            f"the matcher gives tensors of shapes {[tuple(own.shape) for own in slots]}; it must give one slot for "
            f"each unit of each client: {[(number,) for number in units]}"
        )
    used = torch.cat(slots)
    if used.is_floating_point() or used.is_complex() or used.dtype is torch.bool or not _without_gaps(used):
        raise MatchingError("the matcher must number its slots 0, 1, 2, … and leave none empty")
    for client, own in enumerate(slots):
        if len(own.unique()) < len(own):
            raise MatchingError(f"the matcher puts two units of client {client} into one slot")
    if most is not None and int(used.max()) >= most:
        raise MatchingError(f"the matcher uses {int(used.max()) + 1} slots; here are at most {most}")
    return tuple(own.long() for own in slots)


def checked_assignments(
    found: Mapping[str, Sequence[Tensor]], graph: UnitGraph, *, widths: Sequence[Widths]
) -> dict[str, tuple[Tensor, ...]]:
    """The assignments that a matcher of whole models gives, if they can be used.

    Args:
        found: per group what should be a LongTensor (units) or (blocks…, units) for each client.
        graph: the models' unit graph.
        widths: each client's units per group.

    Raises:
        MatchingError: a group is missing, or what `checked_slots` refuses; the message names the group.
    """
    result = {}
    for group in graph.groups:
        try:
            clients = [torch.as_tensor(own) for own in found[group]]
            blocks = [own.flatten(0, -2) if own.dim() > 1 else own[None] for own in clients]
            units = [own[group] for own in widths]
            for block in zip(*blocks, strict=True):
                checked_slots(block, units, most=None)
        except (KeyError, TypeError, ValueError, MatchingError) as error:
            reason = error if isinstance(error, MatchingError) else "the matcher gives no assignment for each client"
            raise MatchingError(f"group {group!r}: {reason}") from error
        result[group] = tuple(own.long() for own in clients)
    return result


def _without_gaps(used: Tensor) -> bool:
    return used.unique().tolist() == list(range(int(used.max()) + 1))


def original_order(assignments: Maps, graph: UnitGraph) -> dict[str, Tensor]:
    """A client's assignments with blocks in its own order, where matchers have them in the global one.

    Only blocks of the groups in `assignments` are in an order of its own.
    """
    own: dict[str, Tensor] = {}
    for group in blocks_first(graph):
        if group in assignments:
            own[group] = assignments[group][_blocks(assignments[group], group, own, graph)]
    return {group: own[group] for group in assignments}


def _blocks(units: Tensor, group: str, own: Maps, graph: UnitGraph) -> tuple[Tensor, ...]:
    """Where the client's blocks lie in the global order, ready to index: one tensor for each group of blocks.

    Args: `own` are the assignments of the client's blocks, those inside other blocks with these in its own order.
    """
    per = graph.groups[group].per
    orders = [own.get(block, torch.arange(size)) for block, size in zip(per, units.shape, strict=False)]
    return tuple(_laid(order, block, per, graph) for order, block in zip(orders, per, strict=True))


def _laid(order: Tensor, block: str, per: Sequence[str], graph: UnitGraph) -> Tensor:
    """The slots of a group of blocks, along its own dimension and those of the blocks around it."""
    names = (*graph.groups[block].per, block) if order.dim() > 1 else (block,)
    held = [name for name in per if name in names]
    ordered = order.permute([names.index(name) for name in held])
    sizes = dict(zip(held, ordered.shape, strict=True))
    return ordered.reshape([sizes.get(name, 1) for name in per])
