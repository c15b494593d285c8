"""Slots, and pairs of slots, of a recurrent group during its refinement: the score of a unit depends on the others."""

from collections.abc import Sequence

import numpy as np
from torch import Tensor

from fedma.errors import InputError
from fedma.matching.arrays import Array, Index, log_beta, squares
from fedma.matching.bbp.empirical_bayes import Spread, first_guess, learn
from fedma.matching.bbp.prior import Prior
from fedma.matching.recurrent.quadratic_assignment import QuadraticAssignment


class SlotSums:
    """Vectors of units (or of pairs of units), and their sums over the owners of each slot (or pair of slots).

    As in `fedma.matching.bbp.slots.Slots`: values are centred and times the client's relative precision.
    """

    def __init__(self, clients: Sequence[Tensor], prior: Prior) -> None:
        clients = [client.detach().cpu() for client in clients]
        self.spread = Spread.of(prior, clients)
        self.guess = self.prior = first_guess(prior, self.spread)
        self.values = [prior.residuals(j, client) for j, client in enumerate(clients)]
        self.squares = [squares(values, axis=len(prior.slot)) for values in self.values]
        self.clear(0)

    def clear(self, rows: int) -> None:
        """Remove all clients, and keep this many rows."""
        self.sums, self.weight = np.zeros((rows, len(self.prior.mean))), np.zeros((rows, len(self.prior.slot)))

    def put(self, client: int, rows: Index, sign: int = 1) -> None:
        """Add a client to these rows; with sign -1, take it out of them."""
        self.sums[rows] += sign * self.values[client]
        self.weight[rows] += sign * self.prior.unit[client]

    def joining(self, client: int) -> tuple[Array, Array, Array]:
        """The gain of a vector v of the client in each row: `slopes · v + curves · v² + prices`.

        Source: Wang et al. 2020, section 2, the cost of BBP-MAP with slot values integrated out.
        """
        prior, u = self.prior, self.prior.unit[client]
        R = prior.relative_tau + self.weight
        curves = 1 / (prior.unit_scale * (R + u))
        total = squares(self.sums, axis=R.shape[1])
        prices = total * (curves - 1 / (prior.unit_scale * R)) - prior.repeat * np.log1p(u / R)
        return 2 * self.sums * curves, curves, prices.sum(axis=1)

    def learn(self) -> None:
        """The prior of highest evidence."""
        rows = self.weight.max(axis=1) > 0.5 * min(unit[unit > 0].min() for unit in self.prior.unit)
        total = squares(self.sums[rows], axis=self.weight.shape[1])
        self.prior = learn(self.prior, self.spread, weight=self.weight[rows], squares=total)

    def evidence(self) -> float:
        """Twice the log density of all values, up to a constant."""
        prior, s = self.prior, self.prior.unit_scale
        tau = prior.relative_tau
        fit = float((squares(self.sums, axis=len(tau)) / (tau + self.weight)).sum()) / s
        fit -= prior.repeat * float(np.log1p(self.weight / tau).sum())
        return fit + self.spread.log_precision - self.spread.observed * float(np.log(s)) - self.spread.square / s


class PairSlots:
    """The assignment of every client, and the objective."""

    def __init__(self, units: SlotSums, pairs: SlotSums, *, slots: int, gamma: float) -> None:
        if not 0 < gamma < np.inf:
            raise InputError(f"gamma is {gamma}; the mass of the beta process must be above 0 and finite")
        self.units, self.pairs, self.slots, self.gamma = units, pairs, slots, gamma
        self.widths = [len(values) for values in units.values]
        self.clear()

    def clear(self) -> None:
        """Take all clients out, and forget what was learnt."""
        for block, rows in ((self.units, self.slots), (self.pairs, self.slots**2)):
            block.prior = block.guess
            block.clear(rows)
        self.assignments: dict[int, Index] = {}
        self.owners = np.zeros(self.slots, dtype=np.int64)

    def assign(self, client: int, slots: Index) -> None:
        """Assign a client that has no assignment."""
        self._put(client, slots, 1)
        self.assignments[client] = slots

    def release(self, client: int) -> Index:
        """Take a client out; returns its assignment."""
        slots = self.assignments.pop(client)
        self._put(client, slots, -1)
        return slots

    def problem(self, client: int, slots: int) -> QuadraticAssignment:
        """The problem of assigning a client that was taken out to the first `slots` slots."""
        slopes, curves, prices = (part[:slots] for part in self.units.joining(client))
        gains = self.units.values[client] @ slopes.T + self.units.squares[client] @ curves.T
        gains += prices + self._popularity()[:slots]
        n = self.widths[client]
        values = np.concatenate([self.pairs.values[client], self.pairs.squares[client]], axis=1)
        slopes, curves, prices = self.pairs.joining(client)
        right = np.concatenate([slopes, curves], axis=1).T.reshape(-1, self.slots, self.slots)
        between = prices.reshape(self.slots, self.slots)[:slots, :slots]
        return QuadraticAssignment(gains, values.T.reshape(-1, n, n), right[:, :slots, :slots], between)

    def learn(self) -> None:
        """The variances of highest evidence, of units and of pairs."""
        self.units.learn()
        self.pairs.learn()

    def objective(self) -> float:
        """Twice the log joint density of weights and assignments, up to a constant; every client is assigned."""
        J, m = len(self.widths), self.owners[self.owners > 0]
        popularity = 2 * float(log_beta(m, J - m + 1).sum())
        popularity += 2 * len(m) * float(np.log(self.gamma))
        return self.units.evidence() + self.pairs.evidence() + popularity

    def _popularity(self) -> Array:
        J, m = len(self.widths), self.owners
        return 2 * np.log(np.where(m > 0, np.maximum(m, 1) / (J - m), self.gamma / J))

    def _put(self, client: int, slots: Index, sign: int) -> None:
        self.units.put(client, slots, sign)
        self.pairs.put(client, (slots[:, None] * self.slots + slots).ravel(), sign)
        self.owners[slots] += sign
