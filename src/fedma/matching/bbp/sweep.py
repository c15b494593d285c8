"""The sweeps of beta-Bernoulli process matching: each client in turn is reassigned, given all others."""

from collections.abc import Iterable

import numpy as np

from fedma.errors import MatchingError
from fedma.matching.arrays import Array, Index, best_columns
from fedma.matching.bbp.slots import OWN, Slots

_REFERENCE_WIDTH = 700
_FIRST_COLUMNS = 16


def sweep(slots: Slots, order: Iterable[int]) -> bool:
    """Reassign each client, given all others.

    Unless scored as by the reference code, a client moves only if that raises the objective.

    Args:
        slots: the present assignments, changed in place.
        order: the clients, in the order in which they are assigned.

    Returns:
        Whether any client moved.
    """
    moved = False
    for client in order:
        before = slots.rows_of(client)
        after = _choose(slots, client, before)
        slots.assign(client, after)
        moved |= before is None or bool((after != before).any())
    return moved


def _choose(slots: Slots, client: int, before: Index | None) -> Index:
    """The rows to which a client's units go, given all others; `before` are their present rows, if they have any."""
    rows = slots.open_to(client)
    if not len(rows):
        return np.full(len(slots.clients[client]), OWN)
    gains = slots.gains(client, rows)
    if slots.scoring.reference:
        return _rows(_assign_ranked(gains, slots.scoring.limit), rows)
    best = _assign(gains, slots.scoring.limit, alone=0 if before is None else int((before == OWN).sum()))
    if before is not None:
        column = np.full(len(slots.owners) + 1, OWN)  # its last entry is that of OWN
        column[rows] = np.arange(len(rows))
        # Gains equal up to rounding move no client, so that sweeps end and ties stay.
        if _total(gains, best) <= _total(gains, column[before]) + slots.rounding * max(gains.max(), -gains.min()):
            return before
    return _rows(best, rows)


def _rows(columns: Index, rows: Index) -> Index:
    return np.where(columns == OWN, OWN, rows[columns])


def _assign(gains: Array, limit: int | None, *, alone: int) -> Index:
    """The injective choice of columns of the highest total gain, OWN counting zero, at most `limit` slots in all.

    While slots may be opened freely, a unit with a gain below zero is better off on its own. So negative gains are read
    as zero, and such units open slots afterwards. The optimum is the same as with one more column for every unit. It is
    the optimum under a limit, too, unless it breaks the limit. It does so for certain where the units that were `alone`
    before reached the limit already.
    """
    units, count = gains.shape
    spare = units if limit is None else min(limit - count, units)
    if alone < spare:
        chosen = _solve(gains, max(0, units - count), least=0.0)
        chosen[chosen >= count] = OWN
        joined = np.flatnonzero(chosen != OWN)
        chosen[joined[gains[joined, chosen[joined]] <= 0]] = OWN
        if np.count_nonzero(chosen == OWN) <= spare:
            return chosen
    chosen = _solve(gains, spare)
    chosen[chosen >= count] = OWN
    return chosen


def _assign_ranked(gains: Array, limit: int | None) -> Index:
    """The reference's choice: a k-th new slot costs 2 log k more, and there are about 700 slots at most.

    No new slot is used while one of a lower price is left, so only the first few are tried at first.
    """
    units, count = gains.shape
    fresh = min(units, max(_REFERENCE_WIDTH - count, 1) if limit is None else limit - count)
    if count + fresh < units:
        raise MatchingError(
            f'hyper="reference" leaves {count + fresh} slots (its limit is {_REFERENCE_WIDTH}) to a client of '
            f'{units} units; use hyper="empirical" or "fixed"'
        )
    tried = min(fresh, max(_FIRST_COLUMNS, units - count))
    while True:
        chosen = _solve(gains, tried, prices=2 * np.log(np.arange(1, tried + 1)))
        chosen[chosen >= count] = OWN
        if tried == fresh or np.count_nonzero(chosen == OWN) < tried:
            return chosen
        tried = min(fresh, 2 * tried)


def _solve(gains: Array, columns: int, *, prices: Array | float = 0.0, least: float = -np.inf) -> Index:
    """One column for every row, no column twice, of the highest sum: first those of the gains, then further ones.

    There are no more rows than columns. No gain counts less than `least`; each further column costs its price.
    """
    units, count = gains.shape
    costs = np.empty((units, count + columns))
    np.negative(gains, out=costs[:, :count])
    if least > -np.inf:
        np.minimum(costs[:, :count], -least, out=costs[:, :count])
    costs[:, count:] = prices
    if not np.isfinite(costs).all():
        raise MatchingError("weights or variances are so far apart that scores overflow; rescale them")
    return best_columns(costs)


def _total(gains: Array, chosen: Index) -> float:
    joined = np.flatnonzero(chosen != OWN)
    return float(gains[joined, chosen[joined]].sum())
