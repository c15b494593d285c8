"""Running an experiment: its tuning, then all cells, then table and figure."""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from fedma.errors import InputError
from fedma.experiments.callback import Callback
from fedma.experiments.reproduce.cell import TUNING_SEED, Cell, Chosen, Experiment, Scale
from fedma.experiments.reproduce.cell_folder import environment, evaluations, failure, finish
from fedma.experiments.reproduce.jobs import side_by_side
from fedma.experiments.settings import Settings
from fedma.report import Measured, draw_experiment, experiment_markdown, read_experiment, write_experiment_csv
from fedma.report.results import RECORD, RESULTS


@dataclass(frozen=True)
class Reproduction:
    """An experiment in progress.

    Results already in its result file are reused if their settings are the same, even without their run folders. So
    published results can be continued.

    Attributes:
        name: of the experiment.
        experiment: what to run.
        folder: where its cells' run folders, its results, tables and figure go.
        scale: how large.
        wanted: seeds to run; results of other seeds are kept.
        data_folder: the folder with a folder for each data set; None for the hub.
        changes: settings of this machine: how many workers, which device.
        callback: is notified of progress.
        jobs: how many cells to run in parallel.
        lines: lines to run for the wanted seeds; None for all.
    """

    name: str
    experiment: Experiment
    folder: Path
    scale: Scale
    wanted: Sequence[int]
    data_folder: Path | None
    changes: Mapping[str, Any]
    callback: Callback
    jobs: int = 1
    lines: Sequence[str] = ()

    def run(self) -> list[Path]:
        """Run all cells that are not done yet; the result file, the tables and the figure.

        The files are written again after every seed, so intermediate results can be read. With several jobs, they are
        written when all jobs are done.

        Raises:
            InputError: a line that the experiment has not, or all cells diverged in their first round.
        """
        self._check_lines()
        measured, chosen = self._tuned()
        cells = self.experiment.cells(self.scale, chosen)
        self._check_known(cells)
        self._side_by_side([(cell, seed) for cell in cells for seed in self._seeds_of(cell)], tuning=False)
        files: list[Path] = []
        for seed in self.seeds:
            measured += [self._measured(cell, seed, tuning=False) for cell in cells if seed in self._seeds_of(cell)]
            if not any(own.evaluations for own in measured if not own.tuning):
                raise InputError(f"no cell finished a round: {measured[-1].failed}")
            files = self._write(measured, cells)
        return files

    @cached_property
    def seeds(self) -> tuple[int, ...]:
        """Of the cells, all together."""
        return tuple(dict.fromkeys((*self._earlier[1]["seeds"], *self.wanted)))

    def _seeds_of(self, cell: Cell) -> list[int]:
        """The seeds of a cell: the wanted ones, and those in the result file."""
        wanted = self.wanted if not self.lines or cell.line in self.lines else ()
        return [seed for seed in self.seeds if seed in wanted or (cell.line, cell.x, seed, False) in self._earlier[0]]

    def _check_lines(self) -> None:
        """Refuse a line that is not known, before anything is tuned: settings change no names."""
        chosen: dict[str, Settings] = {}
        for stage in self.experiment.tuning:
            chosen |= {line: own[0].settings for line, own in _by_line(stage(self.scale, dict(chosen))).items()}
        known = _by_line(self.experiment.cells(self.scale, chosen))
        if unknown := [line for line in self.lines if line not in known]:
            raise InputError(f"{self.name} has no line {unknown[0]!r}; its lines are {'; '.join(known)}")

    def _tuned(self) -> tuple[list[Measured], Chosen]:
        """What tuning measured, and the settings that did best for each line; a single choice needs no trial.

        What diverged did worst.
        """
        measured: list[Measured] = []
        chosen: dict[str, Settings] = {}
        for stage in self.experiment.tuning:
            lines = _by_line(stage(self.scale, dict(chosen)))
            tried = [(cell, TUNING_SEED) for cells in lines.values() if len(cells) > 1 for cell in cells]
            self._side_by_side(tried, tuning=True)
            for line, cells in lines.items():
                own = [self._measured(cell, TUNING_SEED, tuning=True) for cell in cells] if len(cells) > 1 else []
                measured += [one for one in own if one.evaluations]
                accuracies = [0.0 if one.failed else one.last.accuracy for one in own] or [0.0]
                chosen[line] = cells[accuracies.index(max(accuracies))].settings
        return measured, chosen

    def _measured(self, cell: Cell, seed: int, *, tuning: bool) -> Measured:
        """The results of a cell, which is run unless it was."""
        folder = self._folder(cell, seed, tuning=tuning)
        if known := self._known(cell, seed, tuning=tuning):
            return known
        finish(folder, self._settings(cell, seed), cell.data, self.callback)
        return Measured(cell.line, cell.x, seed, tuning, evaluations(folder, cell.method), failure(folder))

    def _side_by_side(self, cells: Sequence[tuple[Cell, int]], *, tuning: bool) -> None:
        """Run cells, each with its seed, in processes of their own, if more than one is to run at a time."""
        if self.jobs == 1:
            return
        arguments = [
            (self._folder(cell, seed, tuning=tuning), self._settings(cell, seed), cell.data)
            for cell, seed in cells
            if not self._known(cell, seed, tuning=tuning)
        ]
        for lines in side_by_side(self.jobs, finish, arguments):
            for line in lines:
                self.callback.result(line)

    @cached_property
    def _earlier(self) -> tuple[dict[tuple[Any, ...], Measured], dict[str, Any]]:
        """What the result file held when this began, by place, and what `run.json` said of it."""
        if not (self.folder / RESULTS).exists():
            return {}, {"cells": {}, "environments": [], "seeds": []}
        try:
            text = (self.folder / RECORD).read_text(encoding="utf-8")
            facts = {name: json.loads(text)[name] for name in ("cells", "environments", "seeds")}
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise InputError(
                f"{self.folder / RECORD} does not give the settings of {RESULTS} beside it ({error!r}); "
                f"bring it back, or remove {RESULTS}"
            ) from error
        return {(own.line, own.x, own.seed, own.tuning): own for own in read_experiment(self.folder)}, facts

    def _known(self, cell: Cell, seed: int, *, tuning: bool) -> Measured | None:
        """A cell's results where only the result file has them."""
        if self._folder(cell, seed, tuning=tuning).exists():
            return None
        return self._earlier[0].get((cell.line, cell.x, seed, tuning))

    def _check_known(self, cells: Sequence[Cell]) -> None:
        """Refuse results in the result file that other settings gave."""
        now, then = self._record(cells)["cells"], self._earlier[1]["cells"]
        for cell in cells:
            seeds = [seed for seed in self._seeds_of(cell) if self._known(cell, seed, tuning=False)]
            if seeds and then.get(_name(cell)) != json.loads(json.dumps(now[_name(cell)])):
                raise InputError(
                    f"{self.folder / RESULTS} holds {_name(cell)!r} of other settings (seeds {seeds}); name another "
                    "folder with --out, or remove its lines"
                )

    def _folder(self, cell: Cell, seed: int, *, tuning: bool) -> Path:
        """Where a cell is run."""
        return self.folder / ("tuning" if tuning else "cells") / _slug(_name(cell)) / f"seed{seed}"

    def _settings(self, cell: Cell, seed: int) -> Settings:
        """A cell's on this machine."""
        return replace(cell.settings, seed=seed, data=self._address(cell.settings.data), **self.changes)

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
        names = (RECORD, RESULTS, "table.md", "table.csv", "figure.png")
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
        return {
            "experiment": self.name,
            "scale": self.scale,
            "seeds": list(self.seeds),
            **self._commands(cells),
            "environments": self._environments(cells),
            "cells": changed,
        }

    def _commands(self, cells: Sequence[Cell]) -> dict[str, Any]:
        """The command for seeds that all lines have, and the commands for seeds that only some have.

        Without the folders of this machine, which mean nothing elsewhere.
        """
        whole = [seed for seed in self.seeds if all(seed in self._seeds_of(cell) for cell in cells)]
        further: dict[tuple[int, ...], list[str]] = {}
        for line, own in _by_line(cells).items():
            more = tuple(seed for seed in self.seeds if seed not in whole and seed in self._seeds_of(own[0]))
            further.setdefault(more, []).append(line)
        command = ["reproduce", self.name, "--scale", self.scale, "--seeds"]
        commands = [[*command, *map(str, whole)]] if whole else []
        commands += [[*command, *map(str, seeds), "--lines", *lines] for seeds, lines in further.items() if seeds]
        return {"command": commands[0], **({"further_commands": commands[1:]} if commands[1:] else {})}

    def _environments(self, cells: Sequence[Cell]) -> list[dict[str, Any]]:
        """Versions and machines that cells were run with, each with its seeds."""
        found: dict[str, set[int]] = {}
        for seed in self.seeds:
            for cell in (cell for cell in cells if seed in self._seeds_of(cell)):
                folder = self._folder(cell, seed, tuning=False)
                if not folder.exists():
                    earlier = [e for e in self._earlier[1]["environments"] if seed in e["seeds"]]
                    owns = [json.dumps({name: e[name] for name in e if name != "seeds"}) for e in earlier]
                else:
                    owns = [own] if (own := environment(folder)) else []
                for own in owns:
                    found.setdefault(own, set()).add(seed)
        return [{**json.loads(own), "seeds": sorted(seeds)} for own, seeds in found.items()]


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
