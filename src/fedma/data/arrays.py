"""A `Dataset` from samples that are in memory already."""

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from fedma.data.split import Dataset, Split
from fedma.errors import InputError

Pair = tuple[Any, Any]
"""Inputs and labels: tensors, or anything that NumPy takes for an array."""


def from_arrays(
    train: Pair,
    test: Pair,
    *,
    owners: Sequence[object] | None = None,
    classes: Iterable[str] | int | None = None,
    vocabulary: int | None = None,
    name: str = "arrays",
) -> Dataset:
    """Your own samples as a data set.

    Inputs are taken as they are: scale them first. Real numbers of any shape (images: samples × channels × height ×
    width) become float32; whole numbers, samples × steps, are sequences of tokens.

    Args:
        train: inputs and labels; labels are whole numbers from 0, one a sample.
        test: the same.
        owners: who each training sample belongs to, for `partition(..., scheme="natural")`.
        classes: their names, or how many; by default as many as the labels say.
        vocabulary: number of tokens; by default as many as the inputs say.
        name: what to call it.

    Raises:
        InputError: what is wrong, in which split, and what to do.
    """
    (train_x, train_y), (test_x, test_y) = (_pair(pair, word) for pair, word in ((train, "train"), (test, "test")))
    if train_x.shape[1:] != test_x.shape[1:] or train_x.is_floating_point() != test_x.is_floating_point():
        raise InputError(
            f"training inputs are {train_x.dtype} of shape {tuple(train_x.shape[1:])} each, test inputs "
            f"{test_x.dtype} of {tuple(test_x.shape[1:])}; make them alike"
        )
    named = None if classes is None or isinstance(classes, int) else tuple(map(str, classes))
    wanted = classes if isinstance(classes, int) else None if named is None else len(named)
    count = _bound("labels", (train_y, test_y), wanted, "classes")
    names = named or tuple(map(str, range(count)))
    tokens = None
    if not train_x.is_floating_point():
        tokens = _bound("inputs", (train_x, test_x), vocabulary, "vocabulary")
        small = torch.uint8 if tokens <= 256 else torch.int32
        train_x, test_x = train_x.to(small), test_x.to(small)
    elif vocabulary is not None:
        raise InputError(f"vocabulary is {vocabulary}, and inputs are real numbers; tokens are whole numbers")
    own = None if owners is None else tuple(map(str, owners))
    return Dataset(name, Split(train_x, train_y, own), Split(test_x, test_y), names, vocabulary=tokens)


def _pair(pair: Pair, word: str) -> tuple[Tensor, Tensor]:
    """Inputs (float32, or int64 for tokens) and labels (int64), checked by themselves."""
    try:
        inputs, labels = (part.detach().cpu() if isinstance(part, Tensor) else _array(part) for part in pair)
    except (TypeError, ValueError, RuntimeError) as error:
        raise InputError(f"{word} must be a pair of arrays, (inputs, labels): {error}") from error
    if inputs.dim() < 2 or labels.dim() != 1 or len(inputs) != len(labels):
        raise InputError(
            f"{word} has inputs of shape {tuple(inputs.shape)} and labels of shape {tuple(labels.shape)}; it needs "
            "samples × ..., and one label a sample"
        )
    if not len(labels):
        raise InputError(f"{word} has no samples; at least one is needed")
    if labels.is_floating_point() or labels.is_complex():
        raise InputError(f"labels of {word} are {labels.dtype}; they must be whole numbers from 0, one for each class")
    if inputs.is_floating_point():
        inputs = inputs.float()
        if not inputs.isfinite().all():
            row = int((~inputs.isfinite().flatten(1).all(1)).nonzero()[0])
            raise InputError(
                f"inputs of {word} are not finite as float32 (first in sample {row}); replace or leave out such samples"
            )
        return inputs, labels.long()
    if inputs.dim() != 2 or inputs.is_complex() or inputs.dtype == torch.bool:
        raise InputError(
            f"inputs of {word} are {inputs.dtype} of shape {tuple(inputs.shape)}; tokens are whole numbers, samples × "
            "steps; make images and other inputs real numbers first (pixels: divide by 255)"
        )
    return inputs.long(), labels.long()


def _array(values: Any) -> Tensor:
    """What NumPy takes for an array; copied where PyTorch cannot share its memory."""
    return torch.from_numpy(np.require(values, requirements=["C", "W"]))


def _bound(what: str, values: tuple[Tensor, Tensor], given: int | None, name: str) -> int:
    """The number below which all values lie: the one given, or one more than the greatest."""
    least, most = (int(bound) for bound in torch.cat([part.flatten() for part in values]).aminmax())
    if least < 0 or (given is not None and most >= given):
        wanted = "0 or more" if given is None else f"from 0 to {given - 1} ({name}: {given})"
        raise InputError(f"{what} reach from {least} to {most}; they must be {wanted}")
    return most + 1 if given is None else given
