"""The run folder of a cell: run it, go on with it, read it."""

import json
import shutil
from collections.abc import Callable, Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from fedma.data import Dataset
from fedma.errors import InputError, MatchingError, ReplyError
from fedma.experiments import checkpoint
from fedma.experiments.callback import SILENT, Callback
from fedma.experiments.run import resume, run
from fedma.experiments.settings import MethodName, Settings
from fedma.report import ResultLine, read
from fedma.report.results import RECORD

MACHINE = ("workers", "device")
"""Settings that change no result."""

FAILURE = "failure.json"
"""A file in the folder of a failed cell: the reason and the settings, since a run without results leaves no files."""

FAILED = "failure"
"""Under which name."""


def finish(
    folder: Path, settings: Settings, make: Callable[[Settings], Dataset] | None, callback: Callback = SILENT
) -> list[dict[str, Any]]:
    """Run a cell, or resume it; a finished cell is skipped. Its models are not kept.

    A cell whose training diverges is done; its results end there, and `failure` gives the reason.

    Returns:
        The lines of its results, if it was not finished before.

    Raises:
        InputError: it was run with other settings.
    """
    given = settings if make is None else replace(settings, limit=None, test_limit=None)
    facts = _facts(folder) if folder.exists() else None
    if facts and _compared(facts["settings"]) != _compared(asdict(given)):
        raise InputError(f"{folder} was run with other settings; name another folder with --out, or remove it")
    if facts and (facts["finished"] or FAILED in facts):
        return []
    dataset = None if make is None else make(settings)
    try:
        if facts:
            resume(folder, callback, workers=settings.workers, dataset=dataset)
        else:
            run(given, folder, callback, dataset=dataset)
    except (ReplyError, MatchingError) as error:
        folder.mkdir(exist_ok=True)
        known = {"settings": asdict(given), "finished": None, FAILED: str(error)}
        (folder / FAILURE).write_text(json.dumps(known), encoding="utf-8")
        checkpoint.drop(folder)
    shutil.rmtree(folder / "models", ignore_errors=True)
    (method,) = settings.method
    return [vars(evaluation) for evaluation in evaluations(folder, method)]


def failure(folder: Path) -> str | None:
    """Why a cell ended before its last round, if it did."""
    why: str | None = _facts(folder).get(FAILED)
    return why


def evaluations(folder: Path, method: MethodName) -> tuple[ResultLine, ...]:
    """A cell's, as far as it came; one that failed may have none."""
    try:
        return read(folder).of(method)
    except InputError:
        if failure(folder) is None:
            raise
        return ()


def environment(folder: Path) -> str | None:
    """Versions and machine of a cell's run, as JSON; None if it left only its failure."""
    if not (folder / RECORD).exists():
        return None
    facts = json.loads((folder / RECORD).read_text(encoding="utf-8"))
    machine = {name: facts["machine"][name] for name in ("system", "processor")}
    own = {"fedma": facts["fedma"], "versions": facts["versions"], **machine, "device": facts["settings"]["device"]}
    return json.dumps(own)


def _facts(folder: Path) -> dict[str, Any]:
    failed = folder / FAILURE
    try:
        facts: dict[str, Any] = json.loads((failed if failed.exists() else folder / RECORD).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(
            f"{folder} is no run folder ({error}); remove it, and it is run again, if no results.jsonl above it has it"
        ) from error
    return facts


def _compared(settings: Mapping[str, Any]) -> dict[str, Any]:
    """The settings that decide results, as JSON has them; data are known by name, wherever they lie."""
    kept = {name: value for name, value in {**asdict(Settings()), **settings}.items() if name not in MACHINE}
    return dict(json.loads(json.dumps({**kept, "data": Path(kept["data"]).name})))
