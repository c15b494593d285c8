"""A `Dataset` from samples that are in memory already."""

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset as TorchDataset

from fedma.data.split import Dataset, Split
from fedma.errors import InputError

Pair = tuple[Any, Any]
"""Inputs and labels: tensors, or anything that NumPy takes for an array."""

Labels = Tensor | NDArray[np.str_]
"""Numbers, or words."""

Classes = tuple[str, ...] | int | None
"""The names of the classes, how many there are, or None: see the labels."""


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

    Labels of one class a sample are whole numbers or words. Whole numbers from 0 that leave none out stay as they are.
    Words, and other whole numbers where `classes` says nothing, are numbered in sorted order and name their classes.
    Labels of other shapes, or real numbers, are targets as they are: for regression, several labels, pixels.

    Args:
        train: inputs and labels, as many of the one as of the other.
        test: the same.
        owners: who each training sample belongs to, for `partition(..., scheme="natural")`.
        classes: their names, or how many; by default as many as the labels say. None of real numbers.
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
    own_classes = classes if classes is None or isinstance(classes, int) else tuple(map(str, classes))
    (train_labels, test_labels), names = _labelled(train_y, test_y, own_classes)
    tokens = None
    if not train_x.is_floating_point():
        tokens = _bound("inputs", (train_x, test_x), vocabulary, "vocabulary")
        small = torch.uint8 if tokens <= 256 else torch.int32
        train_x, test_x = train_x.to(small), test_x.to(small)
    elif vocabulary is not None:
        raise InputError(f"vocabulary is {vocabulary}, and inputs are real numbers; tokens are whole numbers")
    own = None if owners is None else tuple(map(str, owners))
    splits = Split(train_x, train_labels, own), Split(test_x, test_labels)
    return Dataset(name, *splits, names, vocabulary=tokens)


def _labelled(train: Labels, test: Labels, classes: Classes) -> tuple[tuple[Tensor, Tensor], tuple[str, ...]]:
    """Labels of both splits as tensors, and the names of the classes.

    Raises:
        InputError: labels of two kinds, or out of range.
    """
    words = [isinstance(part, np.ndarray) for part in (train, test)]
    if isinstance(train, Tensor) and isinstance(test, Tensor):
        if train.shape[1:] != test.shape[1:] or train.is_floating_point() != test.is_floating_point():
            raise InputError(
                f"training labels are {train.dtype} of shape {tuple(train.shape[1:])} each, test labels {test.dtype} "
                f"of {tuple(test.shape[1:])}; make them alike"
            )
        if train.is_floating_point():
            return (train, test), _named(classes, 0)
        if train.dim() > 1:
            return (train, test), _named(classes, int(max(train.max(), test.max())) + 1)
        count = _bound("labels", (train, test), None if classes is None else len(_named(classes, 0)), "classes")
        if classes is not None or len(torch.cat([train, test]).unique()) == count:
            return (train, test), _named(classes, count)
    elif not all(words):
        raise InputError("labels are words in one split and numbers in the other; make them alike")
    return _numbered([np.asarray(part) for part in (train, test)], classes)


def _named(classes: Classes, count: int) -> tuple[str, ...]:
    if classes is not None and not isinstance(classes, int):
        return classes
    return tuple(map(str, range(count if classes is None else classes)))


def _numbered(labels: Sequence[NDArray[Any]], classes: Classes) -> tuple[tuple[Tensor, Tensor], tuple[str, ...]]:
    """Labels numbered: words by the given names; others in sorted order, named by their values."""
    values, together = np.unique(np.concatenate(labels), return_inverse=True)
    names = _named(classes, 0) if classes is not None and not isinstance(classes, int) else tuple(map(str, values))
    if odd := sorted(set(map(str, values)) - set(names)):
        raise InputError(f"label {odd[0]!r} is none of the classes {', '.join(names)}; name all of them, or none")
    if isinstance(classes, int) and len(names) > classes:
        raise InputError(f"labels are {len(names)} different words (classes: {classes}); raise classes or leave it out")
    if isinstance(classes, int):
        names += tuple(f"class {number}" for number in range(len(names), classes))
    place = {value: number for number, value in enumerate(names)}
    numbers = torch.tensor([place[str(value)] for value in values])[torch.from_numpy(together)]
    first, second = numbers.split([len(part) for part in labels])
    return (first, second), names


def _pair(pair: Pair, word: str) -> tuple[Tensor, Labels]:
    """Inputs (float32, or int64 for tokens) and labels, checked by themselves."""
    if isinstance(pair, TorchDataset) or hasattr(pair, "column_names"):
        raise InputError(
            f"{word} is a {type(pair).__name__}, not a pair (inputs, labels); for a data set of PyTorch or of "
            "`datasets` take fedma.data.from_dataset"
        )
    try:
        given_inputs, given_labels = pair
        inputs, labels = _tensor(given_inputs), _labels(given_labels)
    except (TypeError, ValueError, RuntimeError) as error:
        raise InputError(f"{word} must be a pair of arrays, (inputs, labels): {error}") from error
    if inputs.ndim < 2 or labels.ndim < 1 or len(inputs) != len(labels):
        raise InputError(
            f"{word} has inputs of shape {tuple(inputs.shape)} and labels of shape {tuple(labels.shape)}; it needs "
            "samples × ..., and one label a sample"
        )
    if not len(labels):
        raise InputError(f"{word} has no samples; at least one is needed")
    if isinstance(labels, Tensor):
        labels = _targets(labels, word)
    if inputs.is_floating_point():
        return _finite(inputs.float(), "inputs", word), labels
    if inputs.dim() != 2 or inputs.is_complex() or inputs.dtype == torch.bool:
        raise InputError(
            f"inputs of {word} are {inputs.dtype} of shape {tuple(inputs.shape)}; tokens are whole numbers, samples × "
            "steps; make images and other inputs real numbers first (pixels: divide by 255)"
        )
    return inputs.long(), labels


def _targets(labels: Tensor, word: str) -> Tensor:
    """Real numbers as float32, others as int64."""
    if labels.is_complex():
        raise InputError(f"labels of {word} are {labels.dtype}; they must be whole or real numbers, or words")
    return _finite(labels.float(), "labels", word) if labels.is_floating_point() else labels.long()


def _finite(values: Tensor, what: str, word: str) -> Tensor:
    if not values.isfinite().all():
        row = int((~values.isfinite().reshape(len(values), -1).all(1)).nonzero()[0])
        raise InputError(
            f"{what} of {word} are not finite as float32 (first in sample {row}); replace or leave out such samples"
        )
    return values


def _labels(values: Any) -> Labels:
    """Numbers as a tensor, words as they are."""
    if isinstance(values, Tensor):
        return _tensor(values)
    found = np.asarray(values)
    objects_are_words = found.dtype.kind == "O" and all(isinstance(value, str) for value in found.flat)
    if found.dtype.kind == "S" or objects_are_words:
        found = found.astype(np.str_)
    return found if found.dtype.kind == "U" and found.ndim == 1 else _tensor(found)


def _tensor(values: Any) -> Tensor:
    """What NumPy takes for an array, in this machine's byte order; copied where PyTorch cannot share its memory."""
    if isinstance(values, Tensor):
        return values.detach().cpu()
    if isinstance(values, TorchDataset):
        raise TypeError(f"there is a {type(values).__name__}; for a data set of PyTorch take fedma.data.from_dataset")
    found = np.asarray(values)
    if found.dtype.kind in "OSUV":
        raise TypeError(f"there are {_kinds(found)}, and numbers are needed")
    return torch.from_numpy(
        np.require(found.astype(found.dtype.newbyteorder("="), copy=False), requirements=["C", "W"])
    )


def _kinds(values: NDArray[Any]) -> str:
    """What an array that does not hold numbers holds."""
    if values.dtype.kind in "SU":
        return "words"
    if values.dtype.kind == "V":
        return f"records ({values.dtype})"
    return "objects of type " + ", ".join(sorted({type(value).__name__ for value in values.flat})[:3])


def _bound(what: str, values: tuple[Tensor, Tensor], given: int | None, name: str) -> int:
    """The number below which all values lie: the one given, or one more than the greatest."""
    least, most = (int(bound) for bound in torch.cat([part.flatten() for part in values]).aminmax())
    if least < 0 or (given is not None and most >= given):
        wanted = "0 or more" if given is None else f"from 0 to {given - 1} ({name}: {given})"
        raise InputError(f"{what} reach from {least} to {most}; they must be {wanted}")
    return most + 1 if given is None else given
