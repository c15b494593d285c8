"""Optimisers at the server, against what their papers write."""

from dataclasses import replace

import pytest
import torch

from federation import CLASSES, assert_equal, clients, initial, play, split
from fedma.algorithms import Client, FedAdam, FedAvg, FedAvgM, OptimizerState
from fedma.training import Schedule
from fedma.units import units, weights
from networks import made

SCHEDULE = Schedule(epochs=1, batch_size=8, lr=0.05)


def server(kind: type[FedAvg], rounds: int = 3, **more: float) -> tuple[FedAvg, list[Client]]:
    members = clients(3)
    start = initial(members, common=True)[0]
    return kind(members[0].graph, [c.number for c in members], SCHEDULE, rounds, start, **more), members


def ended(kind: type[FedAvg], rounds: int = 3, **more: float) -> dict[str, torch.Tensor]:
    algorithm, members = server(kind, rounds, **more)
    return dict(play(algorithm, members, {}).weights)


def test_without_momentum_at_learning_rate_one_it_is_fedavg() -> None:
    assert_equal(ended(FedAvgM, server_momentum=0.0), ended(FedAvg), rtol=1e-5, atol=1e-6)
    assert not torch.equal(ended(FedAvgM)["fc1.weight"], ended(FedAvg)["fc1.weight"])


def changes_of(kind: type[FedAvg], **more: float) -> tuple[list[torch.Tensor], list[torch.Tensor]]:
    """By round, how the clients' mean of one tensor differs from the global one, and how the global one moves."""
    algorithm, members = server(kind, **more)
    state, changes, moves = algorithm.start(), [], []
    plain = server(FedAvg, rounds=1)[0]
    for _ in range(3):
        asks = algorithm.asks(state)
        replies = [members[ask.client].answer(ask, {})[0] for ask in asks]
        mean = plain.absorb(state, replies).weights["fc1.weight"].double()
        after = algorithm.absorb(state, replies)
        changes.append(mean - state.weights["fc1.weight"])
        moves.append(after.weights["fc1.weight"].double() - state.weights["fc1.weight"])
        state = after
    return changes, moves


def test_momentum_is_the_decaying_sum_of_changes() -> None:
    changes, moves = changes_of(FedAvgM, server_lr=0.5, server_momentum=0.8)
    a, b, c = changes
    for move, total in zip(moves, (a, b + 0.8 * a, c + 0.8 * b + 0.64 * a), strict=True):
        torch.testing.assert_close(move, 0.5 * total, rtol=1e-4, atol=1e-7)


def test_adam_divides_by_the_root_of_the_mean_square() -> None:
    changes, moves = changes_of(FedAdam, server_lr=0.02, server_momentum=0.9)
    m, v = torch.zeros_like(changes[0]), torch.full_like(changes[0], 1e-6)
    for change, move in zip(changes, moves, strict=True):
        m, v = 0.9 * m + 0.1 * change, 0.99 * v + 0.01 * change**2
        torch.testing.assert_close(move, 0.02 * m / (v.sqrt() + 1e-3), rtol=1e-3, atol=1e-7)


def test_running_statistics_are_averaged_not_stepped() -> None:
    network = made("residual", seed=0)
    data = [split(20 + 9 * j, seed=j) for j in range(2)]
    graph = units(network, data[0].inputs[:2])
    members = [Client(j, own, network, graph, CLASSES, 0) for j, own in enumerate(data)]
    plain = FedAvg(graph, [0, 1], SCHEDULE, 1, weights(network))
    replies = [members[ask.client].answer(ask, {})[0] for ask in plain.asks(plain.start())]
    mean = plain.absorb(plain.start(), replies).weights
    fast = FedAvgM(graph, [0, 1], SCHEDULE, 1, weights(network), server_lr=0.1)
    stepped = fast.absorb(fast.start(), replies).weights
    statistics = {name for pair in graph.statistics for name in pair}
    assert statistics
    for name, tensor in mean.items():
        assert torch.equal(stepped[name], tensor) == (name in statistics or not tensor.is_floating_point())


@pytest.mark.parametrize("kind", [FedAvgM, FedAdam])
def test_without_common_weights_the_first_round_is_the_average(kind: type[FedAvgM]) -> None:
    members = clients(3)
    own = initial(members)
    algorithm = replace(server(kind, rounds=1)[0], initial={})
    plain = replace(server(FedAvg, rounds=1)[0], initial={})
    state = play(algorithm, members, own)
    assert_equal(state.weights, play(plain, members, own).weights)
    assert isinstance(state, OptimizerState)
    assert not state.first
