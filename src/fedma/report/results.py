"""A run folder as a value: what was asked (`run.json`) and what was measured (`results.jsonl`)."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, dataclass, field, fields
from os import PathLike
from pathlib import Path
from typing import Any

from fedma.errors import InputError
from fedma.methods import label
from fedma.report import checks
from fedma.result_line import DIVERGED, ResultLine

RECORD, RESULTS, CONFUSION = "run.json", "results.jsonl", "confusion.json"

_CLASSIFICATION = {"accuracy": "higher", "loss": "lower"}
"""The metrics of runs that do not say."""


@dataclass(frozen=True)
class Run:
    """One run folder.

    Attributes:
        folder: where it lies.
        record: all of `run.json`.
        evaluations: in the order in which they were made, at least one.
        notes: what a reader of its results must know: cut short, still going on.
        events: the lines of the results that are no evaluations, as they are: `event` says of what.
        confusion: of some methods, how many test samples of each class (rows) their last model takes for which.
    """

    folder: Path
    record: Mapping[str, Any]
    evaluations: tuple[ResultLine, ...]
    notes: tuple[str, ...] = ()
    events: tuple[Mapping[str, Any], ...] = ()
    confusion: Mapping[str, Sequence[Sequence[int]]] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """Its folder, fit to be shown."""
        return str(checks.printable(str(self.folder)))

    @property
    def settings(self) -> Mapping[str, Any]:
        """What was asked for, resolved."""
        return self.record["settings"]

    @property
    def sources(self) -> Mapping[str, str]:
        """Where each setting came from; empty where that was not recorded."""
        return self.record.get("sources", {})

    @property
    def data(self) -> Mapping[str, Any]:
        """What is known of the data: their name, classes, how many of each a client holds."""
        return self.record.get("data", {})

    @property
    def metrics(self) -> Mapping[str, str]:
        """What models are judged by, the main metric first, each with the direction that is better."""
        found: Mapping[str, str] = self.record.get("task", {}).get("metrics") or _CLASSIFICATION
        return found

    @property
    def methods(self) -> tuple[str, ...]:
        """Those with results, in the order in which they first appear."""
        return tuple(dict.fromkeys(evaluation.method for evaluation in self.evaluations))

    def of(self, method: str) -> tuple[ResultLine, ...]:
        """That method's evaluations."""
        return tuple(evaluation for evaluation in self.evaluations if evaluation.method == method)


def read(folder: str | PathLike[str]) -> Run:
    """The run in this folder.

    A last line of the results that was cut off in the middle is left out and noted.

    Raises:
        InputError: it is no run folder, a file is corrupt, or it holds no result yet.
    """
    path = Path(folder)
    record = _record(path)
    notes = [] if record.get("finished") else ["has not finished"]
    evaluations, events = [], []
    lines = _bytes(path / RESULTS).split(b"\n")
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        place = f"{path / RESULTS}, line {number}"
        try:
            found = checks.parsed(line)
        except ValueError as error:
            if number == len(lines):
                notes.append("its last result was cut off while it was written, and is left out")
                continue
            raise InputError(f"{place}, is not JSON ({error}); repeat the run") from error
        if isinstance(found, dict) and checks.word(found.get("event")):
            events.append(found)
        else:
            evaluations.append(evaluation(found, place))
    if not evaluations:
        raise InputError(f"{path / RESULTS} holds no result yet; wait for the first, or repeat the run")
    notes += [_ended(event) for event in events if event["event"] == DIVERGED]
    return Run(path, record, tuple(evaluations), tuple(notes), tuple(events), _confusion(path))


def _ended(event: Mapping[str, Any]) -> str:
    """What a reader must know of a method that diverged."""
    method, why = (str(event.get(name, "not recorded")) for name in ("method", "why"))
    return f"{label(method) or method} ended in round {event.get('round', '?')}: {why}"


def evaluation(found: Any, place: str) -> ResultLine:
    """A checked line of results, `place` names it; fields that this version does not know are passed over."""
    if not isinstance(found, dict):
        raise InputError(f"{place}, is not an object; repeat the run")
    if missing := [own.name for own in fields(ResultLine) if own.name not in found and _needed(own)]:
        raise InputError(f"{place}, lacks {', '.join(missing)}; was it written by another version?")
    checks.demand(found, _LINE, place)
    values: dict[str, Any] = {name: found[name] for name in _LINE if name in found}
    values |= {name: tuple(value) for name, value in values.items() if isinstance(value, list)}
    if values["accuracy"] is None:
        values["accuracy"] = math.nan
    return ResultLine(**values)


_LINE: Mapping[str, checks.Check] = {
    "method": checks.word,
    "round": checks.whole,
    "accuracy": checks.maybe(checks.share),
    "loss": checks.maybe(checks.number),
    "bytes_up": checks.whole,
    "bytes_down": checks.whole,
    "clients": checks.whole,
    "local_epochs": checks.number,
    "samples_seen": checks.whole,
    "parameters": checks.number,
    "client_parameters": checks.positive,
    "widths": checks.named(checks.pair),
    "seconds": checks.number,
    "final": checks.truth,
    "owners": checks.named(checks.histogram),
    "client_accuracy": checks.every(checks.maybe(checks.share)),
    "client_bytes_up": checks.every(checks.whole),
    "client_bytes_down": checks.every(checks.whole),
    "own_accuracy": checks.every(checks.share),
    "metrics": checks.named(checks.measured),
    "epsilon": checks.maybe(checks.number),
    "delta": checks.maybe(checks.number),
}

_RECORD: Mapping[str, checks.Check] = {
    "settings": checks.named(lambda value: True),
    "sources": checks.named(checks.word),
    "versions": checks.named(checks.word),
    "machine": checks.named(lambda value: True),
    "peak_memory": checks.named(checks.whole),
    "data": checks.named(lambda value: True),
    "task": checks.named(lambda value: True),
    "started": checks.maybe(checks.word),
    "finished": checks.maybe(checks.word),
}

_DATA: Mapping[str, checks.Check] = {
    "name": checks.word,
    "train": checks.whole,
    "test": checks.whole,
    "classes": checks.every(checks.word),
    "class_counts": checks.grid,
}

_TASK: Mapping[str, checks.Check] = {
    "name": checks.word,
    "metrics": checks.named(lambda value: value in ("higher", "lower")),
}


def _needed(own: Any) -> bool:
    return own.default is MISSING and own.default_factory is MISSING


def _record(path: Path) -> Mapping[str, Any]:
    """A checked `run.json`."""
    if not path.is_dir():
        raise InputError(f"there is no folder {str(path)!r}; name one that a run has written")
    content = _bytes(path / RECORD)
    try:
        record = checks.parsed(content)
    except ValueError as error:
        raise InputError(f"{path / RECORD} is not JSON ({error}); repeat the run") from error
    if not isinstance(record, dict) or not isinstance(record.get("settings"), dict):
        raise InputError(f"{path / RECORD} has no settings; it was not written by a run")
    checks.demand(record, _RECORD, str(path / RECORD))
    checks.demand(record.get("data", {}), _DATA, f"{path / RECORD}, data")
    checks.demand(record.get("task", {}), _TASK, f"{path / RECORD}, task")
    return record


def _confusion(path: Path) -> Mapping[str, Any]:
    """A checked `confusion.json`; nothing where there is none."""
    file = path / CONFUSION
    if not file.exists():
        return {}
    try:
        found = checks.parsed(_bytes(file))
    except ValueError as error:
        raise InputError(f"{file} is not JSON ({error}); remove it, or repeat the run") from error
    square = checks.named(lambda rows: checks.grid(rows) and all(len(row) == len(rows) for row in rows))
    checks.demand({"confusion": found}, {"confusion": square}, str(file))
    return dict(found)


def _bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error.strerror}); name a folder that a run has written") from error
