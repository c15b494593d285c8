"""A run folder as a value: what was asked (`run.json`) and what was measured (`results.jsonl`)."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, fields
from os import PathLike
from pathlib import Path
from typing import Any

from fedma.errors import InputError

RECORD, RESULTS = "run.json", "results.jsonl"

NAMES = {
    "fedavg": "FedAvg",
    "fedprox": "FedProx",
    "pfnm": "PFNM",
    "fedma": "FedMA",
    "ensemble": "Ensemble",
    "pooled": "Pooled",
    "local": "Local",
}
"""How each method is written."""


@dataclass(frozen=True)
class Evaluation:
    """One line of `results.jsonl`: a method's model on the test split after a round.

    Attributes:
        method: as in the settings, in small letters.
        round: how many are done.
        accuracy: share of the test split, 0 to 1.
        loss: mean over the test split, if it was measured.
        bytes_up: from all clients together, since the start.
        bytes_down: to all clients together, since the start.
        clients: how many took part.
        local_epochs: of each client, since the start.
        samples_seen: by all clients together, since the start.
        parameters: of the global model.
        client_parameters: of one client's model, on average.
        widths: of each unit group, the widest client's and the global model's.
        seconds: since the method started.
        final: whether it is the method's last.
    """

    method: str
    round: int
    accuracy: float
    loss: float | None
    bytes_up: int
    bytes_down: int
    clients: int
    local_epochs: float
    samples_seen: int
    parameters: float
    client_parameters: float
    widths: Mapping[str, Any]
    seconds: float
    final: bool

    @property
    def megabytes(self) -> float:
        """Both ways together; one megabyte is 10^6 bytes."""
        return (self.bytes_up + self.bytes_down) / 1e6

    @property
    def growth(self) -> float:
        """Parameters of the global model for each of a client's."""
        return self.parameters / self.client_parameters

    @property
    def name(self) -> str:
        """The method as it is written."""
        return NAMES.get(self.method, self.method)


@dataclass(frozen=True)
class Run:
    """One run folder.

    Attributes:
        folder: where it lies.
        record: all of `run.json`.
        evaluations: in the order in which they were made, at least one.
        notes: what a reader of its results must know: cut short, still going on.
    """

    folder: Path
    record: Mapping[str, Any]
    evaluations: tuple[Evaluation, ...]
    notes: tuple[str, ...] = ()

    @property
    def settings(self) -> Mapping[str, Any]:
        """What was asked for, resolved."""
        return self.record["settings"]

    @property
    def methods(self) -> tuple[str, ...]:
        """Those with results, in the order in which they first appear."""
        return tuple(dict.fromkeys(evaluation.method for evaluation in self.evaluations))

    def of(self, method: str) -> tuple[Evaluation, ...]:
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
    raw = _bytes(path / RESULTS)
    lines = raw.split(b"\n")
    notes = [] if record.get("finished") else ["has not finished"]
    evaluations = []
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            found = json.loads(line)
        except ValueError as error:
            if number == len(lines):
                notes.append("its last result was cut off while it was written, and is left out")
                continue
            raise InputError(f"{path / RESULTS}, line {number}, is not JSON ({error}); repeat the run") from error
        evaluations.append(_evaluation(found, f"{path / RESULTS}, line {number}"))
    if not evaluations:
        raise InputError(f"{path / RESULTS} holds no result yet; wait for the first, or repeat the run")
    return Run(path, record, tuple(evaluations), tuple(notes))


def _record(path: Path) -> Mapping[str, Any]:
    if not path.is_dir():
        raise InputError(f"there is no folder {str(path)!r}; name one that a run has written")
    try:
        record = json.loads(_bytes(path / RECORD))
    except ValueError as error:
        raise InputError(f"{path / RECORD} is not JSON ({error}); repeat the run") from error
    if not isinstance(record, dict) or not isinstance(record.get("settings"), dict):
        raise InputError(f"{path / RECORD} has no settings; it was not written by a run")
    return record


def _bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise InputError(
            f"{path} cannot be read ({error.strerror}); a run folder holds {RECORD} and {RESULTS}"
        ) from error


def _evaluation(found: Any, place: str) -> Evaluation:
    """A checked line; fields that this version does not know are passed over."""
    if not isinstance(found, dict):
        raise InputError(f"{place}, is not an object; repeat the run")
    wanted = {field.name: field.type for field in fields(Evaluation)}
    if missing := [name for name in wanted if name not in found]:
        raise InputError(f"{place}, lacks {', '.join(missing)}; was it written by another version?")
    for name, kind in wanted.items():
        if not _fits(found[name], kind):
            raise InputError(f"{place}: {name} is {found[name]!r}, which cannot be; repeat the run")
    if not 0 <= found["accuracy"] <= 1 or found["client_parameters"] <= 0:
        raise InputError(f"{place}: accuracy or client_parameters is out of range; repeat the run")
    return Evaluation(**{name: found[name] for name in wanted})


def _fits(value: Any, kind: Any) -> bool:
    """Whether a JSON value is of an annotated type; whole numbers are numbers, truth values are not."""
    if kind in (int, float, float | None):
        number = isinstance(value, int if kind is int else (int, float)) and not isinstance(value, bool)
        return number or (value is None and kind not in (int, float))
    return isinstance(value, {str: str, bool: bool}.get(kind, dict))
