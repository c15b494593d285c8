"""Flower: the same weights as the local engine, and nothing lost when clients and servers fail."""

import importlib
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from federation import split
from federation_on_flower import (
    CLIENTS,
    LOCAL,
    Context,
    Grid,
    RecordDict,
    data_fn,
    expected,
    fedavg,
    fedma,
    locally,
    model_fn,
    on_flower,
    once,
)
from fedma.algorithms import PFNM, Ensemble, FedAvg
from fedma.data import Split
from fedma.engines.flower import InProcessGrid, LocalTraining, Strategy, make_client_app
from fedma.errors import CheckpointError, EngineError, MissingExtra
from fedma.experiments import checkpoint
from fedma.training import fit
from fedma.units import Weights, units


def assert_same(left: Weights, right: Weights) -> None:
    assert left.keys() == right.keys()
    for name in left:
        assert torch.equal(left[name], right[name]), name


def events(strategy: Strategy) -> list[str]:
    return [event for line in strategy.progress.lines for event in line["events"]]


@pytest.fixture(scope="module")
def undisturbed() -> Weights:
    """FedMA's global weights after two rounds on the local engine."""
    return locally(fedma())


@pytest.mark.parametrize("model", ["mlp", "cnn"])
def test_fedma_gives_the_weights_of_the_local_engine(model: str) -> None:
    strategy = on_flower(fedma(model=model), Grid(model=model))
    assert_same(strategy.progress.state.weights, locally(fedma(model=model), model=model))


@pytest.mark.parametrize("participants", [None, 2])
def test_fedavg_gives_the_weights_of_the_local_engine(participants: int | None) -> None:
    grid = Grid(model="cnn", common=True)
    algorithm = fedavg(model="cnn", participants=participants)
    strategy = on_flower(algorithm, grid)
    assert_same(strategy.progress.state.weights, locally(algorithm, model="cnn", common=True))
    assert not any("fedma.held" in context.state for context in grid.contexts.values())


@pytest.mark.parametrize("kind", [PFNM, Ensemble])
def test_one_shot_methods_run(kind: type[Ensemble]) -> None:
    strategy = on_flower(kind(fedma().graph, range(CLIENTS), LOCAL), Grid())
    assert strategy.progress.state.round == 1
    assert len(strategy.arrays) == (16 if kind is Ensemble else 4)


@pytest.mark.parametrize(("fault", "tag"), [("lost", "/0/1"), ("lost", "/1/0"), ("lost", "/1/1"), ("stale", "/1/1")])
def test_a_client_that_lost_its_weights_makes_them_again(fault: str, tag: str, undisturbed: Weights) -> None:
    strategy = on_flower(fedma(), Grid(once(fault, 2, tag)))
    assert events(strategy) == [f"client 2: STATE_{fault.upper()}, it is sent all that it needs"]
    assert_same(strategy.progress.state.weights, undisturbed)


@pytest.mark.parametrize("tag", ["/0/0", "/0/1", "/1/1"])
def test_a_client_whose_machine_dies_and_comes_back_loses_nothing(tag: str, undisturbed: Weights) -> None:
    strategy = on_flower(fedma(), Grid(once("killed", 1, tag)))
    lost = [] if tag == "/0/0" else ["client 1: STATE_LOST, it is sent all that it needs"]
    assert events(strategy) == ["client 1: its node is gone", *lost]
    assert_same(strategy.progress.state.weights, undisturbed)


def test_a_client_that_fails_once_loses_nothing(undisturbed: Weights) -> None:
    strategy = on_flower(fedma(), Grid(once("error", 3, "/0/1")))
    assert [event[:17] for event in events(strategy)] == ["client 3: error 2"]
    assert_same(strategy.progress.state.weights, undisturbed)


TOLD = {"gone": "absent for 0 s", "slow": "no answer within 1 s", "error": "error 2, ", "bad": "refused: client 2 "}


@pytest.mark.parametrize("tag", ["/0/0", "/0/1", "/1/0", "/1/1"])
@pytest.mark.parametrize("fault", TOLD)
def test_a_client_that_fails_is_named_and_comes_back(tag: str, fault: str) -> None:
    grid = Grid(lambda client, now: fault if (client, now) == (2, tag) else None)
    strategy = on_flower(fedma(rounds=3), grid, timeout=1.0 if fault == "slow" else 60.0)
    round_, step = (int(part) + 1 for part in tag.split("/")[1:])
    for line in strategy.progress.lines:
        left_out = line["round"] == round_ and line["step"] >= step
        assert line["answered"] == ([0, 1, 3] if left_out else [0, 1, 2, 3])
        assert list(line["missing"]) == (["2"] if left_out and line["step"] == step else [])
        assert all(why.startswith(TOLD[fault]) for why in line["missing"].values())
    assert grid.asked.count((2, tag)) == (3 if fault == "error" else 1)
    assert strategy.progress.state.round == 3
    assert all(bool(tensor.isfinite().all()) for tensor in strategy.progress.state.weights.values())


def test_killed_after_every_exchange_and_all_clients_restarted(tmp_path: Path, undisturbed: Weights) -> None:
    class Killed(Exception):
        pass

    def keep(value: Mapping[str, Any]) -> None:
        checkpoint.save(tmp_path, value)
        raise Killed

    kills = 0
    while True:
        strategy = Strategy(fedma(), expected=expected(fedma()), pause=0.0, keep=keep, kept=checkpoint.load(tmp_path))
        try:
            strategy.start(Grid())
            break
        except Killed:
            kills += 1
    assert kills == 2 * fedma().exchanges
    assert_same(strategy.progress.state.weights, undisturbed)
    assert [(line["round"], line["step"]) for line in strategy.progress.lines] == [(1, 1), (1, 2), (2, 1), (2, 2)]


def test_too_few_replies_end_the_run_and_it_can_go_on(tmp_path: Path, undisturbed: Weights) -> None:
    def keep(value: Mapping[str, Any]) -> None:
        checkpoint.save(tmp_path, value)

    grid = Grid(lambda client, tag: "gone" if client in (1, 2) and tag == "/0/1" else None)
    strategy = Strategy(fedma(), expected=expected(fedma()), min_replies=3, patience=0.0, pause=0.0, keep=keep)
    with pytest.raises(EngineError, match=r"2 of 4 .* and at least 3 must: client 1: absent .* client 2"):
        strategy.start(grid)
    again = on_flower(fedma(), Grid(), min_replies=3, kept=checkpoint.load(tmp_path))
    assert_same(again.progress.state.weights, undisturbed)
    used = fedma()
    on_flower(used, Grid())
    Strategy(used, expected=expected(used), kept=checkpoint.load(tmp_path))  # what it has worked out is no setting
    with pytest.raises(CheckpointError, match="another run"):
        Strategy(fedma(rounds=5), expected=expected(fedma()), kept=checkpoint.load(tmp_path))
    with pytest.raises(CheckpointError, match="another version"):
        Strategy(fedma(), expected=expected(fedma()), kept={"run": "x"})


def test_a_new_node_takes_the_place_of_one_that_is_gone() -> None:
    def fault(client: int, tag: str) -> str | None:
        if (client, tag) != (2, "/0/1") or 204 in grid.contexts:
            return None
        grid.contexts[204] = Context(1, 204, grid.contexts[103].node_config, RecordDict(), {})
        grid.online |= {204}
        return "gone"

    grid = Grid(fault)
    strategy = on_flower(fedma(rounds=1), grid, keep=lambda value: None)
    assert "client 2: node 204 takes the place of node 103" in events(strategy)
    assert strategy.progress.nodes == {101: 0, 102: 1, 204: 2, 104: 3}
    assert_same(strategy.progress.state.weights, locally(fedma(rounds=1)))


def test_nodes_are_numbered_and_impostors_refused() -> None:
    grid = Grid(common=True)
    grid.contexts[104].node_config["partition-id"] = 1
    strategy = on_flower(fedavg(rounds=1), grid)
    assert strategy.progress.nodes == {101: 0, 102: 1, 103: 2}
    assert events(strategy) == ["node 104 is not used: node 102 is client 1 already"]
    assert strategy.progress.lines[0]["missing"] == {"3": "absent for 0 s"}


def small(context: Context | None = None) -> nn.Module:
    """A model of a user's own, which draws from PyTorch's global generator."""
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 5), nn.ReLU(), nn.Linear(5, 3))


def test_nodes_without_numbers_get_them_and_initial_weights_are_their_own() -> None:
    algorithm = FedAvg(units(small(), torch.zeros(2, 1, 8, 8)), range(CLIENTS), LOCAL, 1)
    found = []
    for _ in range(2):
        grid = InProcessGrid(make_client_app(small, lambda context: split(30)), CLIENTS)
        for context in grid.contexts.values():
            context.node_config.clear()
        found.append(on_flower(algorithm, grid).progress)
        torch.rand(3)
    assert found[0].nodes == {101: 0, 102: 1, 103: 2, 104: 3}
    assert_same(found[0].state.weights, found[1].state.weights)


def test_a_users_own_training() -> None:
    held: list[set[str]] = []

    def train(model: nn.Module, data: Split, task: LocalTraining) -> Mapping[str, float]:
        held.append({name for name, parameter in model.named_parameters() if not parameter.requires_grad})
        return {"loss": fit(model, data, task.schedule, seed=task.seed, name=()).loss}

    strategy = on_flower(fedma(), InProcessGrid(make_client_app(model_fn, data_fn, train=train), CLIENTS))
    first = {name for name in held[4] if name.startswith("fc1")}
    assert held == 2 * ([set()] * CLIENTS + [first] * CLIENTS)
    assert first == {"fc1.weight", "fc1.bias"}
    assert all(line["loss"] < 0.5 for line in strategy.progress.lines[1:])
    assert strategy.progress.traffic.samples_seen == 4 * LOCAL.epochs * sum(30 + 5 * j for j in range(CLIENTS))


def test_another_model_at_the_clients_is_named() -> None:
    with pytest.raises(EngineError, match="must build the same model"):
        on_flower(fedma(model="cnn"), Grid(model="mlp"))


def test_the_global_model_is_judged_after_every_round() -> None:
    from flwr.app import ArrayRecord, MetricRecord

    seen: list[int] = []

    def judge(round_: int, weights: ArrayRecord) -> MetricRecord:
        seen.append(len(weights.to_torch_state_dict()))
        return MetricRecord({"accuracy": 0.5 * round_})

    result = Strategy(fedma(), expected=expected(fedma()), pause=0.0).start(Grid(), evaluate_fn=judge)
    assert seen == [4, 4]
    assert {round_: own["accuracy"] for round_, own in result.evaluate_metrics_serverapp.items()} == {1: 0.5, 2: 1.0}


def test_without_flower_it_is_told_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "flwr", None)
    with pytest.raises(MissingExtra, match=r"pip install 'fedma\[flower\]'"):
        importlib.reload(sys.modules["fedma.engines.flower"])
