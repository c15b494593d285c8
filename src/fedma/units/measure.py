"""How many units every group of a model has, read off the shapes of its tensors."""

import math
from collections.abc import Mapping

import numpy as np

from fedma.errors import GraphError
from fedma.units import layout
from fedma.units.layout import Axis

Equation = tuple[dict[str, int], int]
"""Unknown groups, each with what one of its units adds to a length, and the length that they share."""


def widths(
    sizes: Mapping[str, int],
    layouts: Mapping[str, tuple[Axis, ...]],
    shapes: Mapping[str, tuple[int, ...]],
    *,
    rigid: set[str],
) -> dict[str, int]:
    """The units per group of a model whose tensors have these shapes.

    Args:
        sizes: units per group in the graph; returned if the shapes are the graph's own.
        layouts: of the tensors.
        shapes: of some or all of the tensors.
        rigid: groups that cannot grow. They count as unchanged if the shapes leave it open.

    Raises:
        GraphError: the shapes fit no widths, or more than one choice of widths.
    """
    if all(shape == layout.shape(layouts[name], {}) for name, shape in shapes.items()):
        return dict(sizes)
    axes = ((axis, n) for name, shape in shapes.items() for axis, n in zip(layouts[name], shape, strict=True))
    lengths = dict.fromkeys(axes)
    found: dict[str, int] = {}
    while len(found) < len(sizes):
        equations = [e for axis, n in lengths if (e := _equation(axis, n, found)) is not None]
        solved = _single(equations) or _together(equations)
        if not solved:
            stiff = next((name for name in sizes if name in rigid - found.keys()), None)
            if stiff is None:
                break
            solved = {stiff: sizes[stiff]}
        found |= solved
    for name, shape in shapes.items():
        if shape != layout.shape(layouts[name], found) and layout.groups_of(layouts[name]) <= found.keys():
            raise GraphError(
                f"tensor {name!r} has shape {shape}, and no widths of its groups give that; "
                "is it a model of another architecture?"
            )
    if missing := [name for name in sizes if name not in found]:
        raise GraphError(f"the shapes do not tell the widths of groups {', '.join(missing)}: give them (`widths=`)")
    return {name: found[name] for name in sizes}


def _equation(axis: Axis, length: int, found: Mapping[str, int]) -> Equation | None:
    """What an axis says about unknown groups; None if two of them are multiplied, or there is none."""
    terms: dict[str, int] = {}
    for segment in axis:
        unknown = [factor.group for factor in segment if factor.group is not None and factor.group not in found]
        known = math.prod(found.get(f.group or "", f.size) for f in segment if f.group is None or f.group in found)
        if len(unknown) > 1:
            return None
        if unknown:
            terms[unknown[0]] = terms.get(unknown[0], 0) + known
        else:
            length -= known
    return (terms, length) if terms else None


def _single(equations: list[Equation]) -> dict[str, int]:
    """Groups that stand alone in an equation."""
    return {name: left // each for terms, left in equations if len(terms) == 1 for name, each in terms.items()}


def _together(equations: list[Equation]) -> dict[str, int]:
    """Groups that several equations together determine."""
    names = sorted({name for terms, _ in equations for name in terms})
    if not names:
        return {}
    matrix = np.array([[terms.get(name, 0) for name in names] for terms, _ in equations], dtype=float)
    solution, *_ = np.linalg.lstsq(matrix, np.array([left for _, left in equations], dtype=float), rcond=None)
    _, values, directions = np.linalg.svd(matrix)
    free = directions[int((values > 1e-9 * values.max()).sum()) :]
    determined = np.abs(free).max(axis=0, initial=0.0) < 1e-9
    return {name: round(n) for name, n, known in zip(names, solution.tolist(), determined, strict=True) if known}
