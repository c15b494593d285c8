"""Accuracy, or another main metric, against megabytes, rounds or local epochs.

A panel per group of runs; a line, point or level per method.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Any

from fedma.errors import InputError
from fedma.methods import LOCAL, METHODS, label
from fedma.report.report_figure import GRID, PAPER, ReportFigure, blank, style, together
from fedma.report.results import Run
from fedma.report.summary import Measure, Point, RunGroup, curve, measure_of, run_groups, shortened

__all__ = ["OTHERS", "STYLES", "accuracy", "plot"]

FORMATS = (".png", ".svg", ".pdf")

AXES = {
    "megabytes": ("bytes", "megabytes sent, up and down, all clients"),
    "round": ("rounds", "rounds of communication"),
    "local_epochs": ("local epochs", "epochs of local training of each client"),
}
"""What accuracy is drawn against: attributes of evaluations, in a word, and as the axis has it."""

LOGARITHMIC_ABOVE = 20
"""Ratio of the largest to the smallest megabytes beyond which their axis is logarithmic."""

MARKERS = 12
"""The most markers on one line, the last always among them."""

STYLES = {method.name: method.style for method in (*METHODS, LOCAL) if method.style}
"""Colour (from Okabe and Ito's palette for the colour-blind), marker and dashes of each method."""

OTHERS = (("#B8860B", "X", "-"), ("#882255", "v", "-"), ("#44AA99", "<", "-"))
"""Styles for all other methods, in turn."""


def _amount(x: float, against: str) -> str:
    if against == "megabytes":
        return f"{x:,.2f} MB"
    return f"{x:g} {against.replace('_', ' ').removesuffix('s')}{'s' * (x != 1)}"


@dataclass(frozen=True)
class Curve:
    """What one method contributes to a panel; if it sends nothing, a level for comparison."""

    name: str
    points: list[Point]
    sends: bool
    colour: str
    marker: str
    dashes: str

    @property
    def last(self) -> Point:
        """The end of the line."""
        return self.points[-1]


def plot(runs: Sequence[Run], path: str | PathLike[str], *, against: str = "megabytes") -> None:
    """Draw the figure of `accuracy` into a PNG, SVG or PDF file.

    Raises:
        InputError: there is no run, or the file's ending is not one of these three.
        MissingExtra: matplotlib is not installed.
    """
    target = Path(path)
    if target.suffix not in FORMATS:
        raise InputError(f"{target.name!r} ends in {target.suffix!r}; a figure is one of {', '.join(FORMATS)}")
    picture = accuracy(runs, against)
    with style():
        picture.drawn.savefig(target, dpi=160, metadata={"Date": None} if target.suffix == ".svg" else None)


def accuracy(runs: Sequence[Run], against: str = "megabytes") -> ReportFigure:
    """Accuracy against megabytes (up and down, all clients together), rounds or local epochs.

    Methods with several evaluations are lines, those with one are points, those that send nothing are dashed
    levels. Over several seeds the means are drawn, with their 95 % t-intervals as bands and bars. The legend is in
    order of the last accuracy.

    Args:
        runs: at least one.
        against: of `AXES`.

    Raises:
        InputError: there is no run, or no such axis.
        MissingExtra: matplotlib is not installed.
    """
    if against not in AXES:
        raise InputError(f"accuracy cannot be drawn against {against!r}; there are {', '.join(AXES)}")
    measure = measure_of(runs)
    panels = [(group.label, _lines(group, against, measure)) for group in run_groups(runs)]
    if not panels:
        raise InputError("there are no results to draw; name at least one run")
    limits = _limits([line for _, lines in panels for line in lines], measure)
    word, label = AXES[against]
    with style():
        figure, axes = blank([3.8] * len(panels))
        for axis, (title, lines) in zip(axes, panels, strict=True):
            _draw(axis, title, lines, against, measure)
            axis.set_ylim(*limits)
    return ReportFigure(
        f"{measure.name}_vs_{'rounds' if against == 'round' else against}",
        f"{measure.name.replace('_', ' ').capitalize()} against {word}",
        f"Line chart of {measure.words} against {label}, with {', '.join(_names(panels))}.",
        together([_told(title, lines, against, measure) for title, lines in panels], most=4),
        [
            {"settings": title, "method": line.name, against: point.x, measure.name: point.value}
            | {"interval": point.interval}
            for title, lines in panels
            for line in lines
            for point in line.points
        ],
        figure,
    )


def _names(panels: Sequence[tuple[str, Sequence["Curve"]]]) -> list[str]:
    return list(dict.fromkeys(line.name for _, lines in panels for line in lines))


def _told(title: str, lines: Sequence["Curve"], against: str, measure: Measure) -> str:
    """A panel in a sentence."""
    ends = []
    for line in lines:
        after = f" after {_amount(line.last.x, against)}" if line.sends else ", without communication"
        ends.append(f"{line.name} {measure.text(line.last.value, line.last.interval)}{after}")
    return f"{title or 'At the end'}: {'; '.join(ends)}."


def _lines(group: RunGroup, against: str, measure: Measure) -> list[Curve]:
    """Best last value first."""
    others = iter(OTHERS * len(group.series))
    lines = [
        Curve(
            shortened(label(method) or method),
            curve(series, against, measure),
            any(own[-1].megabytes > 0 for own in series),
            *(STYLES.get(method) or next(others)),
        )
        for method, series in group.series.items()
    ]
    return sorted(lines, key=lambda line: measure.rank(line.last.value))


def _draw(axis: Any, title: str, lines: Sequence[Curve], against: str, measure: Measure) -> None:
    """One panel."""
    label = AXES[against][1]
    there = [point.x for line in lines if line.sends for point in line.points if point.x > 0]
    logarithmic = against == "megabytes" and bool(there) and max(there) > LOGARITHMIC_ABOVE * min(there)
    if logarithmic:
        axis.set_xscale("log")
        axis.xaxis.set_major_formatter("{x:g}")
    handles = [_draw_line(axis, line, logarithmic, measure) for line in lines]
    if not logarithmic:
        axis.set_xlim(left=0)
        axis.xaxis.get_major_locator().set_params(integer=against == "round")
    axis.set_title(shortened(title, 60), fontsize=10, loc="left")
    axis.set_xlabel(label + (" (log scale)" if logarithmic else ""))
    axis.set_ylabel(measure.axis)
    axis.grid(color=GRID, linewidth=0.6)
    axis.set_axisbelow(True)
    axis.spines[["top", "right"]].set_visible(False)
    axis.legend(handles=handles, loc="center left", bbox_to_anchor=(1.01, 0.5), frameon=False, handlelength=2.6)


def _draw_line(axis: Any, line: Curve, logarithmic: bool, measure: Measure) -> Any:
    """Draw one method, and return its handle for the legend."""
    name = f"{line.name}  {measure.text(line.last.value, digits=1)}"
    if not line.sends:
        return axis.axhline(line.last.value, color=line.colour, linestyle=line.dashes, linewidth=1.4, label=name)
    points = [point for point in line.points if point.x > 0 or not logarithmic]
    x, y = [point.x for point in points], [point.value for point in points]
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
        markeredgecolor=PAPER,
        markeredgewidth=0.7,
        capsize=3,
        label=name,
        zorder=3,
    )
    if not once and any(spread):
        low, high = ([value + sign * half for value, half in zip(y, spread, strict=True)] for sign in (-1, 1))
        axis.fill_between(x, low, high, color=line.colour, alpha=0.15, linewidth=0)
    return drawn


def _limits(lines: Sequence[Curve], measure: Measure) -> tuple[float | None, float | None]:
    """The range of accuracies to show: all final ones, and the curves as far as the final ones stay distinguishable.

    Of another metric, all that there is.
    """
    if not measure.percent:
        return None, None
    ends = [line.last.value for line in lines]
    climbs = [line.last.value for line in lines if line.sends] or ends
    lows = [point.value - (point.interval or 0) for line in lines for point in line.points]
    top = max(point.value + (point.interval or 0) for line in lines for point in line.points)
    reach = max(max(ends) - min(climbs), 2.0)
    bottom = max(min(lows), min(*ends, min(climbs) - reach))
    margin = 0.06 * (top - bottom) + 0.1
    return max(bottom - margin, 0.0), min(top + margin, 100.0 + margin)
