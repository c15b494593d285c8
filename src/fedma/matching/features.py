"""What enters a unit's vector: the slices of the tensors that make it."""

import warnings
from collections.abc import Collection, Iterable, Mapping

import torch
from torch import Tensor

from fedma.errors import PinnedWarning
from fedma.matching.slices import along, entries_of, rows
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

    Where units of a later group tell a unit's weights apart (the dimensions of a head), the second moments of its
    weights over those, which do not depend on their order.

    Args:
        weights: one client's tensors; axes of groups matched before are in global order, the others in its own.
        graph: the model's unit graph.
        group: whose units.
        names: which tensors to read; those that do not make units of this group (or read them as inputs too, as a
            recurrent matrix does) and running statistics are passed over.
        widths: the client's present widths.
        later: groups whose units the clients still hold in orders of their own.

    Returns:
        Tensor (units, features), or (blocks…, units, features) for a group ordered separately inside blocks; no
        features where no tensor tells the units apart.

    Source: FedMA, section 3 (weights and bias of a unit as one vector). Departure: none for fully connected and
        convolutional layers; normalisation layers, which the paper does not treat, add their scale and shift.
    """
    statistics = {name for pair in graph.statistics for name in pair}
    features = [
        _rows(weights[name], graph, place, group, widths=widths, later=later)
        for name in names
        if name not in statistics and (place := _only_place(graph, name, group)) is not None
    ]
    return torch.cat([_nothing(graph, group, widths), *features], dim=-1)


def left_in_place(group: str) -> None:
    """Warn of a group without features.

    Warns:
        PinnedWarning: always.
    """
    message = f"group {group!r} is left in place: no tensor tells its units apart yet"
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


def _only_place(graph: UnitGraph, tensor: str, group: str) -> Place | None:
    """The place where a tensor makes units of the group, unless another axis holds that group too."""
    places = [place for place in graph.places(group) if place.tensor == tensor]
    return places[0] if len(places) == 1 and places[0].role == "out" else None


def rows_of(weights: Mapping[str, Tensor], graph: UnitGraph, place: Place, group: str, *, widths: Widths) -> Tensor:
    """One tensor cut into a row for each unit along the axis of this place."""
    return rows(weights[place.tensor], graph, place, group=group, widths=widths)


def _rows(
    tensor: Tensor, graph: UnitGraph, place: Place, group: str, *, widths: Widths, later: Collection[str]
) -> Tensor:
    """A tensor cut into one row for each unit; second moments over all axes that hold units still to be matched."""
    entries, axes = entries_of(tensor, graph, place, group=group, widths=widths)
    lead = entries.dim() - len(axes)
    loose = _loose(graph, group, later)
    open_axes = [lead + k for k, axis in enumerate(axes) if along(graph, place, group, axis) & loose]
    if not open_axes:
        return entries.flatten(lead)
    first = entries.movedim(open_axes, [lead + k for k in range(len(open_axes))])
    return _second_moments(first.flatten(lead, lead + len(open_axes) - 1).unsqueeze(-1).flatten(lead + 1))


def _loose(graph: UnitGraph, group: str, later: Collection[str]) -> set[str]:
    """The later groups and, as these are ordered block by block, their blocks, but for those that hold this group."""
    blocks = {block for name in later for block in graph.groups[name].per}
    return (set(later) | blocks) - {group, *graph.groups[group].per}


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
