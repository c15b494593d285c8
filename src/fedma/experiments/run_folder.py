"""The run folder: settings and facts of a run, results as they come, the models."""

import hashlib
import json
import platform
import shutil
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from types import TracebackType
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import nn

from fedma import __version__
from fedma.errors import CheckpointError, InputError, ReplyError
from fedma.experiments import checkpoint
from fedma.experiments.assignments import ClientAssignments, model_path, save_assignments
from fedma.experiments.settings import Settings, from_dict
from fedma.models import build
from fedma.units import Weights, rebuild

try:
    import resource
except ImportError:  # not on Windows
    resource = None  # type: ignore[assignment]

_PACKAGES = ("torch", "numpy", "scipy", "safetensors", "datasets", "flwr-datasets", "scikit-learn")


class RunFolder:
    """A run folder being written.

    Use it as a context manager. A run that fails before it can be resumed leaves no folder. A run that ends well is
    marked as finished.

    - `run.json`: the settings, versions, machine and data;
    - `results.jsonl`: one line for each evaluation (`fedma.result_line`);
    - `models/METHOD.safetensors`: the global model; its header has what is needed to build it again;
    - `models/METHOD.assignments.safetensors`: the slot of each client's units, if the method matches units;
    - `confusion.json`: for each method the confusion matrix of its last model, if the task has classes;
    - `checkpoint.safetensors`: only while the run has not finished.

    Attributes:
        folder: the run folder.
        lines: the results so far.
    """

    def __init__(
        self,
        folder: Path,
        settings: Settings,
        data: Mapping[str, Any],
        sources: Mapping[str, str] | None = None,
        *,
        task: Mapping[str, Any] | None = None,
    ) -> None:
        """Make the folder and write all facts that are known before the first round.

        Raises:
            InputError: the folder exists already, or cannot be made or written to.
        """
        check_new(folder)
        begun = facts(asdict(settings), _sources(settings) | dict(sources or {}), data)
        begun |= {} if task is None else {"task": dict(task)}
        try:
            (folder / "models").mkdir(parents=True)
        except OSError as error:
            raise InputError(
                f"run folder {folder} cannot be made: {error.strerror}; name another with --out"
            ) from error
        try:
            self._begin(folder, begun, [])
            write_facts(folder, begun)
        except CheckpointError as error:
            shutil.rmtree(folder)
            raise InputError(f"{folder} cannot be written to: {error.__cause__}; name another with --out") from error

    @classmethod
    def again(cls, folder: Path, facts: Mapping[str, Any], lines: Sequence[Mapping[str, Any]]) -> "RunFolder":
        """The record of an interrupted run, from its `facts`, with these results."""
        record = cls.__new__(cls)
        record._begin(folder, dict(facts), lines)
        return record

    def _begin(self, folder: Path, facts: dict[str, Any], lines: Sequence[Mapping[str, Any]]) -> None:
        self.folder, self.lines = folder, list(lines)
        self._facts = facts
        self._results = folder / "results.jsonl"
        with room(folder):
            self._results.write_text("".join(f"{json.dumps(line)}\n" for line in lines), encoding="utf-8")

    @property
    def mark(self) -> str:
        """Tells this run's checkpoints from those of others."""
        return mark(self._facts)

    def add(self, line: Mapping[str, Any]) -> None:
        """One more line of results."""
        self.lines.append(line)
        with room(self.folder), self._results.open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")

    def save_confusion(self, method: str, matrix: Sequence[Sequence[int]]) -> None:
        """Keep how many test samples of each class a method's last model takes for which."""
        path, partial = self.folder / "confusion.json", self.folder / "confusion.partial.json"
        with room(self.folder):
            known = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
            partial.write_text(json.dumps({**known, method: matrix}) + "\n", encoding="utf-8")
            partial.replace(path)

    def save(
        self, method: str, models: Sequence[Weights], header: Mapping[str, Any], *, assignments: ClientAssignments
    ) -> None:
        """A method's global model, or several when it keeps several, and its assignments, if there are any.

        Args: `header` is what is needed to build a model again.
        """
        if assignments:
            with room(self.folder):
                save_assignments(self.folder, method, assignments)
        for number, weights in enumerate(models):
            name = method if len(models) == 1 else f"{method}-{number}"
            path = model_path(self.folder, name)
            tensors = {key: tensor.contiguous() for key, tensor in weights.items()}
            with room(self.folder):
                save_file(tensors, path, metadata={"fedma": json.dumps(dict(header))})

    def __enter__(self) -> "RunFolder":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self._facts |= {"finished": now(), "peak_memory": _peak_memory()}
            write_facts(self.folder, self._facts)
            checkpoint.drop(self.folder)
        elif issubclass(kind, Exception) and not self._evaluated and not self._resumable(kind):
            shutil.rmtree(self.folder)

    @property
    def _evaluated(self) -> bool:
        """Whether a model was evaluated; other lines are of events."""
        return any("event" not in line for line in self.lines)

    def _resumable(self, kind: type[BaseException]) -> bool:
        """Whether it is worth going on after this error; what a client sent would be the same again."""
        kept = checkpoint.exists(self.folder) or issubclass(kind, CheckpointError)
        return kept and not issubclass(kind, ReplyError)


def facts(settings: Mapping[str, Any], sources: Mapping[str, str], data: Mapping[str, Any]) -> dict[str, Any]:
    """What `run.json` says of a run that begins: with these settings, each from its source, on these data."""
    return {
        "fedma": __version__,
        "settings": dict(settings),
        "sources": dict(sources),
        "versions": {"python": platform.python_version(), **_versions()},
        "machine": {"system": platform.platform(), "processor": platform.machine(), "command": sys.argv[1:]},
        "data": dict(data),
        "started": now(),
        "finished": None,
    }


def write_facts(folder: Path, known: Mapping[str, Any]) -> None:
    """Write `run.json`, whole or not at all.

    Raises:
        CheckpointError: there is no room for it.
    """
    partial = folder / "run.partial.json"
    with room(folder):
        partial.write_text(json.dumps(known, indent=2) + "\n", encoding="utf-8")
        checkpoint.sync(partial)
        partial.replace(folder / "run.json")


@contextmanager
def room(folder: Path) -> Iterator[None]:
    """Inside, what cannot be written is named, and how to go on."""
    try:
        yield
    except (OSError, SafetensorError) as error:
        raise CheckpointError(f"{folder} cannot be written to: {error}; {checkpoint.go_on(folder)}") from error


def mark(facts: Mapping[str, Any]) -> str:
    """A few letters that another run does not have, from when it began, its settings and its data."""
    text = json.dumps([facts["started"], facts["settings"], facts["data"]], sort_keys=True)
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()


def recorded(folder: Path) -> tuple[dict[str, Any], Settings]:
    """What `run.json` says of a run, and its settings.

    Raises:
        InputError: no run folder, or settings of another version.
    """
    try:
        facts = json.loads((folder / "run.json").read_text(encoding="utf-8"))
        values = {name: value for name, value in facts["settings"].items() if value is not None}
        if not isinstance(facts["data"], dict) or "finished" not in facts:
            raise ValueError("it lacks the data, or whether the run has finished")
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        why = error.strerror if isinstance(error, OSError) else error
        raise InputError(
            f"{folder} is no run folder: its run.json cannot be read ({why}); name one that fedma run has written"
        ) from error
    return facts, from_dict(values, source=f"run.json in {folder}")


def unfinished(folder: Path) -> tuple[dict[str, Any], Settings]:
    """The same of a run that was interrupted.

    Raises:
        InputError: no run folder, one with links, which lead out of it, or a run that has finished.
    """
    if links := [path for path in folder.rglob("*") if path.is_symlink()]:
        raise InputError(f"{links[0]} is a link: what a run writes must stay in its folder; put the file itself there")
    facts, settings = recorded(folder)
    if facts["finished"]:
        raise InputError(f"the run in {folder} has finished, on {facts['finished']}; fedma report {folder} shows it")
    return facts, settings


def load_model(path: Path) -> nn.Module:
    """The model in one of a run folder's safetensors files, built again at its own widths.

    Raises:
        InputError: not a file that a run wrote, or a model that cannot be built here.
    """
    try:
        with safe_open(path, framework="pt") as file:
            header = json.loads((file.metadata() or {})["fedma"])
    except (OSError, SafetensorError, KeyError, ValueError) as error:
        raise InputError(
            f"{path} is no model that a run wrote: {error!r}; they lie in its folder under models/"
        ) from error
    template = build(
        header["model"],
        tuple(header["input_shape"]),
        header["classes"],
        seed=0,
        vocabulary=header.get("vocabulary"),
    )
    return rebuild(template, load_file(path))


def check_new(folder: Path) -> None:
    """Refuse a run folder that exists already or cannot be made."""
    try:
        exists = folder.exists()
    except OSError as error:
        raise InputError(f"run folder {folder} cannot be made: {error.strerror}; name another with --out") from error
    if exists:
        raise InputError(f"run folder {folder} exists already; name another with --out, or remove it")


def _versions() -> dict[str, str]:
    found = {}
    for package in _PACKAGES:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return found


def _sources(settings: Settings) -> dict[str, str]:
    """The source of each setting, as far as the settings show it."""
    usual = asdict(Settings())
    return {name: "default" if value == usual[name] else "code" for name, value in asdict(settings).items()}


def _peak_memory() -> dict[str, int]:
    """The most resident memory so far, in bytes, of this process and of its largest child; empty where unknown."""
    if resource is None:
        return {}
    unit = 1 if sys.platform == "darwin" else 1024
    whose = {"main": resource.RUSAGE_SELF, "largest_child": resource.RUSAGE_CHILDREN}
    return {name: unit * resource.getrusage(who).ru_maxrss for name, who in whose.items()}


def now() -> str:
    """The time, as records have it."""
    return datetime.now(UTC).isoformat(timespec="seconds")
