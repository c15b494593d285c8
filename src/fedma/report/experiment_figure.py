"""The figure of an experiment: courses along rounds, bytes and epochs, or ends along a setting."""

from collections.abc import Callable, Mapping, Sequence
from os import PathLike
from typing import Any

from fedma.methods import LEVELS
from fedma.optional_dependencies import imported
from fedma.report.accuracy_figure import OTHERS, STYLES
from fedma.report.experiment import Drawing, Ends, Measured, by_line, by_x, mean
from fedma.report.experiment_table import end
from fedma.result_line import ResultLine

AXES: Mapping[str, Callable[[ResultLine], float]] = {
    "rounds": lambda one: one.round,
    "megabytes sent, all clients": lambda one: one.megabytes,
    "local epochs of a client": lambda one: one.local_epochs,
}
DASHES = ("-", ":", "--", "-.")
"""For the lines of one method, in turn."""


def draw_experiment(measured: Sequence[Measured], drawing: Drawing, title: str, path: str | PathLike[str]) -> None:
    """Draw the figure into a file; means over seeds, with 95 % t-intervals as bands.

    Raises:
        MissingExtra: matplotlib is not installed.
    """
    lines = by_line(measured)
    styles = _styles(lines, several=isinstance(drawing, Ends))
    matplotlib = imported("matplotlib", extra="report")
    with matplotlib.rc_context({"font.size": 10}):
        panels = 1 if isinstance(drawing, Ends) else len(AXES)
        figure = imported("matplotlib.figure", extra="report").Figure(
            figsize=(2.6 + 4.2 * panels, 4), layout="constrained"
        )
        axes = figure.subplots(1, panels, squeeze=False, sharey=True)[0]
        if isinstance(drawing, Ends):
            _draw_ends(axes[0], lines, styles, drawing)
        else:
            for axis, (label, at) in zip(axes, AXES.items(), strict=True):
                _draw_courses(axis, lines, styles, at)
                axis.set_xlabel(label)
            axes[0].set_ylabel("test accuracy (%)")
            axes[0].xaxis.get_major_locator().set_params(integer=True)
            axes[0].set_ylim(*_limits(lines))
        for axis in axes:
            axis.grid(color="#DDDDDD", linewidth=0.6)
            axis.spines[["top", "right"]].set_visible(False)
        axes[-1].legend(loc="center left", bbox_to_anchor=(1.01, 0.5), frameon=False, handlelength=2.6)
        figure.suptitle(title)
        figure.savefig(path, dpi=130)


def _styles(lines: Mapping[str, Sequence[Measured]], *, several: bool) -> dict[str, dict[str, Any]]:
    """Colour by method, dashes by turns; where all lines are of one method, colours by turns."""
    seen: dict[str, int] = {}
    alone = several and len({own[0].method for own in lines.values()}) == 1
    palette = list(STYLES.values())
    found = {}
    for number, (line, own) in enumerate(lines.items()):
        method = str(number) if alone else own[0].method
        colour, marker, _ = palette[number % len(palette)] if alone else STYLES.get(method, OTHERS[0])
        turn = seen[method] = seen.get(method, -1) + 1
        found[line] = {"color": colour, "marker": marker or None, "linestyle": DASHES[turn % len(DASHES)]}
    return found


def _draw_courses(
    axis: Any, lines: Mapping[str, Sequence[Measured]], styles: Mapping[str, Any], at: Callable[[ResultLine], float]
) -> None:
    for line, own in lines.items():
        if own[0].method in LEVELS:
            _level(axis, line, mean([100 * one.last.accuracy for one in own]).value, styles[line])
            continue
        rounds = range(max(len(one.evaluations) for one in own))
        reached = [[one.evaluations[r] for one in own if r < len(one.evaluations)] for r in rounds]
        means = [mean([100 * one.accuracy for one in there]) for there in reached]
        xs = [mean([at(one) for one in there]).value for there in reached]
        _line(axis, line, xs, means, styles[line])


def _draw_ends(axis: Any, lines: Mapping[str, Sequence[Measured]], styles: Mapping[str, Any], drawing: Ends) -> None:
    for line, own in lines.items():
        cells = {x: end(there, drawing) for x, there in by_x(own).items()}
        if None in cells:
            _level(axis, line, cells[None].value, styles[line])
        else:
            style = styles[line]
            if any(isinstance(x, str) for x in cells):
                style = {**style, "linestyle": "none"}
            _line(axis, line, list(cells), list(cells.values()), style)
    axis.set_xlabel(drawing.axis)
    axis.set_ylabel("test accuracy (%)" if drawing.value == "accuracy" else "growth (global / client parameters)")


def _limits(lines: Mapping[str, Sequence[Measured]]) -> tuple[float, float]:
    """The range of accuracies to show: all ends, and the curves as far as the ends stay distinguishable."""
    ends = [mean([100 * one.last.accuracy for one in own]).value for own in lines.values()]
    best = [mean([100 * one.best.accuracy for one in own]).value for own in lines.values()]
    reach = max(max(best) - min(ends), 2.0)
    return max(min(ends) - reach, 0.0), min(max(best) + 0.15 * reach, 100.5)


def _level(axis: Any, line: str, value: float, style: Mapping[str, Any]) -> None:
    dashes = "--" if style["linestyle"] == "-" else style["linestyle"]
    axis.axhline(value, color=style["color"], linestyle=dashes, linewidth=1.2, label=line)


def _line(axis: Any, line: str, xs: Sequence[Any], means: Sequence[Any], style: Mapping[str, Any]) -> None:
    spread = [one.interval or 0.0 for one in means]
    axis.errorbar(
        xs, [one.value for one in means], yerr=spread if any(spread) else None, label=line, capsize=2,
        elinewidth=0.7, markersize=5, markeredgecolor="white", markeredgewidth=0.6, **style,
    )  # fmt: skip
