"""Runs that differ in their seed alone, put together: means, and how sure they are."""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from typing import Any

import numpy as np
from scipy import stats

from fedma.errors import InputError
from fedma.methods import label
from fedma.report.results import Run
from fedma.result_line import ResultLine

NOT_COMPARED = ("seed", "method", "workers", "device")
"""Settings in which runs of one group may differ."""

Series = tuple[ResultLine, ...]
"""The evaluations of one method in one run."""


@dataclass(frozen=True)
class RunGroup:
    """Runs of equal settings but the seed.

    Attributes:
        label: the settings that differ between groups; empty for a single group.
        series: for each method, one series per seed.
        runs: the runs of the group.
    """

    label: str
    series: Mapping[str, tuple[Series, ...]]
    runs: tuple[Run, ...]


@dataclass(frozen=True)
class Point:
    """One evaluation, averaged over seeds: `interval` is a half-width, None where there is one seed."""

    x: float
    value: float
    interval: float | None


@dataclass(frozen=True)
class Measure:
    """The metric by which runs are compared; accuracy is shown in %.

    Attributes:
        name: as in results.
        higher: whether more is better.
    """

    name: str = "accuracy"
    higher: bool = True

    @property
    def percent(self) -> bool:
        """Whether it is shown in %."""
        return self.name == "accuracy"

    @property
    def words(self) -> str:
        """For headings."""
        return f"test {self.name.replace('_', ' ')}"

    @property
    def axis(self) -> str:
        """For an axis of a figure."""
        return f"{self.words} (%)" if self.percent else self.heading

    @property
    def heading(self) -> str:
        """For a column of a table: accuracy needs no direction."""
        return self.words if self.percent else f"{self.words} ({'higher' if self.higher else 'lower'} is better)"

    def of(self, line: ResultLine) -> float:
        """As it is shown; nan where it was not measured."""
        found = line.value(self.name)
        return math.nan if found is None else 100 * found if self.percent else found

    def text(self, value: float, interval: float | None = None, digits: int = 2) -> str:
        """A value with its interval, in words."""
        kind = f".{digits}f" if self.percent else f".{digits + 2}g"
        spread = "" if interval is None else f" ± {interval:{kind}}"
        return f"{value:{kind}}{spread}{' %' if self.percent else ''}"

    def rank(self, value: float) -> float:
        """The lower, the better; what was not measured comes last."""
        return math.inf if math.isnan(value) else -value if self.higher else value


_ACCURACY = Measure()


def measure_of(runs: Sequence[Run]) -> Measure:
    """The main metric of these runs.

    Raises:
        InputError: they have different ones.
    """
    found = {next(iter(run.metrics.items())): run.name for run in runs}
    if len(found) > 1:
        told = ", ".join(f"{name} ({run})" for (name, _), run in found.items())
        raise InputError(f"these runs are judged by different metrics: {told}; report runs of one task together")
    name, better = next(iter(found), ("accuracy", "higher"))
    return Measure(name, better == "higher")


def metric_in(row: Mapping[str, Any]) -> Measure:
    """The metric of a row of `rows`."""
    return Measure(next(name for name in row if name not in _COLUMNS), row.get("better", "higher") == "higher")


_COLUMNS = (
    "settings",
    "method",
    "better",
    "interval",
    "seeds",
    "rounds",
    "megabytes_up",
    "megabytes_down",
    "local_epochs",
    "growth",
    "seconds",
)


def run_groups(runs: Sequence[Run]) -> list[RunGroup]:
    """The runs by their settings, in order of first appearance.

    Where a method has two runs of equal settings and seed, the later counts (`notes` says so).
    """
    groups: dict[str, list[Run]] = {}
    for run in runs:
        groups.setdefault(json.dumps(_compared(run), sort_keys=True), []).append(run)
    labels = _labels([_compared(group[0]) for group in groups.values()])
    return [RunGroup(label, _series(group), tuple(group)) for label, group in zip(labels, groups.values(), strict=True)]


def rows(runs: Sequence[Run]) -> list[dict[str, Any]]:
    """One row for each group of runs and method, of its last evaluation, averaged over seeds.

    The columns are:

    - `settings`: the settings in which groups of runs differ;
    - `method`;
    - `accuracy`: % of the test split; or, named so, the main metric of another task;
    - `better`: only of another metric: "higher" or "lower";
    - `interval`: half-width of the 95 % t-interval of its mean over seeds, None for one seed;
    - `seeds`: how many;
    - `rounds`;
    - `megabytes_up`, `megabytes_down`: of all clients together, 10^6 bytes;
    - `local_epochs`: of each client;
    - `growth`: parameters of the global model for each of a client's;
    - `seconds`: since the method started.
    """
    measure = measure_of(runs)
    return [_row(group.label, measure, series) for group in run_groups(runs) for series in group.series.values()]


def curve(series: Sequence[Series], against: str = "megabytes", measure: Measure = _ACCURACY) -> list[Point]:
    """Accuracy (%), or another metric, against megabytes up and down, or another attribute of evaluations.

    There is a point for each evaluation.
    """
    points = []
    for evaluations in zip_longest(*series):
        there = [evaluation for evaluation in evaluations if evaluation is not None]
        value, interval = mean_and_interval([measure.of(evaluation) for evaluation in there])
        points.append(Point(float(np.mean([getattr(own, against) for own in there])), value, interval))
    return points


def mean_and_interval(values: Sequence[float]) -> tuple[float, float | None]:
    """The mean, and the half-width of its 95 % t-interval (None for a single value)."""
    mean, count = float(np.mean(values)), len(values)
    if count < 2:
        return mean, None
    return mean, float(stats.t.ppf(0.975, count - 1) * np.std(values, ddof=1) / math.sqrt(count))


def notes(runs: Sequence[Run]) -> list[str]:
    """What a reader of the numbers must know: runs unfinished, cut short, or counted once only."""
    found = [f"{run.name}: {note}" for run in runs for note in run.notes]
    first: dict[str, Run] = {}
    for run in runs:
        compared, seed = _compared(run), run.settings.get("seed")
        for method in run.methods:
            key = json.dumps([compared, seed, method], sort_keys=True)
            if key in first:
                name = label(method) or method
                found.append(f"{run.name}: {name} repeats {first[key].name}, seed and all; the later counts")
            first[key] = run
    return found


def _compared(run: Run) -> dict[str, Any]:
    """The settings in which runs of one group are equal."""
    return {name: value for name, value in run.settings.items() if name not in NOT_COMPARED}


def _series(runs: Sequence[Run]) -> dict[str, tuple[Series, ...]]:
    """By method, one for each seed, of the last run that has it."""
    found: dict[str, dict[str, Series]] = {}
    for run in runs:
        for method in run.methods:
            found.setdefault(method, {})[json.dumps(run.settings.get("seed"))] = run.of(method)
    return {method: tuple(seeds.values()) for method, seeds in found.items()}


def _labels(settings: Sequence[Mapping[str, Any]]) -> list[str]:
    """For each, the values of the settings that are not the same in all."""
    names = dict.fromkeys(name for given in settings for name in given)
    differ = [name for name in names if len({json.dumps(given.get(name)) for given in settings}) > 1]
    # Runs of different kinds have other settings altogether: those that all have tell more, where they tell enough.
    for wanted in ([name for name in differ if all(name in given for given in settings)], differ):
        labels = [", ".join(f"{name}={plain(given.get(name), 40)}" for name in wanted) for given in settings]
        if len(set(labels)) == len(labels):
            break
    return labels


def plain(value: object, letters: int = 120) -> str:
    """A setting's value in words; several stand as on the command line."""
    if value is None or isinstance(value, bool):
        return {None: "none", True: "yes", False: "no"}[value]
    return shortened((" ".join(map(str, value)) or "none") if isinstance(value, list) else value, letters)


def shortened(value: object, letters: int = 40) -> str:
    """The value as text that leaves room for others beside it."""
    text = str(value)
    return text if len(text) <= letters else f"{text[: letters - 1]}…"


def _row(label: str, measure: Measure, series: Sequence[Series]) -> dict[str, Any]:
    last = [evaluations[-1] for evaluations in series]
    value, interval = mean_and_interval([measure.of(evaluation) for evaluation in last])

    def mean(attribute: str) -> float:
        return float(np.mean([getattr(evaluation, attribute) for evaluation in last]))

    return {
        "settings": label,
        "method": last[0].name,
        measure.name: value,
        **({} if measure.percent else {"better": "higher" if measure.higher else "lower"}),
        "interval": interval,
        "seeds": len(last),
        "rounds": mean("round"),
        "megabytes_up": mean("bytes_up") / 1e6,
        "megabytes_down": mean("bytes_down") / 1e6,
        "local_epochs": mean("local_epochs"),
        "growth": mean("growth"),
        "seconds": mean("seconds"),
    }
