"""Fusing models that were trained apart: match one group, bring every model to the global order, go on."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from fedma.errors import GraphError, InputError
from fedma.matching import Matcher, average, match_group, original_order, steps
from fedma.units import UnitGraph, Weights, rebuild, units
from fedma.units import weights as weights_of
from fedma.units.layout import Widths


@dataclass(frozen=True)
class Fusion:
    """What `fuse` gives.

    Attributes:
        model: the fused model, a new module.
        assignments: per group, for each model a LongTensor unit → slot.
        graph: the unit graph of the first model.
    """

    model: nn.Module
    assignments: Mapping[str, tuple[Tensor, ...]]
    graph: UnitGraph

    @property
    def widths(self) -> dict[str, int]:
        """The fused model's units per group."""
        return {group: slots(own) for group, own in self.assignments.items()}


def fuse(
    models: Sequence[nn.Module],
    example_inputs: Any,
    *,
    weights: Sequence[float] | None = None,
    class_counts: Tensor | None = None,
    matcher: str = "bbp",
    grow: bool = True,
    max_growth: float = 1.5,
    seed: int = 0,
    **options: Any,
) -> Fusion:
    """One model out of several that were trained apart: their units are matched, then averaged. Needs no data.

    Args:
        models: models of one architecture; widths may differ.
        example_inputs: what a model is called with: a tensor, a tuple of tensors, or a dict of keyword arguments.
        weights: per model, its weight in the averages, such as its number of training samples (default: equal).
            Only their ratios count.
        class_counts: (models, classes) training samples of each class; where given, the output layer is averaged
            by class proportions.
        matcher: "bbp" or "identity", see `Matcher`.
        grow: whether the fused model may be wider than the models.
        max_growth: how many times as wide as the widest model at most.
        seed: decides the order in which the models are visited.
        options: further arguments of `fedma.match`.

    Raises:
        InputError: no model, weights that are not positive, an unknown matcher.
        GraphError: the models are not of one architecture.
        MatchingError: weights that are not finite.

    Source: PFNM (Yurochkin et al., ICML 2019); FedMA, Algorithm 1, without retraining.
    """
    shares = _shares(weights, len(models))
    if class_counts is not None:
        _check_counts(class_counts, len(models))
    how = Matcher(name=matcher, grow=grow, max_growth=max_growth, options=options, seed=seed)
    graphs = _graphs(models, example_inputs)
    fused, assignments = fuse_weights(
        [weights_of(model) for model in models],
        graphs[0],
        widths=[graph.widths for graph in graphs],
        shares=shares,
        class_counts=class_counts,
        matcher=how,
    )
    return Fusion(rebuild(models[0], fused), assignments, graphs[0])


def fuse_weights(
    models: Sequence[Weights],
    graph: UnitGraph,
    *,
    widths: Sequence[Widths],
    shares: Sequence[float],
    samples: Sequence[float] | None = None,
    class_counts: Tensor | None = None,
    matcher: Matcher,
) -> tuple[Weights, dict[str, tuple[Tensor, ...]]]:
    """The fused weights and the assignments, from the models' weights, widths and one unit graph.

    Args: `shares` are the models' weights in the averages, `samples` those in pooled statistics; the others as for
        `fuse`.
    """
    present = [dict(own) for own in widths]
    moved = [dict(model) for model in models]
    assignments: dict[str, tuple[Tensor, ...]] = {}
    for group, names in zip(graph.groups, steps(graph), strict=False):
        assignments[group] = match_group(
            moved, graph, group, names=names, widths=present, matcher=matcher, class_counts=class_counts
        )
        for own, width, assignment in zip(moved, present, assignments[group], strict=True):
            width[group] = slots(assignments[group])
            touched = {name: tensor for name, tensor in own.items() if group in graph.groups_of(name)}
            own.update(graph.scatter(touched, {group: assignment}, width))
    maps = [original_order({group: own[j] for group, own in assignments.items()}, graph) for j in range(len(models))]
    fused = average(
        models,
        graph,
        names=models[0],
        maps=maps,
        widths=present[0],
        shares=shares,
        samples=samples,
        class_counts=class_counts,
    )
    return fused, assignments


def slots(assignments: Sequence[Tensor]) -> int:
    """The number of slots that these assignments use."""
    return max(int(own.max()) for own in assignments) + 1


def _shares(weights: Sequence[float] | None, models: int) -> list[float]:
    """The models' weights in the averages, scaled to sum to one."""
    if models == 0:
        raise InputError("there is no model to fuse; give at least one")
    try:
        shares = torch.tensor([1.0] * models if weights is None else list(weights), dtype=torch.float64)
    except (TypeError, ValueError) as error:
        raise InputError(f"weights must be {models} positive numbers; got {weights}") from error
    if shares.shape != (models,) or not bool(((shares > 0) & shares.isfinite()).all()):
        raise InputError(f"weights must be {models} positive numbers, one for each model; got {weights}")
    return [float(share) for share in shares / shares.sum()]


def _check_counts(class_counts: Tensor, models: int) -> None:
    if not isinstance(class_counts, Tensor) or class_counts.dim() != 2 or len(class_counts) != models:
        found = tuple(class_counts.shape) if isinstance(class_counts, Tensor) else type(class_counts).__name__
        raise InputError(f"class_counts must be a tensor of {models} models × classes; got {found}")
    if not bool((class_counts >= 0).all()):
        raise InputError("class_counts holds negative numbers or none at all (nan); it counts samples of each class")


def _graphs(models: Sequence[nn.Module], example_inputs: Any) -> list[UnitGraph]:
    """Each model's unit graph; a model of the first one's shapes has the first one's."""
    first = units(models[0], example_inputs)
    shapes = _shapes(models[0])
    graphs = [first if _shapes(model) == shapes else units(model, example_inputs) for model in models]
    for number, graph in enumerate(graphs):
        if list(graph.groups) != list(first.groups) or list(graph.layouts) != list(first.layouts):
            raise GraphError(
                f"model {number} is of another architecture than model 0: it has {len(graph.layouts)} tensors in "
                f"{len(graph.groups)} unit groups, model 0 has {len(first.layouts)} in {len(first.groups)}; "
                "only models of one architecture can be fused (their widths may differ)"
            )
    return graphs


def _shapes(model: nn.Module) -> dict[str, tuple[int, ...]]:
    return {name: tuple(tensor.shape) for name, tensor in weights_of(model).items()}
