"""The run folder: settings and facts of a run, results as they come, the models."""

import json
import platform
import shutil
import sys
from collections.abc import Mapping, Sequence
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
from fedma.errors import InputError
from fedma.experiments.settings import Settings
from fedma.models import build
from fedma.units import Weights, rebuild

_PACKAGES = ("torch", "numpy", "scipy", "safetensors", "datasets", "flwr-datasets", "scikit-learn")


class Record:
    """A run folder being written.

    Use as a context manager: a run that fails before its first result leaves no folder, and one that ends well is
    marked as finished.

    `run.json` has the settings, versions, machine and data; `results.jsonl` one line for each evaluation;
    `models/METHOD.safetensors` the global model, its header what is needed to build it again.
    """

    def __init__(self, folder: Path, settings: Settings, data: Mapping[str, Any]) -> None:
        """Make the folder and write down what is known before the first round.

        Raises:
            InputError: the folder exists already, or cannot be made.
        """
        check_new(folder)
        try:
            (folder / "models").mkdir(parents=True)
        except OSError as error:
            raise InputError(f"run folder {folder} cannot be made: {error.strerror}") from error
        self.folder = folder
        self._facts: dict[str, Any] = {
            "fedma": __version__,
            "settings": asdict(settings),
            "versions": {"python": platform.python_version(), **_versions()},
            "machine": {"system": platform.platform(), "processor": platform.machine(), "command": sys.argv[1:]},
            "data": dict(data),
            "started": _now(),
            "finished": None,
        }
        self._write_facts()
        self._results = folder / "results.jsonl"
        self._results.touch()

    def add(self, line: Mapping[str, Any]) -> None:
        """One more line of results."""
        with self._results.open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")

    def save(self, method: str, models: Sequence[Weights], header: Mapping[str, Any]) -> None:
        """A method's global model, or several when it keeps several; `header` is what is needed to build it again."""
        for number, weights in enumerate(models):
            name = method if len(models) == 1 else f"{method}-{number}"
            path = self.folder / "models" / f"{name}.safetensors"
            tensors = {key: tensor.contiguous() for key, tensor in weights.items()}
            save_file(tensors, path, metadata={"fedma": json.dumps(dict(header))})

    def __enter__(self) -> "Record":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self._facts["finished"] = _now()
            self._write_facts()
        elif not self._results.stat().st_size:
            shutil.rmtree(self.folder)

    def _write_facts(self) -> None:
        (self.folder / "run.json").write_text(json.dumps(self._facts, indent=2) + "\n", encoding="utf-8")


def load_model(path: Path) -> nn.Module:
    """The model in one of a run folder's safetensors files, built again at its own widths.

    Raises:
        InputError: not a file that a run wrote, or a model that cannot be built here.
    """
    try:
        with safe_open(path, framework="pt") as file:
            header = json.loads((file.metadata() or {})["fedma"])
    except (OSError, SafetensorError, KeyError) as error:
        raise InputError(
            f"{path} is no model that a run wrote: {error!r}; they lie in its folder under models/"
        ) from error
    template = build(header["model"], tuple(header["input_shape"]), header["classes"], seed=0)
    return rebuild(template, load_file(path))


def check_new(folder: Path) -> None:
    """Refuse a run folder that exists already, or that there can be none of."""
    try:
        exists = folder.exists()
    except OSError as error:
        raise InputError(f"run folder {folder} cannot be made: {error.strerror}") from error
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


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
