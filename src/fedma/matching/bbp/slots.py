"""The slots of the global model during a matching: their sums, weights and owners, and how units are scored in them."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from torch import Tensor

from fedma.matching.arrays import Array, Index, log_beta, squares
from fedma.matching.bbp.empirical_bayes import Spread
from fedma.matching.bbp.prior import Prior

OWN = -1
"""Stands for "a new slot" in assignments."""

_BLOCK = 2**22
"""Numbers in a temporary copy of slots (32 MiB): products with more slots are computed block by block."""

_KEPT = 2**26
"""Numbers in the products that are kept from sweep to sweep (512 MiB), over all clients."""

_NOISY = 0.01
"""Units are noisy if their variance around their slot is more than this share of the slots' own."""

_SINGLE = (1e-24, 1e24)
"""Variances of units, times relative precision squared, at which float32 has room for their products with slots."""


@dataclass(frozen=True)
class Scoring:
    """How a unit in a slot is scored, apart from the fit of its features.

    Attributes:
        gamma: mass of the beta process; larger opens more slots.
        clients: how many clients there are (J).
        reference: whether to score as the public reference code does, which ascends no objective.
        limit: how many slots there may be, or None.
        rough: whether inner products are taken in float32 while units are noisy. Where they are not noisy, a unit's fit
            is the small difference of large products.
    """

    gamma: float
    clients: int
    reference: bool = False
    limit: int | None = None
    rough: bool = False

    def popularity(self, owners: Index) -> Array:
        """2 log(m / (J - m)) for m owners.

        The reference code drops the 2 and counts no more than ten owners.
        """
        if self.reference:
            owners = np.minimum(owners, 10)
            return np.log(owners / (self.clients - owners))
        return 2 * np.log(owners / (self.clients - owners))


class Products:
    """One client's inner products with the sums of all others, units × rows, and these sums' squared norms.

    Those of a row hold as long as the row's stamp is the one at which they were computed. `squares`, units × 1, are
    the squared norms of the units themselves.
    """

    def __init__(self, squares: Array) -> None:
        self.squares = squares
        self.values, self.norms = np.empty((len(squares), 0)), np.empty((0, 1))
        self._seen = np.empty(0, dtype=np.int64)

    def reach(self, rows: int) -> None:
        """Make room for as many rows."""
        more = rows - len(self._seen)
        if more > 0:
            values = np.empty((len(self.squares), rows))
            values[:, : len(self._seen)] = self.values
            self.values = values
            self.norms = np.concatenate([self.norms, np.empty((more, 1))])
            self._seen = np.concatenate([self._seen, np.full(more, -1)])

    def stale(self, rows: Index, stamps: Index) -> Index:
        """The rows that have changed since."""
        return rows[self._seen[rows] != stamps[rows]]

    def trust(self, rows: Index, stamps: Index) -> None:
        """Mark these rows as up to date."""
        rows = rows[rows < len(self._seen)]
        self._seen[rows] = stamps[rows]


class Slots:
    """The slots: their sums, weights and owners, and the row of each client's units.

    Values are centred on the prior mean. Slot i keeps S_i = Σ u_j (w_jl − mu0) and U_i = Σ u_j over its owners, where
    u_j is the client's *relative* precision. Learning the scales of the prior changes neither. `sums` is rows ×
    features, `weight` is rows × precision axis. A slot keeps its row while others vanish. `rows` holds the rows in use,
    in the slots' order.

    Clients are read one at a time and never copied as a whole. Where precisions do not vary over the features, products
    are kept: those with a slot are computed again only after another client has joined or left it.
    """

    def __init__(self, clients: Sequence[Tensor], prior: Prior, scoring: Scoring) -> None:
        self.clients, self.scoring = clients, scoring
        self.sums, self.weight = np.zeros((0, len(prior.mean))), np.zeros((0, len(prior.slot)))
        self.owners, self.rows = np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.int64)
        self.unit_rows: dict[int, Index] = {}
        self._stamps = np.zeros(0, dtype=np.int64)
        self._precise, self._room = True, _KEPT
        self._products: dict[int, Products] = {}
        self._norms: dict[int, Array] = {}
        self._last: tuple[int, Array] = (OWN, self.sums)
        self.believe(prior)

    def believe(self, prior: Prior) -> None:
        """Score by this prior from now on; only its scales may differ from those of the one before."""
        least, most = min(unit.min() for unit in prior.unit), max(unit.max() for unit in prior.unit)
        noisy = prior.relative_tau.min() > _NOISY * most
        fits = _SINGLE[0] < least * prior.unit_scale and most * prior.unit_scale < _SINGLE[1]
        self.prior, precise = prior, not (self.scoring.rough and noisy and fits)
        if precise != self._precise:
            self._precise, self._room = precise, _KEPT
            self._products.clear()

    @property
    def rounding(self) -> float:
        """Relative error of gains."""
        return 1e-10 if self._precise else 1e-6

    def assignments(self) -> list[Index]:
        """The slot of every unit, client by client."""
        slot = np.empty(len(self.owners), dtype=np.int64)
        slot[self.rows] = np.arange(len(self.rows))
        return [slot[self.unit_rows[client]] for client in range(len(self.clients))]

    def open_to(self, client: int) -> Index:
        """The rows of the slots that others own, which the client's units can join."""
        return self.rows[self.owners[self.rows] > self._mine(client, self.rows)]

    def rows_of(self, client: int) -> Index | None:
        """The row of each of a client's units, OWN for those alone there; None for a client without assignment."""
        rows = self.unit_rows.get(client)
        return None if rows is None else np.where(self.owners[rows] > 1, rows, OWN)

    def assign(self, client: int, rows: Index) -> None:
        """Move a client's units to rows, or to slots of their own: these come last, in the order of the units.

        Only units that move are touched; one that was alone and stays so keeps its row.
        """
        kept, present = self.open_to(client), self.rows_of(client)
        before = self.unit_rows.get(client, rows[:0])
        after = rows.copy() if present is None else np.where(rows == present, before, rows)
        moved = np.arange(len(rows)) if present is None else np.flatnonzero(rows != present)
        values = self._read(client)[moved] if len(moved) else self.sums[:0]
        left = before[moved] if present is not None else before
        self._add(client, left, -values[: len(left)], -1)
        after[after == OWN] = self._free(int((after == OWN).sum()))
        self._add(client, after[moved], values, 1)
        self.unit_rows[client] = after
        self.rows = np.concatenate([kept, after[rows == OWN]])
        if client in self._products:  # its own moves change nothing in what it sees of the others
            self._products[client].trust(np.concatenate([left, after[moved]]), self._stamps)

    def gains(self, client: int, rows: Index) -> Array:
        """Units × rows: by how much a unit in one of these rows scores above the same unit in a slot of its own.

        Source: Wang et al. 2020, section 2, the cost of BBP-MAP, its squares expanded into matrix products.
            Departures: slot values are integrated out (hence the log-determinants), unless `reference`; popularity
            as in `Scoring.popularity`.
        """
        u, tau = self.prior.unit[client], self.prior.relative_tau
        gains, squares = self._shared_fit(client, rows) if len(tau) == 1 else self._fit(client, rows)
        own = squares @ (1 / (tau + u)) / self.prior.unit_scale + 2 * np.log(self.scoring.gamma / self.scoring.clients)
        if not self.scoring.reference:
            own -= self.prior.repeat * np.log(1 + u / tau).sum()
        gains += self.scoring.popularity(self.owners[rows] - self._mine(client, rows))
        gains -= own[:, None]
        return gains

    def squares(self) -> Array:
        """Slots × precision axis: the squares of the sums."""
        return squares(self.sums, axis=self.weight.shape[1])[self.rows]

    def weights(self) -> Array:
        """Slots × precision axis: the relative precision of each slot's owners, summed."""
        return self.weight[self.rows]

    def means(self) -> Array:
        """The slots' posterior means."""
        means = self.sums[self.rows] / (self.prior.relative_tau + self.weight[self.rows])
        means += self.prior.mean
        return means

    def objective(self, spread: Spread) -> float:
        """What `match` documents: twice the log joint density, or F plus prior under the reference's rule."""
        J, s, m, tau = self.scoring.clients, self.prior.unit_scale, self.owners[self.rows], self.prior.relative_tau
        weight, mean = self.weight[self.rows], self.prior.mean
        fit = float((self.squares() / (tau + weight)).sum()) / s
        fit += 2 * float(log_beta(m, J - m + 1).sum())
        fit += 2 * len(m) * float(np.log(self.scoring.gamma))
        if self.scoring.reference:  # from values centred on mu0, as they are here, back to H and h0
            return fit + float((2 * self.sums.sum(axis=0) * mean + weight.sum(axis=0) * mean**2).sum()) / s
        fit -= self.prior.repeat * float(np.log(1 + weight / tau).sum())
        return fit + spread.log_precision - spread.observed * float(np.log(s)) - spread.square / s

    def _shared_fit(self, client: int, rows: Index) -> tuple[Array, Array]:
        """Units × rows: what the features say, all of one precision; and the units' squares."""
        seen = self._up_to_date(client, rows)
        R, joined = self._precisions(client, rows)
        fit = np.take(seen.values, rows, axis=1)  # unlike values[:, rows], row after row in memory
        fit += seen.squares / 2
        fit *= 2 * joined.T
        fit += self._slot_terms(client, R, seen.norms[rows])
        return fit, seen.squares

    def _fit(self, client: int, rows: Index) -> tuple[Array, Array]:
        """The same where precisions vary over the features."""
        values = self._read(client)
        squares, fit = values**2, np.empty((len(values), len(rows)))
        for part in self._blocks(len(rows)):
            R, joined = self._precisions(client, rows[part])
            sums = self._others(client, rows[part], values)
            fit[:, part] = values @ (2 * sums * joined).T + squares @ joined.T
            fit[:, part] += self._slot_terms(client, R, sums**2)
        return fit, squares

    def _slot_terms(self, client: int, R: Array, squares: Array) -> Array:
        """For each slot, what joining it is worth apart from the unit's features."""
        u = self.prior.unit[client]
        terms = squares * (1 / (R + u) - 1 / R) / self.prior.unit_scale
        if not self.scoring.reference:
            terms -= self.prior.repeat * np.log(1 + u / R)
        return terms.sum(axis=1)

    def _precisions(self, client: int, rows: Index) -> tuple[Array, Array]:
        """Relative precision of slots without the client, and the variance with one unit of the client more."""
        u = self.prior.unit[client]
        R = self.prior.relative_tau + self.weight[rows]
        R[self._mine(client, rows)] -= u
        R = np.maximum(R, self.prior.relative_tau)  # against rounding where precisions are far apart
        return R, 1 / (self.prior.unit_scale * (R + u))

    def _up_to_date(self, client: int, rows: Index) -> Products:
        """The client's products, valid in these rows."""
        products = self._products.get(client) or self._new_products(client)
        products.reach(len(self.owners))
        stale = products.stale(rows, self._stamps)
        if len(stale):
            values = self._read(client)
            for part in self._blocks(len(stale)):
                sums = self._others(client, stale[part], values)
                products.values[:, stale[part]] = self._product(values, sums)
                products.norms[stale[part]] = squares(sums, axis=1)
            products.trust(stale, self._stamps)
        return products

    def _product(self, values: Array, sums: Array) -> npt.NDArray[np.floating[Any]]:
        """Units × slots."""
        if self._precise:
            return values @ sums.T
        return values.astype(np.float32) @ sums.astype(np.float32).T

    def _new_products(self, client: int) -> Products:
        """Products that are still to be computed; kept where there is room."""
        if client not in self._norms:
            self._norms[client] = squares(self._read(client), axis=1)
        products = Products(self._norms[client])
        size = len(self._norms[client]) * max(2 * len(self.owners), self.scoring.limit or 0)  # it will grow
        if size <= self._room:
            self._room -= size
            self._products[client] = products
        return products

    def _others(self, client: int, rows: Index, values: Array) -> Array:
        """The sums of these rows without the client, whose values are given."""
        sums = self.sums[rows]
        mine = np.flatnonzero(self._mine(client, rows))
        unit = np.empty(len(self.owners), dtype=np.int64)
        unit[self.unit_rows.get(client, rows[:0])] = np.arange(len(values) if client in self.unit_rows else 0)
        sums[mine] -= values[unit[rows[mine]]]
        return sums

    def _mine(self, client: int, rows: Index) -> npt.NDArray[np.bool_]:
        """Which of these rows the client owns."""
        owned = np.zeros(len(self.owners), dtype=bool)
        owned[self.unit_rows.get(client, rows[:0])] = True
        return owned[rows]

    def _read(self, client: int) -> Array:
        """A client's units around the prior mean; the last one read is at hand."""
        if self._last[0] != client:
            self._last = client, self.prior.residuals(client, self.clients[client])
        return self._last[1]

    def _blocks(self, rows: int) -> Iterator[slice]:
        step = max(1, _BLOCK // len(self.prior.mean))
        return (slice(start, start + step) for start in range(0, rows, step))

    def _add(self, client: int, rows: Index, values: Array, sign: int) -> None:
        """Put units into rows (sign 1) or take them out (-1); rows left empty are exactly zero."""
        self.sums[rows] += values
        self.weight[rows] += sign * self.prior.unit[client]
        self.owners[rows] += sign
        self._stamps[rows] = self._stamps.max(initial=0) + 1
        empty = rows[self.owners[rows] == 0]
        self.sums[empty], self.weight[empty] = 0, 0

    def _free(self, count: int) -> Index:
        """The first rows that no slot is in; more are added if need be."""
        missing = count - np.count_nonzero(self.owners == 0)
        if missing > 0:
            more = max(missing, len(self.owners) // 4)
            self.sums, self.weight, self.owners, self._stamps = (
                np.concatenate([old, np.zeros((more, *old.shape[1:]), old.dtype)])
                for old in (self.sums, self.weight, self.owners, self._stamps)
            )
        return np.flatnonzero(self.owners == 0)[:count]
