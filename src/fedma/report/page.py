"""The page of a report: one HTML file that needs no network, no script and no other file."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import resources

import jinja2
from markupsafe import Markup

from fedma.report.page_tables import (
    Table,
    by_class,
    costs,
    durations,
    facts,
    faults,
    further,
    numbers,
    origins,
    outcome,
    settings,
)
from fedma.report.report_figure import DARK, ReportFigure
from fedma.report.results import Run
from fedma.report.summary import notes


@dataclass(frozen=True)
class Section:
    """A part of the page: under its title words, tables, pictures, and tables that are folded away."""

    name: str
    title: str
    words: Sequence[str] = ()
    tables: Sequence[Table] = ()
    pictures: Sequence[ReportFigure] = ()
    folded: Sequence[Table] = ()


def page(runs: Sequence[Run], pictures: Mapping[str, ReportFigure]) -> str:
    """The page as HTML; every word that comes from a run is escaped.

    Args:
        runs: at least one.
        pictures: by name, those that could be made of these runs.
    """
    environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True)
    environment.filters["unbroken"] = unbroken
    environment.globals |= {"inline": lambda picture: Markup(picture.inline), "numbers": numbers}
    title, lead = outcome(runs)
    return environment.from_string(_packaged("page.html")).render(
        title=title,
        lead=lead,
        facts=facts(runs),
        notes=notes(runs),
        sections=[section for section in _sections(runs, pictures) if section],
        css=Markup(_packaged("page.css")),
        dark=DARK,
    )


def _sections(runs: Sequence[Run], pictures: Mapping[str, ReportFigure]) -> list[Section | None]:
    given, every = settings(runs)
    known = any(run.sources for run in runs)
    found = faults(runs)
    curves = [picture for name, picture in pictures.items() if "_vs_" in name]
    return [
        Section("results", "Results", tables=[costs(runs), *_there(further(runs))], pictures=curves),
        _shown("data", "Data", ["partition"], pictures),
        _classes(by_class(runs), pictures),
        _shown("matching", "Matching", ["growth", "owners"], pictures),
        _shown("clients", "Clients", ["clients"], pictures, _SERVED),
        _told("faults", "Faults", found, "" if found else "No fault was recorded."),
        _told("settings", "Settings", given, "" if known else "Where settings come from was not recorded.", [every]),
        Section("runs", "Time and memory", tables=[durations(runs)], folded=[origins(runs)]),
    ]


def _there(table: Table | None) -> list[Table]:
    return [] if table is None else [table]


def _classes(table: Table | None, pictures: Mapping[str, ReportFigure]) -> Section | None:
    """How well each class is told, where that was recorded."""
    there = [pictures[name] for name in ("confusion",) if name in pictures]
    return Section("classes", "Classes", (), [table], there) if table is not None else None


_SERVED = (
    "Test samples are weighted by the classes that the client's own training data have, so this estimates how a model "
    "does on data like the client's. Of several seeds it is the first.",
)


def _told(name: str, title: str, table: Table | None, words: str, folded: Sequence[Table] = ()) -> Section:
    """A section of a table, if there is one, and words, if there are any."""
    return Section(name, title, [words] if words else [], [table] if table else [], (), folded)


def _shown(
    name: str, title: str, wanted: Sequence[str], pictures: Mapping[str, ReportFigure], words: Sequence[str] = ()
) -> Section | None:
    """A section of these pictures, as far as they are there."""
    there = [pictures[own] for own in wanted if own in pictures]
    return Section(name, title, words, (), there) if there else None


def unbroken(text: str) -> str:
    """The text with its numbers and their units on one line."""
    return re.sub(r"(?<=\d) (?=%|MB|± )|(?<=±) ", "\N{NO-BREAK SPACE}", text)


def _packaged(name: str) -> str:
    return resources.files("fedma.report").joinpath(name).read_text(encoding="utf-8")
