"""The local engine: the same weights whatever the number of workers and the order of clients."""

import multiprocessing
import os
import time
from pathlib import Path

import pytest
import torch
from torch import nn

from federation import assert_equal, clients, initial, play, split
from fedma.algorithms import Client, FedAvg, Reply
from fedma.data import Split
from fedma.engines import LocalEngine, Traffic
from fedma.errors import EngineError
from fedma.training import Schedule
from fedma.units import units, weights

SCHEDULE = Schedule(epochs=2, batch_size=8)


@pytest.mark.parametrize("model", ["mlp", "cnn"])
def test_same_weights_with_one_worker_and_with_two(model: str) -> None:
    members = clients(4, model=model)
    start = initial(members, model=model, common=True)
    algorithm = FedAvg(members[0].graph, range(4), SCHEDULE, 2, start[0])
    one = play(algorithm, members, start, workers=1)
    two = play(algorithm, members, start, workers=2)
    assert_equal(one.weights, two.weights, rtol=0, atol=0)


def test_dropout_does_not_depend_on_workers_or_on_other_clients() -> None:
    model = nn.Sequential(nn.Flatten(), nn.Linear(64, 8), nn.ReLU(), nn.Dropout(0.5), nn.Linear(8, 3))
    graph = units(model, torch.zeros(2, 1, 8, 8))
    members = [Client(c.number, c.data, model, graph, 3, 0) for c in clients(3)]
    start = dict.fromkeys(range(3), weights(model))
    all_three = [play(FedAvg(graph, range(3), SCHEDULE, 1, weights(model)), members, start, workers=w) for w in (1, 2)]
    assert_equal(all_three[0].weights, all_three[1].weights, rtol=0, atol=0)
    state = torch.random.get_rng_state()
    play(FedAvg(graph, range(3), SCHEDULE, 1, weights(model)), members, start)
    assert torch.equal(state, torch.random.get_rng_state())


def test_replies_come_in_the_order_of_the_asks() -> None:
    members = clients(3)
    algorithm = FedAvg(members[0].graph, (2, 0, 1), SCHEDULE, 1, weights(members[0].template))
    heard: list[int] = []
    with LocalEngine(members, workers=1) as engine:
        engine.reset(initial(members))
        replies = engine.deliver(algorithm.asks(algorithm.start()), done=lambda reply: heard.append(reply.client))
    assert [reply.client for reply in replies] == [2, 0, 1]
    assert heard == [2, 1, 0]


def test_traffic_adds_up_asks_and_replies() -> None:
    members = clients(2)
    algorithm = FedAvg(members[0].graph, (0, 1), SCHEDULE, 1, weights(members[0].template))
    asks = algorithm.asks(algorithm.start())
    with LocalEngine(members, workers=1) as engine:
        engine.reset(initial(members))
        replies = engine.deliver(asks)
    total = Traffic().plus(asks, replies).plus(asks, replies)
    assert total.down == 2 * sum(ask.bytes for ask in asks)
    assert total.up == 2 * sum(reply.bytes for reply in replies)
    assert {client: sum(own) for client, own in total.by_client.items()} == {
        ask.client: 2 * (ask.bytes + reply.bytes) for ask, reply in zip(asks, replies, strict=True)
    }
    assert total.local_epochs == 4
    assert total.samples_seen == 2 * 2 * sum(len(c.data) for c in members)


class _Slow(nn.Module):
    """Training on inputs of sevens takes seconds, and leaves a mark when it is done."""

    def __init__(self, mark: Path) -> None:
        super().__init__()
        self.out = nn.Linear(64, 3)
        self.mark = mark
        self.armed = False

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if self.armed and bool((x == 7).all()):
            time.sleep(3)
            self.mark.touch()
        return self.out(x.flatten(1))


def test_an_interrupt_ends_what_is_still_training(tmp_path: Path) -> None:
    model = _Slow(tmp_path / "done")
    graph = units(model, torch.zeros(2, 1, 8, 8))
    model.armed = True
    fast = split(10)
    slow = Split(torch.full_like(fast.inputs, 7.0), fast.labels)
    members = [Client(j, data, model, graph, 3, 0) for j, data in enumerate((fast, slow))]
    algorithm = FedAvg(graph, (0, 1), Schedule(epochs=1), 1, weights(model))

    def interrupt(reply: Reply) -> None:
        raise KeyboardInterrupt

    def train_until_interrupted() -> None:
        with LocalEngine(members, workers=2) as engine:
            engine.reset(dict.fromkeys(range(2), weights(model)))
            engine.deliver(algorithm.asks(algorithm.start()), done=interrupt)

    with pytest.raises(KeyboardInterrupt):
        train_until_interrupted()
    assert not multiprocessing.active_children()
    assert not (tmp_path / "done").exists()


class _Dies(nn.Module):
    """A model whose training ends its process, as a lack of memory would."""

    def __init__(self) -> None:
        super().__init__()
        self.out = nn.Linear(64, 3)
        self.deadly = False

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if self.deadly:
            os._exit(9)
        return self.out(x.flatten(1))


def test_a_dead_worker_is_named_and_nothing_hangs() -> None:
    model = _Dies()
    graph = units(model, torch.zeros(2, 1, 8, 8))
    model.deadly = True
    members = [Client(c.number, c.data, model, graph, 3, 0) for c in clients(3)]
    start = dict.fromkeys(range(3), weights(model))
    with pytest.raises(EngineError, match="worker process died"):
        play(FedAvg(graph, range(3), SCHEDULE, 1, weights(model)), members, start, workers=2)
    assert not multiprocessing.active_children()
