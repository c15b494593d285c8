"""The whole report: read the runs, then write every file of it."""

from collections.abc import Sequence
from os import PathLike
from pathlib import Path

from fedma.errors import InputError
from fedma.optional_dependencies import imported
from fedma.report.accuracy_figure import AXES, accuracy
from fedma.report.client_figures import fairness, partition
from fedma.report.confusion_figure import confusion
from fedma.report.matching_figures import growth, owners
from fedma.report.page import page
from fedma.report.report_figure import ReportFigure
from fedma.report.results import Run, read
from fedma.report.summary import notes, rows
from fedma.report.tables import markdown, write_csv


def report(folders: Sequence[str | PathLike[str]], out: str | PathLike[str]) -> list[Path]:
    """Write `report.html`, `table.md`, `table.csv` and `figures/` (PNG, SVG, CSV) into `out`, and return their paths.

    Nothing is written before every run is read; `out` is made when absent.

    Raises:
        InputError: there is no run, one cannot be read, or `out` cannot be written.
        MissingExtra: matplotlib is not installed.
    """
    runs = [read(folder) for folder in folders]
    imported("matplotlib", extra="report")
    found = rows(runs)
    text = markdown(found) + "".join(f"\nNote: {note}.\n" for note in notes(runs))
    pictures = drawn(runs)
    html = page(runs, pictures)
    target = Path(out)
    files = [target / name for name in ("report.html", "table.md", "table.csv")]
    figures = target / "figures"
    try:
        figures.mkdir(parents=True, exist_ok=True)
        files[0].write_text(html, encoding="utf-8")
        files[1].write_text(text, encoding="utf-8")
        write_csv(found, files[2])
        for picture in pictures.values():
            files += picture.save(figures)
    except OSError as error:
        raise InputError(
            f"the report cannot be written into {str(target)!r}: {error.strerror}; name another folder"
        ) from error
    return files


def drawn(runs: Sequence[Run]) -> dict[str, ReportFigure]:
    """Every figure that can be made of these runs, by name."""
    makers = (partition, confusion, growth, owners, fairness)
    made = [*(accuracy(runs, against) for against in AXES), *(make(runs) for make in makers)]
    return {picture.name: picture for picture in made if picture is not None}
