"""The sweeps of beta-Bernoulli process matching: scores, assignments and the objective they climb."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.optimize import linear_sum_assignment
from scipy.special import gammaln

from fedma.errors import MatchingError
from fedma.matching.prior import Array, Prior

Index = npt.NDArray[np.int64]

OWN = -1
"""Stands for "a new slot of its own" where the slot of a unit is asked."""


@dataclass(frozen=True)
class Rule:
    """What a unit's place in a slot is worth, beside the fit of its features.

    Attributes:
        gamma: mass of the beta process; larger opens more slots.
        clients: how many clients there are (J).
        reference: score as the public reference implementation does, which ascends no objective.
        limit: how many slots there may be, or None.
    """

    gamma: float
    clients: int
    reference: bool = False
    limit: int | None = None


class Slots:
    """The global units while clients come and go: sums, precisions and owners, kept in place.

    With values centred on the prior mean, slot i keeps S_i = Σ a_j (w_jl − mu0) and R_i = tau + Σ a_j over its
    owners: `sums` is slots × features, `precision` slots × precision axis.
    """

    def __init__(self, clients: Sequence[Array], prior: Prior, rule: Rule, assignments: Sequence[Index] = ()) -> None:
        self.prior, self.rule = prior, rule
        self.units = [prior.precision(j) * (w - prior.mean) for j, w in enumerate(clients)]
        self.squares = [prior.reduce(v**2) for v in self.units]
        self.sums = np.empty((0, len(prior.mean)))
        self.precision = np.empty((0, len(prior.slot)))
        self.owners = np.empty(0, dtype=np.int64)
        self.assignments: dict[int, Index] = {}
        self._open(1 + max((int(places.max()) for places in assignments), default=-1))
        for client, places in enumerate(assignments):
            self.seat(client, places)

    def ordered(self) -> list[Index]:
        """The slots of every client's units, client by client."""
        return [self.assignments[client] for client in range(len(self.units))]

    def _open(self, count: int) -> None:
        if count:
            self.sums = np.concatenate([self.sums, np.zeros((count, self.sums.shape[1]))])
            self.precision = np.concatenate([self.precision, np.tile(self.prior.tau, (count, 1))])
            self.owners = np.concatenate([self.owners, np.zeros(count, dtype=np.int64)])

    def seat(self, client: int, slots: Index) -> None:
        """Give a client's units to slots; those marked OWN open new ones in the order of the units."""
        own = np.flatnonzero(slots == OWN)
        slots = slots.copy()
        slots[own] = len(self.owners) + np.arange(len(own))
        self._open(len(own))
        self.sums[slots] += self.units[client]
        self.precision[slots] += self.prior.precision(client)
        self.owners[slots] += 1
        self.assignments[client] = slots

    def unseat(self, client: int) -> Index:
        """Take a client's units out; slots left empty vanish. Returns where its units sat, OWN if that vanished."""
        slots = self.assignments.pop(client)
        self.sums[slots] -= self.units[client]
        self.precision[slots] -= self.prior.precision(client)
        self.owners[slots] -= 1
        kept = self.owners > 0
        if kept.all():
            return slots
        place = np.where(kept, np.cumsum(kept) - 1, OWN)
        self.sums, self.precision, self.owners = self.sums[kept], self.precision[kept], self.owners[kept]
        self.assignments = {j: place[a] for j, a in self.assignments.items()}
        return place[slots]

    def gains(self, client: int) -> Array:
        """Units × slots: by how much a unit in a slot scores above the same unit in a slot of its own.

        Source: Wang et al. 2020, section 2, the cost of BBP-MAP, its squares expanded into matrix products.
            Departures: slot values are integrated out (hence the log-determinants), unless `reference`; popularity
            as in `_popularity`.
        """
        a, tau, n = self.prior.precision(client), self.prior.tau, self.prior.repeat
        v, square, S, R = self.units[client], self.squares[client], self.sums, self.precision
        G = 1 / (R + a)
        slot = (self.prior.reduce(S**2) * (G - 1 / R)).sum(axis=1) + self._popularity()
        own = square @ (1 / (tau + a)) + 2 * np.log(self.rule.gamma / self.rule.clients)
        if not self.rule.reference:
            slot -= n * np.log((R + a) / R).sum(axis=1)
            own -= n * np.log((tau + a) / tau).sum()
        scores = square @ G.T
        scores += 2 * (v @ (S * G).T)
        scores += slot
        scores -= own[:, None]
        return scores

    def _popularity(self) -> Array:
        """2 log(m / (J - m)) for m owners; the reference drops the 2 and counts no more than ten owners."""
        if self.rule.reference:
            owners = np.minimum(self.owners, 10)
            return np.log(owners / (self.rule.clients - owners))
        return 2 * np.log(self.owners / (self.rule.clients - self.owners))

    def objective(self) -> float:
        """What `match` documents: twice the log joint density, or F plus prior under the reference's rule."""
        J, m, prior = self.rule.clients, self.owners, self.prior
        fit = float((prior.reduce(self.sums**2) / self.precision).sum())
        fit += 2 * float((gammaln(m) + gammaln(J - m + 1) - gammaln(J + 1)).sum())
        fit += 2 * len(m) * float(np.log(self.rule.gamma))
        if not self.rule.reference:
            fit -= prior.repeat * float(np.log(self.precision / prior.tau).sum())
        for client in self.assignments:
            fit += self._constant(client)
        return fit

    def _constant(self, client: int) -> float:
        """The part of the objective that depends on the hyper-parameters and not on the assignment."""
        a, v = self.prior.precision(client), self.units[client]
        if self.rule.reference:  # from values centred on mu0, as they are here, back to H and h0
            return float((2 * v * self.prior.mean + a * self.prior.mean**2).sum())
        seen = a > 0
        fit = float((self.squares[client][:, seen] / a[seen]).sum())
        return len(v) * self.prior.repeat * float(np.log(a[seen]).sum()) - fit


def sweep(slots: Slots, order: Iterable[int]) -> bool:
    """Seat the clients once more, each given all others; whether anybody moved.

    Under the sound rule a client moves only if that raises the objective.
    """
    moved = False
    for client in order:
        before = slots.unseat(client) if client in slots.assignments else None
        after = _choose(slots, client, before)
        slots.seat(client, after)
        moved |= before is None or bool((after != before).any())
    return moved


def _choose(slots: Slots, client: int, before: Index | None) -> Index:
    """Where a client's units go, all others being seated; `before` is where they sat, if they did."""
    units = len(slots.units[client])
    if not len(slots.owners):
        return np.full(units, OWN)
    gains = slots.gains(client)
    if slots.rule.reference:
        return _assign_ranked(gains, slots.rule.limit)
    best = _assign(gains, slots.rule.limit)
    # Equal up to rounding is no reason to move: sweeps end, and ties stay where they are.
    if before is not None and _total(gains, best) <= _total(gains, before) + 1e-10 * np.abs(gains).max():
        return before
    return best


def _assign(gains: Array, limit: int | None) -> Index:
    """The injective choice of slots of the highest total gain, OWN counting zero.

    While slots may be opened freely, a unit placed at a gain below zero is better off on its own, so negative
    gains are read as zero and opened afterwards: the same optimum as with one more column for every unit.
    """
    units, count = gains.shape
    spare = max(0, units - count) if limit is None else limit - count
    open_gains = np.maximum(gains, 0) if limit is None else gains
    columns = np.concatenate([open_gains, np.zeros((units, spare))], axis=1) if spare else open_gains
    chosen = _solve(columns)
    chosen[chosen >= count] = OWN
    if limit is None:
        seated = np.flatnonzero(chosen != OWN)
        chosen[seated[gains[seated, chosen[seated]] <= 0]] = OWN
    return chosen


def _assign_ranked(gains: Array, limit: int | None) -> Index:
    """The reference's choice: a k-th new slot costs 2 log k more, and there are about 700 slots at most."""
    units, count = gains.shape
    fresh = min(units, max(700 - count, 1) if limit is None else limit - count)
    if count + fresh < units:
        raise MatchingError(
            f'hyper="reference" leaves {count + fresh} places (its limit is 700) to a client of {units} units; '
            'use hyper="empirical" or "fixed"'
        )
    ranked = np.broadcast_to(-2 * np.log(np.arange(1, fresh + 1)), (units, fresh))
    chosen = _solve(np.concatenate([gains, ranked], axis=1))
    return np.where(chosen < count, chosen, OWN)


def _solve(gains: Array) -> Index:
    """One column for every row, no column twice, of the highest sum; rows are no more than columns."""
    columns: Index = linear_sum_assignment(gains, maximize=True)[1]
    return columns


def _total(gains: Array, chosen: Index) -> float:
    seated = np.flatnonzero(chosen != OWN)
    return float(gains[seated, chosen[seated]].sum())
