"""Running an experiment: every method on the same clients, results written down as they come."""

import math
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from torch import nn

from fedma.algorithms import Algorithm, Reply, State, check
from fedma.engines import LocalEngine, Traffic
from fedma.errors import InputError
from fedma.experiments.federation import Federation, assemble
from fedma.experiments.methods import COMMON_INIT, algorithm
from fedma.experiments.record import Record, check_new
from fedma.experiments.settings import Settings
from fedma.training import evaluate
from fedma.units import Weights, rebuild
from fedma.units import weights as weights_of

_NO_LIMIT = 10**6


class Watch(Protocol):
    """Hears of a run's progress."""

    def start(self, method: str, tasks: int | None) -> None:
        """A method begins; `tasks` replies of clients are to come, if that is known."""

    def reply(self, method: str, reply: Reply) -> None:
        """A client has answered."""

    def result(self, line: Mapping[str, Any]) -> None:
        """A model was evaluated; the line that goes into results.jsonl."""


def run(settings: Settings, folder: Path, watch: Watch) -> Path:
    """Run every method of the settings; the run folder.

    Raises:
        InputError: settings that cannot be run, or a folder that exists already; nothing is written then.
    """
    check_new(folder)
    if settings.equal_bytes and "fedma" not in settings.method:
        raise InputError("equal_bytes gives the others the bytes that FedMA uses: add fedma to the methods")
    federation = assemble(settings)
    budget = None
    with (
        Record(folder, settings, federation.facts()) as record,
        LocalEngine(federation.clients, workers=settings.workers or None) as engine,
    ):
        for method in _order(settings):
            bounded = budget if method in ("fedavg", "fedprox") else None
            traffic = _Method(method, federation, engine, record, watch).run(bounded)
            if method == "fedma" and settings.equal_bytes:
                budget = traffic.up + traffic.down
    return folder


def _order(settings: Settings) -> list[str]:
    """The methods; FedMA first where the others are given its bytes."""
    return sorted(settings.method, key=lambda name: name != "fedma") if settings.equal_bytes else list(settings.method)


class _Method:
    """One method of a run, from its first exchange to its last."""

    def __init__(self, name: str, federation: Federation, engine: LocalEngine, record: Record, watch: Watch) -> None:
        self.name, self.federation, self.engine, self.record, self.watch = name, federation, engine, record, watch
        self.started = time.monotonic()
        self.traffic = Traffic()

    def run(self, budget: int | None) -> Traffic:
        """Exchange until the algorithm has finished, or until another round would pass the budget of bytes."""
        settings, federation = self.federation.settings, self.federation
        common = settings.init == "common" or (settings.init == "auto" and self.name in COMMON_INIT)
        initial = federation.initial(common=common)
        self.engine.reset(initial)
        members = (federation.pooled,) if self.name == "pooled" else federation.members
        server = algorithm(
            self.name,
            settings,
            federation.graph,
            clients=members,
            rounds=settings.rounds if budget is None else _NO_LIMIT,
            initial=initial[members[0]] if common else {},
        )
        self.watch.start(self.name, None if budget else server.rounds * server.exchanges * len(members))
        state = self._exchanges(server, budget)
        self.record.save(self.name, _models(state), federation.header())
        return self.traffic

    def _exchanges(self, server: Algorithm, budget: int | None) -> State:
        state, spent = server.start(), 0
        while asks := server.asks(state):
            replies = self.engine.deliver(asks, done=lambda reply: self.watch.reply(self.name, reply))
            check(asks, replies)
            state = server.absorb(state, replies)
            self.traffic = self.traffic.plus(asks, replies)
            if state.exchange:
                continue
            total = self.traffic.up + self.traffic.down
            last = budget is not None and total + (total - spent) > budget
            spent = total
            self._evaluate(state, final=last or not server.asks(state))
            if last:
                break
        return state

    def _evaluate(self, state: State, *, final: bool) -> None:
        """Score the global model (for an ensemble also its members) and write it down."""
        weights = _models(state)
        models = [rebuild(self.federation.template, own) for own in weights]
        if self.name == "ensemble":
            alone = [self._score([model]) for model in models]
            mean = {"accuracy": sum(score["accuracy"] or 0.0 for score in alone) / len(alone), "loss": None}
            self._write("local", state, mean, weights[:1], {"bytes_up": 0, "bytes_down": 0, "final": final})
        self._write(self.name, state, self._score(models), weights, {"final": final})

    def _score(self, models: Sequence[nn.Module]) -> dict[str, float | None]:
        score = evaluate(models, self.federation.dataset.test)
        return {"accuracy": score.accuracy, "loss": score.loss if math.isfinite(score.loss) else None}

    def _write(
        self,
        method: str,
        state: State,
        score: Mapping[str, float | None],
        models: Sequence[Weights],
        more: Mapping[str, Any],
    ) -> None:
        free = self.name == "pooled"
        line = {
            "method": method,
            "round": state.round,
            **score,
            "bytes_up": 0 if free else self.traffic.up,
            "bytes_down": 0 if free else self.traffic.down,
            "clients": self.federation.settings.clients,
            "local_epochs": self.traffic.local_epochs,
            "samples_seen": self.traffic.samples_seen,
            "parameters": sum(_parameters(weights) for weights in models),
            "client_parameters": _parameters(weights_of(self.federation.template)),
            "widths": self._widths(models[0]),
            "seconds": round(time.monotonic() - self.started, 3),
            **more,
        }
        self.record.add(line)
        self.watch.result(line)

    def _widths(self, weights: Weights) -> dict[str, list[int]]:
        """Per group, the clients' width and the global model's."""
        graph = self.federation.graph
        found = graph.widths_in(weights)
        return {group: [width, found[group]] for group, width in graph.widths.items()}


def _models(state: State) -> tuple[Weights, ...]:
    return state.models or (state.weights,)


def _parameters(weights: Weights) -> int:
    return sum(tensor.numel() for tensor in weights.values() if tensor.is_floating_point())
