"""Running an experiment: every method on the same clients, results written down as they come."""

import json
import math
import time
import warnings
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from os import PathLike
from pathlib import Path
from typing import Any

import torch

from fedma.algorithms import Algorithm, MatchedState, State
from fedma.algorithms.replies import Expected, check, check_models, parameters
from fedma.data import Dataset
from fedma.engines import LocalEngine, Traffic
from fedma.errors import CheckpointError, DivergedWarning, InputError, MatchingError, ReplyError
from fedma.experiments import checkpoint
from fedma.experiments.callback import SILENT, Callback, ExchangeStart
from fedma.experiments.federation import Federation, assemble, reassemble
from fedma.experiments.method_factories import MethodInputs, algorithm, privacy
from fedma.experiments.metrics import by_client, owners
from fedma.experiments.run_folder import RunFolder, check_new, mark, unfinished
from fedma.experiments.run_state import RunState
from fedma.experiments.settings import NO_LIMIT, Settings
from fedma.methods import LOCAL, METHODS
from fedma.result_line import DIVERGED, ResultLine, diverged
from fedma.tasks import Sums, Task
from fedma.units import Weights

_STATE = "standing"
"""The run state's name in checkpoints, which is that of earlier versions."""


def run(
    settings: Settings,
    folder: str | PathLike[str],
    callback: Callback = SILENT,
    *,
    dataset: Dataset | None = None,
    task: Task | None = None,
    metrics: Sequence[Any] = (),
    sources: Mapping[str, str] | None = None,
) -> Path:
    """Run every method of the settings; the run folder.

    Args:
        settings: what to run.
        folder: the run folder.
        callback: hears of progress.
        dataset: your own data (`fedma.data.from_arrays`); the settings' `data` is then a mere label.
        task: your own task, an object with the methods `loss` and `judge`; the settings' `task` is then a mere label.
        metrics: metrics of torchmetrics, as objects or by name, beside those that the settings name.
        sources: where each setting comes from, in a word, for those who read the run; of others the default, or code.

    Raises:
        InputError: settings that cannot be run, or a folder that exists already; nothing is written then.
        ReplyError, MatchingError: the only method diverged, or every method did in its first round. One of several
            methods that diverges is marked in the results, with a `DivergedWarning`, and the others go on.
    """
    folder = Path(folder)
    check_new(folder)
    givers = [method.name for method in METHODS if method.sets_budget]
    if settings.equal_bytes and not {*givers} & {*settings.method}:
        raise InputError(f"equal_bytes gives the others the bytes that FedMA uses: add {givers[0]} to the methods")
    federation = assemble(settings, dataset, task=task, metrics=metrics)
    with RunFolder(folder, settings, federation.facts(), sources or {}, task=federation.task_facts()) as run_folder:
        _methods(federation, run_folder, callback, None, {})
    return folder


def resume(
    folder: str | PathLike[str],
    callback: Callback = SILENT,
    *,
    workers: int = 0,
    dataset: Dataset | None = None,
    task: Task | None = None,
    metrics: Sequence[Any] = (),
) -> Path:
    """Go on with an interrupted run from its last checkpoint, to the results of one that was not; the run folder.

    Args:
        folder: the run folder.
        callback: hears of progress.
        workers: as in `Settings`, instead of the run's own; 0 leaves them.
        dataset: the data that were given to `run`, if they were; no copy of them is kept.
        task: the task that was given to `run`, if one was.
        metrics: the metrics that were given to `run`, if some were.

    Raises:
        InputError: no run folder, a run that has finished, other data than at first.
        CheckpointError: its checkpoints are damaged.
    """
    folder = Path(folder)
    facts, settings = unfinished(folder)
    kept = checkpoint.load(folder)
    settings = replace(settings, workers=workers or settings.workers)
    federation = reassemble(settings, facts, folder, dataset=dataset, task=task, metrics=metrics)
    earlier, held, lines = (None, {}, ()) if kept is None else _earlier(federation, kept, facts, folder)
    with RunFolder.again(folder, facts, lines) as run_folder:
        _methods(federation, run_folder, callback, earlier, held)
    return folder


def _earlier(
    federation: Federation, kept: Mapping[str, Any], facts: Mapping[str, Any], folder: Path
) -> tuple[RunState, Mapping[int, Weights], Sequence[Mapping[str, Any]]]:
    """What a checkpoint of this run holds: the run state, what clients held, the results so far.

    Raises:
        CheckpointError: it is another version's, or another run's.
    """
    try:
        method = kept[_STATE]["method"]
        own = kept["run"] == mark(facts) and method in federation.settings.method
        kind = type(_algorithm(method, federation, None).start()) if own else State
        found = RunState.from_dict(kept[_STATE], kind), kept["held"], json.loads(kept["lines"])
    except (KeyError, TypeError, ValueError) as error:
        raise CheckpointError(f"the checkpoint in {folder} is another version's ({error!r}); start anew") from error
    if not own:
        raise CheckpointError(f"the checkpoint in {folder} is of another run: bring this run's own back, or start anew")
    return found


def _methods(
    federation: Federation,
    run_folder: RunFolder,
    callback: Callback,
    earlier: RunState | None,
    held: Mapping[int, Weights],
) -> None:
    """Run all methods, or those that are left after the run state of an earlier start."""
    settings = federation.settings
    names = _order(settings)
    budget = earlier.budget if earlier else None
    with LocalEngine(
        federation.clients,
        workers=settings.workers or None,
        device=federation.device,
        precision=settings.precision,
        test=federation.dataset.test,
        judge=federation.judge,
    ) as engine:
        for name in names[names.index(earlier.method) if earlier else 0 :]:
            own = earlier if earlier and name == earlier.method else None
            traffic = _MethodRun(name, federation, engine, run_folder, callback, budget).run(own, held)
            if METHODS.get(name).sets_budget and settings.equal_bytes:
                budget = traffic.up + traffic.down
    if not any("event" not in line for line in run_folder.lines):
        why = "; ".join(f"{name}: {error}" for name, error in diverged(run_folder.lines).items())
        raise ReplyError(f"every method diverged in its first round: {why}")


def _order(settings: Settings) -> list[str]:
    """The methods; under `equal_bytes` first the one whose bytes the others are given."""
    if not settings.equal_bytes:
        return list(settings.method)
    return sorted(settings.method, key=lambda name: not METHODS.get(name).sets_budget)


def _common_start(method: str, settings: Settings) -> bool:
    """Whether clients start from common weights."""
    return settings.init == "common" or (settings.init == "auto" and METHODS.get(method).common_start)


def _algorithm(method: str, federation: Federation, bound: int | None) -> Algorithm:
    """The server's side of a method; `bound` is the most bytes that it may use, if it is bound by bytes."""
    settings, common = federation.settings, _common_start(method, federation.settings)
    members = (federation.pooled,) if METHODS.get(method).centralised else federation.members
    plan = MethodInputs(
        settings,
        federation.graph,
        clients=members,
        rounds=settings.rounds if bound is None else NO_LIMIT,
        initial=federation.initial(common=True)[members[0]] if common else {},
        widths=federation.widths,
    )
    return algorithm(method, plan)


class _MethodRun:
    """One method of a run, from its first exchange to its last."""

    def __init__(
        self,
        name: str,
        federation: Federation,
        engine: LocalEngine,
        run_folder: RunFolder,
        callback: Callback,
        budget: int | None,
    ) -> None:
        self.method, self.federation, self.engine = METHODS.get(name), federation, engine
        self.run_folder, self.callback, self.budget = run_folder, callback, budget
        self.bound = budget if self.method.averages else None
        """No further round if it would use more bytes than these."""
        self.expected = Expected.of(federation.template, federation.graph, classes=federation.clients[0].classes)
        kinds = Counter(tuple(federation.widths_of(client).values()) for client in federation.members)
        groups = list(federation.graph.widths)
        self.widest = dict(zip(groups, map(max, zip(*kinds, strict=True)), strict=True))
        sizes = {kind: self.expected.parameters(dict(zip(groups, kind, strict=True))) for kind in kinds}
        self.client_parameters = sum(count * sizes[kind] for kind, count in kinds.items()) / kinds.total()

    def run(self, earlier: RunState | None, held: Mapping[int, Weights]) -> Traffic:
        """Exchange until the algorithm has finished, from its start or from an earlier run state; its traffic."""
        federation, name = self.federation, self.method.name
        server = _algorithm(name, federation, self.bound)
        initial = federation.initial(common=_common_start(name, federation.settings))
        self.engine.reset(initial, held=held if earlier else {})
        now = earlier or RunState(name, server.start(), budget=self.budget)
        began = time.monotonic() - now.seconds
        while not now.ended:
            now = self._exchanged(server, now, began)
            value = {_STATE: now.to_dict(), "held": self.engine.held, "lines": json.dumps(self.run_folder.lines)}
            checkpoint.save(self.run_folder.folder, {"run": self.run_folder.mark, **value})
        if name in diverged(self.run_folder.lines):
            return now.traffic
        assignments = now.state.assignments if isinstance(now.state, MatchedState) else {}
        self.run_folder.save(name, now.state.models, federation.header(), assignments=assignments)
        return now.traffic

    def _exchanged(self, server: Algorithm, now: RunState, began: float) -> RunState:
        """The run state after one more exchange. A method that diverges ends there, for others to go on."""
        try:
            return self._exchange(server, now, began)
        except (ReplyError, MatchingError) as error:
            if len(self.federation.settings.method) == 1:
                raise
            name, round_ = self.method.name, now.state.round + 1
            self.run_folder.add({"event": DIVERGED, "method": name, "round": round_, "why": str(error)})
            warnings.warn(
                f"{name} ended in round {round_}, and the other methods go on: {error}", DivergedWarning, stacklevel=2
            )
            return replace(now, ended=True, seconds=time.monotonic() - began)

    def _exchange(self, server: Algorithm, now: RunState, began: float) -> RunState:
        """The run state after one more exchange; a round that ends with it is evaluated."""
        state, asks = now.state, server.asks(now.state)
        so_far = now.traffic.up + now.traffic.down
        self.callback.exchange(
            ExchangeStart(
                self.method.name,
                state.round + 1,
                None if self.bound else server.rounds,
                state.exchange + 1,
                server.exchanges,
                len(asks),
                so_far + sum(ask.bytes for ask in asks),
            )
        )
        replies = self.engine.deliver(asks, done=self.callback.reply)
        check(asks, replies, self.expected)
        now = replace(now, state=server.absorb(state, replies), traffic=now.traffic.plus(asks, replies))
        check_models(now.state.models)
        if not now.state.exchange:
            total = now.traffic.up + now.traffic.down
            last = self.bound is not None and total + (total - now.spent) > self.bound
            now = replace(now, spent=total, ended=last or not server.asks(now.state))
            self._evaluate(now, answered=len(replies), began=began)
        return replace(now, seconds=time.monotonic() - began)

    def _evaluate(self, now: RunState, *, answered: int, began: float) -> None:
        """Score the global model (of an ensemble also its members) and write the results."""
        models = now.state.models
        found, *own = self.engine.judge(models)
        if self.method.ensemble:
            self._write(self._members_line(now, own or [found], answered, began))
        # One number for each client, so only at the end: there can be thousands.
        more = self._by_client([found]) if now.ended else {}
        if now.ended and not self.method.centralised:
            more |= now.traffic.of(self.federation.members)
        assignments = now.state.assignments if isinstance(now.state, MatchedState) else {}
        more = {"owners": owners(assignments), **more}
        if not self.method.centralised:
            more |= self._privacy(now.traffic.exchanges)
        if now.ended and "confusion" in found:
            self.run_folder.save_confusion(self.method.name, found["confusion"].tolist())
        measured = self.federation.judge.measure(found)
        more |= _further(measured)
        line = self._line(now, self.method.name, models, measured, answered, began)
        self._write((replace(line, **more), more))

    def _members_line(
        self, now: RunState, own: Sequence[Sums], answered: int, began: float
    ) -> tuple[ResultLine, Mapping[str, Any]]:
        """The line of an ensemble's members: their mean metrics, without what sending them takes."""
        alone = [self.federation.judge.measure(sums) for sums in own]
        mean = {name: _mean([measured[name] for measured in alone]) for name in self.federation.metrics}
        all_here = len(own) == len(self.federation.members)
        more: dict[str, Any] = {}
        if "accuracy" in mean:
            more["own_accuracy"] = [measured["accuracy"] or 0.0 for measured in alone]
            mean["accuracy"] = sum(more["own_accuracy"]) / len(alone)
        more |= self._by_client(own) if all_here and now.ended else {}
        more |= self._privacy(now.traffic.exchanges) | _further(mean)
        line = self._line(now, LOCAL.name, now.state.models[:1], mean, answered, began)
        return replace(line, loss=None, bytes_up=0, bytes_down=0, **more), more

    def _line(
        self,
        now: RunState,
        method: str,
        models: Sequence[Weights],
        measured: Mapping[str, Any],
        answered: int,
        began: float,
    ) -> ResultLine:
        """The fields that every line of results has."""
        return ResultLine(
            method=method,
            round=now.state.round,
            accuracy=measured.get("accuracy", math.nan),
            loss=measured.get("loss"),
            bytes_up=0 if self.method.centralised else now.traffic.up,
            bytes_down=0 if self.method.centralised else now.traffic.down,
            clients=answered,
            local_epochs=now.traffic.local_epochs,
            samples_seen=now.traffic.samples_seen,
            parameters=parameters(models),
            client_parameters=self.client_parameters,
            widths=self._widths(models[0]),
            seconds=round(time.monotonic() - began, 3),
            final=now.ended,
        )

    def _write(self, line: tuple[ResultLine, Mapping[str, Any]]) -> None:
        """Write a line with these optional fields."""
        values = line[0].to_dict(optional=line[1].keys())
        self.run_folder.add(values)
        self.callback.result(values)

    def _by_client(self, judged: Sequence[Sums]) -> dict[str, Any]:
        """Each client's accuracy, by its own model or by the one for all; nothing where classes are not known."""
        if not {"right", "present"} <= judged[0].keys() or self.federation.clients[0].classes == 1:
            return {}
        counts = torch.stack([client.class_counts for client in self.federation.clients[:-1]])
        right = torch.stack([sums["right"] for sums in judged])
        return {"client_accuracy": by_client(right, judged[0]["present"], counts)}

    def _privacy(self, messages: int) -> dict[str, float | None]:
        """The privacy loss of a client that sent all of these messages."""
        settings, hiding = self.federation.settings, privacy(self.federation.settings)
        if hiding is None:
            return {}
        epsilon = hiding.epsilon(messages, delta=settings.dp_delta)
        return {"epsilon": epsilon if math.isfinite(epsilon) else None, "delta": settings.dp_delta}

    def _widths(self, weights: Weights) -> dict[str, list[int]]:
        """Per group, the widest client's width and the global model's."""
        found = self.federation.graph.widths_in(weights)
        return {group: [width, found[group]] for group, width in self.widest.items()}


def _further(measured: Mapping[str, Any]) -> dict[str, Any]:
    """The field of what is neither accuracy nor loss, if there is anything."""
    found = {name: value for name, value in measured.items() if name not in ("accuracy", "loss")}
    return {"metrics": found} if found else {}


def _mean(values: Sequence[Any]) -> float | None:
    known = [value for value in values if isinstance(value, (int, float))]
    return sum(known) / len(known) if known else None
