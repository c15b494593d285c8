"""The tables of an experiment, in Markdown and CSV."""

import csv
from collections.abc import Iterator, Sequence
from os import PathLike
from pathlib import Path

from fedma.methods import LEVELS
from fedma.report.experiment import PLACE, Drawing, Ends, Mean, Measured, by_line, by_x, mean

ENDS = ("accuracy", "round", "bytes_up", "bytes_down", "local_epochs", "samples_seen", "growth")
"""Columns of the CSV: of the run, and of its last evaluation."""


def experiment_markdown(measured: Sequence[Measured], drawing: Drawing) -> str:
    """All tables of an experiment, each with a line of explanation."""
    fewest, most = _seeds(measured)
    over = f"{most}" if fewest == most else f"{fewest} to {most}"
    said = "Test accuracy in %" + (f"; means over {over} seeds ± half-width of the 95 % t-interval" * (most > 1))
    if isinstance(drawing, Ends):
        what = said if drawing.value == "accuracy" else "Parameters of the global model for each of a client's"
        return f"{what}, by {drawing.axis}.\n\n{_ends(measured, drawing)}{_failures(measured)}"
    parts = [f"{said}; megabytes of all clients together.\n\n{_course(measured)}{_failures(measured)}"]
    if needs := _needs(measured, drawing.method):
        parts.append(f"What the best accuracy of each costs, and what FedMA needs to get there.\n\n{needs}")
    if tuning := _tuning(measured):
        parts.append(f"The settings were chosen on a seed of their own, in runs of half as many rounds.\n\n{tuning}")
    return "\n".join(parts)


def write_experiment_csv(measured: Sequence[Measured], path: str | PathLike[str]) -> None:
    """One row for each run: where it ended, and its best."""
    with Path(path).open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow((*PLACE, "best_accuracy", *ENDS))
        for own in (own for own in measured if own.evaluations):
            place = (own.line, own.x, own.seed, own.tuning, own.best.accuracy)
            writer.writerow([*place, *(getattr(own.last, name) for name in ENDS)])


def _seeds(measured: Sequence[Measured]) -> tuple[int, int]:
    """The fewest and the most that a cell has."""
    found: dict[tuple[object, ...], set[int]] = {}
    for own in (own for own in measured if not own.tuning):
        found.setdefault((own.line, own.x), set()).add(own.seed)
    counts = [len(seeds) for seeds in found.values()]
    return min(counts), max(counts)


def _course(measured: Sequence[Measured]) -> str:
    fewest, most = _seeds(measured)
    headings = ("", *(("seeds",) if fewest < most else ()), "last", "best", "rounds", "MB", "local epochs", "growth")
    rows = []
    for line, own in by_line(measured).items():
        last = [one.last for one in own]
        rows.append(
            (
                line,
                *((f"{len(own)}",) if fewest < most else ()),
                str(_percent(one.accuracy for one in last)),
                str(_percent(one.best.accuracy for one in own)),
                f"{mean([one.round for one in last]).value:g}",
                f"{mean([one.megabytes for one in last]).value:.1f}",
                f"{mean([one.local_epochs for one in last]).value:g}",
                f"×{mean([one.growth for one in last]).value:.2f}",
            )
        )
    return _markdown(headings, rows)


def _failures(measured: Sequence[Measured]) -> str:
    """What ended before its last round."""
    return "".join(f"\n{own.line}, seed {own.seed}, {_end_of(own)}: {own.failed}.\n" for own in measured if own.failed)


def _end_of(own: Measured) -> str:
    return f"ended after round {own.last.round}" if own.evaluations else "ended in its first round"


def _needs(measured: Sequence[Measured], method: str) -> str:
    """Seed by seed, the bytes to the others' best accuracy; empty where there is no such method."""
    lines = by_line(measured)
    ours = next((own for own in lines.values() if own[0].method == method), [])
    mine = {own.seed: own for own in ours}
    rows = []
    for line, own in lines.items():
        theirs = [one for one in own if one.seed in mine]
        if own[0].method in (method, *LEVELS) or not theirs:
            continue
        costs = [_megabytes_to(mine[one.seed], one.best.accuracy) for one in theirs]
        there = [(cost, one.best.megabytes) for cost, one in zip(costs, theirs, strict=True) if cost is not None]
        rows.append(
            (
                line,
                str(_percent(one.best.accuracy for one in theirs)),
                f"{mean([one.best.megabytes for one in theirs]).value:.1f}",
                f"{mean([cost for cost, _ in there]).value:.1f}" if there else "–",
                f"{mean([cost / whole for cost, whole in there]).value:.2f}" if there else "–",
                f"{len(there)} of {len(theirs)}",
            )
        )
    if not rows:
        return ""
    return _markdown(("", "best", "MB to it", "FedMA's MB to it", "ratio", "seeds in which FedMA gets there"), rows)


def _megabytes_to(own: Measured, accuracy: float) -> float | None:
    return next((one.megabytes for one in own.evaluations if one.accuracy >= accuracy), None)


def _tuning(measured: Sequence[Measured]) -> str:
    tried: dict[str, list[Measured]] = {}
    for own in measured:
        if own.tuning:
            tried.setdefault(own.line, []).append(own)
    rows = []
    for line, cells in tried.items():
        best = max(cells, key=lambda own: 0.0 if own.failed else own.last.accuracy)
        rows += [(line, str(own.x), f"{100 * own.last.accuracy:.2f}", "chosen" if own is best else "") for own in cells]
    return _markdown(("", "settings", "accuracy", ""), rows) if rows else ""


def _ends(measured: Sequence[Measured], drawing: Ends) -> str:
    lines = {line: by_x(own) for line, own in by_line(measured).items()}
    columns = list(dict.fromkeys(x for cells in lines.values() for x in cells if x is not None))
    rows = []
    for line, cells in lines.items():
        shown = {x: str(end(own, drawing)) for x, own in cells.items()}
        # A line without x is one result, to be compared with every column.
        rows.append((line, *(shown.get(x, shown.get(None, "")) for x in columns)))
    return _markdown(("", *map(str, columns)), rows)


def end(own: Sequence[Measured], drawing: Ends) -> Mean:
    """What is shown of a cell: accuracy in %, or growth."""
    if drawing.value == "growth":
        return mean([one.last.growth for one in own])
    return _percent(one.last.accuracy for one in own)


def _percent(shares: Iterator[float] | Sequence[float]) -> Mean:
    return mean([100 * share for share in shares])


def _markdown(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    rule = [":--", *("--:" for _ in headings[1:])]
    return "".join(f"| {' | '.join(row)} |\n" for row in (headings, rule, *rows))
