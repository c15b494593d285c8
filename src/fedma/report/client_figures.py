"""The clients one by one: what data they hold, and how accurate the models are for each."""

from collections.abc import Sequence

import numpy as np

from fedma.methods import label
from fedma.report.heat_map import Heat, draw
from fedma.report.report_figure import ReportFigure, together
from fedma.report.results import Run
from fedma.report.summary import RunGroup, run_groups, shortened


def partition(runs: Sequence[Run]) -> ReportFigure | None:
    """Who holds how much of each class, of the first run of each group; None where it was not recorded."""
    heats, told, numbers = [], [], []
    seen: set[str] = set()
    for group in run_groups(runs):
        run = group.runs[0]
        counts = np.array(run.data.get("class_counts", []), dtype=float)
        if not counts.size or str(run.data["class_counts"]) in seen:
            continue
        seen.add(str(run.data["class_counts"]))
        classes = _classes(run, counts.shape[1])
        seed = f"seed {shortened(run.settings.get('seed'))}" if len(group.runs) > 1 else ""
        title = ", ".join(part for part in (group.label, seed) if part)
        heats.append(_held(title, counts, classes))
        told.append((f"{title}: " if title else "") + _uneven(counts, classes))
        numbers += [
            {"settings": title, "client": client, "class": classes[position], "samples": int(samples)}
            for (client, position), samples in np.ndenumerate(counts)
        ]
    if not heats:
        return None
    alt = "Heat map of clients by classes: the darker, the more samples of the class a client holds."
    return ReportFigure("partition", "Who holds how much of each class", alt, together(told), numbers, draw(heats))


def fairness(runs: Sequence[Run]) -> ReportFigure | None:
    """Each client's accuracy by the global models and by its own; None where it was not recorded."""
    heats, told, numbers = [], [], []
    for group in run_groups(runs):
        found = _by_method(group)
        if not found:
            continue
        ranked = dict(sorted(found.items(), key=lambda item: -np.nanmean(item[1])))
        heats.append(_served(group.label, ranked))
        told += _better_off(group.label, found)
        numbers += [
            {"settings": group.label, "model": name, "client": client, "accuracy": accuracy}
            for name, row in ranked.items()
            for client, accuracy in enumerate(row)
        ]
    if not heats:
        return None
    alt = "Heat map of models by clients: the darker, the more accurate a model is for a client."
    return ReportFigure("clients", "Accuracy for each client", alt, together(told), numbers, draw(heats))


def _classes(run: Run, number: int) -> list[str]:
    names = run.data.get("classes", [])
    if number == 1:
        return ["samples"]
    return names if len(names) == number else [str(position) for position in range(number)]


def _held(title: str, counts: np.ndarray, classes: Sequence[str]) -> Heat:
    labels = [f"{client}  ({samples:,.0f})" for client, samples in enumerate(counts.sum(1))]
    cells = [[f"{int(samples):,}" if samples else "" for samples in row] for row in counts]
    shades = counts / max(counts.max(), 1)
    return Heat(title, labels, classes, shades.tolist(), cells, "class", "client (samples)")


def _uneven(counts: np.ndarray, classes: Sequence[str]) -> str:
    """A partition in a sentence."""
    samples, present = counts.sum(1), (counts > 0).sum(1)
    shares = counts.max(0) / np.maximum(counts.sum(0), 1)
    uneven = int(shares.argmax())
    return (
        f"{len(counts)} clients hold {samples.sum():,.0f} samples, from {samples.min():,.0f} (client "
        f"{samples.argmin()}) to {samples.max():,.0f} (client {samples.argmax()}), of {present.mean():.1f} of "
        f"{counts.shape[1]} classes on average. The most uneven class, {shortened(classes[uneven])}, lies to "
        f"{100 * shares[uneven]:.0f} % with client {counts[:, uneven].argmax()}."
    )


def _by_method(group: RunGroup) -> dict[str, list[float]]:
    """Per model, each client's accuracy in %, of the group's first seed: clients are others with another."""
    found = {}
    for method, series in group.series.items():
        last = series[0][-1]
        if any(accuracy is not None for accuracy in last.client_accuracy):
            name = "own model" if method == "local" else label(method) or shortened(method)
            found[name] = [100 * accuracy if accuracy is not None else np.nan for accuracy in last.client_accuracy]
        if last.own_accuracy:
            found["own model, all classes"] = [100 * accuracy for accuracy in last.own_accuracy]
    width = max((len(row) for row in found.values()), default=0)
    return {name: [*row, *[np.nan] * (width - len(row))] for name, row in found.items()}


def _served(title: str, found: dict[str, list[float]]) -> Heat:
    values = np.array(list(found.values()))
    low, high = np.nanmin(values), np.nanmax(values)
    shades = np.nan_to_num(0.08 + 0.8 * (values - low) / max(high - low, 1e-9))
    cells = [["" if np.isnan(value) else f"{value:.0f}" for value in row] for row in values]
    columns = [str(client) for client in range(values.shape[1])]
    return Heat(title, list(found), columns, shades.tolist(), cells, "client", "accuracy (%)")


def _better_off(label: str, found: dict[str, list[float]]) -> list[str]:
    """Of each global model, how many clients it serves better than their own, and whom worst."""
    sentences = []
    own = found.get("own model")
    for name, row in found.items():
        if name.startswith("own model"):
            continue
        values = np.array(row)
        worst = int(np.nanargmin(values))
        better = f"serves {np.sum(values > own)} of {len(row)} clients better than their own model, " if own else ""
        sentences.append(f"{label + ': ' if label else ''}{name} {better}client {worst} worst ({values[worst]:.1f} %).")
    return sentences
