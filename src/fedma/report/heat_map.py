"""Heat maps: tables whose cells are the darker the more there is in them, with the numbers where there is room."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from fedma.report.report_figure import INK, PAPER, blank, style
from fedma.report.summary import shortened

ACCENT = (0.0, 0.447, 0.698)
"""Okabe and Ito's blue; its opacity says how much, so that cells stay legible on white and on black."""

ON_ACCENT = "#fefefe"
"""Numbers on the darkest cells; near white, but no colour that a dark page changes."""

_ROW, _TALLEST, _AROUND = 0.29, 8.0, 0.85
"""Inches: of a row, of all rows at the most, of what is around them."""

_FEWEST = 5
"""Columns that there is room for; fewer do not get wider."""

_LABELS, _NUMBERS = 40, (60, 26)
"""The most labels of rows, and the most rows and columns whose numbers can be read."""


@dataclass(frozen=True)
class Heat:
    """One heat map.

    Attributes:
        title: what sets it apart from the others of its figure.
        rows: their labels.
        columns: their labels.
        shades: (rows, columns) from 0 to 1.
        cells: (rows, columns) what is written in them.
        across: what the columns are.
        down: what the rows are.
    """

    title: str
    rows: Sequence[str]
    columns: Sequence[str]
    shades: Sequence[Sequence[float]]
    cells: Sequence[Sequence[str]]
    across: str
    down: str


def draw(heats: Sequence[Heat]) -> Any:
    """All of them in one figure, one below the other."""
    heights = [_AROUND + min(_TALLEST, _ROW * len(heat.rows)) for heat in heats]
    with style():
        figure, axes = blank(heights)
        for axis, heat in zip(axes, heats, strict=True):
            _draw(axis, heat)
    return figure


def _draw(axis: Any, heat: Heat) -> None:
    shades = np.clip(np.asarray(heat.shades, dtype=float), 0, 1)
    colours = np.empty((*shades.shape, 4))
    colours[..., :3], colours[..., 3] = ACCENT, shades
    axis.imshow(colours, interpolation="none", aspect="auto")
    axis.set_xlim(-0.5, max(len(heat.columns), _FEWEST) - 0.5)
    _label(axis.xaxis, heat.columns, most=_NUMBERS[1])
    _label(axis.yaxis, heat.rows, most=_LABELS)
    axis.xaxis.tick_top()
    axis.xaxis.set_label_position("top")
    axis.set_xlabel(heat.across, loc="left")
    axis.set_ylabel(heat.down)
    axis.set_title(heat.title, fontsize=10, loc="left", pad=10)
    axis.tick_params(length=0)
    axis.spines[:].set_visible(False)
    if len(heat.rows) > _NUMBERS[0] or len(heat.columns) > _NUMBERS[1]:
        return
    axis.set_xticks(np.arange(0.5, len(heat.columns) - 1), minor=True)
    axis.set_yticks(np.arange(0.5, len(heat.rows) - 1), minor=True)
    axis.grid(which="minor", color=PAPER, linewidth=1.5)
    axis.tick_params(which="minor", length=0)
    size = 9 if max(len(cell) for row in heat.cells for cell in row) * len(heat.columns) < 90 else 7
    for (row, column), shade in np.ndenumerate(shades):
        colour = ON_ACCENT if shade > 0.85 else INK
        axis.text(column, row, heat.cells[row][column], ha="center", va="center", fontsize=size, color=colour)


def _label(axis: Any, labels: Sequence[str], *, most: int) -> None:
    """Label every tick, or every n-th tick if there are too many."""
    places = range(0, len(labels), math.ceil(len(labels) / most))
    axis.set_ticks(list(places), [shortened(labels[place], 24) for place in places])
