"""A unit graph as a table for people."""

from typing import TYPE_CHECKING

from fedma.units.layout import Axis, extent

if TYPE_CHECKING:
    from fedma.units.graph import UnitGraph


def table(graph: "UnitGraph") -> str:
    """One line for each place of each group, then why some groups cannot grow, and how much of the model moves."""
    rows = [("group", "units", "grows", "tensor", "axis", "role", "layout")]
    for name, group in graph.groups.items():
        units = str(group.size) + (f" in each of {' × '.join(group.per)}" if group.per else "")
        first = (name, units, "yes" if group.growable else "no")
        for place in graph.places(name):
            axis = graph.layouts[place.tensor][place.axis]
            rows.append((*first, place.tensor, str(place.axis), place.role, describe(axis, name)))
            first = ("", "", "")
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    lines.insert(1, "  ".join("─" * width for width in widths))
    stuck = [f"{name} cannot grow: {group.reason}" for name, group in graph.groups.items() if not group.growable]
    return "\n".join([*lines, *([""] if stuck else []), *stuck, "", summary(graph)])


def summary(graph: "UnitGraph") -> str:
    """The number of groups, and the share of entries that move."""
    count = len(graph.groups)
    return f"{count} group{'' if count == 1 else 's'}; {100 * graph.coverage:.1f} % of the entries move"


def describe(axis: Axis, group: str) -> str:
    """How the units of one group lie along an axis: "", "units × 49", "units at 32", "4 parts at 0, 9, 18, 27"."""
    at, found = 0, []
    for segment in axis:
        groups = [factor.group for factor in segment]
        if group in groups:
            form = " × ".join("units" if f.group == group else f.group or str(f.size) for f in segment)
            found.append((at, form))
        at += extent((segment,), {})
    forms = {form for _, form in found}
    text = next(iter(forms)) if len(forms) == 1 else ""
    text = "" if text == "units" else text
    if len(found) > 1:
        return f"{len(found)} parts{' of ' + text if text else ''} at " + ", ".join(str(start) for start, _ in found)
    return f"{text} at {found[0][0]}".strip() if len(axis) > 1 else text
