"""Running an experiment: its tuning, then all cells, seed by seed, then table and figure."""

import json
import re
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from fedma.errors import InputError
from fedma.experiments.reproduce.cell import TUNING_SEED, Cell, Chosen, Experiment, Scale
from fedma.experiments.run import resume, run
from fedma.experiments.settings import Settings
from fedma.experiments.watch import Watch
from fedma.report import Measured, draw_experiment, experiment_markdown, read, write_experiment_csv

MACHINE = ("workers", "device")
"""Settings that change no result."""


@dataclass(frozen=True)
class Reproduction:
    """An experiment on its way.

    Attributes:
        name: of the experiment.
        experiment: what to run.
        folder: where its cells' run folders, its results, tables and figure go.
        scale: how large.
        seeds: of the cells.
        data_folder: where data lie, in a folder of their name each; None for the hub.
        changes: settings of this machine: how many workers, which device.
        watch: hears of progress.
    """

    name: str
    experiment: Experiment
    folder: Path
    scale: Scale
    seeds: Sequence[int]
    data_folder: Path | None
    changes: Mapping[str, Any]
    watch: Watch

    def run(self) -> list[Path]:
        """Run all cells that are not done yet; the result file, the tables and the figure.

        They are written anew after every seed, so what there is can be looked at.
        """
        measured, chosen = self._tuned()
        cells = self.experiment.cells(self.scale, chosen)
        files: list[Path] = []
        for seed in self.seeds:
            measured += [self._measured(cell, seed, tuning=False) for cell in cells]
            files = self._write(measured, cells)
        return files

    def _tuned(self) -> tuple[list[Measured], Chosen]:
        """What tuning measured, and the settings that did best for each line; a single choice needs no trial."""
        measured: list[Measured] = []
        chosen: dict[str, Settings] = {}
        for stage in self.experiment.tuning:
            for line, cells in _by_line(stage(self.scale, dict(chosen))).items():
                tried = [self._measured(cell, TUNING_SEED, tuning=True) for cell in cells] if len(cells) > 1 else []
                measured += tried
                accuracies = [own.last.accuracy for own in tried] or [0.0]
                chosen[line] = cells[accuracies.index(max(accuracies))].settings
        return measured, chosen

    def _measured(self, cell: Cell, seed: int, *, tuning: bool) -> Measured:
        """The results of a cell, which is run unless it was; its models are not kept."""
        folder = self.folder / ("tuning" if tuning else "cells") / _slug(_name(cell)) / f"seed{seed}"
        settings = replace(cell.settings, seed=seed, data=self._address(cell.settings.data), **self.changes)
        self._finish(folder, settings, cell)
        shutil.rmtree(folder / "models", ignore_errors=True)
        return Measured(cell.line, cell.x, seed, tuning, read(folder).of(cell.method))

    def _finish(self, folder: Path, settings: Settings, cell: Cell) -> None:
        """Run a cell, go on with it, or leave it where it is done."""
        make = cell.data
        given = settings if make is None else replace(settings, limit=None, test_limit=None)
        facts = _facts(folder) if folder.exists() else None
        if facts and _compared(facts["settings"]) != _compared(asdict(given)):
            raise InputError(f"{folder} was run with other settings; name another folder with --out, or remove it")
        if facts and facts["finished"]:
            return
        dataset = None if make is None else make(settings)
        if facts:
            resume(folder, self.watch, workers=settings.workers, dataset=dataset)
        else:
            run(given, folder, self.watch, dataset=dataset)

    def _address(self, data: str) -> str:
        """Where the data lie: in a folder of their name, if one is given."""
        if self.data_folder is None:
            return data
        folder = self.data_folder / data
        if not folder.is_dir():
            raise InputError(f"there is no folder {str(folder)!r}; --data-folder is where {data} is a folder")
        return str(folder)

    def _write(self, measured: Sequence[Measured], cells: Sequence[Cell]) -> list[Path]:
        """What was run, the result file, the tables and the figure."""
        names = ("run.json", "results.jsonl", "table.md", "table.csv", "figure.png")
        record, results, table, spreadsheet, figure = (self.folder / name for name in names)
        record.write_text(json.dumps(self._record(cells), indent=2) + "\n", encoding="utf-8")
        lines = [line for own in measured for line in own.to_lines()]
        results.write_text("".join(f"{json.dumps(line)}\n" for line in lines), encoding="utf-8")
        table.write_text(experiment_markdown(measured, self.experiment.drawing), encoding="utf-8")
        write_experiment_csv(measured, spreadsheet)
        draw_experiment(measured, self.experiment.drawing, self.experiment.title, figure)
        return [results, table, spreadsheet, figure]

    def _record(self, cells: Sequence[Cell]) -> dict[str, Any]:
        """What was run, where: the settings of each cell in which it differs from the defaults."""
        defaults = asdict(Settings())
        named = {_name(cell): asdict(cell.settings) for cell in cells}
        changed = {
            name: {key: value for key, value in own.items() if value != defaults[key]} for name, own in named.items()
        }
        facts = _facts(next((self.folder / "cells").glob("*/seed*")))
        machine = {key: facts[key] for key in ("fedma", "versions", "machine")}
        # The folders of this machine mean nothing elsewhere.
        command = ["reproduce", self.name, "--scale", self.scale, "--seeds", *map(str, self.seeds)]
        machine["machine"] = {**machine["machine"], "command": command}
        return {"experiment": self.name, "scale": self.scale, "seeds": list(self.seeds), **machine, "cells": changed}


def _by_line(cells: Sequence[Cell]) -> dict[str, list[Cell]]:
    found: dict[str, list[Cell]] = {}
    for cell in cells:
        found.setdefault(cell.line, []).append(cell)
    return found


def _name(cell: Cell) -> str:
    """A cell in words."""
    return cell.line if cell.x is None else f"{cell.line}, {cell.x}"


def _slug(name: str) -> str:
    return re.sub(r"[^a-z0-9.]+", "-", name.lower()).strip("-")


def _facts(folder: Path) -> dict[str, Any]:
    try:
        facts: dict[str, Any] = json.loads((folder / "run.json").read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"{folder} is no run folder ({error}); remove it, and it is run again") from error
    return facts


def _compared(settings: Mapping[str, Any]) -> dict[str, Any]:
    """The settings that decide results, as JSON has them; data are known by name, wherever they lie."""
    kept = {name: value for name, value in {**asdict(Settings()), **settings}.items() if name not in MACHINE}
    return dict(json.loads(json.dumps({**kept, "data": Path(kept["data"]).name})))
