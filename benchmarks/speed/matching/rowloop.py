"""The matching of hyper="reference" gone about as the public reference code does: a loop over the rows of each client.

Written from a description of its rules, in float64 throughout (its own costs are float32, which halves the time of
this loop). It is here to be timed and to be agreed with.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
from scipy.optimize import linear_sum_assignment


@dataclass
class RowLoop:
    """All clients' units, the slots' natural parameters, and who sits where; sigma = sigma0 = 1, mu0 = 0."""

    clients: list[np.ndarray]
    gamma: float = 7.0
    sums: np.ndarray = field(init=False)
    precision: np.ndarray = field(init=False)
    owners: list[int] = field(default_factory=list)
    seats: dict[int, list[int]] = field(default_factory=dict)

    def run(self, orders: list[list[int]]) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
        """Match; after each solve yields the client's units, the sums that they were held against and the scores."""
        features = self.clients[0].shape[1]
        self.sums, self.precision = np.zeros((0, features)), np.ones((0, features))
        first, *rest = sorted(range(len(self.clients)), key=lambda client: -len(self.clients[client]))
        self.seat(first, list(range(len(self.clients[first]))))
        for client in [*rest, *(client for order in orders for client in order)]:
            if client in self.seats:
                self.remove(client)
            held = self.sums
            scores = self.scores(client)
            self.seat(client, linear_sum_assignment(scores, maximize=True)[1].tolist())
            yield self.clients[client], held, scores

    def scores(self, client: int) -> np.ndarray:
        """Units × (slots, then new slots)."""
        units, slots = self.clients[client], len(self.owners)
        J, counts = len(self.clients), np.minimum(self.owners, 10)
        fresh = min(len(units), max(700 - slots, 1))
        held = (self.sums**2 / self.precision).sum(axis=1)
        popularity = np.log(counts / (J - counts))
        new = 2 * np.log(self.gamma / J) - 2 * np.log(np.arange(1, fresh + 1))
        scores = np.empty((len(units), slots + fresh))
        for row, unit in enumerate(units):
            scores[row, :slots] = ((unit + self.sums) ** 2 / (1 + self.precision)).sum(axis=1) - held + popularity
            scores[row, slots:] = (unit**2 / 2).sum() + new
        return scores

    def seat(self, client: int, columns: list[int]) -> None:
        """Put each unit where it was assigned; a column beyond the slots opens a slot at the end."""
        slots, seats = len(self.owners), []
        for unit, column in zip(self.clients[client], columns, strict=True):
            if column < slots:
                self.sums[column] += unit
                self.precision[column] += 1
                self.owners[column] += 1
                seats.append(column)
            else:
                self.sums = np.vstack([self.sums, unit])
                self.precision = np.vstack([self.precision, np.full(len(unit), 2.0)])
                self.owners.append(1)
                seats.append(len(self.owners) - 1)
        self.seats[client] = seats

    def remove(self, client: int) -> None:
        """Take a client's units out; slots left empty vanish and the others are numbered anew."""
        for unit, seat in zip(self.clients[client], self.seats.pop(client), strict=True):
            self.sums[seat] -= unit
            self.precision[seat] -= 1
            self.owners[seat] -= 1
        kept = [slot for slot, owners in enumerate(self.owners) if owners]
        number = {slot: new for new, slot in enumerate(kept)}
        self.sums, self.precision = self.sums[kept], self.precision[kept]
        self.owners = [self.owners[slot] for slot in kept]
        self.seats = {other: [number[slot] for slot in seats] for other, seats in self.seats.items()}
