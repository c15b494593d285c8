"""The values of this room: a split (samples and labels) and a data set (a training and a test split)."""

import hashlib
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from fedma.errors import InputError


@dataclass(frozen=True, eq=False)
class Split:
    """Samples in memory with their labels and, where the data names them, their natural owners.

    `fedma.data.lazy.LazySplit` has the same methods, and reads samples when they are needed.

    Attributes:
        inputs: samples first; images are float32, samples × channels × height × width; sequences of tokens are
            samples × steps, whole numbers in a small type (`model_inputs` makes a batch ready for a model).
        labels: int64, one class number a sample; or targets of another kind (`fedma.data.from_arrays`).
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

    def batch(self, rows: Tensor) -> Any:
        """Inputs and labels of the samples at these positions, int64."""
        return self.inputs[rows], self.labels[rows]

    def batches(self, parts: Iterable[Tensor], *, seed: int = 0) -> Iterator[Any]:
        """The batch of each of these parts, in their order.

        Args:
            parts: positions of samples, int64.
            seed: decides what random transforms of samples draw; samples in memory have none.
        """
        return map(self.batch, parts)

    def example(self) -> Any:
        """A batch of the first two samples, or of the only one."""
        return self.batch(torch.arange(min(2, len(self))))

    @property
    def input_shape(self) -> tuple[int, ...]:
        """The shape of one sample's input."""
        return tuple(self.inputs.shape[1:])

    def contents(self) -> Iterator[Any]:
        """Bytes that another split does not have: of samples, labels and owners, in their order."""
        yield repr((self.inputs.dtype, tuple(self.inputs.shape), self.owners)).encode()
        yield from (tensor.contiguous().numpy().data for tensor in (self.inputs, self.labels))

    def select(self, indices: Tensor | Sequence[int]) -> "Split":
        """The samples at these positions, in this order."""
        rows = torch.as_tensor(indices, dtype=torch.int64)
        owners = None if self.owners is None else tuple(self.owners[row] for row in rows.tolist())
        return Split(self.inputs[rows], self.labels[rows], owners)

    def owned_by(self, owners: Collection[str]) -> "Split":
        """The samples of these owners, in their order here."""
        return self.select([row for row, owner in enumerate(self.owners or ()) if owner in owners])


def model_inputs(batch: Tensor) -> Tensor:
    """A batch as models take it: tokens, stored in a byte each, as int64; real numbers as they are."""
    return batch if batch.is_floating_point() else batch.long()


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
        vocabulary: where inputs are tokens, how many there are; None where they are real numbers.

    Raises:
        InputError: a split is empty.
    """

    name: str
    train: Split
    test: Split
    classes: tuple[str, ...]
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()
    vocabulary: int | None = None

    def __post_init__(self) -> None:
        if not (len(self.train) and len(self.test)):
            raise InputError(
                f"{self.name!r} has {len(self.train)} training and {len(self.test)} test samples; both are needed"
            )

    @property
    def fingerprint(self) -> str:
        """A few letters that another data set does not have: of samples, labels, owners and classes, in order."""
        digest = hashlib.blake2b(repr((self.classes, self.vocabulary)).encode(), digest_size=16)
        for split in (self.train, self.test):
            for part in split.contents():
                digest.update(part)
        return digest.hexdigest()

    @property
    def input_shape(self) -> tuple[int, ...]:
        """The shape of one sample: (channels, height, width) for images, (steps,) for tokens."""
        return self.train.input_shape
