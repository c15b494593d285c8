"""What every algorithm must obey. A law is a function of a case; it raises AssertionError where it is broken."""

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from safetensors.torch import save

from federation import CLASSES, SHAPE, assert_equal, clients, initial
from fedma.algorithms import Algorithm, Ask, Client, Reply, State
from fedma.algorithms.base import state_from_dict, state_to_dict
from fedma.algorithms.replies import Expected, check, sift
from fedma.engines import Traffic
from fedma.errors import ReplyError
from fedma.experiments import checkpoint
from fedma.experiments.method_factories import MethodInputs, algorithm
from fedma.experiments.settings import Settings
from fedma.methods import METHODS
from fedma.seeds import generator
from fedma.training import probabilities
from fedma.units import UnitGraph, Weights, rebuild

Change = Callable[[Sequence[Ask], list[Reply]], list[Reply]]
COUNT, MODEL = 4, "mlp"
INPUTS = torch.randn(20, *SHAPE, generator=generator(0, "law inputs"))


@dataclass(frozen=True)
class Case:
    """An algorithm under test.

    Attributes:
        make: makes it from a plan.
        common: whether its clients start from common weights.
    """

    make: Callable[[MethodInputs], Algorithm]
    common: bool

    @classmethod
    def of(cls, method: str) -> "Case":
        return cls(lambda plan: algorithm(method, plan), METHODS.get(method).common_start)

    def federation(self, *, count: int = COUNT, epochs: int = 1, alike: bool = False) -> "Federation":
        """Clients and their algorithm; `alike` ones begin with the same weights."""
        members = clients(count, model=MODEL)
        start = initial(members, model=MODEL, common=self.common or alike)
        settings = Settings(model=MODEL, clients=count, local_epochs=epochs, rounds=2, lr=0.05, batch_size=8)
        common = start[0] if self.common else {}
        plan = MethodInputs(settings, members[0].graph, range(count), 2, common, {})
        return Federation(self.make(plan), members, start)


@dataclass
class Federation:
    """An algorithm and its clients, which hold their weights between exchanges."""

    algorithm: Any
    members: list[Client]
    start: dict[int, Weights]

    @property
    def graph(self) -> UnitGraph:
        return self.members[0].graph

    @property
    def expected(self) -> Expected:
        return Expected.of(self.members[0].template, self.graph, classes=CLASSES)

    def exchanges(
        self, change: Change = lambda asks, replies: replies, *, keep: Callable[[State], State] = lambda state: state
    ) -> Iterator[tuple[Sequence[Ask], list[Reply], State]]:
        """Play to the end; yields the asks, the replies and the state after each exchange."""
        held, state = dict(self.start), self.algorithm.start()
        for _ in range(100):
            state = keep(state)
            asks = self.algorithm.asks(state)
            if not asks:
                return
            replies = []
            for ask in asks:
                reply, held[ask.client] = self.members[ask.client].answer(ask, held[ask.client])
                replies.append(reply)
            check(asks, replies, self.expected)
            replies = change(asks, replies)
            state = self.algorithm.absorb(state, replies)
            yield asks, replies, state
        raise AssertionError("it does not end")

    def end(self, change: Change = lambda asks, replies: replies, **how: Any) -> State:
        """The last state."""
        return [state for _, _, state in self.exchanges(change, **how)][-1]

    def predictions(self, state: State) -> torch.Tensor:
        """The mean class probabilities of the algorithm's models."""
        template = self.members[0].template
        return torch.stack([probabilities(rebuild(template, own), INPUTS) for own in state.models]).mean(0)


def same(left: State, right: State) -> None:
    """The same models, to the last bit."""
    assert len(left.models) == len(right.models)
    for one, other in zip(left.models, right.models, strict=True):
        assert_equal(one, other, rtol=0, atol=0)


def asks_only_clients_once(case: Case) -> None:
    """An exchange asks each client at most once, and nobody else; asks of different exchanges have different names."""
    federation = case.federation()
    names = []
    for asks, _, state in federation.exchanges():
        asked = [ask.client for ask in asks]
        assert len(set(asked)) == len(asked)
        assert set(asked) <= set(range(COUNT))
        names.append({ask.name for ask in asks})
        assert state.round <= federation.algorithm.rounds
    assert all(len(name) == 1 for name in names)
    assert len(set.union(*names)) == len(names)


def survives_missing_replies(case: Case) -> None:
    """A client that misses an exchange is left out, and the global model is whole."""
    for missed in (0, 1):
        federation, number = case.federation(), iter(range(100))

        def change(asks: Sequence[Ask], replies: list[Reply], number: Any = number, miss: int = missed) -> list[Reply]:
            return [reply for reply in replies if reply.client != 2] if next(number) == miss else replies

        whole(federation.end(change), federation.graph)


def whole(state: State, graph: UnitGraph) -> None:
    """The models have all tensors, and finite values."""
    assert all(set(own) == set(graph.layouts) for own in state.models)
    assert all(bool(tensor.isfinite().all()) for own in state.models for tensor in own.values())


def refuses_bad_replies(case: Case) -> None:
    """Nobody, somebody unknown, somebody twice: refused. Values that are not finite never reach an algorithm."""
    federation = case.federation()
    start = federation.algorithm.start()
    asks = federation.algorithm.asks(start)
    replies = [federation.members[ask.client].answer(ask, federation.start[ask.client])[0] for ask in asks]
    for bad in ([], [replies[0], replies[0]], [*replies, replace(replies[0], client=99)]):
        try:
            federation.algorithm.absorb(start, bad)
        except ReplyError:
            continue
        raise AssertionError(f"{len(bad)} bad replies were absorbed")
    ill = {name: torch.full_like(tensor, torch.nan) for name, tensor in replies[1].weights.items()}
    good, faults = sift(asks, [replies[0], replace(replies[1], weights=ill), *replies[2:]], federation.expected)
    assert [fault.client for fault in faults] == [1]
    state = federation.algorithm.absorb(start, good)
    assert all(bool(tensor.isfinite().all()) for own in state.models for tensor in own.values())


def depends_on_the_seed_alone(case: Case) -> None:
    """The same again gives the same bits."""
    same(case.federation().end(), case.federation().end())


def continues_from_a_checkpoint(case: Case) -> None:
    """After every exchange another process could go on from the state in a file alone."""

    def through_a_file(state: State) -> State:
        with TemporaryDirectory() as folder:
            checkpoint.save(Path(folder), {"state": state_to_dict(state)})
            kept = checkpoint.load(Path(folder))
        assert kept is not None
        federation.algorithm = case.federation().algorithm  # another process has another algorithm
        return state_from_dict(type(federation.algorithm.start()), kept["state"])

    federation = case.federation()
    same(federation.end(keep=through_a_file), case.federation().end())


def one_client_gives_its_own_model(case: Case) -> None:
    """Without training, a federation of one client predicts as that client does."""
    federation = case.federation(count=1, epochs=0)
    own = probabilities(rebuild(federation.members[0].template, federation.start[0]), INPUTS)
    torch.testing.assert_close(federation.predictions(federation.end()), own, rtol=1e-4, atol=1e-5)


def identical_clients_give_the_client(case: Case) -> None:
    """Without training, clients with the same weights predict together as one of them."""
    federation = case.federation(epochs=0, alike=True)
    own = probabilities(rebuild(federation.members[0].template, federation.start[0]), INPUTS)
    state = federation.end()
    torch.testing.assert_close(federation.predictions(state), own, rtol=1e-4, atol=1e-5)
    assert all(federation.graph.widths_in(model) == federation.graph.widths for model in state.models)


def the_order_of_replies_is_irrelevant(case: Case) -> None:
    """Whoever answers first, the models are the same to the last bit."""
    same(case.federation().end(lambda asks, replies: replies[::-1]), case.federation().end())


def traffic_is_the_length_of_messages(case: Case) -> None:
    """The bytes that are counted are those of the messages, serialised."""
    traffic, down, up = Traffic(), 0, 0
    for asks, replies, _ in case.federation().exchanges():
        traffic = traffic.plus(asks, replies)
        down += sum(map(_ask_length, asks))
        up += sum(map(_reply_length, replies))
    assert (traffic.down, traffic.up) == (down, up)
    assert sum(own for own, _ in traffic.by_client.values()) == down
    assert sum(own for _, own in traffic.by_client.values()) == up


def _length(arrays: dict[str, dict[str, torch.Tensor]], settings: dict[str, Any]) -> int:
    flat = {f"{part}/{name}": t.contiguous().clone() for part, named in arrays.items() for name, t in named.items()}
    return len(save(flat, {"settings": json.dumps(settings)}))


def _ask_length(ask: Ask) -> int:
    names = ("name", "known", "wide", "widths", "fit", "schedule", "frozen", "send", "keep")
    arrays = {"weights": dict(ask.sent), "narrow": dict(ask.narrow), "widen": dict(ask.widen)}
    return _length(arrays, {name: getattr(ask, name) for name in names})


def _reply_length(reply: Reply) -> int:
    arrays = {"weights": dict(reply.weights), "": {"class_counts": reply.class_counts}}
    return _length(arrays, {"name": reply.name, "metrics": dict(reply.metrics)})


LAWS = (
    asks_only_clients_once,
    survives_missing_replies,
    refuses_bad_replies,
    depends_on_the_seed_alone,
    continues_from_a_checkpoint,
    one_client_gives_its_own_model,
    identical_clients_give_the_client,
    the_order_of_replies_is_irrelevant,
    traffic_is_the_length_of_messages,
)
