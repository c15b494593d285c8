"""Confusion matrices: which classes a model takes for which."""

from collections.abc import Sequence

import numpy as np

from fedma.methods import label
from fedma.report.heat_map import Heat, draw
from fedma.report.report_figure import ReportFigure, together
from fedma.report.results import Run
from fedma.report.summary import shortened

MOST_DRAWN = 40
"""The most classes of a matrix that is drawn."""


def confusion(runs: Sequence[Run]) -> ReportFigure | None:
    """The confusion matrix of each method's last model, of the first run that has it; None where it is not recorded."""
    heats: list[Heat] = []
    told, numbers = [], []
    for run in runs:
        for method, matrix in run.confusion.items():
            name = shortened(label(method) or method)
            if name in {heat.title for heat in heats} or len(matrix) > MOST_DRAWN:
                continue
            counts, classes = np.array(matrix, dtype=float), _names(run, len(matrix))
            heats.append(_heat(name, counts, classes))
            told.append(_told(name, counts, classes))
            numbers += [
                {"method": name, "class": classes[row], "taken for": classes[column], "samples": int(samples)}
                for (row, column), samples in np.ndenumerate(counts)
            ]
    if not heats:
        return None
    alt = "Heat map of classes by classes: the darker, the more test samples of the one are taken for the other."
    return ReportFigure("confusion", "Which class is taken for which", alt, together(told), numbers, draw(heats))


def _names(run: Run, size: int) -> list[str]:
    names = run.data.get("classes", [])
    return [shortened(name, 20) for name in names] if len(names) == size else [str(number) for number in range(size)]


def _heat(name: str, counts: np.ndarray, classes: Sequence[str]) -> Heat:
    shades = counts / np.maximum(counts.sum(1, keepdims=True), 1)
    cells = [[f"{int(samples):,}" if samples else "" for samples in row] for row in counts]
    return Heat(name, list(classes), list(classes), shades.tolist(), cells, "taken for", "class")


def _told(name: str, counts: np.ndarray, classes: Sequence[str]) -> str:
    """The most frequent mistake in a sentence."""
    mistakes = counts - np.diag(counts.diagonal())
    if not mistakes.any():
        return f"{name}: no mistakes."
    row, column = divmod(int(mistakes.argmax()), len(mistakes))
    return f"{name}: most often {classes[row]} is taken for {classes[column]} ({int(mistakes[row, column]):,} times)."
