"""What an experiment is made of: cells, each one method with its settings, run once for every seed."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from fedma.data import Dataset
from fedma.experiments.settings import MethodName, Settings
from fedma.report import Drawing

Scale = Literal["small", "medium", "paper"]
Chosen = Mapping[str, Settings]
"""Of each line that was tuned, the settings that did best."""

TUNING_SEED = 1000
"""The seed that learning rates and the like are chosen on; its results count for nothing else."""


@dataclass(frozen=True)
class Cell:
    """One point or one curve of an experiment.

    Attributes:
        line: what the line in the figure and the row in the table that it belongs to are called.
        settings: of its runs, but for the seed; one method.
        x: where on the line, for lines of several cells.
        data: makes its data, for data that have no name; given the settings, whose limits are for it.
    """

    line: str
    settings: Settings
    x: float | str | None = None
    data: Callable[[Settings], Dataset] | None = None

    @property
    def method(self) -> MethodName:
        """The one method."""
        (method,) = self.settings.method
        return method


Cells = Callable[[Scale, Chosen], Sequence[Cell]]


@dataclass(frozen=True)
class Experiment:
    """A figure of the paper, or one like it.

    Attributes:
        title: what it shows.
        cells: what is run, given what tuning chose.
        drawing: how its figure and table are made.
        tuning: stages of cells that are run first, for one seed. In each line the settings of the most accurate cell
            are chosen and passed to the next stage.
        seeds: by default, but at the paper's scale.
        scales: which there are.
    """

    title: str
    cells: Cells
    drawing: Drawing
    tuning: tuple[Cells, ...] = ()
    seeds: tuple[int, ...] = (0, 1, 2)
    scales: tuple[Scale, ...] = ("small", "paper")


def cell(line: str, method: MethodName, base: Settings, *, x: float | str | None = None, **changes: Any) -> Cell:
    """A cell of a method: the base settings with changes."""
    return Cell(line, replace(base, method=(method,), **changes), x)
