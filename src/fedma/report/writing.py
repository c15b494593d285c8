"""The whole report: read the runs, then write every file of it."""

from collections.abc import Sequence
from os import PathLike
from pathlib import Path

from fedma.errors import InputError
from fedma.report.figure import imported, plot
from fedma.report.results import read
from fedma.report.summary import notes, rows
from fedma.report.tables import markdown, write_csv


def report(folders: Sequence[str | PathLike[str]], out: str | PathLike[str]) -> list[Path]:
    """Write `table.md`, `table.csv` and `accuracy_vs_megabytes` (`.png`, `.svg`) into `out`, and return their paths.

    Nothing is written before every run is read; `out` is made when absent.

    Raises:
        InputError: there is no run, one cannot be read, or `out` cannot be written.
        MissingExtra: matplotlib is not installed.
    """
    runs = [read(folder) for folder in folders]
    imported("matplotlib")
    found = rows(runs)
    text = markdown(found) + "".join(f"\nNote: {note}.\n" for note in notes(runs))
    target = Path(out)
    table, spreadsheet = target / "table.md", target / "table.csv"
    figures = [target / f"accuracy_vs_megabytes.{kind}" for kind in ("png", "svg")]
    try:
        target.mkdir(parents=True, exist_ok=True)
        table.write_text(text, encoding="utf-8")
        write_csv(found, spreadsheet)
        for figure in figures:
            plot(runs, figure)
    except OSError as error:
        raise InputError(f"the report cannot be written into {str(target)!r}: {error.strerror}") from error
    return [table, spreadsheet, *figures]
