"""The run folder of a Flower server: the run can be continued from it, and `fedma report` reads it."""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from safetensors.torch import save_file

from fedma.errors import InputError
from fedma.experiments import checkpoint
from fedma.experiments.run_folder import facts, now, room, write_facts
from fedma.tasks import Task, task_of
from fedma.units import Weights


class ServerRunFolder:
    """The run folder of `fedma.engines.flower.Strategy`, in a server app.

    `run.json` has the run's configuration, versions and machine; `results.jsonl` a line for each evaluation, exchange
    and fault; `checkpoint.safetensors` what the server needs to go on; `model.safetensors`, at the end, the global
    model.

    Attributes:
        folder: where it lies.
        kept: what was kept last, for the strategy to go on from; None in a new folder.
    """

    def __init__(self, folder: Path, config: Mapping[str, Any], *, task: str | Task = "classification") -> None:
        """Make the folder, or go on with it.

        Args:
            folder: one folder for each run.
            config: the run's configuration, plain values; it is shown as the run's settings.
            task: of the clients; its metrics are those that `evaluate_fn` of the strategy returns.

        Raises:
            CheckpointError: it cannot be written to, or all its checkpoints are damaged.
            InputError: it holds another run.
        """
        self.folder = folder
        with room(folder):
            folder.mkdir(parents=True, exist_ok=True)
        self.kept = checkpoint.load(folder)
        results = folder / "results.jsonl"
        if self.kept is None:
            if results.exists() and results.stat().st_size:
                raise InputError(f"{folder} holds another run, without a checkpoint to go on from; name a new folder")
            results.touch()
            settings = {name.replace("-", "_"): value for name, value in config.items()}
            own = task_of(task)
            named = {"name": own.name, "metrics": dict(own.metrics), "given": not isinstance(task, str)}
            write_facts(folder, {**facts(settings, dict.fromkeys(settings, "run config"), {}), "task": named})

    def keep(self, value: Mapping[str, Any]) -> None:
        """After an exchange: what the server needs to go on, and the results so far.

        Raises:
            CheckpointError: there is no room for it; what was kept before is still there.
        """
        checkpoint.save(self.folder, value)
        lines = [result for line in value["lines"] for result in _results(line)]
        with room(self.folder):
            text = "".join(f"{json.dumps(line)}\n" for line in lines)
            (self.folder / "results.jsonl").write_text(text, encoding="utf-8")

    def finish(self, weights: Weights) -> None:
        """Write the global model, and that the run has finished.

        Raises:
            CheckpointError: there is no room for it.
        """
        with room(self.folder):
            save_file(dict(weights), self.folder / "model.safetensors")
            known = json.loads((self.folder / "run.json").read_text(encoding="utf-8"))
        if known["finished"] is None:
            write_facts(self.folder, {**known, "finished": now()})


def _results(line: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """A line of the strategy's progress as lines of results."""
    if "metrics" in line:
        found = {"accuracy": None, "loss": None, **line["metrics"]}
        further = {name: value for name, value in found.items() if name not in ("accuracy", "loss")}
        known = {**line, "accuracy": found["accuracy"], "loss": found["loss"], "metrics": further}
        yield {name: value for name, value in known.items() if name != "metrics" or further}
        return
    faults = [*line["events"], *(f"client {client} is left out: {why}" for client, why in line["missing"].items())]
    yield {"event": "exchange"} | {name: value for name, value in line.items() if name not in ("events", "missing")}
    for what in faults:
        yield {"event": "fault", "round": line["round"], "step": line["step"], "what": what}
