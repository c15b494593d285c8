"""How a client's weights that read matched units are carried over to the slots: fitted where moving them loses much.

A slot is the mean of its owners' units, and no owner's unit exactly. A layer that reads the units and is merely moved
to the slots reads something weaker than what it was trained on. Fitted, it reads that combination of all slots which
comes nearest to each unit, under inputs drawn from a standard normal distribution: no data are needed.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import normalize

from fedma.errors import InputError
from fedma.matching.features import incoming
from fedma.units import UnitGraph, Weights
from fedma.units.layout import Widths, positions

RIDGE = 1.0
"""Weight of staying with the moved units, relative to the mean variance of the slots."""

_NORM = ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")


def can_fit(graph: UnitGraph, group: str) -> bool:
    """Whether what reads these units can be fitted.

    It can if one weight makes the units, with at most its bias and one normalisation by running statistics, of one
    entry for each unit. It cannot where a layer or group norm follows, where streams are added, or where something else
    scales the units. Nor can it where units are multiplied with each other, in recurrent layers and inside blocks.
    """
    makers = {place.tensor for place in graph.places(group) if place.role == "out"}
    readers = {place.tensor for place in graph.places(group) if place.role == "in"}
    weights = graph.reading & makers
    known = {f"{name.rpartition('.')[0]}.bias".removeprefix(".") for name in weights}
    known |= {f"{norm}.{name}" for norm in _norms(graph, group) for name in _NORM}
    norms = [variance for variance in graph.variances if group in graph.groups_of(variance)]
    inside = graph.groups[group].per or any(group in other.per for other in graph.groups.values())
    return (
        graph.groups[group].growable
        and not inside
        and len(weights) == 1
        and makers - weights <= known
        and len(norms) <= 1
        and all(one_a_unit(graph, variance) for variance in norms)
        and not readers & makers
        and not _multiplied(graph, group)
    )


def _multiplied(graph: UnitGraph, group: str) -> bool:
    """Whether something reads products of two of these units."""
    segments = [segment for axes in graph.layouts.values() for axis in axes for segment in axis]
    return any([factor.group for factor in segment].count(group) > 1 for segment in segments)


def one_a_unit(graph: UnitGraph, statistic: str) -> bool:
    """Whether a vector has one entry for each unit of one group, and nothing else."""
    axes = graph.layouts[statistic]
    return len(axes) == 1 and len(axes[0]) == 1 and len(axes[0][0]) == 1 and axes[0][0][0].group is not None


def drives(
    clients: Sequence[Weights], graph: UnitGraph, group: str, *, names: Iterable[str], widths: Sequence[Widths]
) -> tuple[list[Tensor], list[Tensor] | None]:
    """What makes each client's units: their rows of incoming weights and bias; behind a normalisation the rows of
    weights alone, and beside them the scales that the normalisation gives them.
    """
    norms = _norms(graph, group)
    if not norms:
        return [incoming(c, graph, group, names=names, widths=w) for c, w in zip(clients, widths, strict=True)], None
    weight = [name for name in names if name in graph.reading]
    rows = [incoming(c, graph, group, names=weight, widths=w) for c, w in zip(clients, widths, strict=True)]
    scale = f"{norms[0]}.weight"
    return rows, [c[scale] if scale in c else torch.ones(len(r)) for c, r in zip(clients, rows, strict=True)]


def directions(rows: Sequence[Tensor], scales: Sequence[Tensor] | None) -> list[Tensor]:
    """Each client's units as `fit` wants them, from `drives`: float64."""
    if scales is None:
        return [own.double() for own in rows]
    return [_scaled(*pair) for pair in zip(rows, scales, strict=True)]


def mean_directions(
    rows: Sequence[Tensor], scales: Sequence[Tensor] | None, assignments: Sequence[Tensor], shares: Sequence[float]
) -> Tensor:
    """The slots, means of their owners, as `fit` wants them: float64."""
    slots = slot_means(rows, assignments, shares)
    if scales is None:
        return slots
    return _scaled(slots, slot_means([scale[:, None] for scale in scales], assignments, shares)[:, 0])


def fitted(
    own: Weights, slots: Weights, graph: UnitGraph, group: str, assignment: Tensor, *, widths: tuple[Widths, Widths]
) -> Weights:
    """The tensors of one client that read this group's units, fitted to slots that are known already.

    Args:
        own: the client's tensors; what its units of this group read is in global order.
        slots: the global tensors that make the group's units.
        graph: the model's unit graph.
        group: whose units.
        assignment: unit → slot.
        widths: the client's, before and after.
    """
    rows, scales = drives([own, slots], graph, group, names=slots, widths=widths)
    units, means = directions(rows, scales)
    return carry(own, graph, group, fit(units, means, assignment), widths=widths[0])


def read_products(readers: Weights, graph: UnitGraph, group: str, *, widths: Widths) -> Tensor:
    """Products of the weights with which the next layers read two units, summed over all that they make: units × units,
    float64. Its inner product with a covariance of the units is the variance of the next layers' inputs.
    """
    total = torch.zeros(widths[group], widths[group], dtype=torch.float64)
    for place in graph.places(group):
        if place.role == "in":
            steps = positions(graph.layouts[place.tensor][place.axis], group, widths)
            first = readers[place.tensor].movedim(place.axis, 0)
            read = first[steps.flatten()].reshape(len(steps), -1).double()
            total += read @ read.T
    return total


def unexplained(read: Tensor, *, own: Tensor, missed: Tensor) -> float:
    """The share of the next layers' inputs from a client's units that the slots do not reproduce.

    In [0, 1] up to the ridge, a variance under the inputs of `fit`; comparable between matchings of the same units.

    Args:
        read: the client's `read_products`.
        own: the `covariance` of the units.
        missed: the covariance of the part of the units that combined slots miss: `Combination.missed`.
    """
    whole = float((own * read).sum())
    return float((missed * read).sum()) / whole if whole else 0.0


def _scaled(rows: Tensor, scale: Tensor) -> Tensor:
    """Rows of the lengths that a normalisation gives them, float64."""
    return normalize(rows.double()) * scale.double()[:, None]


def _norms(graph: UnitGraph, group: str) -> list[str]:
    """The paths of the normalisations by running statistics over this group."""
    return [variance.rpartition(".")[0] for variance in graph.variances if group in graph.groups_of(variance)]


def slot_means(rows: Sequence[Tensor], assignments: Sequence[Tensor], shares: Sequence[float]) -> Tensor:
    """The mean of each slot's owners, weighted by the clients' shares: slots × features, float64."""
    slots = 1 + max(int(own.max()) for own in assignments)
    total = torch.zeros(slots, rows[0].shape[1], dtype=torch.float64)
    mass = torch.zeros(slots, 1, dtype=torch.float64)
    for own, placed, share in zip(rows, assignments, shares, strict=True):
        total[placed] += share * own.double()
        mass[placed] += share
    return total / mass


@dataclass(frozen=True)
class Combination:
    """The combination of slots that comes nearest to each of a client's units.

    Attributes:
        matrix: units × slots, float64.
        cross: `covariance` of the units with the slots.
        among: that of the slots among themselves.
    """

    matrix: Tensor
    cross: Tensor
    among: Tensor

    def missed(self, own: Tensor) -> Tensor:
        """The covariance of the part of the units that it misses: units × units. `own` is the units' covariance."""
        cross = self.matrix @ self.cross.T
        return own - cross - cross.T + self.matrix @ self.among @ self.matrix.T


class Target:
    """The slots, to which clients' units are fitted.

    Attributes:
        rows: slots × features, float64.
        among: the `covariance` of the slots.
    """

    def __init__(self, rows: Tensor, *, ridge: float = RIDGE) -> None:
        """Args: `ridge` as for `fit`."""
        if not ridge > 0:
            raise InputError(f"ridge is {ridge}; it must be above 0")
        self.rows, self.among = rows, covariance(rows, rows)
        scale = float(self.among.diagonal().mean())
        damping = ridge * (scale or 1.0) * torch.eye(len(rows), dtype=torch.float64)
        self._damped = torch.linalg.lu_factor(self.among + damping)

    def fit(self, units: Tensor, assignment: Tensor) -> Combination:
        """The combination for a client's units, in these slots; arguments and formula as for the function `fit`."""
        cross = covariance(units.double(), self.rows)
        missed = cross - self.among[assignment]
        placed = torch.nn.functional.one_hot(assignment, len(self.rows)).double()
        return Combination(placed + torch.linalg.lu_solve(*self._damped, missed.T).T, cross, self.among)


def fit(rows: Tensor, slots: Tensor, assignment: Tensor, *, ridge: float = RIDGE) -> Tensor:
    """The combination of slots that comes nearest to each unit: units × slots, float64.

    C is the covariance of the units' activations with the slots', and K that among the slots. Both hold for inputs from
    a standard normal distribution and ReLU. The result is P + (C − P K)(K + ridge·k·I)⁻¹. P has one entry of 1 in each
    row, which moves each unit to its slot; k is the mean of K's diagonal. A unit that equals its slot is just moved.

    Args:
        rows: units × features, incoming weights and bias.
        slots: slots × features.
        assignment: unit → slot.
        ridge: above 0; the larger, the nearer to P.

    Source: the covariance is the arc-cosine kernel of degree 1 less the product of means: Cho & Saul, "Kernel Methods
        for Deep Learning", NIPS 2009, equation 6. Carrying weights over by regression follows RegMean (Jin et al.,
        ICLR 2023), which takes the covariances from data.
    """
    return Target(slots, ridge=ridge).fit(rows, assignment).matrix


def covariance(left: Tensor, right: Tensor) -> Tensor:
    """Cov[relu(u·x), relu(v·x)] for x ~ N(0, I), for all rows u of one and v of the other."""
    norms = torch.outer(left.norm(dim=1), right.norm(dim=1))
    cosine = (left @ right.T / norms.clamp(min=torch.finfo(torch.float64).tiny)).clamp(-1, 1)
    angle = cosine.arccos()
    return norms * (angle.sin() + (math.pi - angle) * cosine - 1) / (2 * math.pi)


def carry(weights: Weights, graph: UnitGraph, group: str, combination: Tensor, *, widths: Widths) -> Weights:
    """The tensors that read this group's units, reading slots instead: each unit's weight shared out by its row.

    Args:
        weights: a client's tensors, or some of them.
        graph: the model's unit graph.
        group: whose units.
        combination: units × slots, from `fit`.
        widths: the client's widths before.
    """
    wide = {**widths, group: combination.shape[1]}
    carried: Weights = {}
    for place in graph.places(group):
        if place.role == "in" and place.tensor in weights:
            axis = graph.layouts[place.tensor][place.axis]
            before, after = positions(axis, group, widths), positions(axis, group, wide)
            old = weights[place.tensor].movedim(place.axis, 0)
            new = graph.scatter({place.tensor: weights[place.tensor]}, {group: torch.arange(len(before))}, wide)
            new_first = new[place.tensor].movedim(place.axis, 0)
            parts = old[before.flatten()].reshape(len(before), -1).double()
            new_first[after.flatten()] = (combination.T @ parts).reshape(-1, *old.shape[1:]).to(old.dtype)
            carried[place.tensor] = new[place.tensor]
    return carried
