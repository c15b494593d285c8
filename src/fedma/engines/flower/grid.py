"""A Flower grid within this process: the clients of one ClientApp, asked one after the other, without Ray."""

import itertools
from collections.abc import Iterable, Mapping

from flwr.app import Context, Error, Message, RecordDict
from flwr.app.user_config import UserConfig
from flwr.clientapp import ClientApp
from flwr.common.constant import ErrorCode
from flwr.serverapp import Grid
from flwr.supercore.run import Run
from flwr.supercore.task_identity import TaskIdentity


class InProcessGrid(Grid):
    """For tests, and for trying an app out: every message is answered when it is sent.

    Attributes:
        contexts: of each node, by its number; what a client remembers is in there.
        online: the nodes that are there.
    """

    def __init__(self, app: ClientApp, nodes: int, *, run_config: Mapping[str, str | int | float | bool] = {}) -> None:
        """A grid of nodes with partitions from 0.

        Args:
            app: what each of them runs.
            nodes: how many.
            run_config: as in the app's pyproject.toml.
        """
        # Messages are stamped with the process's task, which a deployed app is given when it starts.
        TaskIdentity.task_id = TaskIdentity.run_id = TaskIdentity.node_id = 1
        self.app = app
        self.contexts = {
            101 + partition: self._context(101 + partition, partition, nodes, dict(run_config))
            for partition in range(nodes)
        }
        self.online = set(self.contexts)
        self._numbers = itertools.count()
        self._replies: dict[str, Message] = {}
        self._run = Run.create_empty(1)

    def _context(self, node: int, partition: int, nodes: int, run_config: UserConfig) -> Context:
        config: UserConfig = {"partition-id": partition, "num-partitions": nodes}
        return Context(1, node, config, RecordDict(), run_config)

    def set_run(self, run: Run) -> None:
        """Nothing here depends on the run."""
        self._run = run

    @property
    def run(self) -> Run:
        """Run information."""
        return self._run

    def create_message(
        self, content: RecordDict, message_type: str, dst_node_id: int, group_id: str, ttl: float | None = None
    ) -> Message:
        """A message; the same as its constructor."""
        return Message(content, dst_node_id, message_type, ttl=ttl, group_id=group_id)

    def get_node_ids(self) -> Iterable[int]:
        """The nodes that are there."""
        return sorted(self.online)

    def push_messages(self, messages: Iterable[Message]) -> Iterable[str]:
        """Let the clients answer; the messages' names."""
        return [self._push(message) for message in messages]

    def pull_messages(self, message_ids: Iterable[str]) -> Iterable[Message]:
        """The replies to these messages that have come."""
        return [self._replies.pop(name) for name in list(message_ids) if name in self._replies]

    def send_and_receive(self, messages: Iterable[Message], *, timeout: float | None = None) -> Iterable[Message]:
        """The clients' replies."""
        return self.pull_messages(self.push_messages(messages))

    def answer(self, message: Message) -> Message | None:
        """A client's reply, an error where it fails; None would be a client that does not answer."""
        node = message.metadata.dst_node_id
        if node not in self.online:
            return Message(Error(ErrorCode.NODE_UNAVAILABLE, "the node is not there"), reply_to=message)
        try:
            return self.app(message, self.contexts[node])
        except Exception as error:
            return Message(
                Error(ErrorCode.CLIENT_APP_RAISED_EXCEPTION, f"{type(error).__name__}: {error}"), reply_to=message
            )

    def _push(self, message: Message) -> str:
        name = message.metadata.__dict__["_message_id"] = str(next(self._numbers))
        reply = self.answer(message)
        if reply is not None:
            self._replies[name] = reply
        return name
