"""Running an experiment: every method on the same clients, results written down as they come."""

import json
import math
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from os import PathLike
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from fedma.algorithms import Algorithm
from fedma.algorithms.replies import Expected, check, check_models, parameters
from fedma.data import Dataset
from fedma.engines import LocalEngine, Traffic
from fedma.errors import CheckpointError, InputError
from fedma.experiments import checkpoint
from fedma.experiments.callback import SILENT, Exchange, Watch
from fedma.experiments.federation import Federation, assemble, reassemble
from fedma.experiments.methods import AVERAGING, COMMON_INIT, algorithm, privacy
from fedma.experiments.metrics import by_client, owners
from fedma.experiments.run_folder import Record, check_new, mark, unfinished
from fedma.experiments.run_state import Standing
from fedma.experiments.settings import NO_LIMIT, Settings
from fedma.training import score
from fedma.units import Weights


def run(
    settings: Settings,
    folder: str | PathLike[str],
    watch: Watch = SILENT,
    *,
    dataset: Dataset | None = None,
    sources: Mapping[str, str] | None = None,
) -> Path:
    """Run every method of the settings; the run folder.

    Args:
        settings: what to run.
        folder: the run folder.
        watch: hears of progress.
        dataset: your own data (`fedma.data.from_arrays`); the settings' `data` is then a mere label.
        sources: where each setting comes from, in a word, for those who read the run; of others the default, or code.

    Raises:
        InputError: settings that cannot be run, or a folder that exists already; nothing is written then.
    """
    folder = Path(folder)
    check_new(folder)
    if settings.equal_bytes and "fedma" not in settings.method:
        raise InputError("equal_bytes gives the others the bytes that FedMA uses: add fedma to the methods")
    federation = assemble(settings, dataset)
    with Record(folder, settings, federation.facts(), sources or {}) as record:
        _methods(federation, record, watch, None, {})
    return folder


def resume(
    folder: str | PathLike[str], watch: Watch = SILENT, *, workers: int = 0, dataset: Dataset | None = None
) -> Path:
    """Go on with an interrupted run from its last checkpoint, to the results of one that was not; the run folder.

    Args:
        folder: the run folder.
        watch: hears of progress.
        workers: as in `Settings`, instead of the run's own; 0 leaves them.
        dataset: the data that were given to `run`, if they were; no copy of them is kept.

    Raises:
        InputError: no run folder, a run that has finished, other data than at first.
        CheckpointError: its checkpoints are damaged.
    """
    folder = Path(folder)
    facts, settings = unfinished(folder)
    kept = checkpoint.load(folder)
    federation = reassemble(replace(settings, workers=workers or settings.workers), facts, folder, dataset=dataset)
    standing, held, lines = None, {}, ()
    if kept is not None:
        try:
            own = kept["run"] == mark(facts)
            standing, held, lines = Standing.from_dict(kept["standing"]), kept["held"], json.loads(kept["lines"])
        except (KeyError, TypeError, ValueError) as error:
            raise CheckpointError(f"the checkpoint in {folder} is another version's ({error!r}); start anew") from error
        if not own or standing.method not in settings.method:
            raise CheckpointError(
                f"the checkpoint in {folder} is of another run: bring this run's own back, or start anew"
            )
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
        self.expected = Expected.of(federation.template, federation.graph, classes=len(federation.dataset.classes))
        kinds = Counter(tuple(federation.widths_of(client).values()) for client in federation.members)
        groups = list(federation.graph.widths)
        self.widest = dict(zip(groups, map(max, zip(*kinds, strict=True)), strict=True))
        sizes = {kind: self.expected.parameters(dict(zip(groups, kind, strict=True))) for kind in kinds}
        self.client_parameters = sum(count * sizes[kind] for kind, count in kinds.items()) / kinds.total()
        self.budget = budget
        self.bound = budget if name in AVERAGING else None
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
            rounds=settings.rounds if self.bound is None else NO_LIMIT,
            initial=initial[members[0]] if common else {},
            widths=federation.widths,
        )
        self.engine.reset(initial, held=held if standing else {})
        standing = standing or Standing(self.name, server.start(), budget=self.budget)
        self.started = time.monotonic() - standing.seconds
        while not standing.ended:
            standing = self._exchange(server, standing)
            value = {"standing": standing.to_dict(), "held": self.engine.held, "lines": json.dumps(self.record.lines)}
            checkpoint.save(self.record.folder, {"run": self.record.mark, **value})
        self.record.save(self.name, standing.models, federation.header(), assignments=standing.state.maps)
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
        check(asks, replies, self.expected)
        self.answered = len(replies)
        standing = replace(standing, state=server.absorb(state, replies), traffic=standing.traffic.plus(asks, replies))
        check_models(standing.models)
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
            free = {"bytes_up": 0, "bytes_down": 0, "own_accuracy": [own["accuracy"] for own in alone]}
            all_here = len(predictions) == len(self.federation.members)
            each = self._by_client(predictions) if all_here and standing.ended else {}
            self._write("local", standing, mean, standing.models[:1], free | each)
        # A number for each client, of thousands perhaps, at the end alone.
        each = self._by_client([torch.stack(list(predictions)).mean(0)]) if standing.ended else {}
        if standing.ended and self.name != "pooled":
            each |= standing.traffic.of(self.federation.members)
        more = {"owners": owners(standing.state.maps), **each}
        self._write(self.name, standing, self._score(predictions), standing.models, more)

    def _by_client(self, predictions: Sequence[Tensor]) -> dict[str, Any]:
        """How each client fares, by its own model or by the one for all."""
        counts = torch.stack([client.class_counts for client in self.federation.clients[:-1]])
        return {"client_accuracy": by_client(predictions, self.federation.dataset.test.labels, counts)}

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
            "clients": self.answered,
            "local_epochs": standing.traffic.local_epochs,
            "samples_seen": standing.traffic.samples_seen,
            "parameters": parameters(models),
            "client_parameters": self.client_parameters,
            "widths": self._widths(models[0]),
            "seconds": round(time.monotonic() - self.started, 3),
            **({} if free else self._privacy(standing.traffic.exchanges)),
            **more,
            "final": standing.ended,
        }
        self.record.add(line)
        self.watch.result(line)

    def _privacy(self, messages: int) -> dict[str, float | None]:
        """What so many messages cost a client that sent all of them."""
        settings, hiding = self.federation.settings, privacy(self.federation.settings)
        if hiding is None:
            return {}
        epsilon = hiding.epsilon(messages, delta=settings.dp_delta)
        return {"epsilon": epsilon if math.isfinite(epsilon) else None, "delta": settings.dp_delta}

    def _widths(self, weights: Weights) -> dict[str, list[int]]:
        """Per group, the widest client's width and the global model's."""
        found = self.federation.graph.widths_in(weights)
        return {group: [width, found[group]] for group, width in self.widest.items()}
