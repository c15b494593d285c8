"""Running variances of averaged units, which vary less than the units they average."""

from collections.abc import Sequence

import torch
from torch.nn.functional import normalize

from fedma.matching.features import incoming
from fedma.units import UnitGraph, Weights
from fedma.units.layout import Maps, Widths


def mean_variances(
    clients: Sequence[Weights], graph: UnitGraph, *, owned: Sequence[Maps], shares: Sequence[float], widths: Widths
) -> Weights:
    """The running variance of every slot that a normalisation with running statistics normalises.

    The mean of units a with standard deviations s_a and directions u_a of their incoming weights varies by
    ‖mean of s_a u_a‖² when the inputs are uncorrelated and of one variance; less than the s_a² where the units differ.
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
    for _, variance in graph.statistics:
        maker = _maker(graph, variance)
        groups = graph.groups_of(variance)
        if maker is None or len(groups) != 1:
            continue
        (group,) = groups
        total, mass = torch.zeros(1, 1, dtype=torch.float64), torch.zeros(widths[group], 1, dtype=torch.float64)
        for client, own, share in zip(clients, owned, shares, strict=True):
            has = torch.zeros(widths[group], 1, dtype=torch.float64)
            has[own[group]] = share
            rows = normalize(incoming(client, graph, group, names=[maker], widths=widths).double())
            total = total + has * client[variance].double().sqrt()[:, None] * rows
            mass += has
        result[variance] = (total / mass).square().sum(1).to(clients[0][variance].dtype)
    return result


def _maker(graph: UnitGraph, tensor: str) -> str | None:
    """The weight that made what this tensor normalises: the last before it in the forward pass."""
    reading = {name for name, _ in graph.incoming}
    groups = graph.groups_of(tensor)
    names = list(graph.layouts)
    before = [n for n in names[: names.index(tensor)] if n in reading and graph.made_by(n) & groups]
    inside = any(graph.groups[group].per for group in groups)
    return before[-1] if before and not inside else None
