"""The fused weights of models that were trained apart, without data."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

from torch import Tensor

from fedma.matching.assignment import Assignments, checked_assignments, original_order, slots
from fedma.matching.averaging.fit_readers import (
    Target,
    can_fit,
    carry,
    covariance,
    directions,
    drives,
    mean_directions,
    read_products,
    unexplained,
)
from fedma.matching.averaging.owners_mean import average
from fedma.matching.averaging.regmean import regression_means
from fedma.matching.averaging.running_variance import mean_variances
from fedma.matching.features import output_axis
from fedma.matching.joint import match_step
from fedma.matching.matcher import Matcher
from fedma.matching.step import Step, steps
from fedma.seeds import number
from fedma.units import UnitGraph, Weights
from fedma.units.activity import Moments
from fedma.units.layout import Maps, Widths

TRIES = 5
"""Matchings of a group among which a fitted fusion chooses."""


def fuse_weights(
    models: Sequence[Weights],
    graph: UnitGraph,
    *,
    widths: Sequence[Widths],
    shares: Sequence[float],
    samples: Sequence[float] | None = None,
    class_counts: Tensor | None = None,
    matcher: Matcher,
    fitted: bool = False,
    tries: int = TRIES,
    moments: Sequence[Moments] | None = None,
) -> tuple[Weights, Assignments]:
    """The fused weights and the assignments, from the models' weights, widths and one unit graph.

    Args: `shares` are the models' weights in the averages, `samples` those in pooled statistics; `fitted`,
        `tries` and the others as for `fuse`.

    Returns:
        The weights, and per group for each model the slot of each unit: LongTensor (units), or (blocks…, units) with
        blocks in global order. A matcher of couplings gives no assignments.
    """
    moved, assignments, wide = _in_global_order(
        models, graph, widths, shares, matcher, class_counts, tries=tries if fitted else 0
    )
    owned = _own_orders(assignments, graph, len(models))
    in_order: dict[str, Any] = {"owned": owned, "widths": wide, "shares": shares}
    fused = average(
        moved, graph, names=models[0], maps=[{}] * len(models), samples=samples, class_counts=class_counts, **in_order
    )
    if fitted:
        fused.update(mean_variances(moved, graph, **in_order))
    if moments is not None:
        means = {name: own for name, own in fused.items() if class_counts is None or output_axis(graph, name) is None}
        fused.update(regression_means(moved, graph, means=means, moments=moments, **in_order))
    return fused, assignments


def _in_global_order(
    models: Sequence[Weights],
    graph: UnitGraph,
    widths: Sequence[Widths],
    shares: Sequence[float],
    matcher: Matcher,
    class_counts: Tensor | None,
    *,
    tries: int,
) -> tuple[list[Weights], Assignments, Widths]:
    """The models in the global order, their assignments, and the global widths."""
    entry = matcher.entry
    if entry.by_steps:
        return _matched(
            models, graph, widths=widths, shares=shares, matcher=matcher, class_counts=class_counts, tries=tries
        )
    found = entry.call(models, graph, widths=widths, seed=matcher.seed, **matcher.options)
    if not entry.assigns:
        return found, {}, widths[0]
    assignments = checked_assignments(found, graph, widths=widths)
    wide = {**widths[0], **{group: slots(own) for group, own in assignments.items()}}
    owned = _own_orders(assignments, graph, len(models))
    moved = [graph.scatter(model, own, wide) for model, own in zip(models, owned, strict=True)]
    return moved, assignments, wide


def _matched(
    models: Sequence[Weights],
    graph: UnitGraph,
    *,
    widths: Sequence[Widths],
    shares: Sequence[float],
    matcher: Matcher,
    class_counts: Tensor | None,
    tries: int,
) -> tuple[list[Weights], Assignments, Widths]:
    """The models in the global order, matched step by step; the assignments; the global widths."""
    present = [dict(own) for own in widths]
    moved = [dict(model) for model in models]
    assignments: dict[str, tuple[Tensor, ...]] = {}
    for step in steps(graph):
        matched, carried = _best(
            moved, graph, step, widths=present, shares=shares, matcher=matcher, counts=class_counts, tries=tries
        )
        maps = _own_orders(matched, graph, len(models))
        for own, width, order, kept in zip(moved, present, maps, carried, strict=True):
            width.update((group, slots(found)) for group, found in matched.items())
            own.update({**graph.scatter(own, order, width), **kept})
        assignments.update(matched)
    return moved, assignments, present[0]


def _best(
    models: Sequence[Weights],
    graph: UnitGraph,
    step: Step,
    *,
    widths: Sequence[Widths],
    shares: Sequence[float],
    matcher: Matcher,
    counts: Tensor | None,
    tries: int,
) -> tuple[Assignments, list[Weights]]:
    """One step's matching, and each model's weights on its units fitted to the slots, where that can be done.

    Several client orders are tried. The matching whose slots best explain the next layers' inputs is kept.
    """
    match = partial(match_step, models, graph, step, widths=widths, class_counts=counts)
    if not tries or len(step.groups) != 1 or not can_fit(graph, step.groups[0]):
        return match(matcher=matcher), [{} for _ in models]
    (group,) = step.groups
    seeds = [number(matcher.seed, "try", attempt) if attempt else matcher.seed for attempt in range(tries)]
    found = [match(matcher=replace(matcher, seed=seed)) for seed in seeds]
    rows, scales = drives(models, graph, group, names=step.tensors, widths=widths)
    units = directions(rows, scales)
    means = [Target(mean_directions(rows, scales, matched[group], shares)) for matched in found]
    lost = [0.0] * tries
    for j, (model, own) in enumerate(zip(models, units, strict=True)):
        among, read = covariance(own, own), read_products(model, graph, group, widths=widths[j])
        for attempt, matched in enumerate(found):
            missed = means[attempt].fit(own, matched[group][j]).missed(among)
            lost[attempt] += shares[j] * unexplained(read, own=among, missed=missed)
    best = lost.index(min(lost))
    return found[best], [
        carry(model, graph, group, means[best].fit(own, placed).matrix, widths=width)
        for model, own, placed, width in zip(models, units, found[best][group], widths, strict=True)
    ]


def _own_orders(assignments: Mapping[str, tuple[Tensor, ...]], graph: UnitGraph, models: int) -> list[Maps]:
    """Each model's assignments, with blocks in its own order."""
    return [original_order({group: own[j] for group, own in assignments.items()}, graph) for j in range(models)]
