"""The values of this room: a split (samples and labels) and a data set (a training and a test split)."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from fedma.errors import InputError


@dataclass(frozen=True, eq=False)
class Split:
    """Samples with their labels and, where the data names them, their natural owners.

    Attributes:
        inputs: float32, samples first; images are samples × channels × height × width.
        labels: int64, one class number a sample.
        owners: the natural client of each sample (a writer, a role), or None.
    """

    inputs: Tensor
    labels: Tensor
    owners: tuple[str, ...] | None = None

    def __post_init__(self) -> None:
        sizes = {"inputs": len(self.inputs), "labels": len(self.labels)}
        if self.owners is not None:
            sizes["owners"] = len(self.owners)
        if len(set(sizes.values())) > 1:
            found = ", ".join(f"{count} {name}" for name, count in sizes.items())
            raise InputError(f"a split holds {found}; it needs one of each for every sample")

    def __len__(self) -> int:
        return len(self.labels)

    def select(self, indices: Tensor | Sequence[int]) -> "Split":
        """The samples at these positions, in this order."""
        rows = torch.as_tensor(indices, dtype=torch.int64)
        owners = None if self.owners is None else tuple(self.owners[row] for row in rows.tolist())
        return Split(self.inputs[rows], self.labels[rows], owners)


@dataclass(frozen=True, eq=False)
class Dataset:
    """A training and a test split with the names of their classes.

    Attributes:
        name: short name, hub name, or the name of the folder it was read from.
        train: what the clients share out among themselves.
        test: what every model is judged by.
        classes: the name of each class, in the order of the labels.
        mean: what was subtracted from each channel of the inputs, after scaling them to [0, 1].
        std: what each channel was divided by after that.
    """

    name: str
    train: Split
    test: Split
    classes: tuple[str, ...]
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()

    @property
    def input_shape(self) -> tuple[int, ...]:
        """The shape of one sample: (channels, height, width) for images."""
        return tuple(self.train.inputs.shape[1:])
