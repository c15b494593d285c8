"""Which node is which client."""

from collections.abc import Mapping

from flwr.app import ConfigRecord, Message, RecordDict
from flwr.common.constant import ErrorCode
from flwr.serverapp import Grid

_LIFE = 600.0
"""Seconds after which an unanswered greeting is no longer delivered."""


class NodeRegistry:
    """The nodes that have said who they are.

    A client is known by the `partition-id` of its node. So a node that replaces another continues as the same client,
    even if it has a new key. A node without a `partition-id` gets the smallest free number.

    Attributes:
        numbers: node → client, of all nodes so far.
        online: the nodes that are there now.
        events: messages to log; the exchange that logs them removes them.
    """

    def __init__(self, grid: Grid, numbers: Mapping[int, int]) -> None:
        self.numbers = dict(numbers)
        self.online: set[int] = set()
        self.events: list[str] = []
        self._grid = grid
        self._asked: dict[int, str] = {}
        self._refused: set[int] = set()

    def look(self) -> None:
        """See who is there, and greet those who are new; their answers are heard at a later look, or at once."""
        self.online = set(self._grid.get_node_ids())
        self._refused &= self.online
        self._asked = {node: name for node, name in self._asked.items() if node in self.online}
        new = sorted(self.online - self.numbers.keys() - self._asked.keys() - self._refused)
        greeting = RecordDict({"hello": ConfigRecord()})
        messages = [Message(greeting, node, "query.hello", ttl=_LIFE) for node in new]
        if messages:
            self._asked |= dict(zip(new, self._grid.push_messages(messages), strict=True))
        if self._asked:
            # By node, so that numbers do not depend on who answers first where all answer before the next look.
            nodes = {name: node for node, name in self._asked.items()}
            replies = {
                nodes[name]: reply
                for reply in self._grid.pull_messages(list(nodes))
                if (name := reply.metadata.reply_to_message_id) in nodes
            }
            for node in sorted(replies):
                self._hear(node, replies[node])

    def node(self, client: int) -> int | None:
        """The node of a client, if it is there."""
        return next((node for node, number in self.numbers.items() if number == client and node in self.online), None)

    def _hear(self, node: int, reply: Message) -> None:
        del self._asked[node]
        if reply.has_error():
            # One that was only away is greeted again at the next look; a program that fails would fail again.
            if reply.error.code != ErrorCode.NODE_UNAVAILABLE:
                self._refused.add(node)
                self.events.append(f"node {node} is not used: error {reply.error.code}, {reply.error.reason}"[:300])
            return
        number = self._number(reply)
        taken = {number: other for other, number in self.numbers.items()}
        if number is None or taken.get(number) in self.online:
            why = (
                "its greeting cannot be read" if number is None else f"node {taken[number]} is client {number} already"
            )
            self._refused.add(node)
            self.events.append(f"node {node} is not used: {why}")
            return
        if number in taken:
            del self.numbers[taken[number]]
            self.events.append(f"client {number}: node {node} takes the place of node {taken[number]}")
        self.numbers[node] = number

    def _number(self, reply: Message) -> int | None:
        """The client number that a node reports; the lowest free number if it reports none."""
        try:
            number = int(str(reply.content.config_records["hello"]["number"]))
        except (KeyError, ValueError):
            return None
        if number == -1:
            return min(set(range(len(self.numbers) + 1)) - set(self.numbers.values()))
        return number if number >= 0 else None
