"""Averages of the clients' tensors under known assignments."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from fedma.errors import InputError
from fedma.matching.features import output_axis
from fedma.units import UnitGraph, Weights
from fedma.units.layout import Maps, Widths


def average(
    clients: Sequence[Mapping[str, Tensor]],
    graph: UnitGraph,
    *,
    names: Iterable[str],
    maps: Sequence[Maps],
    widths: Widths,
    shares: Sequence[float],
    owned: Sequence[Maps] | None = None,
    samples: Sequence[float] | None = None,
    class_counts: Tensor | None = None,
) -> Weights:
    """The named global tensors: each entry is the weighted mean over the clients that own the unit it makes.

    A client that lacks a unit which this one reads counts with zero there, as in its own network; but a recurrent
    matrix is averaged over the clients that own both states. Where nothing is made (the output layer) all clients
    count. Running means and variances of normalisation layers are pooled exactly (mean and second moment).
    Whole-number buffers are the first client's.

    Args:
        clients: each client's tensors.
        graph: the model's unit graph.
        names: which tensors.
        maps: per client, unit → slot for the groups in which its tensors are not yet in global order.
        widths: the global widths.
        shares: per client, its weight in the means (only their ratios count), positive.
        owned: per client, for groups in which its tensors are in global order already, the slots that it owns; a
            group not named is owned by all.
        samples: per client, its weight in pooled statistics; by default its share.
        class_counts: (clients, classes) training samples; where given, the entries of an output class are weighted
            by the clients' counts of that class instead (by `shares` for a class that nobody has).

    Raises:
        InputError: class counts of another number of classes than the outputs.

    Source: FedMA, Algorithm 1 (matched averages; last layer weighted by class proportions). Departure: the shares,
        which the paper keeps equal in matched layers.
    """
    names = list(names)
    owners = [_Owner(*own) for own in zip(maps, owned or [{}] * len(maps), strict=True)]
    pooled = {name for pair in graph.statistics if pair[0] in names for name in pair}
    result: Weights = {}
    for name in names:
        if name in pooled:
            continue
        if not clients[0][name].is_floating_point() or clients[0][name].dim() == 0:
            result[name] = clients[0][name].clone()
            continue
        by_class = _class_shares(graph, name, clients[0][name], shares, class_counts)
        result[name] = _mean([c[name] for c in clients], graph, name, owners=owners, widths=widths, shares=by_class)
    for mean, variance in graph.statistics:
        if mean in names:
            weights = samples or shares
            result.update(_pooled(clients, graph, (mean, variance), owners=owners, widths=widths, shares=weights))
    return {name: result[name] for name in names}


def _class_shares(
    graph: UnitGraph, name: str, tensor: Tensor, shares: Sequence[float], class_counts: Tensor | None
) -> Sequence[float | Tensor]:
    """The clients' weights for one tensor: by class along its output axis where that is known, else the shares."""
    axis = output_axis(graph, name)
    if class_counts is None or axis is None:
        return shares
    if tensor.shape[axis] != class_counts.shape[1]:
        raise InputError(
            f"class_counts has {class_counts.shape[1]} classes, but {name!r} makes {tensor.shape[axis]} outputs"
        )
    counts = class_counts.double()
    nobody = counts.sum(0) == 0
    counts = torch.where(nobody, torch.tensor(shares, dtype=torch.float64)[:, None], counts)
    return [row.view([-1 if d == axis else 1 for d in range(tensor.dim())]) for row in counts]


def _mean(
    tensors: Sequence[Tensor],
    graph: UnitGraph,
    name: str,
    *,
    owners: Sequence["_Owner"],
    widths: Widths,
    shares: Sequence[float | Tensor],
) -> Tensor:
    """The weighted mean of one tensor over its owners, in float64, cast back."""
    total = torch.zeros(graph.shape(name, widths), dtype=torch.float64)
    counted = _axes_of_owners(graph, name)
    mass = torch.zeros([n if d in counted else 1 for d, n in enumerate(total.shape)], dtype=torch.float64)
    groups = set().union(*(graph.groups_on(name, axis) for axis in counted))
    for tensor, owner, share in zip(tensors, owners, shares, strict=True):
        kept = {group: slots for group, slots in owner.owned.items() if group in groups - set(owner.maps)}
        maps = {**owner.maps, **kept}
        if not graph.groups_of(name) & set(maps):
            total += share * tensor.double()
            mass += share
            continue
        if kept:
            present = {**widths, **{group: own.shape[-1] for group, own in owner.maps.items()}}
            tensor = tensor[graph.index(name, kept, present)]
        place = graph.index(name, maps, widths)
        total[place] += share * tensor.double()
        mass[tuple(p if d in counted else torch.tensor(0) for d, p in enumerate(place))] += share
    return torch.where(mass > 0, total / mass.clamp(min=torch.finfo(torch.float64).tiny), 0.0).to(tensors[0].dtype)


@dataclass(frozen=True)
class _Owner:
    """One client: unit → slot where its tensors are in its own order; the slots it owns where in the global one."""

    maps: Maps
    owned: Maps


def _axes_of_owners(graph: UnitGraph, name: str) -> set[int]:
    """The axes along which owners are counted: those that make units, and in a recurrent matrix both."""
    axes = range(len(graph.layouts[name]))
    made = {axis for axis in axes if (name, axis) not in graph.incoming}
    groups = graph.made_by(name)
    return made | {axis for axis in axes if graph.groups_on(name, axis) & groups}


def _pooled(
    clients: Sequence[Mapping[str, Tensor]],
    graph: UnitGraph,
    pair: tuple[str, str],
    *,
    owners: Sequence["_Owner"],
    widths: Widths,
    shares: Sequence[float],
) -> Weights:
    """Mean and variance of the union of the clients' samples, from each client's own."""
    mean, variance = pair
    first = [c[mean].double() for c in clients]
    second = [c[variance].double() + c[mean].double() ** 2 for c in clients]
    centre = _mean(first, graph, mean, owners=owners, widths=widths, shares=shares)
    moment = _mean(second, graph, variance, owners=owners, widths=widths, shares=shares)
    dtype = clients[0][mean].dtype
    return {mean: centre.to(dtype), variance: (moment - centre**2).clamp(min=0).to(dtype)}
