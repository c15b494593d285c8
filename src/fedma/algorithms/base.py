"""What every algorithm has in common: it asks clients and absorbs their replies. It knows no engine and no file."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any, Protocol, TypeVar

import torch
from torch import Tensor

from fedma.algorithms.messages import Ask, Reply
from fedma.errors import ReplyError
from fedma.units import Weights


@dataclass(frozen=True, eq=False)
class State:
    """What the server needs to continue, whatever the algorithm. An algorithm that needs more has a subclass.

    Attributes:
        round: rounds finished.
        exchange: exchanges finished in the present round.
        weights: the global tensors.
    """

    round: int = 0
    exchange: int = 0
    weights: Weights = field(default_factory=dict)

    @property
    def models(self) -> tuple[Weights, ...]:
        """The models whose mean prediction is the algorithm's result: the global model alone, unless overridden."""
        return (self.weights,)


@dataclass(frozen=True, eq=False)
class MatchedState(State):
    """The state of an algorithm that matches units.

    Attributes:
        assignments: for each client that ever took part, per group, own unit → slot; blocks are in the global order.
            A group that was matched anew while the client was away is missing.
        widths: per group, the slots of the global model.
    """

    assignments: Mapping[int, Mapping[str, Tensor]] = field(default_factory=dict)
    widths: Mapping[str, int] = field(default_factory=dict)


AnyState = TypeVar("AnyState", bound=State)

_EARLIER_NAMES = {"assignments": "maps"}
"""How checkpoints of earlier versions call these fields."""


def state_to_dict(state: State) -> dict[str, Any]:
    """The state's fields by name: plain values and tensors, as checkpoints keep them."""
    return {own.name: getattr(state, own.name) for own in fields(state)}


def state_from_dict(kind: type[AnyState], values: Mapping[str, Any]) -> AnyState:
    """The state of this kind that a checkpoint holds. Checkpoints of earlier versions hold further fields.

    Raises:
        KeyError: a field is missing.
        TypeError: a field has the wrong type, or there are no fields at all.
    """
    if not isinstance(values, Mapping):
        raise TypeError(f"no names and values, but a {type(values).__name__}")
    blank, found = kind(), {}
    for own in fields(blank):
        earlier = _EARLIER_NAMES.get(own.name, own.name)
        value = values[own.name if own.name in values else earlier]
        wanted = type(getattr(blank, own.name))
        if type(value) is not wanted:
            raise TypeError(f"{own.name} is a {type(value).__name__}, no {wanted.__name__}")
        found[own.name] = value
    return kind(**found)


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
        """The most exchanges that a round can have."""
        ...

    def start(self) -> State:
        """The state before the first exchange. All later states have its type."""
        ...

    def asks(self, state: State) -> Sequence[Ask]:
        """The asks of the next exchange; empty when the algorithm has finished."""
        ...

    def absorb(self, state: State, replies: Sequence[Reply]) -> State:
        """The state after these replies, in any order. Clients whose replies are missing are left out.

        Raises:
            ReplyError: there is no reply, a client answered twice, or somebody who is no client answered.
        """
        ...


def in_client_order(replies: Sequence[Reply], clients: Sequence[int]) -> list[Reply]:
    """The replies of one exchange in the order of the clients, so that results do not depend on who answers first.

    Args:
        replies: in any order.
        clients: the numbers of all clients.

    Raises:
        ReplyError: there is no reply, a client answered twice, or somebody who is no client answered.
    """
    if not replies:
        raise ReplyError("no client answered; ask again")
    position = {client: number for number, client in enumerate(clients)}
    found = [reply.client for reply in replies]
    if strangers := sorted(set(found) - position.keys()):
        raise ReplyError(f"replies came from {strangers}, which are no clients of this federation; leave them out")
    if len(set(found)) < len(found):
        raise ReplyError(f"clients answered twice: {sorted({c for c in found if found.count(c) > 1})}; keep one reply")
    return sorted(replies, key=lambda reply: position[reply.client])


def sample_counts(replies: Sequence[Reply]) -> list[float]:
    """Each reply's number of training samples, its weight in plain averages."""
    return [float(reply.metrics["samples"]) for reply in replies]


def class_counts(replies: Sequence[Reply]) -> Tensor:
    """(clients, classes) training samples."""
    return torch.stack([reply.class_counts for reply in replies])
