"""Images whose colour gives their class away: most of some classes greyscale, few of the others (FedMA, section 4)."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Literal

import torch
from torch import Tensor

from fedma.data.split import Dataset, Split
from fedma.errors import InputError
from fedma.seeds import generator

LUMA = (0.299, 0.587, 0.114)
"""How much of red, green and blue a grey value has (ITU-R BT.601)."""

GREY, COLOUR = "grey", "colour"
"""The two domains, as owners of samples."""


def skewed_shares(classes: int, *, seed: int, skew: float = 0.95) -> Tensor:
    """(classes) which share of each class's training images is greyscale: `skew` of half of them, drawn, 1-`skew` of
    the others."""
    drawn = torch.randperm(classes, generator=generator(seed, "bias", "classes"))[: classes // 2]
    shares = torch.full((classes,), 1.0 - skew, dtype=torch.float64)
    shares[drawn] = skew
    return shares


def with_grey(
    dataset: Dataset, shares: Tensor, *, seed: int, owners: Literal["domain", "classes"] = "domain"
) -> Dataset:
    """The data set with so much of each class's training images greyscale, and half of each class's test images.

    Grey images keep three channels, all alike before normalisation; the normalisation is left as it was.

    Args:
        dataset: colour images.
        shares: (classes) of the training images, each in [0, 1].
        seed: decides which images.
        owners: whom the training images belong to, for the natural partition: one owner has the grey images and one
            the coloured ones; or one has all images of the classes that are mostly grey, and one the others.

    Raises:
        InputError: images without three channels, or not a share for each class.

    Source: FedMA, section 4 (data bias).
    """
    if len(dataset.input_shape) != 3 or dataset.input_shape[0] != 3:
        raise InputError(f"only colour images can be made grey; {dataset.name!r} has inputs of {dataset.input_shape}")
    if shares.shape != (len(dataset.classes),) or not bool(((shares >= 0) & (shares <= 1)).all()):
        raise InputError(f"shares must be {len(dataset.classes)} numbers from 0 to 1; got {shares.tolist()}")
    halves = torch.full_like(shares, 0.5)
    grey = _drawn(dataset.train.labels, shares, seed, "train")
    grey_test = _drawn(dataset.test.labels, halves, seed, "test")
    belongs = grey if owners == "domain" else (shares > 0.5)[dataset.train.labels]
    train = Split(_greyed(dataset, dataset.train.inputs, grey), dataset.train.labels, _named(belongs))
    test = replace(dataset.test, inputs=_greyed(dataset, dataset.test.inputs, grey_test))
    return replace(dataset, train=train, test=test)


def oversampled(dataset: Dataset) -> Dataset:
    """The training images; in each class, images of the smaller domain are repeated until both domains are equal.

    Args:
        dataset: as `with_grey` makes it, with domains as owners.
    """
    train = dataset.train
    grey = torch.tensor([owner == GREY for owner in train.owners or ()])
    rows = [torch.arange(len(train))]
    for label in train.labels.unique():
        two = [(own & (train.labels == label)).nonzero().flatten() for own in (grey, ~grey)]
        few, many = sorted(two, key=len)
        if len(few):
            rows.append(few.repeat(-(-len(many) // len(few)))[len(few) : len(many)])
    return replace(dataset, train=train.select(torch.cat(rows)))


def _drawn(labels: Tensor, shares: Tensor, seed: int, name: str) -> Tensor:
    """Which samples are grey: of each class its share, rounded, drawn."""
    grey = torch.zeros(len(labels), dtype=torch.bool)
    for label, share in enumerate(shares.tolist()):
        rows = (labels == label).nonzero().flatten()
        order = torch.randperm(len(rows), generator=generator(seed, "bias", name, label))
        grey[rows[order[: round(share * len(rows))]]] = True
    return grey


def _greyed(dataset: Dataset, images: Tensor, grey: Tensor) -> Tensor:
    """The images, these greyscale."""
    mean, std = (torch.tensor(own)[:, None, None] for own in (dataset.mean or (0.0,) * 3, dataset.std or (1.0,) * 3))
    pixels = images[grey] * std + mean
    luma = torch.tensor(LUMA)[:, None, None]
    result = images.clone()
    result[grey] = ((pixels * luma).sum(1, keepdim=True) - mean) / std
    return result


def _named(grey: Sequence[bool] | Tensor) -> tuple[str, ...]:
    return tuple(GREY if own else COLOUR for own in grey)
