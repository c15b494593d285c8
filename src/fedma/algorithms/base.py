"""What every algorithm has in common: it asks clients, and takes what they answer. It knows no engine and no file."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import torch
from torch import Tensor

from fedma.algorithms.messages import Ask, Reply
from fedma.units import Weights


@dataclass(frozen=True, eq=False)
class State:
    """Where a run stands: all that the server needs to go on.

    Attributes:
        round: rounds finished.
        exchange: exchanges finished in the present round.
        weights: the global tensors; within a round, those of steps not settled yet are the round's before.
        models: several models instead of one (the ensemble).
        maps: for each client that ever took part, per group, own unit → slot; blocks are in the global order. A group
            that was matched anew while the client was away is missing.
        widths: per group, the slots of the global model.
        holders: the clients that begin the next round with what they held at the end of the one before.
        settled: FedMA's steps that were settled before the last exchange of the present round, and after it.
    """

    round: int = 0
    exchange: int = 0
    weights: Weights = field(default_factory=dict)
    models: tuple[Weights, ...] = ()
    maps: Mapping[int, Mapping[str, Tensor]] = field(default_factory=dict)
    widths: Mapping[str, int] = field(default_factory=dict)
    holders: tuple[int, ...] = ()
    settled: tuple[int, int] = (0, 0)


class Algorithm(Protocol):
    """The server's side of federated learning, without input or output.

    `state = absorb(state, replies to asks(state))` until `asks` is empty.
    """

    @property
    def rounds(self) -> int:
        """Rounds in all."""
        ...

    @property
    def exchanges(self) -> int:
        """Exchanges in a round, at most."""
        ...

    def start(self) -> State:
        """The state before the first exchange."""
        ...

    def asks(self, state: State) -> Sequence[Ask]:
        """What to ask next; nothing when finished."""
        ...

    def absorb(self, state: State, replies: Sequence[Reply]) -> State:
        """The state after these replies."""
        ...


def sample_counts(replies: Sequence[Reply]) -> list[float]:
    """Each reply's number of training samples, its weight in plain averages."""
    return [float(reply.metrics["samples"]) for reply in replies]


def class_counts(replies: Sequence[Reply]) -> Tensor:
    """(clients, classes) training samples."""
    return torch.stack([reply.class_counts for reply in replies])
