"""Samples as they are stored, before they become a `Dataset`."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fedma.data.images import Stored, decode


@dataclass(frozen=True, eq=False)
class Samples:
    """Images, stored or decoded, rows of numbers or windows of text (tokens), with class numbers, or numbers to
    predict, and, where known, owners."""

    inputs: Sequence[Stored] | Tensor
    labels: NDArray[np.int64 | np.float32]
    owners: tuple[str, ...] | None = None

    def __len__(self) -> int:
        return len(self.labels)

    def decoded(self) -> Tensor:
        """The inputs as a tensor, whatever they are; of images the pixels."""
        return self.inputs if isinstance(self.inputs, Tensor) else torch.from_numpy(decode(self.inputs))

    def select(self, rows: NDArray[np.int64]) -> "Samples":
        """The samples of these rows, in this order."""
        owners = None if self.owners is None else tuple(self.owners[row] for row in rows.tolist())
        if isinstance(self.inputs, Tensor):
            return Samples(self.inputs[torch.from_numpy(rows)], self.labels[rows], owners)
        return Samples([self.inputs[row] for row in rows], self.labels[rows], owners)


@dataclass(frozen=True, eq=False)
class Source:
    """A data set as it is stored.

    Attributes:
        name: of the data set.
        classes: their names.
        train: training samples.
        test: test samples; None if the data have no test split.
        white: the value of the brightest pixel of images; None where samples are rows of numbers, or tokens in tables.
        vocabulary: number of tokens, where samples are text.
    """

    name: str
    classes: tuple[str, ...]
    train: Samples
    test: Samples | None
    white: int | None = 255
    vocabulary: int | None = None


@dataclass(frozen=True, eq=False)
class Tables:
    """The tables of a data set (`datasets.Dataset`), as the hub or a folder gives them."""

    name: str
    train: Any
    test: Any | None
