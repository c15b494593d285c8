"""Running an experiment: every method on the same clients, results written down as they come."""

import json
import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from torch import Tensor

from fedma.algorithms import Algorithm, check
from fedma.engines import LocalEngine, Traffic
from fedma.errors import CheckpointError, InputError
from fedma.experiments import checkpoint
from fedma.experiments.federation import Federation, assemble
from fedma.experiments.methods import COMMON_INIT, algorithm
from fedma.experiments.record import Record, check_new, unfinished
from fedma.experiments.settings import Settings
from fedma.experiments.standing import Standing
from fedma.experiments.watch import Exchange, Watch
from fedma.training import score
from fedma.units import Weights
from fedma.units import weights as weights_of

_NO_LIMIT = 10**6


def run(settings: Settings, folder: Path, watch: Watch) -> Path:
    """Run every method of the settings; the run folder.

    Raises:
        InputError: settings that cannot be run, or a folder that exists already; nothing is written then.
    """
    check_new(folder)
    if settings.equal_bytes and "fedma" not in settings.method:
        raise InputError("equal_bytes gives the others the bytes that FedMA uses: add fedma to the methods")
    federation = assemble(settings)
    with Record(folder, settings, federation.facts()) as record:
        _methods(federation, record, watch, None, {})
    return folder


def resume(folder: Path, watch: Watch, *, workers: int = 0) -> Path:
    """Go on with an interrupted run from its last checkpoint, to the results of one that was not; the run folder.

    Args:
        folder: the run folder.
        watch: hears of progress.
        workers: as in `Settings`, instead of the run's own; 0 leaves them.

    Raises:
        InputError: no run folder, a run that has finished, other data than at first.
        CheckpointError: its checkpoints are damaged.
    """
    facts, settings = unfinished(folder)
    kept = checkpoint.load(folder)
    federation = assemble(replace(settings, workers=workers or settings.workers))
    if facts["data"] != json.loads(json.dumps(federation.facts())):
        raise InputError(f"the data are not those that the run in {folder} began with; bring them back, or start anew")
    standing, held, lines = None, {}, ()
    if kept is not None:
        try:
            standing, held, lines = Standing.from_dict(kept["standing"]), kept["held"], kept["lines"]
        except (KeyError, TypeError) as error:
            raise CheckpointError(f"the checkpoint in {folder} is another version's ({error!r}); start anew") from error
        if standing.method not in settings.method:
            raise CheckpointError(f"the checkpoint in {folder} is of {standing.method!r}, not of this run; start anew")
    with Record.again(folder, facts, lines) as record:
        _methods(federation, record, watch, standing, held)
    return folder


def _methods(
    federation: Federation, record: Record, watch: Watch, standing: Standing | None, held: Mapping[int, Weights]
) -> None:
    """All methods, or those that are left."""
    settings = federation.settings
    names = _order(settings)
    budget = standing.budget if standing else None
    with LocalEngine(
        federation.clients,
        workers=settings.workers or None,
        device=federation.device,
        precision=settings.precision,
        test=federation.dataset.test.inputs,
    ) as engine:
        for name in names[names.index(standing.method) if standing else 0 :]:
            own = standing if standing and name == standing.method else None
            traffic = _Method(name, federation, engine, record, watch, budget).run(own, held)
            if name == "fedma" and settings.equal_bytes:
                budget = traffic.up + traffic.down


def _order(settings: Settings) -> list[str]:
    """The methods; FedMA first where the others are given its bytes."""
    return sorted(settings.method, key=lambda name: name != "fedma") if settings.equal_bytes else list(settings.method)


class _Method:
    """One method of a run, from its first exchange to its last."""

    def __init__(
        self,
        name: str,
        federation: Federation,
        engine: LocalEngine,
        record: Record,
        watch: Watch,
        budget: int | None,
    ) -> None:
        self.name, self.federation, self.engine, self.record, self.watch = name, federation, engine, record, watch
        self.budget = budget
        self.bound = budget if name in ("fedavg", "fedprox") else None
        """No further round where it would pass so many bytes."""

    def run(self, standing: Standing | None, held: Mapping[int, Weights]) -> Traffic:
        """Exchange until the algorithm has finished, from its start or from where it stood; its traffic."""
        settings, federation = self.federation.settings, self.federation
        common = settings.init == "common" or (settings.init == "auto" and self.name in COMMON_INIT)
        initial = federation.initial(common=common)
        members = (federation.pooled,) if self.name == "pooled" else federation.members
        server = algorithm(
            self.name,
            settings,
            federation.graph,
            clients=members,
            rounds=settings.rounds if self.bound is None else _NO_LIMIT,
            initial=initial[members[0]] if common else {},
        )
        self.engine.reset(initial, held=held if standing else {})
        standing = standing or Standing(self.name, server.start(), budget=self.budget)
        self.started = time.monotonic() - standing.seconds
        while not standing.ended:
            standing = self._exchange(server, standing)
            value = {"standing": standing.to_dict(), "held": self.engine.held, "lines": self.record.lines}
            checkpoint.save(self.record.folder, value)
        self.record.save(self.name, standing.models, federation.header())
        return standing.traffic

    def _exchange(self, server: Algorithm, standing: Standing) -> Standing:
        """Where the method stands after one more exchange."""
        state, asks = standing.state, server.asks(standing.state)
        so_far = standing.traffic.up + standing.traffic.down
        self.watch.exchange(
            Exchange(
                self.name,
                state.round + 1,
                None if self.bound else server.rounds,
                state.exchange + 1,
                server.exchanges,
                len(asks),
                so_far + sum(ask.bytes for ask in asks),
            )
        )
        replies = self.engine.deliver(asks, done=self.watch.reply)
        check(asks, replies)
        standing = replace(standing, state=server.absorb(state, replies), traffic=standing.traffic.plus(asks, replies))
        if not standing.state.exchange:
            total = standing.traffic.up + standing.traffic.down
            last = self.bound is not None and total + (total - standing.spent) > self.bound
            standing = replace(standing, spent=total, ended=last or not server.asks(standing.state))
            self._evaluate(standing)
        return replace(standing, seconds=time.monotonic() - self.started)

    def _evaluate(self, standing: Standing) -> None:
        """Score the global model (for an ensemble also its members) and write it down."""
        predictions = self.engine.predict(standing.models)
        if self.name == "ensemble":
            alone = [self._score([own]) for own in predictions]
            mean = {"accuracy": sum(own["accuracy"] or 0.0 for own in alone) / len(alone), "loss": None}
            self._write("local", standing, mean, standing.models[:1], {"bytes_up": 0, "bytes_down": 0})
        self._write(self.name, standing, self._score(predictions), standing.models, {})

    def _score(self, predictions: Sequence[Tensor]) -> dict[str, float | None]:
        scored = score(predictions, self.federation.dataset.test.labels)
        return {"accuracy": scored.accuracy, "loss": scored.loss if math.isfinite(scored.loss) else None}

    def _write(
        self,
        method: str,
        standing: Standing,
        scored: Mapping[str, float | None],
        models: Sequence[Weights],
        more: Mapping[str, Any],
    ) -> None:
        free = self.name == "pooled"
        line = {
            "method": method,
            "round": standing.state.round,
            **scored,
            "bytes_up": 0 if free else standing.traffic.up,
            "bytes_down": 0 if free else standing.traffic.down,
            "clients": self.federation.settings.clients,
            "local_epochs": standing.traffic.local_epochs,
            "samples_seen": standing.traffic.samples_seen,
            "parameters": sum(_parameters(weights) for weights in models),
            "client_parameters": _parameters(weights_of(self.federation.template)),
            "widths": self._widths(models[0]),
            "seconds": round(time.monotonic() - self.started, 3),
            **more,
            "final": standing.ended,
        }
        self.record.add(line)
        self.watch.result(line)

    def _widths(self, weights: Weights) -> dict[str, list[int]]:
        """Per group, the clients' width and the global model's."""
        graph = self.federation.graph
        found = graph.widths_in(weights)
        return {group: [width, found[group]] for group, width in graph.widths.items()}


def _parameters(weights: Weights) -> int:
    return sum(tensor.numel() for tensor in weights.values() if tensor.is_floating_point())
