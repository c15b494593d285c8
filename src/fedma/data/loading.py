"""From a name to a `Dataset`: the embedded digits, a data set of the Hugging Face hub, or a local folder."""

from os import PathLike

import numpy as np
import torch

from fedma import seeds
from fedma.data.images import decode, normalise
from fedma.data.source import Samples, Source, digits, stored
from fedma.data.split import Dataset, Split
from fedma.errors import InputError


def load(
    name: str | PathLike[str],
    *,
    test_fraction: float = 0.2,
    seed: int = 0,
    limit: int | None = None,
    natural: str | None = None,
) -> Dataset:
    """The data set of that name: float32 images, each channel with mean 0 and standard deviation 1.

    Pixels are scaled to [0, 1]; then the mean of each channel over the training images is subtracted and their
    standard deviation divided out, in both splits (`Dataset.mean`, `Dataset.std`).

    Args:
        name: `digits` (scikit-learn's 8×8 handwritten digits, no download), `mnist`, `cifar10`, any data set of
            the Hugging Face hub with one column of images and one of labels (`owner/name`), or a local folder of
            the same kind: parquet files, or images in one folder a class. A short name wins over a folder of
            that name; write `./mnist` for the folder.
        test_fraction: the part of each class that is set aside where the data has no test split of its own.
        seed: decides that division, and which samples `limit` keeps.
        limit: the most training samples to keep, for quick trials; the test split stays whole.
        natural: the column that names each sample's owner, for `partition(..., scheme="natural")`.

    Raises:
        InputError: there is no such data, or it is not labelled images of one size.
        MissingExtra: a package that reads it is not installed.
    """
    if not 0 < test_fraction < 1:
        raise InputError(f"test_fraction is {test_fraction}; it must lie between 0 and 1")
    if limit is not None and limit < 1:
        raise InputError(f"limit is {limit}; it must be 1 or more")
    if name == "digits" and natural is not None:
        raise InputError(f"digits has no column {natural!r}: nobody knows who wrote which")
    source = digits() if name == "digits" else stored(name, owner=natural)
    train, test = _divided(source, test_fraction, seed)
    if limit is not None and limit < len(train):
        order = torch.randperm(len(train), generator=seeds.generator(seed, "data", "limit"))
        train = train.select(order[:limit].numpy())
    return _dataset(source, train, test)


def _divided(source: Source, test_fraction: float, seed: int) -> tuple[Samples, Samples]:
    """The training and the test samples, the latter a part of each class where none came with the data."""
    if source.test is not None:
        return source.train, source.test
    labels = source.train.labels
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


def _dataset(source: Source, train: Samples, test: Samples) -> Dataset:
    """Decoded together, so that the number of channels and the size are those of all images."""
    if not (len(train) and len(test)):
        raise InputError(f"{source.name!r} has {len(train)} training and {len(test)} test samples; both are needed")
    pixels = torch.from_numpy(decode([*train.images, *test.images]))
    inputs = [part.float().div_(source.white) for part in pixels.split([len(train), len(test)])]
    mean, std = normalise(*inputs)
    splits = [
        Split(images, torch.from_numpy(samples.labels), samples.owners)
        for images, samples in zip(inputs, (train, test), strict=True)
    ]
    return Dataset(source.name, splits[0], splits[1], source.classes, mean, std)
