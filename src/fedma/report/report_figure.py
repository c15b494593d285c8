"""A figure of a report: drawn once, saved as PNG, SVG and CSV, shown in a page in light and dark, with a caption."""

import io
import re
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from html import escape
from pathlib import Path
from typing import Any

from fedma.optional_dependencies import imported
from fedma.report.tables import write_csv

INK, MUTED, GRID, PAPER = "#1f2328", "#59636e", "#d8dee4", "#ffffff"
"""Text, lesser text, lines of a grid, background."""

DARK = {
    INK: "#e6edf3",
    MUTED: "#9aa4af",
    GRID: "#30363d",
    PAPER: "#0d1117",
    "#000000": "#f0f3f6",
    "#0072b2": "#4192d9",
    "#56b4e9": "#a5d8f7",
    "#d55e00": "#f08a4b",
    "#009e73": "#2fbf95",
    "#332288": "#a79cf0",
    "#882255": "#dd7fae",
    "#767676": "#a8a8a8",
    "#b8860b": "#d9aa3c",
}
"""What the colours of a page become where dark ones are preferred."""

WIDTH = 9.0
"""Of a figure, in inches."""

_STYLE = {
    "svg.fonttype": "none",
    "svg.hashsalt": "fedma",
    "text.parse_math": False,
    "font.size": 10,
    "text.color": INK,
    "axes.labelcolor": MUTED,
    "axes.edgecolor": MUTED,
    "axes.titlecolor": INK,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "figure.facecolor": PAPER,
    "axes.facecolor": PAPER,
}


@dataclass(frozen=True, eq=False)
class ReportFigure:
    """One figure.

    Attributes:
        name: of its files, without their endings.
        title: what it shows.
        alt: a description for readers who cannot see the figure.
        caption: what its numbers say.
        numbers: these, a row for each.
        drawn: a figure of matplotlib.
    """

    name: str
    title: str
    alt: str
    caption: str
    numbers: Sequence[Mapping[str, Any]]
    drawn: Any

    @cached_property
    def svg(self) -> str:
        """The picture as a file of its own."""
        file = io.StringIO()
        with style():
            self.drawn.savefig(file, format="svg", metadata={"Date": None})
        self.drawn.set_layout_engine("none")  # found by now, and costly to find again
        return file.getvalue()

    @property
    def inline(self) -> str:
        """The picture as part of a page: the page's fonts, and colours that the page can change."""
        (box,) = re.findall(r'viewBox="[\d .]+"', self.svg[:1000])
        body = self.svg[self.svg.index('<g id="figure_1">') :]
        wanted = set(re.findall(r'(?:href="#|url\(#)(\w+)', body))
        body = re.sub(r' id="([^"]*)"', lambda own: own.group() if own[1] in wanted else "", body)
        body = re.sub(r'(id="|href="#|url\(#)', rf"\g<1>{self.name}-", body)
        body = re.sub(r"font-family: [^;]*; ", "", body)
        body = re.sub(r"(fill|stroke): #([0-9a-f]{6})", _variable, body)
        width = float(box.split()[2])
        label = escape(self.alt, quote=True)
        return f'<svg {box} width="{width * 4 / 3:.0f}" role="img" aria-label="{label}">{body}'

    def save(self, folder: Path) -> list[Path]:
        """Write the three files, and return their paths."""
        files = [folder / f"{self.name}.{kind}" for kind in ("png", "svg", "csv")]
        files[1].write_text(self.svg, encoding="utf-8")
        with style():
            self.drawn.savefig(files[0], dpi=160)
        write_csv([dict(row) for row in self.numbers], files[2])
        return files


@contextmanager
def style() -> Iterator[None]:
    """How all figures are drawn; text is text, and never a formula."""
    with imported("matplotlib", extra="report").rc_context(_STYLE), warnings.catch_warnings():
        # Of fonts on this machine: in an SVG the reader's are used.
        warnings.filterwarnings("ignore", message="Glyph .* missing from")
        yield


def blank(heights: Sequence[float]) -> tuple[Any, list[Any]]:
    """A figure with panels of these heights, in inches, one below the other: it, and their axes."""
    figure = imported("matplotlib.figure", extra="report").Figure(figsize=(WIDTH, sum(heights)), layout="constrained")
    figure.get_layout_engine().set(h_pad=0.1)
    grid = figure.subplots(len(heights), 1, squeeze=False, height_ratios=list(heights))
    return figure, list(grid.flatten())


def together(sentences: Sequence[str], *, most: int = 6) -> str:
    """The sentences one after the other, but not too many."""
    rest = len(sentences) - most
    return " ".join(sentences[:most]) + (" The others are in the numbers below." if rest > 0 else "")


def _variable(found: re.Match[str]) -> str:
    """A colour that the page may change, by the name of its variable."""
    kind, colour = found.groups()
    return f"{kind}: var(--c{colour})" if f"#{colour}" in DARK else found.group()
