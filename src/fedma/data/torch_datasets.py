"""A `Dataset` from map-style `torch.utils.data.Dataset`s, whose samples are read when they are needed."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Subset, TensorDataset, default_collate

from fedma.data.lazy import Collate, LazySplit, Reader
from fedma.data.split import Dataset
from fedma.errors import InputError

Column = Sequence[Any] | Tensor | str | Callable[[Any], Any]
"""A value for each training sample: the values, the key of a sample's value, or a function of a sample."""


def from_dataset(
    train: Any,
    test: Any,
    *,
    collate: Collate = default_collate,
    owners: Column | None = None,
    labels: Column | None = None,
    classes: Iterable[str] | int | None = None,
    vocabulary: int | None = None,
    loaders: int = 0,
    name: str = "dataset",
) -> Dataset:
    """Any map-style data set of PyTorch as a data set: dictionaries, tuples, nested or of unlike lengths.

    Samples are read batch by batch, when they are needed, and transforms run for each sample. Random transforms that
    draw from the global generators of PyTorch, NumPy or Python draw by the run's seed. For samples that fit in memory,
    `from_arrays` is faster.

    Args:
        train: has a length, and gives the sample at each position from 0.
        test: the same.
        collate: makes a batch, as the task takes it, of a list of samples; by default as PyTorch's loader does.
        owners: who each training sample belongs to, for `partition(..., scheme="natural")`.
        labels: the class of each training sample, a whole number from 0, by which samples are divided and output layers
            averaged. By default what the data set has as `targets`, and None where it has none. A key or a function
            reads every training sample once, but for the key of a column of a table of `datasets`.
        classes: their names, or how many; by default as many as `labels` say.
        vocabulary: number of tokens, for models by name that take tokens.
        loaders: processes that read batches ahead, for each client. They help where reading takes longer than
            training and clients train in the main process (`workers=1`, or one GPU); worker processes start none.
        name: what to call it.

    Raises:
        InputError: what is wrong, in which split, and what to do.
    """
    if loaders < 0:
        raise InputError(f"loaders is {loaders}; it must be 0 or more")
    for samples, word in ((train, "train"), (test, "test")):
        _check_map_style(samples, word)
    own = None if owners is None else tuple(map(str, _column(train, owners, "owners")))
    numbers = _found_labels(train) if labels is None else _class_numbers(_column(train, labels, "labels"))
    names = _class_names(train, labels, numbers, classes)
    if numbers is not None and int(numbers.max()) >= len(names):
        row = int(numbers.argmax())
        raise InputError(
            f"sample {row} of train has label {int(numbers[row])}; labels must be from 0 to {len(names) - 1} "
            f"(classes: {len(names)})"
        )
    splits = [Reader(samples, collate, word, loaders) for samples, word in ((train, "train"), (test, "test"))]
    return Dataset(
        name, LazySplit(splits[0], labels=numbers, owners=own), LazySplit(splits[1]), names, vocabulary=vocabulary
    )


def _check_map_style(samples: Any, word: str) -> None:
    """It has a length other than 0, and positions."""
    try:
        length = len(samples)
    except (TypeError, NotImplementedError) as error:
        raise InputError(
            f"{word} is a {type(samples).__name__}, which has no length; it must be a map-style data set, with "
            "__len__ and __getitem__"
        ) from error
    if isinstance(samples, (dict, tuple, str)) or not hasattr(samples, "__getitem__"):
        raise InputError(
            f"{word} is a {type(samples).__name__}; it must be one map-style data set, such as a DatasetDict's split"
        )
    if not length:
        raise InputError(f"{word} has no samples; at least one is needed")


def _column(samples: Any, wanted: Column, word: str) -> Any:
    """A value for each sample."""
    if isinstance(wanted, str):
        if wanted in (getattr(samples, "column_names", None) or ()):
            return samples.with_format(None)[wanted][:]
        return [_value(samples, row, lambda sample: sample[wanted], word) for row in range(len(samples))]
    if callable(wanted):
        return [_value(samples, row, wanted, word) for row in range(len(samples))]
    if len(wanted) != len(samples):
        raise InputError(f"train has {len(samples)} samples and {len(wanted)} {word}; give one for each sample")
    return wanted


def _value(samples: Any, row: int, of: Callable[[Any], Any], word: str) -> Any:
    try:
        return of(samples[row])
    except Exception as error:  # of the user's data set: whatever it may raise
        raise InputError(
            f"{word} cannot be read from sample {row} of train ({type(error).__name__}: {error}); give a list of them, "
            "one for each sample"
        ) from error


def _found_labels(samples: Any) -> Tensor | None:
    """The class numbers that the data set has in memory, where PyTorch's own have them; None where there are none."""
    if isinstance(samples, Subset):
        whole = _found_labels(samples.dataset)
        return None if whole is None else whole[torch.as_tensor(samples.indices, dtype=torch.int64)]
    if isinstance(samples, TensorDataset):
        found: Any = samples.tensors[-1]
    else:
        found = getattr(samples, "targets", None)
    try:
        numbers = np.asarray(found)
    except (TypeError, ValueError, RuntimeError):
        return None
    if numbers.shape != (len(samples),) or numbers.dtype.kind not in "iu" or numbers.min() < 0:
        return None
    return torch.from_numpy(numbers.astype(np.int64))


def _class_numbers(values: Any) -> Tensor:
    """The labels that were given."""
    try:
        numbers = np.asarray(values)
    except (TypeError, ValueError, RuntimeError) as error:
        raise InputError(f"labels are no list of whole numbers ({error}); give one for each sample") from error
    if numbers.ndim != 1 or numbers.dtype.kind not in "biu":
        raise InputError(
            f"labels are {numbers.dtype} of shape {numbers.shape}; they must be whole numbers from 0, one for each "
            "sample, as the samples have them"
        )
    if numbers.min() < 0:
        row = int(numbers.argmin())
        raise InputError(f"sample {row} of train has label {numbers[row]}; labels must be 0 or more")
    return torch.from_numpy(numbers.astype(np.int64))


def _class_names(
    train: Any, labels: Column | None, numbers: Tensor | None, classes: Iterable[str] | int | None
) -> tuple[str, ...]:
    """The names of the classes: those given, those of a table's column, or numbers."""
    if classes is not None and not isinstance(classes, int):
        return tuple(map(str, classes))
    if classes is None and isinstance(labels, str):
        kind = (getattr(train, "features", None) or {}).get(labels)
        if named := getattr(kind, "names", None):
            return tuple(named)
    count = classes if classes is not None else 0 if numbers is None else int(numbers.max()) + 1
    return tuple(map(str, range(count)))
