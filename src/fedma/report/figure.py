"""Accuracy against megabytes: one panel for each case, one line, point or level for each method."""

import importlib
import math
from collections.abc import Sequence
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Any

from fedma.errors import InputError, MissingExtra
from fedma.report.results import NAMES, Run
from fedma.report.summary import Case, Point, cases, curve

FORMATS = (".png", ".svg", ".pdf")

LOGARITHMIC_ABOVE = 20
"""Ratio of the largest to the smallest megabytes beyond which their axis is logarithmic."""

MARKERS = 12
"""The most markers on one line, the last always among them."""

STYLES = {
    "fedma": ("#D55E00", "o", "-"),
    "fedavg": ("#0072B2", "s", "-"),
    "fedprox": ("#56B4E9", "^", "-."),
    "pfnm": ("#009E73", "D", "-"),
    "ensemble": ("#CC79A7", "P", "-"),
    "pooled": ("#000000", "", "--"),
    "local": ("#767676", "", ":"),
}
"""Colour (Okabe and Ito's, told apart by the colour-blind), marker and dashes of each method."""

OTHERS = (("#B8860B", "X", "-"), ("#882255", "v", "-"), ("#44AA99", "<", "-"))
"""For methods that have no style of their own, in turn."""


@dataclass(frozen=True)
class Line:
    """What one method contributes to a panel."""

    name: str
    points: list[Point]
    colour: str
    marker: str
    dashes: str

    @property
    def last(self) -> Point:
        """The end of the line."""
        return self.points[-1]

    @property
    def sends(self) -> bool:
        """Whether it communicates at all: otherwise it is a level to compare with."""
        return self.last.megabytes > 0


def plot(runs: Sequence[Run], path: str | PathLike[str]) -> None:
    """Draw accuracy against megabytes (up and down, all clients together) into a PNG, SVG or PDF file.

    Methods with several evaluations are lines, those with one are points, those that send nothing are dashed
    levels. Over several seeds the means are drawn, with their 95 % t-intervals as bands and bars. The legend is in
    order of the last accuracy.

    Raises:
        InputError: there is no run, or the file's ending is not one of these three.
        MissingExtra: matplotlib is not installed.
    """
    target = Path(path)
    if target.suffix not in FORMATS:
        raise InputError(f"{target.name!r} ends in {target.suffix!r}; a figure is one of {', '.join(FORMATS)}")
    panels = [(case.label, _lines(case)) for case in cases(runs)]
    if not panels:
        raise InputError("there are no results to draw; name at least one run")
    limits = _limits([line for _, lines in panels for line in lines])
    matplotlib = imported("matplotlib")
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": "fedma", "font.size": 10}):
        columns = min(len(panels), 2)
        rows = math.ceil(len(panels) / columns)
        figure = imported("matplotlib.figure").Figure(figsize=(6.8 * columns, 4 * rows), layout="constrained")
        axes = figure.subplots(rows, columns, squeeze=False).flatten()
        for axis, (label, lines) in zip(axes, panels, strict=False):
            _draw(axis, label, lines)
            axis.set_ylim(*limits)
        for axis in axes[len(panels) :]:
            axis.remove()
        figure.savefig(target, dpi=160, metadata={"Date": None} if target.suffix == ".svg" else None)


def imported(module: str) -> Any:
    """A module of matplotlib, or `MissingExtra` where it is not installed."""
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise MissingExtra(
            f"figures need matplotlib, which cannot be imported ({error}); pip install 'fedma[report]'"
        ) from error


def _lines(case: Case) -> list[Line]:
    """Best last accuracy first."""
    others = iter(OTHERS * len(case.series))
    lines = [
        Line(NAMES.get(method, method), curve(series), *(STYLES.get(method) or next(others)))
        for method, series in case.series.items()
    ]
    return sorted(lines, key=lambda line: -line.last.accuracy)


def _draw(axis: Any, label: str, lines: Sequence[Line]) -> None:
    """One panel."""
    sent = [point.megabytes for line in lines for point in line.points if point.megabytes > 0]
    logarithmic = bool(sent) and max(sent) > LOGARITHMIC_ABOVE * min(sent)
    if logarithmic:
        axis.set_xscale("log")
        axis.xaxis.set_major_formatter("{x:g}")
    handles = [_draw_line(axis, line, logarithmic) for line in lines]
    if not logarithmic:
        axis.set_xlim(left=0)
    axis.set_title(label, fontsize=10)
    axis.set_xlabel("megabytes sent, up and down, all clients" + (" (log scale)" if logarithmic else ""))
    axis.set_ylabel("test accuracy (%)")
    axis.grid(color="#DDDDDD", linewidth=0.6)
    axis.set_axisbelow(True)
    axis.spines[["top", "right"]].set_visible(False)
    axis.legend(handles=handles, loc="center left", bbox_to_anchor=(1.01, 0.5), frameon=False, handlelength=2.6)


def _draw_line(axis: Any, line: Line, logarithmic: bool) -> Any:
    """Draw one method, and return its handle for the legend."""
    name = f"{line.name}  {line.last.accuracy:.1f} %"
    if not line.sends:
        return axis.axhline(line.last.accuracy, color=line.colour, linestyle=line.dashes, linewidth=1.4, label=name)
    points = [point for point in line.points if point.megabytes > 0 or not logarithmic]
    x, y = [point.megabytes for point in points], [point.accuracy for point in points]
    spread = [point.interval or 0.0 for point in points]
    once = len(points) == 1
    drawn = axis.errorbar(
        x,
        y,
        yerr=spread if once and spread[0] else None,
        color=line.colour,
        marker=line.marker or "o",
        linestyle="none" if once else line.dashes,
        markersize=9 if once else 5,
        markevery=sorted(range(len(x) - 1, -1, -math.ceil(len(x) / MARKERS))),
        markeredgecolor="white",
        markeredgewidth=0.7,
        capsize=3,
        label=name,
        zorder=3,
    )
    if not once and any(spread):
        low, high = ([value + sign * half for value, half in zip(y, spread, strict=True)] for sign in (-1, 1))
        axis.fill_between(x, low, high, color=line.colour, alpha=0.15, linewidth=0)
    return drawn


def _limits(lines: Sequence[Line]) -> tuple[float, float]:
    """Accuracies shown: all last ones, and of the way there only so much that these can still be told apart."""
    ends = [line.last.accuracy for line in lines]
    climbs = [line.last.accuracy for line in lines if line.sends] or ends
    lows = [point.accuracy - (point.interval or 0) for line in lines for point in line.points]
    top = max(point.accuracy + (point.interval or 0) for line in lines for point in line.points)
    reach = max(max(ends) - min(climbs), 2.0)
    bottom = max(min(lows), min(*ends, min(climbs) - reach))
    margin = 0.06 * (top - bottom) + 0.1
    return max(bottom - margin, 0.0), min(top + margin, 100.0 + margin)
