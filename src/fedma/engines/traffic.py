"""What an exchange costs, counted where messages pass."""

from collections.abc import Sequence
from dataclasses import dataclass

from fedma.algorithms import Ask, Reply


@dataclass(frozen=True)
class Traffic:
    """Totals over all clients and exchanges so far.

    Attributes:
        down: bytes sent to clients.
        up: bytes sent by clients.
        exchanges: how many.
        local_epochs: epochs of one client that takes part in all of them, the busiest in each.
        samples_seen: training samples passed through a model, all clients together.
    """

    down: int = 0
    up: int = 0
    exchanges: int = 0
    local_epochs: int = 0
    samples_seen: int = 0

    def plus(self, asks: Sequence[Ask], replies: Sequence[Reply]) -> "Traffic":
        """The totals after one more exchange."""
        return Traffic(
            down=self.down + sum(ask.bytes for ask in asks),
            up=self.up + sum(reply.bytes for reply in replies),
            exchanges=self.exchanges + 1,
            local_epochs=self.local_epochs + max(int(reply.metrics["epochs"]) for reply in replies),
            samples_seen=self.samples_seen + sum(int(reply.metrics["samples_seen"]) for reply in replies),
        )
