"""A federation on Flower's in-process grid, beside the same one on the local engine."""

import warnings
from collections.abc import Callable
from typing import Any

import torch

with warnings.catch_warnings():
    # Flower's command line asks Click for what Click deprecates.
    warnings.filterwarnings("ignore", message=".*click.utils", category=DeprecationWarning)
    from flwr.app import Context, Message, RecordDict

from federation import CLASSES, SHAPE, clients, initial, play, split
from fedma.algorithms import Algorithm, Expected, FedAvg, FedMA
from fedma.data import Split
from fedma.engines.flower import InProcessGrid, Strategy, make_client_app
from fedma.engines.flower.records import arrays
from fedma.models import build
from fedma.training import Schedule
from fedma.units import Weights

CLIENTS = 4
LOCAL = Schedule(epochs=2, batch_size=8, lr=0.05)


def model_fn(context: Context, *, model: str = "mlp", common: bool = False) -> torch.nn.Module:
    """As `federation.initial`."""
    partition = int(context.node_config["partition-id"])
    return build(model, SHAPE, CLASSES, seed=0, client=None if common else partition)


def data_fn(context: Context) -> Split:
    """As `federation.clients`."""
    partition = int(context.node_config["partition-id"])
    return split(30 + 5 * partition, seed=partition)


def fedma(*, rounds: int = 2, model: str = "mlp", **options: Any) -> FedMA:
    return FedMA(clients(CLIENTS, model=model)[0].graph, range(CLIENTS), LOCAL, LOCAL, LOCAL, rounds, **options)


def fedavg(*, rounds: int = 2, model: str = "mlp", **options: Any) -> FedAvg:
    start = initial(clients(1, model=model), model=model, common=True)[0]
    return FedAvg(clients(1, model=model)[0].graph, range(CLIENTS), LOCAL, rounds, start, **options)


def locally(algorithm: Algorithm, *, model: str = "mlp", common: bool = False) -> Weights:
    """The global weights of the local engine."""
    members = clients(CLIENTS, model=model)
    return dict(play(algorithm, members, initial(members, model=model, common=common)).weights)


def expected(algorithm: Algorithm) -> Expected:
    """What right replies are like."""
    graph = algorithm.graph  # type: ignore[attr-defined]
    return Expected(graph, dict.fromkeys(graph.layouts, torch.float32), CLASSES)


class Grid(InProcessGrid):
    """An in-process grid on which things go wrong: `fault` says what, given the client and the exchange, as "/0/1".

    "gone": the node is gone until the exchange is over; "killed": it is gone, with its memory, and back at once;
    "slow": no answer; "error": the client's program fails; "bad": it answers with what cannot be used; "lost", "stale":
    it holds no weights, or others.
    """

    def __init__(self, fault: Callable[[int, str], str | None] = lambda client, tag: None, **options: Any) -> None:
        app = make_client_app(lambda context: model_fn(context, **options), data_fn)
        super().__init__(app, CLIENTS)
        self.fault = fault
        self.asked: list[tuple[int, str]] = []

    def answer(self, message: Message) -> Message | None:
        if message.metadata.message_type != "train.ask":
            return super().answer(message)
        node = message.metadata.dst_node_id
        tag = str(message.content.config_records["parcel"]["tag"])[16:]
        fault = self.fault(node - 101, tag)
        self.asked.append((node - 101, tag))
        state = self.contexts[node].state
        if fault in ("gone", "killed"):
            self.online.remove(node)
        if fault in ("lost", "killed"):
            state.clear()
        if fault == "stale":
            state.config_records["fedma.tag"]["tag"] = "another"
        if fault == "error":
            del message.content["0"]
        reply = super().answer(message)
        if fault == "killed":
            self.online.add(node)
        if fault == "bad" and reply is not None:
            reply.content["weights"] = arrays({"fc1.weight": torch.full((2,), torch.nan)})
        return None if fault == "slow" else reply


def once(fault: str, client: int, tag: str) -> Callable[[int, str], str | None]:
    """This fault the first time that this client is asked in this exchange."""
    left = [fault]
    return lambda who, what: left.pop() if left and (who, what) == (client, tag) else None


def on_flower(algorithm: Algorithm, grid: InProcessGrid, *, timeout: float = 60.0, **options: Any) -> Strategy:
    """A strategy that has finished; who was gone is back in the next exchange."""

    def keep(value: object) -> None:
        grid.online |= set(grid.contexts)

    strategy = Strategy(
        algorithm, **{"expected": expected(algorithm), "patience": 0.0, "pause": 0.0, "keep": keep, **options}
    )
    strategy.start(grid, timeout=timeout)
    return strategy


__all__ = [
    "CLIENTS",
    "LOCAL",
    "Context",
    "Grid",
    "RecordDict",
    "data_fn",
    "expected",
    "fedavg",
    "fedma",
    "locally",
    "model_fn",
    "on_flower",
    "once",
]
