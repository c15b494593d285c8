"""The models of a fusion: which of them can be fused, and why the others cannot."""

from collections.abc import Sequence
from typing import get_args

import torch

from fedma.errors import GraphError, InputError, MatchingError
from fedma.matching.bbp.checks import OnBad, advice, bad_clients
from fedma.matching.features import incoming
from fedma.units import UnitGraph, Weights
from fedma.units.layout import Widths


def bad_models(
    models: Sequence[Weights], graph: UnitGraph, *, widths: Sequence[Widths], on_bad: OnBad
) -> dict[int, str]:
    """The models that cannot be fused, by number, and why: one bad tensor or group spoils the whole model.

    Args:
        models: each model's tensors.
        graph: the unit graph of their architecture.
        widths: each model's units per group.
        on_bad: "raise", or "exclude".

    Raises:
        MatchingError: a bad model where on_bad is "raise", or no good one.
        InputError: another `on_bad`.
    """
    if on_bad not in get_args(OnBad):
        raise InputError(f"on_bad={on_bad!r} is not known; it must be one of {', '.join(map(repr, get_args(OnBad)))}")
    bad = {
        j: f"{name!r} ({_where(graph, name)}) has values that are not finite: its training diverged"
        for j, model in enumerate(models)
        for name, tensor in reversed(model.items())
        if not tensor.isfinite().all()
    }
    for group in graph.groups:
        good = [j for j in range(len(models)) if j not in bad]
        rows = [incoming(models[j], graph, group, names=models[j], widths=widths[j]).flatten(0, -2) for j in good]
        if rows and rows[0].shape[-1]:
            bad |= {good[j]: f"group {group!r} {why}" for j, why in bad_clients(rows, aligned=False).items()}
    if bad and (on_bad == "raise" or len(bad) == len(models)):
        found = "; ".join(f"model {j}: {why}" for j, why in sorted(bad.items()))
        raise MatchingError(f"{found}. {advice('models', on_bad)}")
    return dict(sorted(bad.items()))


def check_alike(models: Sequence[Weights], graph: UnitGraph, *, widths: Sequence[Widths]) -> None:
    """Whether the models' tensors differ in the widths of unit groups alone, and hold numbers that can be averaged.

    Args:
        models: each model's tensors, all of the graph's names.
        graph: the unit graph of the first model.
        widths: each model's units per group.

    Raises:
        GraphError: a shape or dtype that is not the first model's at the model's own widths; a complex tensor that
            units index, or that the models do not have in common.
    """
    for number, (model, own) in enumerate(zip(models, widths, strict=True)):
        for name, tensor in model.items():
            where, first = f"model {number}: tensor {name!r}", models[0][name]
            wanted = graph.shape(name, own)
            if tuple(tensor.shape) != wanted:
                raise GraphError(
                    f"{where} has shape {tuple(tensor.shape)}, where model 0 at these widths has {wanted}; "
                    "models of one architecture differ in the widths of their unit groups alone, so leave it out"
                )
            if tensor.dtype != first.dtype:
                raise GraphError(
                    f"{where} is {tensor.dtype}, and {first.dtype} in model 0; give models of one dtype (model.float())"
                )
            if tensor.is_complex() and (graph.groups_of(name) or not torch.equal(tensor, first)):
                raise GraphError(
                    f"{where} is {tensor.dtype}, and complex tensors cannot be matched or averaged; "
                    "keep its real and imaginary parts as two tensors"
                )


def _where(graph: UnitGraph, tensor: str) -> str:
    """Which units a tensor makes, for a message."""
    made = sorted(graph.made_by(tensor))
    return f"group {', '.join(map(repr, made))}" if made else "output layer"
