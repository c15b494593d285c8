"""Every registered method obeys every law, and an algorithm that breaks one is found out."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import pytest
import torch

from algorithms import laws
from algorithms.laws import LAWS, Case
from fedma.algorithms import Ask, FedAvg, Reply, State
from fedma.errors import ReplyError
from fedma.experiments.method_factories import MethodInputs, schedule
from fedma.methods import METHODS

Law = Callable[[Case], None]


@pytest.mark.parametrize("law", LAWS, ids=lambda law: law.__name__)
@pytest.mark.parametrize("method", METHODS.names)
def test_every_method_obeys(law: Law, method: str) -> None:
    law(Case.of(method))


class Stranger(FedAvg):
    """Asks a client twice."""

    def asks(self, state: State) -> Sequence[Ask]:
        asks = super().asks(state)
        return [*asks, *asks[:1]]


class Fragile(FedAvg):
    """Needs all of its clients."""

    def absorb(self, state: State, replies: Sequence[Reply]) -> State:
        assert len(replies) == len(self.clients)
        return super().absorb(state, replies)


class Credulous(FedAvg):
    """Absorbs whatever comes."""

    def absorb(self, state: State, replies: Sequence[Reply]) -> State:
        return replace(state, round=state.round + 1, weights=replies[0].weights if replies else state.weights)


class Moody(FedAvg):
    """Draws from the global generator."""

    def absorb(self, state: State, replies: Sequence[Reply]) -> State:
        after = super().absorb(state, replies)
        return replace(after, weights={name: t + torch.rand(()) for name, t in after.weights.items()})


class Forgetful(FedAvg):
    """Keeps the round before in itself, not in its state."""

    @cached_property
    def memory(self) -> list[int]:
        return []

    def absorb(self, state: State, replies: Sequence[Reply]) -> State:
        self.memory.append(1)
        after = super().absorb(state, replies)
        return replace(after, weights={name: t * len(self.memory) for name, t in after.weights.items()})


class Shrinking(FedAvg):
    """Halves the mean."""

    def absorb(self, state: State, replies: Sequence[Reply]) -> State:
        after = super().absorb(state, replies)
        return replace(after, weights={name: t / 2 for name, t in after.weights.items()})


class FirstCome(FedAvg):
    """Takes the first reply for all."""

    def absorb(self, state: State, replies: Sequence[Reply]) -> State:
        return replace(super().absorb(state, replies), weights=dict(replies[0].weights))


@dataclass(frozen=True, eq=False)
class Cheap(Ask):
    """An ask that says it costs nothing."""

    @property
    def bytes(self) -> int:  # type: ignore[override]
        return 0


class Cheating(FedAvg):
    """Hides its traffic."""

    def asks(self, state: State) -> Sequence[Ask]:
        return [Cheap(**vars(ask)) for ask in super().asks(state)]


BAD: list[tuple[type[FedAvg], Law]] = [
    (Stranger, laws.asks_only_clients_once),
    (Fragile, laws.survives_missing_replies),
    (Credulous, laws.refuses_bad_replies),
    (Moody, laws.depends_on_the_seed_alone),
    (Forgetful, laws.continues_from_a_checkpoint),
    (Shrinking, laws.one_client_gives_its_own_model),
    (Shrinking, laws.identical_clients_give_the_client),
    (FirstCome, laws.the_order_of_replies_is_irrelevant),
    (Cheating, laws.traffic_is_the_length_of_messages),
]


def test_there_is_a_bad_algorithm_for_every_law() -> None:
    assert [law for _, law in BAD] == list(LAWS)


@pytest.mark.parametrize(("kind", "law"), BAD, ids=lambda value: value.__name__)
def test_a_bad_algorithm_is_found_out(kind: type[FedAvg], law: Law) -> None:
    def make(plan: MethodInputs) -> Any:
        return kind(plan.graph, plan.clients, schedule(plan.settings), plan.rounds, plan.initial)

    with pytest.raises((AssertionError, ReplyError)):
        law(Case(make, common=True))
