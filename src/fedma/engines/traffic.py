"""What an exchange costs, counted where messages pass."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

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
        by_client: bytes sent to each client that was asked, and by it.
    """

    down: int = 0
    up: int = 0
    exchanges: int = 0
    local_epochs: float = 0
    samples_seen: int = 0
    by_client: Mapping[int, tuple[int, int]] = field(default_factory=dict)

    def plus(self, asks: Sequence[Ask], replies: Sequence[Reply]) -> "Traffic":
        """The totals after one more exchange."""
        by_client = dict(self.by_client)
        for client, down, up in (*((a.client, a.bytes, 0) for a in asks), *((r.client, 0, r.bytes) for r in replies)):
            before = by_client.get(client, (0, 0))
            by_client[client] = (before[0] + down, before[1] + up)
        return Traffic(
            down=self.down + sum(ask.bytes for ask in asks),
            up=self.up + sum(reply.bytes for reply in replies),
            exchanges=self.exchanges + 1,
            local_epochs=_whole(self.local_epochs + max(reply.metrics["epochs"] for reply in replies)),
            samples_seen=self.samples_seen + sum(int(reply.metrics["samples_seen"]) for reply in replies),
            by_client=by_client,
        )

    def of(self, clients: Sequence[int]) -> dict[str, list[int]]:
        """What passed between the server and each of these clients, as results have it."""
        down, up = zip(*(self.by_client.get(client, (0, 0)) for client in clients), strict=True)
        return {"client_bytes_up": list(up), "client_bytes_down": list(down)}


def _whole(number: float) -> float:
    """The number to six places, as an int where it is whole."""
    return int(number) if number == int(number) else round(number, 6)
