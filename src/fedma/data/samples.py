"""Samples as they are stored, before they become a `Dataset`."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fedma.data.images import Stored


@dataclass(frozen=True, eq=False)
class Samples:
    """Stored images, or windows of text (tokens), with their class numbers and, where known, their owners."""

    inputs: Sequence[Stored] | Tensor
    labels: NDArray[np.int64]
    owners: tuple[str, ...] | None = None

    def __len__(self) -> int:
        return len(self.labels)

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
        test: test samples, or None where the data has none set aside.
        white: the value of the brightest pixel of images.
        vocabulary: number of tokens, where samples are text.
    """

    name: str
    classes: tuple[str, ...]
    train: Samples
    test: Samples | None
    white: int = 255
    vocabulary: int | None = None


@dataclass(frozen=True, eq=False)
class Tables:
    """The tables of a data set (`datasets.Dataset`), as the hub or a folder gives them."""

    name: str
    train: Any
    test: Any | None
