"""Sums that judge a model: named values that add up over batches, workers, clients and machines."""

from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor

from fedma.errors import InputError

EXAMPLES = "examples"
"""The name of the count of examples."""

Sums = Mapping[str, Any]
"""By name a number, a tensor, or a tuple of tensors; tuples are joined, in order."""


def plain(found: object, *, task: str, examples: int) -> dict[str, Any]:
    """What a task's `judge` returned, checked, on the CPU, in exact types; `examples` is added where it is missing.

    Raises:
        InputError: it is no mapping, or has values that cannot be added.
    """
    if not isinstance(found, Mapping):
        raise InputError(f"judge of task {task!r} returns a {type(found).__name__}; it must return named sums")
    return {EXAMPLES: examples, **{str(name): _exact(value, str(name), task) for name, value in found.items()}}


def _exact(value: object, name: str, task: str) -> Any:
    if isinstance(value, (int, float)):  # truth values count
        return value if isinstance(value, float) else int(value)
    if isinstance(value, Tensor):
        value = value.detach().cpu()
        return value.double() if value.is_floating_point() else value.long()
    if isinstance(value, (tuple, list)) and all(isinstance(part, Tensor) for part in value):
        return tuple(part.detach().cpu() for part in value)
    raise InputError(
        f"judge of task {task!r} returns {name!r} as {type(value).__name__}; sums are numbers, tensors, or tuples of "
        "tensors"
    )


def added(parts: Iterable[Sums]) -> dict[str, Any]:
    """The sums of several parts together; empty without parts.

    Raises:
        InputError: parts of different names, or tensors of different shapes.
    """
    total: dict[str, Any] = {}
    for part in parts:
        if not total:
            total = dict(part)
            continue
        if total.keys() != part.keys():
            odd = ", ".join(sorted(total.keys() ^ part.keys()))
            raise InputError(f"judge returns {odd} for some batches only; return the same names for every batch")
        total = {name: _sum(total[name], value, name) for name, value in part.items()}
    return total


def _sum(first: Any, second: Any, name: str) -> Any:
    if isinstance(first, Tensor) and isinstance(second, Tensor) and first.shape != second.shape:
        shapes = f"{tuple(first.shape)} and {tuple(second.shape)}"
        raise InputError(f"judge returns {name!r} of shapes {shapes}, which cannot be added; give it one shape")
    return first + second


def joined(value: tuple[Tensor, ...]) -> Tensor:
    """The parts of a tuple as one tensor."""
    return torch.cat(value)
