"""Rows as text: aligned for a terminal, as Markdown, as CSV."""

import csv
from collections.abc import Sequence
from os import PathLike
from pathlib import Path
from typing import Any

from fedma.errors import InputError
from fedma.report.results import Run
from fedma.report.summary import metric_in, notes, rows, shortened

HEADINGS = {
    "settings": "settings",
    "method": "method",
    "metric": "test accuracy",
    "rounds": "rounds",
    "megabytes_up": "MB up",
    "megabytes_down": "MB down",
    "local_epochs": "local epochs",
    "growth": "growth",
}
"""Columns of the printed table; `metric` is the main one, and shows its interval and the number of seeds too."""

WORDS = ("settings", "method")
"""Columns set to the left; all others hold numbers, to the right."""


def table(runs: Sequence[Run]) -> str:
    """The runs' last results as aligned text, with what a reader must know about them beneath."""
    found = rows(runs)
    texts = cells(found)
    widths = {name: max(len(row[name]) for row in texts) for name in texts[0]}
    lines = ["  ".join(_padded(row[name], widths[name], name) for name in row).rstrip() for row in texts]
    lines.insert(1, "  ".join("-" * width for width in widths.values()))
    return "\n".join([*lines, *explained(found), *(f"Note: {note}." for note in notes(runs))]) + "\n"


def markdown(rows: Sequence[dict[str, Any]]) -> str:
    """The same table in Markdown, of rows as `fedma.report.rows` gives them."""
    texts = [{name: cell.replace("|", "\\|") for name, cell in row.items()} for row in cells(rows)]
    rule = {name: ":--" if name in WORDS else "--:" for name in texts[0]}
    lines = [f"| {' | '.join(row.values())} |" for row in (texts[0], rule, *texts[1:])]
    beneath = explained(rows)
    return "\n".join([*lines, *([""] if beneath else []), *beneath]) + "\n"


def write_csv(rows: Sequence[dict[str, Any]], path: str | PathLike[str]) -> None:
    """The rows in full precision, one column for each of their fields; an interval that is None stays empty.

    Raises:
        InputError: there are no rows.
    """
    if not rows:
        raise InputError("there are no results to write; name at least one run")
    with Path(path).open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def cells(found: Sequence[dict[str, Any]]) -> list[dict[str, str]]:
    """The heading and one line a row, as text; the settings only where they differ."""
    if not found:
        raise InputError("there are no results to show; name at least one run")
    columns = [name for name in HEADINGS if name != "settings" or any(row["settings"] for row in found)]
    measure = metric_in(found[0])
    lines = [{name: measure.heading if name == "metric" else HEADINGS[name] for name in columns}]
    several = any(row["seeds"] > 1 for row in found)
    for row in found:
        shown = {
            "settings": shortened(row["settings"], 200),
            "method": shortened(row["method"]),
            "metric": measure.text(row[measure.name], row["interval"]) + (f" ({row['seeds']})" if several else ""),
            "rounds": f"{row['rounds']:g}",
            "growth": f"×{row['growth']:.2f}",
            "local_epochs": f"{row['local_epochs']:g}",
        }
        shown |= {name: _megabytes(row[name]) for name in ("megabytes_up", "megabytes_down")}
        lines.append({name: shown[name] for name in columns})
    return lines


def _megabytes(value: float) -> str:
    """Two decimals; what they cannot show is `<0.01`, and nothing is `0`."""
    return "0" if not value else f"{value:,.2f}" if value >= 0.005 else "<0.01"


def _padded(text: str, width: int, column: str) -> str:
    return text.ljust(width) if column in WORDS else text.rjust(width)


def explained(found: Sequence[dict[str, Any]]) -> list[str]:
    """What ± and the number after it mean; empty if there is none."""
    if all(row["seeds"] == 1 for row in found):
        return []
    return ["Means over seeds ± half-width of the 95 % t-interval (number of seeds)."]
