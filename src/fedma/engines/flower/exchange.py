"""One exchange with the available clients: absent, slow, restarted or broken clients do not delay the others."""

import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

from flwr.app import Message
from flwr.common.constant import ErrorCode
from flwr.serverapp import Grid

from fedma.algorithms import Ask, Reply
from fedma.algorithms.replies import Expected, fault_in, out_of_line
from fedma.engines.flower.node_registry import NodeRegistry
from fedma.engines.flower.records import Request, read
from fedma.errors import ReplyError

CLIENT_ATTEMPTS = 3
"""How many times a client is asked that answers with errors."""


@dataclass(frozen=True, eq=False)
class RecoverableRequest:
    """What one client is asked in an exchange.

    Attributes:
        first: what it is sent first.
        recovery: what it is sent if it does not hold the weights that the request presumes: all that makes them again.
    """

    first: Request
    recovery: Request


@dataclass
class Outcome:
    """What came of an exchange.

    Attributes:
        replies: by client.
        missing: by client, why it has no reply.
        sent: all asks that were sent.
        events: what else happened, in words.
    """

    replies: dict[int, Reply] = field(default_factory=dict)
    missing: dict[int, str] = field(default_factory=dict)
    sent: list[Ask] = field(default_factory=list)
    events: list[str] = field(default_factory=list)


class Exchange:
    """An exchange under way."""

    def __init__(
        self,
        grid: Grid,
        registry: NodeRegistry,
        requests: Mapping[int, RecoverableRequest],
        *,
        deadline: float,
        patience: float,
        expected: Expected,
        pause: float = 1.0,
    ) -> None:
        """An exchange with the clients that have requests.

        Args:
            grid: Flower's grid, which reaches the clients.
            registry: the client number of each node.
            requests: the requests by client.
            deadline: seconds after which the exchange stops waiting for replies.
            patience: seconds that a client may be away before it is left out.
            expected: what correct replies look like.
            pause: seconds between two polls of the grid.
        """
        self._grid, self._registry, self._requests, self._expected = grid, registry, requests, expected
        self._deadline, self._patience, self._pause = deadline, patience, pause
        self._outgoing = {client: request.first for client, request in requests.items()}
        self._pending: dict[str, int] = {}
        self._errors = Counter[int]()
        self._gone: dict[int, float] = {}
        self.outcome = Outcome()

    def run(self) -> Outcome:
        """What came of it, when all have answered, are given up, or the deadline has passed."""
        end = time.monotonic() + self._deadline
        while True:
            self._registry.look()
            self._send(end - time.monotonic())
            heard = self._hear()
            self._give_up()
            if self.outcome.replies.keys() | self.outcome.missing.keys() == self._requests.keys():
                break
            if time.monotonic() >= end:
                late = self._requests.keys() - self.outcome.replies.keys() - self.outcome.missing.keys()
                self.outcome.missing |= dict.fromkeys(sorted(late), f"no answer within {self._deadline:g} s")
                break
            if not heard:
                time.sleep(self._pause)
        self._compare()
        self.outcome.events += self._registry.events
        self._registry.events.clear()
        return self.outcome

    def _send(self, life: float) -> None:
        """Send the waiting requests to the clients that are available."""
        there = {client: node for client in self._outgoing if (node := self._registry.node(client)) is not None}
        messages = [
            Message(self._outgoing[client].to_records(), node, "train.ask", ttl=max(life, 1.0))
            for client, node in there.items()
        ]
        names = list(self._grid.push_messages(messages)) if messages else []
        for client, name in zip(there, names, strict=False):
            if name:
                self._pending[name] = client
                self.outcome.sent += self._outgoing.pop(client).asks

    def _hear(self) -> bool:
        """Take the replies that have come; whether there were any."""
        replies = list(self._grid.pull_messages(list(self._pending))) if self._pending else []
        for reply in replies:
            # An error's sender is the SuperLink, so clients are known by the message that is answered.
            client = self._pending.pop(reply.metadata.reply_to_message_id, None)
            if client is None:
                continue
            if reply.has_error():
                self._failed(client, reply.error.code, reply.error.reason or "")
            else:
                self._answered(client, reply)
        return bool(replies)

    def _answered(self, client: int, message: Message) -> None:
        request = self._requests[client]
        ask = request.first.asks[-1]
        try:
            reply = read(message.content, client=client, tag=request.first.tag)
            if isinstance(reply, str):
                self._told(client, f"{reply}, it is sent all that it needs")
                self._again(client)
                return
            if fault := fault_in(reply, ask, self._expected):
                raise ReplyError(str(fault))
        except ReplyError as error:
            self.outcome.missing[client] = f"refused: {error}"
            return
        self.outcome.replies[client] = reply

    def _compare(self) -> None:
        """Refuse replies that are far out of line with the others; each was checked by itself when it came."""
        for fault in out_of_line(list(self.outcome.replies.values()), self._expected.graph):
            del self.outcome.replies[fault.client]
            self.outcome.missing[fault.client] = f"refused: {fault}"

    def _failed(self, client: int, code: int, reason: str) -> None:
        """Ask again: a node that is gone may come back, and a program that failed may succeed."""
        reason = "its node is gone" if code == ErrorCode.NODE_UNAVAILABLE else f"error {code}, {reason}"[:300]
        self._told(client, reason)
        self._again(client, reason=reason)

    def _again(self, client: int, *, reason: str = "") -> None:
        """Ask once more; a client that lost its weights (no reason) is sent all that restores them."""
        self._errors[client] += 1
        if self._errors[client] == CLIENT_ATTEMPTS:
            self.outcome.missing[client] = reason or "it loses its weights, time after time"
            return
        self._outgoing[client] = self._requests[client].first if reason else self._requests[client].recovery

    def _give_up(self) -> None:
        """Give up the clients that have been away for too long."""
        for client in list(self._outgoing):
            if self._registry.node(client) is not None:
                self._gone.pop(client, None)
            elif time.monotonic() - self._gone.setdefault(client, time.monotonic()) >= self._patience:
                del self._outgoing[client]
                self.outcome.missing[client] = f"absent for {self._patience:g} s"

    def _told(self, client: int, what: str) -> None:
        self.outcome.events.append(f"client {client}: {what}")
