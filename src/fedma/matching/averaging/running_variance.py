"""Running variances of averaged units, which vary less than the units they average."""

from collections.abc import Sequence

import torch
from torch.nn.functional import normalize

from fedma.matching.averaging.fit_readers import one_a_unit
from fedma.matching.slices import rows
from fedma.units import Place, UnitGraph, Weights
from fedma.units.layout import Maps, Widths


def mean_variances(
    clients: Sequence[Weights], graph: UnitGraph, *, owned: Sequence[Maps], shares: Sequence[float], widths: Widths
) -> Weights:
    """The running variances of averaged units, for every normalisation with running statistics.

    Units a have standard deviations s_a, and incoming weights of directions u_a. If the inputs are uncorrelated and of
    one variance, the variance of the units' mean is ‖mean of s_a u_a‖². Where the units differ, that is less than s_a².
    Pooled variances would leave the averaged unit too small behind the normalisation.

    Args:
        clients: each client's tensors, in global order.
        graph: the model's unit graph.
        owned: per client and group, the slots that it owns.
        shares: per client, its weight in the means.
        widths: the global widths.

    Source: the collapse of variance after averaging is REPAIR's (Jordan et al., ICLR 2023), which measures it on
        data. Departure: predicted from the weights alone.
    """
    result: Weights = {}
    for variance in graph.variances:
        place = _maker(graph, variance) if one_a_unit(graph, variance) else None
        if place is None:
            continue
        (group,) = graph.groups_of(variance)
        total, mass = torch.zeros(1, 1, dtype=torch.float64), torch.zeros(widths[group], 1, dtype=torch.float64)
        pooled = torch.zeros(widths[group], dtype=torch.float64)
        for client, own, share in zip(clients, owned, shares, strict=True):
            has = torch.zeros(widths[group], 1, dtype=torch.float64)
            has[own[group]] = share
            made = normalize(rows(client[place.tensor], graph, place, group=group, widths=widths).double())
            total = total + has * client[variance].double().sqrt()[:, None] * made
            pooled += has[:, 0] * client[variance].double()
            mass += has
        found = (total / mass).square().sum(1)
        result[variance] = torch.where(found > 0, found, pooled / mass[:, 0]).to(clients[0][variance].dtype)
    return result


def _maker(graph: UnitGraph, variance: str) -> Place | None:
    """Where the weight right before this normalisation in the forward pass makes its units; None where another
    normalisation lies between, or something else made them.
    """
    names = list(graph.layouts)
    before = [name for name in names[: names.index(variance)] if name in graph.reading or name in graph.variances]
    groups = graph.groups_of(variance)
    inside = any(graph.groups[group].per for group in groups)
    if inside or not before or before[-1] in graph.variances or not graph.made_by(before[-1]) & groups:
        return None
    (group,) = groups
    return next(p for p in graph.places(group) if p.tensor == before[-1] and p.role == "out")
