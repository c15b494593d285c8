"""Inner products of clients' units with slots, kept from sweep to sweep."""

import numpy as np

from fedma.matching.arrays import Array, Index


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
