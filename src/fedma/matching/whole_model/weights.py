"""Whole models as the matchers of this folder compare them: their tensors, inner products and agreement."""

import math
from collections.abc import Iterable, Mapping, Sequence

import torch
from torch import Tensor

from fedma.errors import MatchingError
from fedma.matching.arrays import best_columns
from fedma.matching.slices import rows
from fedma.units import Place, UnitGraph, Weights
from fedma.units.layout import Widths


def compared(weights: Mapping[str, Tensor], graph: UnitGraph) -> list[str]:
    """The tensors by which units are compared: all that some group indexes, but running statistics and integers."""
    aside = graph.statistics_names
    return [n for n, t in weights.items() if graph.groups_of(n) and n not in aside and t.is_floating_point()]


def checked(models: Sequence[Weights], graph: UnitGraph) -> list[Weights]:
    """Each model's compared tensors; all by one power of two smaller or larger where their squares would overflow or
    vanish, which changes no assignment.

    Raises:
        MatchingError: weights that are not finite, naming client and tensor; no client.
    """
    if not models:
        raise MatchingError("there is no client to match; give at least one")
    names = compared(models[0], graph)
    largest = 0.0
    for number, model in enumerate(models):
        for name in names:
            size = float(model[name].abs().max()) if model[name].numel() else 0.0
            if not math.isfinite(size):
                raise MatchingError(
                    f"client {number}: {name!r} holds values that are not finite; leave this client out"
                )
            largest = max(largest, size)
    scale = 1.0 if largest == 0 or _USUAL[0] < largest < _USUAL[1] else 2.0 ** -max(math.frexp(largest)[1], -126)
    return [{name: model[name] if scale == 1 else model[name] * scale for name in names} for model in models]


_USUAL = (1e-12, 1e12)
"""Largest weights whose products float32 holds, sums over the units of a layer included."""


def widest(widths: Sequence[Widths]) -> dict[str, int]:
    """The widest client's units per group."""
    return {group: max(own[group] for own in widths) for group in widths[0]}


def products(
    own: Mapping[str, Tensor],
    other: Mapping[str, Tensor],
    graph: UnitGraph,
    group: str,
    *,
    places: Iterable[Place],
    widths: Widths,
    across: str | None = None,
) -> Tensor:
    """The inner products of all units of one model with all units of another: (blocks…, own, other).

    Rows are taken at all the places given; both models are of these widths and aligned along the other axes. With
    `across`, a block group of this group, also between different blocks of it: (own block, other block, further
    blocks…, own, other).

    Source: Git Re-Basin (Ainsworth et al., ICLR 2023), section 3.2.
    """
    per = graph.groups[group].per
    lead = [*(widths[block] for block in per), widths[group], widths[group]]
    shape = [widths[across], widths[across], *(widths[b] for b in per if b != across), *lead[-2:]] if across else lead
    total = torch.zeros(shape, dtype=torch.float64)
    for place in places:
        mine, theirs = (rows(m[place.tensor], graph, place, group=group, widths=widths) for m in (own, other))
        if across:
            first = per.index(across)
            mine, theirs = mine.movedim(first, 0).unsqueeze(1), theirs.movedim(first, 0)
        total += mine @ theirs.mT
    return total


def inner_product(left: Mapping[str, Tensor], right: Mapping[str, Tensor], names: Iterable[str]) -> float:
    """Σ over the named tensors of the sum of their entries' products."""
    return math.fsum(float((left[name] * right[name]).sum(dtype=torch.float64)) for name in names)


def agreement(aligned: Sequence[Weights]) -> float:
    """Σ_{j<k} ⟨w_j, w_k⟩ over clients in one order: what matching by all weights maximises."""
    names = aligned[0]
    total = {name: torch.stack([own[name] for own in aligned]).sum(0) for name in names}
    return (inner_product(total, total, names) - sum(inner_product(own, own, names) for own in aligned)) / 2


def assign(gain: Tensor) -> Tensor:
    """For each row its column so that the sum of the gains is largest and no column is taken twice; batched.

    Args:
        gain: (…, rows, columns), no more rows than columns.

    Returns:
        LongTensor (…, rows).
    """
    flat = gain.reshape(-1, *gain.shape[-2:]).numpy(force=True)
    columns = [torch.from_numpy(best_columns(matrix, maximize=True)) for matrix in flat]
    return torch.stack(columns).view(gain.shape[:-1])
