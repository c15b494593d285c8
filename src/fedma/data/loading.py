"""From a name to a `Dataset`: the embedded digits, a data set of the Hugging Face hub, or a local folder."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from os import PathLike

import numpy as np
import torch
from torch import Tensor

from fedma import seeds
from fedma.data.images import alike, normalise, statistics
from fedma.data.samples import Samples, Source
from fedma.data.source import digits, samples, tables
from fedma.data.split import Dataset, Split
from fedma.data.text import OWNER, is_text, windows
from fedma.errors import InputError


def load(
    name: str | PathLike[str],
    *,
    test_fraction: float = 0.2,
    seed: int = 0,
    limit: int | None = None,
    test_limit: int | None = None,
    natural: str | None = None,
    min_windows: int = 10_000,
    inputs: str | Sequence[str] = (),
    label: str | None = None,
    numbers: bool = False,
) -> Dataset:
    """The data set of that name: images or numbers as float32, with mean 0 and standard deviation 1, or text.

    Pixels are scaled to [0, 1]; then the mean of each channel over the training images is subtracted and their
    standard deviation divided out, in both splits (`Dataset.mean`, `Dataset.std`). If a data set is taken whole, its
    pixels are kept in the cache of `datasets`, so they are decoded only once. Text becomes
    windows of tokens, the next character their class, roles their owners (`fedma.data.text.windows`). Columns of
    numbers are features, scaled alike, each by itself; a column of lists of whole numbers holds tokens.

    Args:
        name: `digits` (scikit-learn's 8×8 handwritten digits, no download), `mnist`, `cifar10` or `shakespeare`. Or
            `owner/name` or `owner/name:config`, a data set of the Hugging Face hub; it needs one column of images, or
            columns of numbers, and one of labels, or the columns of `flwrlabs/shakespeare`. Or a local folder of
            parquet or CSV files, such a file, or a folder of images in one folder for each class. A short name wins
            over a folder of that name; write `./mnist` for the folder.
        test_fraction: the part of each class to set aside if the data have no test split. Of text, it is the last part
            of each role's text.
        seed: decides this division of images, and which samples the limits keep.
        limit: the most training samples to keep, of each owner where samples have owners, for quick trials.
        test_limit: the same for test samples.
        natural: the column that names each image's owner, for `partition(..., scheme="natural")`.
        min_windows: of text: roles with fewer windows are left out.
        inputs: the column of the inputs, or several of numbers; by default the one of images, or all of numbers.
        label: the column of the labels; by default the one of class labels, or the one named `label`.
        numbers: whether labels are numbers to predict, and not classes.

    Raises:
        InputError: there is no such data, or it is neither labelled images of one size nor text in order.
        MissingExtra: a package that reads it is not installed.
    """
    if not 0 < test_fraction < 1:
        raise InputError(f"test_fraction is {test_fraction}; it must lie between 0 and 1")
    for word, value in (("limit", limit), ("test_limit", test_limit), ("min_windows", min_windows)):
        if value is not None and value < 1:
            raise InputError(f"{word} is {value}; it must be 1 or more")
    unlimited = limit is None and test_limit is None
    columns = _Columns((inputs,) if isinstance(inputs, str) else tuple(inputs), label, natural, numbers)
    source = _source(name, columns, test_fraction, min_windows, all_images=unlimited)
    train, test = _divided(source, test_fraction, seed)
    return dataset_of(source, _limited(train, limit, seed, "limit"), _limited(test, test_limit, seed, "test limit"))


@dataclass(frozen=True)
class _Columns:
    """The columns that were asked for."""

    inputs: tuple[str, ...]
    label: str | None
    owner: str | None
    numbers: bool


def _source(
    name: str | PathLike[str], columns: _Columns, test_fraction: float, min_windows: int, *, all_images: bool
) -> Source:
    """The data as they are stored, text divided already; images decoded already where all of them are needed."""
    natural = columns.owner
    if name == "digits":
        if columns.inputs or columns.label is not None:
            raise InputError("digits has no columns to choose from; leave inputs and label out")
        if natural is not None:
            raise InputError(f"digits has no column {natural!r}: nobody knows who wrote which")
        return digits()
    found = tables(name)
    if is_text(found) and not columns.inputs and columns.label is None:
        if natural not in (None, OWNER):
            raise InputError(f"owners of {found.name!r}, which is text, are in its column {OWNER!r}, not {natural!r}")
        return windows(found, test_fraction=test_fraction, min_windows=min_windows)
    return samples(
        found,
        inputs=columns.inputs,
        label=columns.label,
        owner=natural,
        numbers=columns.numbers,
        decoded=all_images,
    )


def _limited(samples: Samples, limit: int | None, seed: int, name: str) -> Samples:
    """At most this many samples, per owner if samples have owners. The seed decides which."""
    if limit is None or limit >= len(samples):
        return samples
    order = torch.randperm(len(samples), generator=seeds.generator(seed, "data", name)).numpy()
    if samples.owners is None:
        return samples.select(order[:limit])
    taken: Counter[str] = Counter()
    rows = []
    for row in order.tolist():
        owner = samples.owners[row]
        taken[owner] += 1
        if taken[owner] <= limit:
            rows.append(row)
    return samples.select(np.array(rows))


def _divided(source: Source, test_fraction: float, seed: int) -> tuple[Samples, Samples]:
    """The training and the test samples. If the data have no test split, a part of each class becomes one."""
    if source.test is not None:
        return source.train, source.test
    labels = source.train.labels
    if labels.dtype.kind == "f":  # numbers to predict: all are of one kind
        labels = np.zeros(len(labels), dtype=np.int64)
    order = torch.randperm(len(labels), generator=seeds.generator(seed, "data", "test")).numpy()
    held_out = np.zeros(len(labels), dtype=bool)
    for label in np.unique(labels):
        rows = order[labels[order] == label]
        held_out[rows[: round(test_fraction * len(rows))]] = True
    if not 0 < held_out.sum() < len(labels):
        raise InputError(
            f"{source.name!r} has no test split, and its {len(labels)} samples are too few to set aside "
            f"{test_fraction:.0%} of each class"
        )
    return source.train.select(np.flatnonzero(~held_out)), source.train.select(np.flatnonzero(held_out))


def dataset_of(source: Source, train: Samples, test: Samples) -> Dataset:
    """These samples of a source; images of both splits get the same channels and one scale."""
    inputs = [train.decoded(), test.decoded()]
    mean, std = torch.empty(0), torch.empty(0)
    if source.white is None and source.vocabulary is None:
        inputs, mean, std = _standardised(*inputs)
    elif source.white is not None and source.vocabulary is None:
        inputs = alike(*inputs)
        mean, std = statistics(inputs[0], source.white)
        inputs = [normalise(images, mean, std, white=source.white) for images in inputs]
    splits = [
        Split(values, torch.from_numpy(samples.labels), samples.owners)
        for values, samples in zip(inputs, (train, test), strict=True)
    ]
    scale = tuple(mean.tolist()), tuple(std.tolist())
    return Dataset(source.name, splits[0], splits[1], source.classes, *scale, vocabulary=source.vocabulary)


def _standardised(train: Tensor, test: Tensor) -> tuple[list[Tensor], Tensor, Tensor]:
    """Rows of numbers, each column less its mean over training samples, in units of its standard deviation there."""
    mean = train.double().mean(0)
    deviation = train.double().std(0, correction=0)
    std = torch.where(deviation > 0, deviation, 1.0)
    scaled = [((part.double() - mean) / std).float() for part in (train, test)]
    return scaled, mean.float().flatten(), std.float().flatten()
