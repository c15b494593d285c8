"""Callbacks: objects that hear of the progress of a run."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from fedma.algorithms import Reply


@dataclass(frozen=True)
class ExchangeStart:
    """An exchange that begins.

    Attributes:
        method: its name.
        round: its round, from 1.
        rounds: how many there will be; None where that is not known.
        step: the exchange within the round, from 1.
        steps: exchanges in a round.
        clients: how many are asked.
        bytes: sent so far, this exchange's asks included.
    """

    method: str
    round: int
    rounds: int | None
    step: int
    steps: int
    clients: int
    bytes: int


class Callback(Protocol):
    """Hears of the progress of a run: every method is called in the main process, in order."""

    def exchange(self, exchange: ExchangeStart) -> None:
        """An exchange begins: clients are asked."""

    def reply(self, reply: Reply) -> None:
        """A client has answered."""

    def result(self, line: Mapping[str, Any]) -> None:
        """A model was evaluated; the line that goes into results.jsonl."""


class Silent:
    """A callback that does nothing."""

    def exchange(self, exchange: ExchangeStart) -> None:
        """Nothing."""

    def reply(self, reply: Reply) -> None:
        """Nothing."""

    def result(self, line: Mapping[str, Any]) -> None:
        """Nothing."""


SILENT: Callback = Silent()
