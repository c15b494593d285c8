"""Regression means: a client's weights count most for the units that vary most on its own data."""

from collections.abc import Sequence

import torch
from torch import Tensor

from fedma.errors import InputError
from fedma.units import UnitGraph, Weights
from fedma.units.activity import Moments, Read, reads
from fedma.units.layout import Maps, Widths

RIDGE = 0.1
"""Weight of the plain mean, relative to the mean variance of a unit."""


def regression_means(
    clients: Sequence[Weights],
    graph: UnitGraph,
    *,
    means: Weights,
    moments: Sequence[Moments],
    owned: Sequence[Maps],
    widths: Widths,
    shares: Sequence[float],
    ridge: float = RIDGE,
) -> Weights:
    """The averages of the tensors that read units, for units whose covariances all clients give.

    Each row W minimises Σ_j p_j (W − W_j)(G_j + ridge·k·I)(W − W_j)ᵀ over the clients that own the unit it makes. p_j
    is a client's share. G_j is the covariance of its units, zero for slots that it does not own. k is the mean variance
    of a unit. What W reads is as near as one row can be to what each client's row reads on the client's data. With
    equal covariances W is the plain mean, and it tends to the plain mean as the ridge grows.

    Args:
        clients: each client's tensors, in global order.
        graph: the model's unit graph.
        means: the plain means of the tensors that are wanted.
        moments: per client what `fedma.moments` gives, in its own order.
        owned: per client and group, the slots that it owns.
        widths: the global widths.
        shares: per client, its weight in the averages.
        ridge: above 0.

    Source: RegMean (Jin et al., "Dataless Knowledge Fusion by Merging Weights of Language Models", ICLR 2023, equation
        2). Departures: units are matched first; covariances of units, not second moments of inputs; a ridge on the
        diagonal where they shrink what is off it.
    """
    result: Weights = {}
    for name, mean in means.items():
        read = reads(graph, name)
        if read is None or not all(name in own for own in moments):
            continue
        size = widths[read.group]
        spread = [_in_slots(own[name], slots[read.group], size) for own, slots in zip(moments, owned, strict=True)]
        damping = ridge * (float(torch.stack(spread).diagonal(dim1=1, dim2=2).mean()) or 1.0)
        metrics = torch.stack(spread) + damping * torch.eye(size, dtype=torch.float64)
        entries = _rows(read, graph, widths)
        rows = torch.stack([client[name].double().flatten()[entries] for client in clients])
        own = torch.stack([_owned(name, graph, slots, widths).flatten()[entries].amax(1) for slots in owned])
        result[name] = mean.clone()
        found = _least(rows, metrics, own * torch.tensor(shares, dtype=torch.float64)[:, None])
        result[name].view(-1)[entries] = found.to(mean.dtype)
    return result


def check_moments(moments: Sequence[Moments], graph: UnitGraph, *, widths: Sequence[Widths]) -> None:
    """Raises:
    InputError: not one mapping for each model, a name of no tensor that reads units, a wrong shape, numbers that are
        not finite.
    """
    if len(moments) != len(widths):
        raise InputError(f"moments are of {len(moments)} models, but there are {len(widths)}; give those of each model")
    for number, (own, width) in enumerate(zip(moments, widths, strict=True)):
        for name, found in own.items():
            read = reads(graph, name) if name in graph.layouts else None
            if read is None:
                raise InputError(f"moments of model {number}: {name!r} is no tensor that reads the units of one group")
            wanted = (width[read.group], width[read.group])
            if not isinstance(found, Tensor) or tuple(found.shape) != wanted or not bool(found.isfinite().all()):
                what = f"shape {tuple(found.shape)}" if isinstance(found, Tensor) else f"a {type(found).__name__}"
                raise InputError(
                    f"moments of model {number}: {name!r} must be a finite covariance of shape {wanted}, as "
                    f"`fedma.moments` gives it; found {what}"
                )


def _least(rows: Tensor, metrics: Tensor, shares: Tensor) -> Tensor:
    """Of rows (clients × rows × slots) the means under the clients' metrics (clients × slots × slots) and their shares
    in each row (clients × rows): rows × slots. Rows with equal shares are solved for together.
    """
    result = torch.zeros_like(rows[0])
    patterns, which = shares.unique(dim=1, return_inverse=True)
    for number, pattern in enumerate(patterns.T):
        weighted = pattern[:, None, None] * metrics
        wanted = (rows[:, which == number] @ weighted).sum(0)
        result[which == number] = torch.linalg.solve(weighted.sum(0), wanted, left=False)
    return result


def _in_slots(covariance: Tensor, slots: Tensor, size: int) -> Tensor:
    """A client's covariance of units as a covariance of slots; zero for slots that it does not own."""
    wide = torch.zeros(size, size, dtype=torch.float64)
    wide[slots[:, None], slots] = covariance.double()
    return wide


def _rows(read: Read, graph: UnitGraph, widths: Widths) -> Tensor:
    """Where in the flattened tensor each row's weights on the units lie: rows × units. Each
    position of a unit has a row.
    """
    shape = graph.shape(read.tensor, widths)
    steps = read.positions(graph, widths)
    entries = torch.arange(torch.Size(shape).numel()).view(shape).movedim(read.axis, -1)
    return entries[..., steps.flatten()].unflatten(-1, steps.shape).movedim(-2, -1).flatten(0, -2)


def _owned(name: str, graph: UnitGraph, slots: Maps, widths: Widths) -> Tensor:
    """One for each entry of a global tensor that a client's own tensor has, zero for the others."""
    narrow = {**widths, **{group: own.shape[-1] for group, own in slots.items()}}
    return graph.scatter({name: torch.ones(graph.shape(name, narrow), dtype=torch.float64)}, slots, widths)[name]
