"""What enters a unit's vector: the slices of the tensors that make it."""

import math
import warnings
from collections.abc import Collection, Iterable, Mapping, Sequence

import torch
from torch import Tensor

from fedma.errors import PinnedWarning
from fedma.matching.slices import along, entries_of
from fedma.units import Place, UnitGraph
from fedma.units.layout import Widths, positions

_PROJECTED = 64
"""Features of a block's weights before their second moments are taken, whose number is the square."""


def incoming(
    weights: Mapping[str, Tensor],
    graph: UnitGraph,
    group: str,
    *,
    names: Iterable[str],
    widths: Widths,
    later: Collection[str] = (),
) -> Tensor:
    """One row for each unit of a group: its incoming weights, bias, normalisation scale and shift.

    Units of a later group may index a unit's weights (the dimensions of a head). Then the row holds second moments over
    that group, which do not depend on its order. If no tensor makes the group, the row holds outgoing weights; see
    `sources`.

    Args:
        weights: one client's tensors; axes of groups matched before are in global order, the others in its own.
        graph: the model's unit graph.
        group: whose units.
        names: the tensors to read; tensors that are no `sources` of this group are skipped.
        widths: the client's present widths.
        later: groups whose units each client still holds in its own order.

    Returns:
        Tensor (units, features), or (blocks…, units, features) for a group ordered separately inside blocks; no
        features where no tensor tells the units apart.

    Source: FedMA, section 3 (weights and bias of a unit as one vector). Departure: none for fully connected and
        convolutional layers; normalisation layers, which the paper does not treat, add their scale and shift.
    """
    found = sources(graph, group)
    features = [
        _rows(weights[name], graph, place, group, widths=widths, later=later)
        for name in names
        for place in found.get(name, ())
    ]
    return torch.cat([_nothing(graph, group, widths), *features], dim=-1)


def sources(graph: UnitGraph, group: str) -> dict[str, list[Place]]:
    """The places that tell a group's units apart, by tensor: those that make them.

    A vector with one entry for each unit, such as a scale, may be the same for all. A tensor that holds the group on
    two axes (a recurrent matrix) does not count: it describes units by units of unknown order. If no other tensor
    makes the units, all tensors that hold them count, readers too. Running statistics never count.
    """
    places = _places(graph, group)
    made = {name: own for name, own in places.items() if _makes(graph, own, group)}
    return made if any(telling(graph, name, group) for name in made) else places


def telling(graph: UnitGraph, tensor: str, group: str) -> bool:
    """Whether a tensor has more than a single entry for each unit, or makes units out of what it reads."""
    units = math.prod(graph.groups[name].size for name in (group, *graph.groups[group].per))
    shape = graph.shape(tensor, {})
    return math.prod(shape) > units or any((tensor, axis) in graph.incoming for axis in range(len(shape)))


def recurrent_alone(graph: UnitGraph, group: str) -> bool:
    """Whether only recurrent weights, or only readers, distinguish a group's units."""
    return not any(_makes(graph, own, group) for own in _places(graph, group).values())


def left_in_place(group: str) -> None:
    """Warn of a group without features.

    Warns:
        PinnedWarning: always.
    """
    message = f"group {group!r} is left in place: no tensor tells its units apart"
    warnings.warn(message, PinnedWarning, stacklevel=3)


def outgoing(weights: Mapping[str, Tensor], graph: UnitGraph, group: str, *, widths: Widths) -> Tensor:
    """One row for each unit of a group: its weights into the model's outputs, (units, …·outputs), outputs innermost.

    Only tensors that read this group alone and make the model's outputs count: the last layer of a network.

    Source: PFNM (Yurochkin et al., ICML 2019), section 3.1: a neuron is its incoming and outgoing weights.
    """
    rows = []
    for place in graph.places(group):
        made = output_axis(graph, place.tensor)
        if place.role == "in" and made is not None and graph.groups_of(place.tensor) == {group}:
            steps = positions(graph.layouts[place.tensor][place.axis], group, widths)
            tensor = weights[place.tensor].movedim((place.axis, made), (0, -1))
            rows.append(tensor[steps.flatten()].reshape(len(steps), -1))
    return torch.cat([_nothing(graph, group, widths), *rows], dim=-1)


def output_axis(graph: UnitGraph, tensor: str) -> int | None:
    """The axis of this tensor that makes the model's outputs (one entry for each class), if it has one."""
    axes = [axis for (name, axis), why in graph.fixed.items() if name == tensor and why == "output"]
    return axes[0] if axes else None


def _places(graph: UnitGraph, group: str) -> dict[str, list[Place]]:
    """Where a group stands, by tensor, without running statistics."""
    places: dict[str, list[Place]] = {}
    for place in graph.places(group):
        if place.tensor not in graph.statistics_names:
            places.setdefault(place.tensor, []).append(place)
    return places


def _makes(graph: UnitGraph, places: Sequence[Place], group: str) -> bool:
    """Whether a tensor with these places of a group makes its units, whatever the order of the group's others."""
    return places[0].role == "out" and not _twice(graph, places, group)


def _twice(graph: UnitGraph, places: Sequence[Place], group: str) -> bool:
    """Whether a tensor holds the group at several places, or several times at one."""
    segments = graph.layouts[places[0].tensor][places[0].axis]
    return len(places) > 1 or any([factor.group for factor in segment].count(group) > 1 for segment in segments)


def _rows(
    tensor: Tensor, graph: UnitGraph, place: Place, group: str, *, widths: Widths, later: Collection[str]
) -> Tensor:
    """A tensor cut into one row for each unit; second moments over all axes that hold units still to be matched."""
    entries, axes = entries_of(tensor, graph, place, group=group, widths=widths)
    lead = entries.dim() - len(axes)
    loose = _loose(graph, group, later)
    open_axes = [lead + k for k, axis in enumerate(axes) if _beside(graph, place, group, axis) & loose]
    if not open_axes:
        return entries.flatten(lead)
    first = entries.movedim(open_axes, [lead + k for k in range(len(open_axes))])
    steps = first.flatten(lead, lead + len(open_axes) - 1).unsqueeze(-1).flatten(lead + 1)
    return _second_moments(steps) if steps.shape[-1] > 1 else _extremes(steps.squeeze(-1))


def _beside(graph: UnitGraph, place: Place, group: str, axis: int) -> set[str]:
    """The groups along an axis of a unit's row: the unit's own group too, where the axis holds it once more."""
    again = axis == place.axis and _twice(graph, [place], group)
    return along(graph, place, group, axis) | ({group} if again else set())


def _loose(graph: UnitGraph, group: str, later: Collection[str]) -> set[str]:
    """The group itself, the later ones and, as these are ordered block by block, their blocks, but for those that hold
    this group.
    """
    blocks = {block for name in later for block in graph.groups[name].per}
    return ({group, *later} | blocks) - {*graph.groups[group].per}


def _extremes(rows: Tensor) -> Tensor:
    """Units × steps to units × 4: of the positive and of the negative steps the root of their squares, and the largest.

    They tell rows of one length apart, which second moments of single numbers cannot, and move no more than the rows.
    """
    both = torch.stack([rows, -rows], dim=-2).double().clamp(min=0)
    return torch.cat([both.norm(dim=-1), both.amax(dim=-1)], dim=-1)


def _second_moments(rows: Tensor) -> Tensor:
    """Units × steps × features to units × pairs of features: the root of the second moments over the steps, which has
    the scale of the weights. Through a fixed projection where features are many.
    """
    rows = rows.double()
    if rows.shape[-1] > _PROJECTED:
        fixed = torch.Generator().manual_seed(rows.shape[-1])
        projection = torch.randn(rows.shape[-1], _PROJECTED, generator=fixed, dtype=torch.float64)
        rows = rows @ projection / _PROJECTED**0.5
    values, vectors = torch.linalg.eigh(rows.mT @ rows)
    return (vectors * values.clamp(min=0).sqrt().unsqueeze(-2) @ vectors.mT).flatten(-2)


def _nothing(graph: UnitGraph, group: str, widths: Widths) -> Tensor:
    """No features, for every unit of a group."""
    return torch.zeros([*(widths[block] for block in graph.groups[group].per), widths[group], 0])
