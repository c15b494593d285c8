"""Samples that are read when they are needed: batches are collate's of the samples, whoever reads them."""

from collections import namedtuple
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils.data import default_collate

from fedma.data import Split
from fedma.data.lazy import LazySplit, Reader
from fedma.errors import InputError
from fedma.seeds import generator

Row = namedtuple("Row", ["image", "place"])


class Made:
    """Samples made from their positions, noted as they are read."""

    def __init__(self, length: int, make: Any = None) -> None:
        self.length, self.read = length, list[int]()
        self.make = make or (lambda row: {"x": torch.full((3,), float(row)), "y": row})

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, row: int) -> Any:
        self.read.append(row)
        return self.make(row)


def noisy(row: int) -> tuple[torch.Tensor, int]:
    """A sample whose transform draws from PyTorch's and NumPy's global generators."""
    return torch.rand(2) + float(np.random.rand()) + row, row  # noqa: NPY002  as torchvision's transforms do


def lazy(samples: Any, *, collate: Any = default_collate, loaders: int = 0, **more: Any) -> LazySplit:
    return LazySplit(Reader(samples, collate, "train", loaders), **more)


@given(st.integers(1, 30).flatmap(lambda n: st.tuples(st.just(n), st.lists(st.integers(0, n - 1), min_size=1))))
@settings(deadline=None, max_examples=25, derandomize=True)
def test_a_batch_is_what_collate_makes_of_the_samples_and_nothing_else_is_read(asked: tuple[int, list[int]]) -> None:
    length, rows = asked
    samples = Made(length)
    split = lazy(samples)
    assert not samples.read
    batch = split.batch(torch.tensor(rows))
    assert samples.read == rows
    assert batch["x"].tolist() == [[float(row)] * 3 for row in rows]
    assert batch["y"].tolist() == rows


@given(st.integers(2, 20), st.data())
@settings(deadline=None, max_examples=25, derandomize=True)
def test_selecting_twice_selects_what_was_selected_as_in_memory(length: int, data: st.DataObject) -> None:
    first = data.draw(st.lists(st.integers(0, length - 1), min_size=1))
    second = data.draw(st.lists(st.integers(0, len(first) - 1)))
    labels, owners = torch.arange(length) % 3, tuple(map(str, range(length)))
    inputs = torch.arange(length).float()[:, None].expand(-1, 3)
    there = Split(inputs, labels, owners).select(first).select(second)
    here = lazy(Made(length, lambda row: (inputs[row], labels[row])), labels=labels, owners=owners)
    here = here.select(first).select(second)
    assert (len(here), here.owners, here.labels.tolist()) == (len(there), there.owners, there.labels.tolist())
    if second:
        every = torch.arange(len(second))
        for ours, theirs in zip(here.batch(every), there.batch(every), strict=True):
            torch.testing.assert_close(ours, theirs, rtol=0, atol=0)


@pytest.mark.parametrize("loaders", [1, 2])
def test_batches_do_not_depend_on_who_reads_them_nor_on_what_was_drawn_before(loaders: int) -> None:
    parts = torch.randperm(23, generator=generator(0, "parts")).split(4)
    here = lazy(Made(23, noisy))
    before = torch.random.get_rng_state()
    expected = list(here.batches(parts, seed=5))
    found = list(lazy(Made(23, noisy), loaders=loaders).batches(parts, seed=5))
    assert torch.equal(before, torch.random.get_rng_state())
    assert len(found) == len(expected) == 6
    for ours, theirs in zip(found, expected, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=0, atol=0)
    other = next(iter(here.batches(parts, seed=6)))
    assert other[1].tolist() == expected[0][1].tolist()
    assert not torch.equal(other[0], expected[0][0])


def test_samples_may_be_nested_and_of_unlike_lengths() -> None:
    def padded(samples: list[Any]) -> Any:
        return torch.nn.utils.rnn.pad_sequence([sample["text"] for sample in samples], batch_first=True)

    texts = lazy(Made(4, lambda row: {"text": torch.arange(row + 1)}), collate=padded)
    assert texts.batch(torch.tensor([0, 2])).tolist() == [[0, 0, 0], [0, 1, 2]]
    nested = lazy(Made(4, lambda row: (Row(torch.ones(1, 2), row), {"deep": [torch.tensor(row)]})))
    (image, place), deep = nested.example()
    assert (image.shape, place.tolist(), deep["deep"][0].tolist()) == ((2, 1, 2), [0, 1], [0, 1])
    assert nested.input_shape == (1, 2)


def broken(row: int) -> torch.Tensor:
    if row == 3:
        raise OSError("no such file: 3.png")
    return torch.zeros(row + 1) if row == 5 else torch.zeros(2)


class Together(Made):
    def __getitems__(self, rows: list[int]) -> list[Any]:
        return [self[row] for row in rows]


@pytest.mark.parametrize("kind", [Made, Together])
@pytest.mark.parametrize("loaders", [0, 1])
def test_a_sample_that_cannot_be_read_or_joined_is_named(kind: type[Made], loaders: int) -> None:
    split = lazy(kind(9, broken), loaders=loaders).select([8, 7, 5, 3])
    with pytest.raises(InputError, match=r"^sample 3 of train cannot be read \(OSError: no such file: 3.png\)"):
        list(split.batches([torch.tensor([0, 3])]))
    with pytest.raises(InputError, match=r"^collate cannot join samples 8 and 5 of train \(RuntimeError: stack") as it:
        list(split.batches([torch.tensor([0, 1, 2])]))
    assert "\n" not in str(it.value)


def test_a_sample_that_collate_does_not_take_is_named() -> None:
    split = lazy(Made(4, lambda row: None if row == 2 else torch.zeros(1)))
    with pytest.raises(InputError, match=r"^collate fails on sample 2 of train \(TypeError: default_collate"):
        split.batch(torch.arange(4))

    def pairs(samples: list[Any]) -> Any:
        return 1 / (3 - len(samples))

    with pytest.raises(InputError, match=r"^collate fails on samples 0, 1, 2 of train together \(ZeroDivisionError"):
        lazy(Made(4), collate=pairs).batch(torch.arange(3))


def test_what_needs_samples_in_memory_says_so_and_counts_must_agree() -> None:
    split = lazy(Made(4))
    assert (repr(split), len(split)) == ("LazySplit(4 samples of train)", 4)
    with pytest.raises(InputError, match="samples of train are read when they are needed"):
        _ = split.inputs
    with pytest.raises(InputError, match="train has 4 samples and 3 labels; give one for each sample"):
        lazy(Made(4), labels=torch.zeros(3, dtype=torch.int64))
    with pytest.raises(InputError, match="train has 4 samples and 1 owners"):
        lazy(Made(4), owners=("a",))
