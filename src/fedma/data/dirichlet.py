"""The paper's uneven division: each class spread over the clients by a draw from a Dirichlet distribution."""

import numpy as np
from numpy.typing import NDArray

from fedma.errors import InputError

REDRAWS = 1000

Rows = NDArray[np.int64]


def paper_dirichlet(
    labels: Rows, clients: int, *, alpha: float, min_samples: int, rng: np.random.Generator
) -> list[Rows]:
    """The rows of each client, every row once, every client at least `min_samples`.

    For each class, shuffle its samples and draw the clients' shares from Dirichlet(alpha). Set the shares of clients
    that already hold their even part (samples / clients) to zero, rescale the others and cut. The whole division is
    drawn again until every client has enough.

    Raises:
        InputError: `REDRAWS` draws were not enough.
    Source: the public reference code (`hetero-dir`), which asks for 10 samples a client and redraws for ever.
        Departures: none in the rule; the number of redraws is bounded.
    """
    for _ in range(REDRAWS):
        parts = _draw(labels, clients, alpha, rng)
        if parts is not None and min(map(len, parts)) >= min_samples:
            return [rng.permutation(part) for part in parts]
    raise too_uneven(clients, alpha, min_samples)


def too_uneven(clients: int, alpha: float, min_samples: int) -> InputError:
    """The error to raise when no draw gives every client enough."""
    return InputError(
        f"no division drawn with alpha = {alpha} gives each of {clients} clients {min_samples} samples or more; "
        "take a less extreme alpha, fewer clients, a lower min_samples, or another seed"
    )


def _draw(labels: Rows, clients: int, alpha: float, rng: np.random.Generator) -> list[Rows] | None:
    """One draw, or None where all shares left for a class vanish (a tiny alpha)."""
    held = np.zeros(clients, dtype=np.int64)
    pieces: list[list[Rows]] = [[] for _ in range(clients)]
    for label in np.unique(labels):
        rows = np.flatnonzero(labels == label)
        rng.shuffle(rows)
        shares = rng.dirichlet(np.full(clients, alpha)) * (held < len(labels) / clients)
        total = shares.sum()
        if not 0 < total < np.inf:
            return None
        cuts = (np.cumsum(shares / total) * len(rows)).astype(np.int64)[:-1]
        for client, piece in enumerate(np.split(rows, cuts)):
            pieces[client].append(piece)
            held[client] += len(piece)
    return [np.concatenate(piece) for piece in pieces]
