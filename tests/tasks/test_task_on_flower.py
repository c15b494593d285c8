"""Every kind of task on Flower's in-process grid: the weights are those of the local engine, bit by bit."""

from collections.abc import Mapping
from typing import Any

import pytest
import torch

from federation_on_flower import Context, InProcessGrid
from fedma.algorithms import Algorithm, Client, Expected, FedAvg, FedMA
from fedma.data import Split
from fedma.engines import LocalEngine
from fedma.engines.flower import Strategy, make_client_app
from fedma.tasks import BaseTask, Classification, ModelLoss, MultiLabel, NextToken, Regression, Segmentation
from fedma.training import Schedule
from fedma.units import units, weights
from tasks.columns import Columns, OwnLoss, Pixels, Speaker, built, mlp, normal, whole

CLIENTS = 3
LOCAL = Schedule(epochs=2, batch_size=8, lr=0.05)


def split(name: str, client: int) -> Any:
    """A client's samples."""
    count = 14 + 3 * client
    inputs = normal(count, 5, seed=client)
    return {
        "classification": lambda: Columns({"input": inputs, "labels": whole(3, count)}, whole(3, count)),
        "multi-label": lambda: Split(inputs, (inputs[:, :3] > 0).float()),
        "regression": lambda: Split(inputs, inputs[:, :3]),
        "segmentation": lambda: Split(normal(count, 1, 5, 5, seed=client), whole(3, count, 5, 5, seed=client)),
        "next-token": lambda: Split(whole(11, count, 6, seed=client).to(torch.uint8), whole(11, count, seed=client)),
        "model-loss": lambda: Columns({"values": inputs, "labels": inputs.sum(1)}),
    }[name]()


TASKS_AND_MODELS: Mapping[str, tuple[BaseTask, Any]] = {
    "classification": (Classification(), mlp(3)),
    "multi-label": (MultiLabel(), mlp(3)),
    "regression": (Regression(), mlp(3)),
    "segmentation": (Segmentation(), Pixels),
    "next-token": (NextToken(), Speaker),
    "model-loss": (ModelLoss(), OwnLoss),
}


def members(name: str) -> list[Client]:
    task, make = TASKS_AND_MODELS[name]
    model = built(make)
    example = split(name, 0).batch(torch.arange(2))
    inputs = task.inputs(example)
    graph = units(model, inputs.long() if name == "next-token" else inputs)
    classes = 3 if task.has_classes else 1
    return [Client(number, split(name, number), model, graph, classes, 0, task=task) for number in range(CLIENTS)]


def algorithm(kind: str, own: list[Client]) -> Algorithm:
    graph, clients = own[0].graph, range(CLIENTS)
    if kind == "fedavg":
        return FedAvg(graph, clients, LOCAL, 2, weights(own[0].template))
    return FedMA(graph, clients, LOCAL, LOCAL, LOCAL, 2)


@pytest.mark.parametrize(("name", "kind"), [*((name, "fedma") for name in TASKS_AND_MODELS), ("regression", "fedavg")])
def test_flower_and_the_local_engine_agree(name: str, kind: str) -> None:
    own = members(name)
    server = algorithm(kind, own)
    start = {client: weights(built(TASKS_AND_MODELS[name][1])) for client in range(CLIENTS)}
    with LocalEngine(own, workers=1) as engine:
        engine.reset(start)
        state = server.start()
        while asks := server.asks(state):
            state = server.absorb(state, engine.deliver(asks))

    def data(context: Context) -> Any:
        return split(name, int(context.node_config["partition-id"]))

    app = make_client_app(lambda context: built(TASKS_AND_MODELS[name][1]), data, task=TASKS_AND_MODELS[name][0])
    expected = Expected.of(own[0].template, own[0].graph, classes=own[0].classes)
    strategy = Strategy(algorithm(kind, own), expected=expected, patience=0.0, pause=0.0)
    strategy.start(InProcessGrid(app, CLIENTS), timeout=60.0)
    torch.testing.assert_close(dict(strategy.progress.state.weights), dict(state.weights), rtol=0, atol=0)
    assert all(not line["missing"] for line in strategy.progress.lines if "missing" in line)
