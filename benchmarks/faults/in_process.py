"""Faults of clients, servers, disks and replies, on the in-process grid: what is told, and what is lost.

    python benchmarks/faults/in_process.py FOLDER [clients] [disks] [servers]     # all: some minutes on one core

Four clients train FedMA on handwritten digits for two rounds, four exchanges. Servers are processes, killed with
kill -9; a client is killed by letting its node go, with all that it remembers.
"""

import json
import math
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from functools import cache, partial
from pathlib import Path
from typing import Any

import torch
from flwr.app import Context, Message, RecordDict

from fedma.algorithms import FedMA, Reply
from fedma.algorithms.replies import Expected
from fedma.data import Dataset, Split, load
from fedma.data import partition as divide
from fedma.engines.flower import InProcessGrid, Strategy, make_client_app
from fedma.engines.flower.records import answer, read
from fedma.errors import FedmaError
from fedma.experiments import checkpoint
from fedma.models import build
from fedma.seeds import generator
from fedma.training import Schedule, evaluate
from fedma.units import Weights, rebuild, units

CLIENTS, KILLS = 4, 20
LOCAL = Schedule(epochs=10, lr=0.05, batch_size=16)


@cache
def digits() -> Dataset:
    return load("digits")


@cache
def parts() -> tuple[Split, ...]:
    return tuple(digits().train.select(part) for part in divide(digits().train, CLIENTS, alpha=0.5, seed=0))


def model(context: Context | None = None) -> torch.nn.Module:
    client = None if context is None else int(context.node_config["partition-id"])
    return build("mlp", digits().input_shape, 10, seed=0, client=client)


def algorithm() -> FedMA:
    return FedMA(units(model(), digits().test.inputs[:2]), range(CLIENTS), LOCAL, LOCAL, replace(LOCAL, lr=0.005), 2)


class Grid(InProcessGrid):
    """Client 2 fails in its second exchange of the first round, as `fault` has it."""

    def __init__(self, fault: Callable[["Grid", Message], Message | None] | None = None) -> None:
        super().__init__(
            make_client_app(model, lambda context: parts()[int(context.node_config["partition-id"])]), CLIENTS
        )
        self.fault, self.struck = fault, 0
        self.old: RecordDict | None = None

    def answer(self, message: Message) -> Message | None:
        self.online |= set(self.contexts)
        node = message.metadata.dst_node_id
        if message.metadata.message_type == "train.ask" and node == 103:
            tag = str(message.content.config_records["order"]["tag"])
            if tag.endswith("/0/1") and self.fault is not None:
                self.struck += 1
                return self.fault(self, message)
            reply = super().answer(message)
            self.old = reply.content if reply is not None and tag.endswith("/0/0") else self.old
            return reply
        return super().answer(message)

    def really(self, message: Message) -> Message | None:
        """What the client would have answered."""
        return super().answer(message)


def gone(grid: Grid, message: Message, *, trained: bool, returns: bool) -> Message | None:
    """The node is killed before or after its training, and comes back, with nothing in its memory, or does not."""
    if grid.struck > 1 and returns:
        return grid.really(message)
    if trained:
        grid.really(message)
    grid.contexts[103].state.clear()
    grid.online -= {103}
    return InProcessGrid.answer(grid, message)


def slow(grid: Grid, message: Message) -> Message | None:
    return None


def forgets(grid: Grid, message: Message) -> Message | None:
    if grid.struck == 1:
        grid.contexts[103].state.clear()
    return grid.really(message)


def fails(grid: Grid, message: Message, *, times: int) -> Message | None:
    if grid.struck > times:
        return grid.really(message)
    grid.app, app = (lambda *_: 1 / 0), grid.app  # type: ignore[assignment,return-value]
    try:
        return grid.really(message)
    finally:
        grid.app = app


CLIENT_FAULTS: Mapping[str, Callable[[Grid, Message], Message | None]] = {
    "killed before training, restarted": partial(gone, trained=False, returns=True),
    "killed after training, restarted": partial(gone, trained=True, returns=True),
    "killed, back in the next round": partial(gone, trained=False, returns=False),
    "slow: no answer within the deadline": slow,
    "has lost its weights": forgets,
    "its training fails once": partial(fails, times=1),
    "its training always fails": partial(fails, times=9),
}

BAD: Mapping[str, Callable[[Reply], Reply]] = {
    "a tensor is missing": lambda reply: replace(reply, weights=dict(list(reply.weights.items())[1:])),
    "a tensor too many": lambda reply: replace(reply, weights={**reply.weights, "backdoor": torch.zeros(2)}),
    "another shape": lambda reply: changed(reply, lambda tensor: tensor[..., :1]),
    "another type": lambda reply: changed(reply, lambda tensor: tensor.double()),
    "not a number": lambda reply: changed(reply, lambda tensor: tensor * math.nan),
    "infinite": lambda reply: changed(reply, lambda tensor: tensor / 0),
    "a thousand times too large": lambda reply: changed(reply, lambda tensor: tensor * 1000),
    "class counts below zero": lambda reply: replace(reply, class_counts=-reply.class_counts),
    "other samples than class counts": lambda reply: replace(reply, metrics={**reply.metrics, "samples": 10**9}),
    "no metrics": lambda reply: replace(reply, metrics={}),
    "answers another exchange": lambda reply: replace(reply, name=("round", 7)),
}


def changed(reply: Reply, change: Callable[[torch.Tensor], torch.Tensor]) -> Reply:
    return replace(reply, weights={name: change(tensor) for name, tensor in reply.weights.items()})


def lies(grid: Grid, message: Message, *, how: Callable[[Reply], Reply]) -> Message | None:
    """The client's reply, changed."""
    tag = str(message.content.config_records["order"]["tag"])
    honest = grid.really(message)
    assert honest is not None
    reply = read(honest.content, client=2, tag=tag)
    assert isinstance(reply, Reply)
    return Message(answer(tag, how(reply)), reply_to=message)


def replays(grid: Grid, message: Message) -> Message | None:
    assert grid.old is not None
    return Message(grid.old, reply_to=message)


def sends_garbage(grid: Grid, message: Message) -> Message | None:
    return Message(RecordDict(), reply_to=message)


def strategy(folder: Path | None = None, keep: Callable[[Mapping[str, Any]], None] | None = None) -> Strategy:
    server = algorithm()
    return Strategy(
        server,
        patience=0.0,
        pause=0.05,
        expected=Expected.of(model(), server.graph, classes=10),
        keep=keep or (lambda value: checkpoint.save(folder, value) if folder else None),
        kept=checkpoint.load(folder) if folder else None,
    )


def same(weights: Weights, others: Weights) -> bool:
    return weights.keys() == others.keys() and all(torch.equal(weights[name], others[name]) for name in others)


def row(name: str, own: Strategy, undisturbed: Weights, seconds: float, **more: Any) -> dict[str, Any]:
    weights = own.progress.state.weights
    accuracy = evaluate([rebuild(model(), weights)], digits().test).accuracy
    told = [line["missing"].get("2") for line in own.progress.lines if line["missing"]]
    events = [event for line in own.progress.lines for event in line["events"]]
    found = {
        "fault": name,
        "left_out": told,
        "events": events,
        "same_weights": same(weights, undisturbed),
        "accuracy": round(accuracy, 4),
    }
    return {**found, "answered": [len(line["answered"]) for line in own.progress.lines], "seconds": seconds, **more}


def clients(undisturbed: Weights) -> Iterator[dict[str, Any]]:
    bad = {f"bad reply: {name}": partial(lies, how=how) for name, how in BAD.items()}
    bad |= {"bad reply: an old one again": replays, "bad reply: no records at all": sends_garbage}
    for name, fault in {**CLIENT_FAULTS, **bad}.items():
        began, own = time.monotonic(), strategy()
        own.start(Grid(fault), timeout=2.0 if fault is slow else 60.0)
        yield row(name, own, undisturbed, round(time.monotonic() - began, 1))


def serve(folder: Path) -> None:
    """A server that runs until it is killed, or to its end."""
    own = strategy(folder)
    own.start(Grid())


def servers(folder: Path, undisturbed: Weights) -> Iterator[dict[str, Any]]:
    """A server that is killed time after time, each time at a random moment of a whole run, and then let go."""
    draw = generator(0, "kills")
    began, killed, exchanges, ended = time.monotonic(), 0, list[int](), list[bool]()
    with serving(folder) as process:
        start = time.monotonic()
        process.wait()
        whole = time.monotonic() - start
    checkpoint.drop(folder)
    while killed < KILLS:
        with serving(folder) as process:
            time.sleep(whole * float(torch.rand((), generator=draw)))
            process.send_signal(signal.SIGKILL)
        killed += process.returncode == -signal.SIGKILL
        kept = checkpoint.load(folder)
        exchanges.append(0 if kept is None else len(kept["lines"]))
        if kept is not None and exchanges[-1] == 4 and killed < KILLS:
            ended.append(same(kept["state"]["weights"], undisturbed))
            checkpoint.drop(folder)
    own = strategy(folder)
    own.start(Grid())
    more = {"kills": killed, "exchanges_done_at_kill": exchanges, "runs_ended_meanwhile_with_same_weights": ended}
    yield row("server killed (kill -9) at random times", own, undisturbed, round(time.monotonic() - began, 1), **more)


@contextmanager
def serving(folder: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A server that has begun."""
    with subprocess.Popen([sys.executable, __file__, "--serve", str(folder)], stderr=subprocess.DEVNULL) as process:
        while process.poll() is None and not (folder / "begun").exists():
            time.sleep(0.01)
        (folder / "begun").unlink(missing_ok=True)
        yield process


def disks(folder: Path, undisturbed: Weights) -> Iterator[dict[str, Any]]:
    """No room for the third checkpoint; then the last checkpoint cut off."""
    kept = 0

    def keep(value: Mapping[str, Any]) -> None:
        nonlocal kept
        kept += 1
        if kept == 3:
            resource.setrlimit(resource.RLIMIT_FSIZE, (1000, resource.RLIM_INFINITY))
        try:
            checkpoint.save(folder, value)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))

    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    began, said = time.monotonic(), ""
    try:
        strategy(folder, keep).start(Grid())
    except FedmaError as error:
        said = str(error).replace(str(folder), "FOLDER")
    own = strategy(folder)
    own.start(Grid())
    yield row(
        "disk full while a checkpoint is written", own, undisturbed, round(time.monotonic() - began, 1), said=said
    )
    file = folder / "checkpoint.safetensors"
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
    own = strategy(folder)
    own.start(Grid())
    yield row("the last checkpoint is cut off", own, undisturbed, round(time.monotonic() - began, 1))


def main(folder: Path, parts: list[str]) -> None:
    """All faults, or those of some parts; results are added to `in_process.jsonl`."""
    own = strategy()
    own.start(Grid())
    undisturbed = own.progress.state.weights
    tried = {
        "none": lambda _, weights: iter([row("none", own, weights, round(own.progress.seconds, 1))]),
        "clients": lambda _, weights: clients(weights),
        "disks": disks,
        "servers": servers,
    }
    for part in parts or tried:
        (folder / part).mkdir(parents=True)
        for line in tried[part](folder / part, undisturbed):
            with (Path(__file__).parent / "in_process.jsonl").open("a", encoding="utf-8") as file:
                file.write(f"{json.dumps(line)}\n")
            print(json.dumps(line))


if __name__ == "__main__":
    torch.set_num_threads(1)
    if sys.argv[1] == "--serve":
        (Path(sys.argv[2]) / "begun").touch()
        serve(Path(sys.argv[2]))
    else:
        main(Path(sys.argv[1]).resolve(), sys.argv[2:])
