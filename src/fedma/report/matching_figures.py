"""What matching did: how far the groups grew, and how many clients own their slots."""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from fedma.methods import label as label_of
from fedma.report.heat_map import Heat, draw
from fedma.report.report_figure import ReportFigure, together
from fedma.report.results import Run
from fedma.report.summary import run_groups, shortened
from fedma.result_line import ResultLine


def growth(runs: Sequence[Run]) -> ReportFigure | None:
    """Of each group, the widths of the clients and of the global model; None where no model grew."""
    numbers: list[dict[str, Any]] = [
        {"settings": label, "method": method, "group": group, "client_width": own, "global_width": wide}
        | {"growth": wide / own}
        for label, method, last in _matched(runs)
        for group, (own, wide) in _widths(last).items()
    ]
    if not any(row["growth"] > 1 for row in numbers):
        return None
    heats, told = [], []
    for label in dict.fromkeys(row["settings"] for row in numbers):
        here = [row for row in numbers if row["settings"] == label]
        heats.append(_grown(label, here))
        told += [_most_and_least(label, method, here) for method in dict.fromkeys(row["method"] for row in here)]
    told += ["Means over seeds."] if any(len(group.runs) > 1 for group in run_groups(runs)) else []
    alt = "Heat map of unit groups by methods: the darker, the wider the global model for the width of the clients."
    return ReportFigure("growth", "Growth of the global model", alt, together(told), numbers, draw(heats))


def owners(runs: Sequence[Run]) -> ReportFigure | None:
    """Of each group, how many slots have one owner, two, and so on; None where nothing was matched."""
    heats, told, numbers = [], [], []
    for label, method, last in _matched(runs):
        if not any(own.owners for own in last):
            continue
        found = _owners(last)
        name = f"{label}: {method}" if label else method
        heats.append(_owned(name, found))
        counts = np.array(list(found.values()))
        slots, every, alone = counts.sum(), counts[:, -1].sum(), counts[:, 0].sum()
        told.append(
            f"{name}: of {slots:,.0f} slots, {100 * every / slots:.0f} % belong to all {counts.shape[1]} clients and "
            f"{100 * alone / slots:.0f} % to one alone."
        )
        numbers += [
            {"settings": label, "method": method, "group": group, "owners": clients, "slots": slots}
            for group, row in found.items()
            for clients, slots in enumerate(row, start=1)
        ]
    if not heats:
        return None
    told += ["Means over seeds."] if any(len(group.runs) > 1 for group in run_groups(runs)) else []
    alt = "Heat map of unit groups by numbers of owners: darker means a larger share of the group's slots."
    return ReportFigure("owners", "How many clients own a slot", alt, together(told), numbers, draw(heats))


def _matched(runs: Sequence[Run]) -> Iterator[tuple[str, str, list[ResultLine]]]:
    """By group and method that matches units: the last evaluations of its seeds."""
    for group in run_groups(runs):
        for method, series in group.series.items():
            last = [own[-1] for own in series]
            if any(own.owners or any(wide > narrow for narrow, wide in own.widths.values()) for own in last):
                yield group.label, label_of(method) or shortened(method), last


def _widths(last: Sequence[ResultLine]) -> dict[str, tuple[float, float]]:
    """Of each group, means over seeds."""
    there = [own.widths for own in last if own.widths.keys() == last[0].widths.keys()]
    pairs = {group: np.mean([widths[group] for widths in there], axis=0) for group in last[0].widths}
    return {group: (float(own), float(wide)) for group, (own, wide) in pairs.items()}


def _owners(last: Sequence[ResultLine]) -> dict[str, list[float]]:
    """Of each group the histogram, its mean over the seeds that have one; all as long as the longest."""
    groups = dict.fromkeys(group for own in last for group in own.owners)
    longest = max(len(counts) for own in last for counts in own.owners.values())
    found = {}
    for group in groups:
        rows = [[*own.owners[group], *[0] * longest][:longest] for own in last if group in own.owners]
        found[group] = [float(mean) for mean in np.mean(rows, axis=0)]
    return found


def _grown(label: str, here: Sequence[dict[str, Any]]) -> Heat:
    groups = list(dict.fromkeys(row["group"] for row in here))
    methods = list(dict.fromkeys(row["method"] for row in here))
    by_place = {(row["group"], row["method"]): row for row in here}
    most = max(row["growth"] for row in here) - 1
    shades = [[_above_one(by_place.get((group, method)), most) for method in methods] for group in groups]
    cells = [[_arrow(by_place.get((group, method))) for method in methods] for group in groups]
    return Heat(label, groups, methods, shades, cells, "", "unit group")


def _above_one(row: dict[str, Any] | None, most: float) -> float:
    """The growth on a scale from none to the most."""
    return 0.6 * (row["growth"] - 1) / most if row and most > 0 else 0.0


def _arrow(row: dict[str, Any] | None) -> str:
    return f"{_wider(row)}  (×{row['growth']:.2f})" if row else ""


def _wider(row: dict[str, Any]) -> str:
    return f"{_short(row['client_width'])} → {_short(row['global_width'])}"


def _short(mean: float) -> str:
    """A mean over seeds, without a fraction where it has none."""
    return f"{mean:,.1f}".removesuffix(".0")


def _owned(name: str, found: dict[str, list[float]]) -> Heat:
    counts = np.array(list(found.values()))
    shares = counts / np.maximum(counts.sum(1, keepdims=True), 1)
    cells = [[_short(slots) if slots else "" for slots in row] for row in counts.tolist()]
    columns = [str(clients) for clients in range(1, counts.shape[1] + 1)]
    return Heat(
        name, list(found), columns, (shares / shares.max()).tolist(), cells, "clients that own a slot", "unit group"
    )


def _most_and_least(label: str, method: str, here: Sequence[dict[str, Any]]) -> str:
    """A method's growth in a sentence."""
    own = sorted((row for row in here if row["method"] == method), key=lambda row: row["growth"])
    name = f"{label}: {method}" if label else method
    least, most = (f"×{row['growth']:.2f} ({row['group']}, {_wider(row)} units)" for row in (own[0], own[-1]))
    if own[0]["growth"] == own[-1]["growth"]:
        return f"{name} grows by ×{own[0]['growth']:.2f} in every group."
    return f"{name} grows by {most} at most, by {least} at least."
