"""What enters a unit's vector: the slices of the tensors that make it."""

from collections.abc import Collection, Iterable, Mapping

import torch
from torch import Tensor

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

    Of a unit that holds units of a later group (a head and its dimensions) the second moments of its weights over
    those, which do not depend on their order.

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
    rows = [
        _rows(weights, name, graph, group, axis, widths, later)
        for name in names
        if name not in statistics and (axis := _only_axis(graph, name, group)) is not None
    ]
    return torch.cat([_nothing(graph, group, widths), *rows], dim=-1)


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


def _only_axis(graph: UnitGraph, tensor: str, group: str) -> int | None:
    """The axis along which a tensor makes units of the group, unless another axis holds that group too."""
    places = [place for place in graph.places(group) if place.tensor == tensor]
    return places[0].axis if len(places) == 1 and places[0].role == "out" else None


def rows_of(weights: Mapping[str, Tensor], graph: UnitGraph, place: Place, group: str, *, widths: Widths) -> Tensor:
    """One tensor cut into a row for each unit along the axis of this place."""
    return _rows(weights, place.tensor, graph, group, place.axis, widths, ())


def _rows(
    weights: Mapping[str, Tensor],
    name: str,
    graph: UnitGraph,
    group: str,
    axis: int,
    widths: Widths,
    later: Collection[str],
) -> Tensor:
    """A tensor cut into one row for each unit along an axis."""
    steps = positions(graph.layouts[name][axis], group, widths, blocks=graph.groups[group].per)
    tensor = weights[name].movedim(axis, 0).reshape(weights[name].shape[axis], -1)
    rows = tensor[steps.flatten()].reshape(*steps.shape, -1)
    if graph.groups_of(name) & set(later):
        return _second_moments(rows)
    return rows.flatten(-2)


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
