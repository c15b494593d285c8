"""What enters a unit's vector: the slices of the tensors that make it."""

from collections.abc import Iterable, Mapping

import torch
from torch import Tensor

from fedma.units import UnitGraph
from fedma.units.layout import Widths, positions


def incoming(
    weights: Mapping[str, Tensor], graph: UnitGraph, group: str, *, names: Iterable[str], widths: Widths
) -> Tensor:
    """One row for each unit of a group: its incoming weights, bias, normalisation scale and shift.

    Args:
        weights: one client's tensors; axes of groups matched before are in global order, the others in its own.
        graph: the model's unit graph.
        group: whose units.
        names: which tensors to read; those that do not make units of this group (or read them as inputs too, as a
            recurrent matrix does) and running statistics are passed over.
        widths: the client's present widths.

    Returns:
        Tensor (units, features), or (blocks…, units, features) for a group ordered separately inside blocks; no
        features where no tensor tells the units apart.

    Source: FedMA, section 3 (weights and bias of a unit as one vector). Departure: none for fully connected and
        convolutional layers; normalisation layers, which the paper does not treat, add their scale and shift.
    """
    statistics = {name for pair in graph.statistics for name in pair}
    rows = [
        _rows(weights, name, graph, group, axis, widths)
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


def _rows(weights: Mapping[str, Tensor], name: str, graph: UnitGraph, group: str, axis: int, widths: Widths) -> Tensor:
    """A tensor cut into one row for each unit along an axis."""
    steps = positions(graph.layouts[name][axis], group, widths, blocks=graph.groups[group].per)
    tensor = weights[name].movedim(axis, 0)
    return tensor[steps.flatten()].reshape(*steps.shape[:-1], -1)


def _nothing(graph: UnitGraph, group: str, widths: Widths) -> Tensor:
    """No features, for every unit of a group."""
    return torch.zeros([*(widths[block] for block in graph.groups[group].per), widths[group], 0])
