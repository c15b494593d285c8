"""Checks of the arguments of `fuse`, before work starts."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from fedma.errors import GraphError, InputError
from fedma.matching import Function
from fedma.matching.averaging.owners_mean import class_axes
from fedma.matching.registry import Entry
from fedma.units import UnitGraph
from fedma.units.activity import Moments
from fedma.units.refusals import refuse


def list_of(models: Sequence[nn.Module]) -> list[nn.Module]:
    """The models, as a list.

    Raises:
        InputError: a single module instead of a list, no model, or something that is no model.
        GraphError: a model that cannot be examined (compiled by TorchScript, quantised, without values).
    """
    if isinstance(models, nn.Module):
        raise InputError(f"models is one {type(models).__name__}; give a list of models: [first, second, ...]")
    models = list(models)
    if not models:
        raise InputError("there is no model to fuse; give at least one")
    for number, model in enumerate(models):
        try:
            refuse(model)
        except GraphError as error:
            if isinstance(model, nn.Module):
                raise GraphError(f"model {number}: {error}") from error
            raise InputError(f"model {number} is {type(model).__name__}: {error}") from error
    return models


def check_matcher(matcher: str | Function) -> None:
    """Refuse a matcher that is neither a name nor a function."""
    if not (isinstance(matcher, str) or callable(matcher)):
        raise InputError(f"matcher is {matcher!r}; give the name of a matcher, or a function of your own")


def check_call(entry: Entry, *, fitted: bool | None, tries: int, moments: Sequence[Moments] | None) -> None:
    """Refuse arguments that do not go together."""
    if fitted and not entry.by_steps:
        raise InputError(
            f"fitted=True means nothing to the matcher {entry.name!r}, which moves units as a whole; leave it out"
        )
    if tries < 1:
        raise InputError(f"tries is {tries}; matching each group once is tries=1")
    if moments is not None and not entry.assigns:
        raise InputError(f"moments mean nothing to the matcher {entry.name!r}, which couples units; leave them out")


def shares_of(weights: Sequence[float] | None, models: int) -> list[float]:
    """The models' weights in the averages, scaled to sum to one."""
    try:
        shares = torch.tensor([1.0] * models if weights is None else list(weights), dtype=torch.float64)
    except (TypeError, ValueError) as error:
        raise InputError(f"weights must be {models} positive numbers; got {weights}") from error
    if shares.shape != (models,) or not bool(((shares > 0) & shares.isfinite()).all()):
        raise InputError(f"weights must be {models} positive numbers, one for each model; got {weights}")
    shares = shares / shares.max()  # whose sum is finite
    return [float(share) for share in shares / shares.sum()]


def checked_counts(class_counts: Tensor, models: int, graph: UnitGraph) -> Tensor:
    """The class counts on the CPU, if they are counts and some tensor makes an output per class."""
    if not isinstance(class_counts, Tensor) or class_counts.dim() != 2 or len(class_counts) != models:
        found = tuple(class_counts.shape) if isinstance(class_counts, Tensor) else type(class_counts).__name__
        raise InputError(f"class_counts must be a tensor of {models} models × classes; got {found}")
    if not bool(((class_counts >= 0) & class_counts.isfinite()).all()):
        raise InputError("class_counts holds numbers that are negative or not finite; it counts samples of each class")
    if not class_axes(graph, class_counts.shape[1]):
        raise InputError(
            "class_counts are given, but no tensor of the model is known to make its outputs, one for each class "
            "(it may be tied to another layer, or something may be done to the outputs); leave them out"
        )
    return class_counts.cpu()
