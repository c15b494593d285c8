"""The results of an experiment: many runs, each a point or a curve of some line."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Any, Literal

from fedma.errors import InputError
from fedma.report.results import RESULTS, evaluation
from fedma.report.summary import mean_and_interval
from fedma.result_line import ResultLine

PLACE = ("line", "x", "seed", "tuning")
"""What a line of results says of its run."""


@dataclass(frozen=True)
class LearningCurves:
    """Drawn as accuracy against rounds, megabytes and local epochs; a table of the ends, and one of who gets where.

    Attributes:
        method: whose bytes are compared with the others'.
    """

    method: str = "fedma"


@dataclass(frozen=True)
class Ends:
    """Drawn as the last evaluations along x; a table of lines by x.

    Attributes:
        axis: what x is.
        value: what is drawn.
    """

    axis: str
    value: Literal["accuracy", "growth"] = "accuracy"


Drawing = LearningCurves | Ends


@dataclass(frozen=True)
class Measured:
    """One method's evaluations in one run of an experiment.

    Attributes:
        line: the line that it belongs to.
        x: where on the line.
        seed: of the run.
        tuning: whether it served to choose settings, and counts for nothing else.
        evaluations: round by round; none where it failed in its first.
        failed: why they ended before the last round, if they did.
    """

    line: str
    x: float | str | None
    seed: int
    tuning: bool
    evaluations: tuple[ResultLine, ...]
    failed: str | None = None

    @property
    def last(self) -> ResultLine:
        """The end."""
        return self.evaluations[-1]

    @property
    def best(self) -> ResultLine:
        """The first of the most accurate."""
        return max(self.evaluations, key=lambda one: one.accuracy)

    @property
    def method(self) -> str:
        """As in the settings."""
        return self.last.method

    def to_lines(self) -> list[dict[str, Any]]:
        """For the results file."""
        place = {"line": self.line, "x": self.x, "seed": self.seed, "tuning": self.tuning}
        if self.failed:
            place["failed"] = self.failed
        return [{**place, **vars(own)} for own in self.evaluations] or [place]


def read_experiment(folder: str | PathLike[str]) -> list[Measured]:
    """What an experiment has measured so far, in order.

    Raises:
        InputError: there is no such file, or it is damaged.
    """
    path = Path(folder) / RESULTS
    try:
        lines = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
        places = [(*(line[name] for name in PLACE), line.get("failed"), line.get("method")) for line in lines]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"{path} holds no results of an experiment ({error}); repeat it") from error
    found: dict[Any, list[ResultLine]] = {}
    for number, (line, place) in enumerate(zip(lines, places, strict=True), start=1):
        own = found.setdefault(place, [])
        if "method" in line or "failed" not in line:
            own.append(evaluation(line, f"{path}, line {number}"))
    return [
        Measured(line, x, seed, tuning, tuple(own), failed) for (line, x, seed, tuning, failed, _), own in found.items()
    ]


@dataclass(frozen=True)
class Mean:
    """Over seeds; `interval` is the half-width of the mean's 95 % t-interval, None for one seed."""

    value: float
    interval: float | None

    def __str__(self) -> str:
        return f"{self.value:.2f}" + ("" if self.interval is None else f" ± {self.interval:.2f}")


def mean(values: Sequence[float]) -> Mean:
    """The mean over several seeds."""
    return Mean(*mean_and_interval(values))


def by_line(measured: Sequence[Measured]) -> dict[str, list[Measured]]:
    """What counts and finished a round, in order of first appearance."""
    found: dict[str, list[Measured]] = {}
    for own in measured:
        if own.evaluations and not own.tuning:
            found.setdefault(own.line, []).append(own)
    return found


def by_x(measured: Sequence[Measured]) -> dict[float | str | None, list[Measured]]:
    """A line's cells, each with its seeds; numbers in order."""
    found: dict[float | str | None, list[Measured]] = {}
    for own in measured:
        found.setdefault(own.x, []).append(own)
    return dict(sorted(found.items(), key=lambda item: item[0] if isinstance(item[0], (int, float)) else 0))
