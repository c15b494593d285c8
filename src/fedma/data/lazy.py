"""Samples that are read when they are needed, from any map-style `torch.utils.data.Dataset`."""

import multiprocessing
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader

from fedma import seeds
from fedma.data.split import Split
from fedma.errors import InputError

Collate = Callable[[list[Any]], Any]
"""Makes a batch of several samples."""


@dataclass(frozen=True, eq=False)
class Reader:
    """How samples become batches.

    Attributes:
        samples: has a length, and gives the sample at each position.
        collate: makes a batch of several samples.
        name: of the split, for messages.
        loaders: processes that read batches ahead; 0 reads them where they are used.
    """

    samples: Any
    collate: Collate
    name: str
    loaders: int = 0

    def read(self, rows: Sequence[int], seed: int) -> Any:
        """The batch of these samples; random transforms draw by the seed.

        Raises:
            InputError: a sample cannot be read or collated, naming it.
        """
        with seeds.global_generators(seed):
            found = self._found(rows)
            try:
                return self.collate(found)
            except Exception as error:  # of the user's function: whatever it may raise
                raise self._misfit(found, rows, error) from error

    def _found(self, rows: Sequence[int]) -> list[Any]:
        """The samples; all at once where the data set can do that."""
        together = getattr(self.samples, "__getitems__", None)
        if together is None:
            return [self._sample(row) for row in rows]
        try:
            return list(together(list(rows)))
        except Exception:
            found = [self._sample(row) for row in rows]
        return found

    def _sample(self, row: int) -> Any:
        try:
            return self.samples[row]
        except Exception as error:  # of the user's data set: whatever it may raise
            raise InputError(
                f"sample {row} of {self.name} cannot be read ({type(error).__name__}: {error}); mend it or leave it out"
            ) from error

    def _misfit(self, found: list[Any], rows: Sequence[int], error: Exception) -> InputError:
        """The error that names the first sample that collate does not take, alone or beside the first one."""
        for row, sample in zip(rows, found, strict=True):
            if cause := self._refusal([sample]):
                return InputError(
                    f"collate fails on sample {row} of {self.name} ({cause}); mend the sample, or give a collate that "
                    "takes it"
                )
        for row, sample in zip(rows[1:], found[1:], strict=True):
            if cause := self._refusal([found[0], sample]):
                return InputError(
                    f"collate cannot join samples {rows[0]} and {row} of {self.name} ({cause}); give samples of one "
                    "shape, or a collate that pads them"
                )
        return InputError(
            f"collate fails on samples {', '.join(map(str, rows))} of {self.name} together ({_cause(error)}); give a "
            "collate that takes them"
        )

    def _refusal(self, found: list[Any]) -> str | None:
        try:
            self.collate(found)
        except Exception as error:
            return _cause(error)
        return None


class LazySplit(Split):
    """Samples that are read when they are needed, with the methods of `Split`.

    Attributes:
        reader: how samples become batches.
        rows: the positions of the samples in what is read; None for all, in order.
        labels: int64, the class of each sample, by which they can be divided; None where nobody has said.
        owners: the natural client of each sample, or None.
    """

    labels: Any

    def __init__(
        self,
        reader: Reader,
        *,
        labels: Tensor | None = None,
        owners: tuple[str, ...] | None = None,
        rows: Tensor | None = None,
    ) -> None:
        for name, value in (("reader", reader), ("labels", labels), ("owners", owners), ("rows", rows)):
            object.__setattr__(self, name, value)
        sizes = {name: len(own) for name, own in (("labels", labels), ("owners", owners)) if own is not None}
        for name, size in sizes.items():
            if size != len(self):
                raise InputError(f"{reader.name} has {len(self)} samples and {size} {name}; give one for each sample")

    reader: Reader
    rows: Tensor | None

    def __repr__(self) -> str:
        return f"LazySplit({len(self)} samples of {self.reader.name})"

    def __len__(self) -> int:
        return len(self.reader.samples) if self.rows is None else len(self.rows)

    @property
    def inputs(self) -> Tensor:
        """Raises an error: samples are not in memory.

        Raises:
            InputError: always.
        """
        raise InputError(
            f"samples of {self.reader.name} are read when they are needed, and this needs them all in memory; make "
            "them tensors and take from_arrays"
        )

    def batch(self, rows: Tensor) -> Any:
        """What collate makes of the samples at these positions, int64; random transforms draw the same each time."""
        return self.reader.read(self._places(rows), 0)

    def batches(self, parts: Iterable[Tensor], *, seed: int = 0) -> Iterator[Any]:
        """The batch of each of these parts, in their order; read ahead where the split has loaders.

        The batches do not depend on the number of loaders. A process that may not start others reads them itself.
        """
        asked = [(seeds.number(seed, "batch", place), self._places(part)) for place, part in enumerate(parts)]
        if not self.reader.loaders or multiprocessing.current_process().daemon:
            return (self.reader.read(rows, draw) for draw, rows in asked)
        return _read_ahead(self.reader, asked)

    @property
    def input_shape(self) -> tuple[int, ...]:
        """The shape of the first tensor of one sample; () where a batch has none."""
        first = _first(self.example())
        return () if first is None else tuple(first.shape[1:])

    def contents(self) -> Iterator[Any]:
        """Bytes of the number of samples, labels, owners and two samples; to read all would take long."""
        yield repr((len(self), self.owners, self.example())).encode()
        if self.labels is not None:
            yield self.labels.numpy().data

    def select(self, indices: Tensor | Sequence[int]) -> "LazySplit":
        """The samples at these positions, in this order."""
        rows = torch.as_tensor(indices, dtype=torch.int64)
        owners = None if self.owners is None else tuple(self.owners[row] for row in rows.tolist())
        labels = None if self.labels is None else self.labels[rows]
        return LazySplit(self.reader, labels=labels, owners=owners, rows=rows if self.rows is None else self.rows[rows])

    def _places(self, rows: Tensor) -> list[int]:
        found: list[int] = (rows if self.rows is None else self.rows[rows]).tolist()
        return found


@dataclass(frozen=True)
class _Asked:
    """For PyTorch's loader: each "sample" is a batch, or the error that it gave."""

    reader: Reader

    def __getitem__(self, asked: tuple[int, list[int]]) -> Any:
        draw, rows = asked
        try:
            return self.reader.read(rows, draw)
        except InputError as error:
            return error


def _read_ahead(reader: Reader, asked: Sequence[tuple[int, list[int]]]) -> Iterator[Any]:
    """The batches, read by other processes."""
    # Its own generator: the loader would draw from the global one, and change what dropout draws.
    loader: DataLoader[Any] = DataLoader(
        _Asked(reader),  # type: ignore[arg-type]
        batch_size=None,
        sampler=asked,
        num_workers=reader.loaders,
        collate_fn=_as_it_is,
        generator=seeds.generator(0, "loaders"),
    )
    for batch in loader:
        if isinstance(batch, InputError):
            raise batch
        yield batch


def _as_it_is(batch: Any) -> Any:
    return batch


def _first(batch: Any) -> Tensor | None:
    """The first tensor of a batch, however nested."""
    if isinstance(batch, Tensor):
        return batch
    parts = batch.values() if isinstance(batch, Mapping) else batch if isinstance(batch, (tuple, list)) else ()
    return next((found for part in parts if (found := _first(part)) is not None), None)


def _cause(error: Exception) -> str:
    return f"{type(error).__name__}: {error}".partition("\n")[0]
