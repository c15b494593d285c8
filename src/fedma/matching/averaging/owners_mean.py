"""Averages of the clients' tensors under known assignments."""

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import EllipsisType

import torch
from torch import Tensor

from fedma.errors import InputError
from fedma.matching.features import output_axis
from fedma.units import UnitGraph, Weights
from fedma.units.layout import Maps, Widths

_Where = tuple[Tensor, ...] | EllipsisType
"""Where a client's part of a tensor lies in the global one: indices, or all of it."""


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
    unowned: Mapping[str, Tensor] | None = None,
    trim: float = 0.0,
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
        class_counts: (clients, classes) training samples. Where given, the entries of an output class are weighted by
            the clients' counts of that class. A class that no client has is weighted by `shares`. Outputs of another
            number, such as a state that the model returns too, are weighted by `shares`. A single column,
            of samples, is for all outputs alike.
        unowned: global tensors whose entries stay where no client is an owner; by default these are zero.
        trim: the part of an entry's owners whose values are left out at each end, the smallest and the largest, in
            [0, 0.5]: 0 is the mean, 0.5 the median. If no more owners lie than are left out at an end, the result
            stays among the values of the others, for any shares.

    Raises:
        InputError: class counts of another number of classes than any of the outputs.

    Source: FedMA, Algorithm 1 (matched averages; last layer weighted by class proportions). Departure: the shares,
        which the paper keeps equal in matched layers. Trimming: Yin et al., "Byzantine-Robust Distributed Learning",
        ICML 2018, Definitions 1 and 2, here over the owners of a slot, and with shares.
    """
    names = list(names)
    how = _Averaging(tuple(_Owner(*own) for own in zip(maps, owned or [{}] * len(maps), strict=True)), widths, trim)
    pooled = {name for pair in graph.statistics if pair[0] in names for name in pair}
    by_class = {} if class_counts is None else _axes_by_class(graph, class_counts.shape[1])
    result: Weights = {}
    for name in names:
        if name in pooled:
            continue
        if not clients[0][name].is_floating_point():
            result[name] = clients[0][name].clone()
            continue
        own: Sequence[float | Tensor] = shares
        if class_counts is not None and name in by_class:
            own = _class_shares(class_counts, shares, axis=by_class[name], dims=clients[0][name].dim())
        rest = 0.0 if unowned is None else unowned[name].double()
        result[name] = _mean([c[name] for c in clients], graph, name, how=how, shares=own, rest=rest)
    for pair in graph.statistics:
        if pair[0] in names:
            result.update(_pooled(clients, graph, pair, how=how, shares=samples or shares, unowned=unowned))
    return {name: result[name] for name in names}


def class_axes(graph: UnitGraph, classes: int) -> dict[str, int]:
    """The tensors that make the model's outputs, one for each class, and along which axis; none where the graph knows
    of no outputs.

    Raises:
        InputError: there are outputs, but no tensor makes that number of them.
    """
    axes = {name: axis for name in graph.layouts if (axis := output_axis(graph, name)) is not None}
    made = {name: graph.shape(name, {})[axis] for name, axis in axes.items()}
    if made and classes not in made.values():
        first = {number: name for name, number in reversed(made.items())}
        found = ", ".join(f"{name!r} makes {number} outputs" for number, name in first.items())
        raise InputError(f"class_counts has {classes} classes, but {found}; give a column for each class")
    return {name: axis for name, axis in axes.items() if made[name] == classes}


def _axes_by_class(graph: UnitGraph, classes: int) -> dict[str, int]:
    """The tensors that are averaged by class counts: those of `class_axes`, or all outputs for a single column."""
    if classes > 1:
        return class_axes(graph, classes)
    return {name: axis for name in graph.layouts if (axis := output_axis(graph, name)) is not None}


def _class_shares(class_counts: Tensor, shares: Sequence[float], *, axis: int, dims: int) -> list[float | Tensor]:
    """The clients' weights by class, laid along the output axis of a tensor of `dims` dimensions."""
    counts = class_counts.double()
    nobody = counts.sum(0) == 0
    counts = torch.where(nobody, torch.tensor(shares, dtype=torch.float64)[:, None], counts)
    return [row.view([-1 if d == axis else 1 for d in range(dims)]) for row in counts]


def _mean(
    tensors: Sequence[Tensor],
    graph: UnitGraph,
    name: str,
    *,
    how: "_Averaging",
    shares: Sequence[float | Tensor],
    rest: float | Tensor,
) -> Tensor:
    """The weighted mean of one tensor over its owners, in float64, cast back; without owners it is `rest`."""
    shape, counted = graph.shape(name, how.widths), _axes_of_owners(graph, name)
    owned = [n if d in counted else 1 for d, n in enumerate(shape)]
    parts = _parts(tensors, graph, name, how)
    if how.trim:
        values = torch.zeros(len(tensors), *shape, dtype=torch.float64)
        weights = torch.zeros(len(tensors), *owned, dtype=torch.float64)
        for value, weight, share, (tensor, where) in zip(values, weights, shares, parts, strict=True):
            value[where] = tensor.double()
            weight[_counted(where, counted)] = share
        total, mass = _trimmed(values, weights.expand_as(values), how.trim)
    else:
        total, mass = torch.zeros(shape, dtype=torch.float64), torch.zeros(owned, dtype=torch.float64)
        for share, (tensor, where) in zip(shares, parts, strict=True):
            if where is ... and isinstance(share, float):
                total.add_(tensor, alpha=share)  # one pass, without copies
            else:
                total[where] += share * tensor.double()
            mass[_counted(where, counted)] += share
    return torch.where(mass > 0, total / mass.clamp(min=torch.finfo(torch.float64).tiny), rest).to(tensors[0].dtype)


def _parts(
    tensors: Sequence[Tensor], graph: UnitGraph, name: str, how: "_Averaging"
) -> Iterator[tuple[Tensor, _Where]]:
    """What each client contributes to one tensor, and where in the global one it belongs."""
    groups = set().union(*(graph.groups_on(name, axis) for axis in _axes_of_owners(graph, name)))
    for tensor, owner in zip(tensors, how.owners, strict=True):
        kept = {group: slots for group, slots in owner.owned.items() if group in groups - set(owner.maps)}
        maps = {**owner.maps, **kept}
        if not graph.groups_of(name) & set(maps):
            yield tensor, ...
            continue
        if kept:
            present = {**how.widths, **{group: own.shape[-1] for group, own in owner.maps.items()}}
            tensor = tensor[graph.index(name, kept, present)]
        yield tensor, graph.index(name, maps, how.widths)


def _counted(where: _Where, axes: set[int]) -> _Where:
    """The same indices along these axes, and 0 along the others."""
    if isinstance(where, tuple):
        return tuple(p if d in axes else torch.tensor(0) for d, p in enumerate(where))
    return where


def _trimmed(values: Tensor, weights: Tensor, trim: float) -> tuple[Tensor, Tensor]:
    """Weighted sums of values along the first axis, and of their weights, without the ends; weight 0 is no value."""
    number = (weights > 0).sum(0)
    cut = torch.minimum((trim * number + 1e-9).long(), ((number - 1) // 2).clamp(min=0))
    values, order = torch.where(weights > 0, values, math.inf).sort(0)
    rank = torch.arange(len(values)).view(-1, *[1] * (values.dim() - 1))
    inner = (rank >= cut) & (rank < number - cut)
    weights = weights.gather(0, order) * inner
    return (torch.where(inner, values, 0.0) * weights).sum(0), weights.sum(0)


@dataclass(frozen=True)
class _Owner:
    """One client: unit → slot where its tensors are in its own order; the slots it owns where in the global one."""

    maps: Maps
    owned: Maps


@dataclass(frozen=True)
class _Averaging:
    """How to average: who owns what, the global widths, and the part of the owners left out at each end."""

    owners: tuple[_Owner, ...]
    widths: Widths
    trim: float


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
    how: "_Averaging",
    shares: Sequence[float],
    unowned: Mapping[str, Tensor] | None,
) -> Weights:
    """Mean and variance of the union of the clients' samples, from each client's own.

    Trimmed, the moments may come from different clients; the variance is then at least that within clients.
    """
    mean, variance = pair
    first, second = zip(*(_moments(c, pair) for c in clients), strict=True)
    rest = (0.0, 0.0) if unowned is None else _moments(unowned, pair)
    centre = _mean(first, graph, mean, how=how, shares=shares, rest=rest[0])
    moment = _mean(second, graph, variance, how=how, shares=shares, rest=rest[1])
    least = torch.zeros(())
    if how.trim:
        own = [c[variance].double() for c in clients]
        least = _mean(own, graph, variance, how=how, shares=shares, rest=0.0)
    dtype = clients[0][mean].dtype
    return {mean: centre.to(dtype), variance: (moment - centre**2).clamp(min=least).to(dtype)}


def _moments(client: Mapping[str, Tensor], pair: tuple[str, str]) -> tuple[Tensor, Tensor]:
    """First and second moment, from mean and variance."""
    mean, variance = (client[name].double() for name in pair)
    return mean, variance + mean**2
