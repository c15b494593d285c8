"""Any map-style data set of PyTorch becomes a data set, its samples read when they are needed."""

from collections.abc import Iterator
from typing import Any

import datasets
import numpy as np
import pytest
import torch
from torch.utils.data import ConcatDataset, DataLoader, IterableDataset, Subset, TensorDataset
from torch.utils.data import Dataset as TorchDataset

from fedma.data import class_counts, from_arrays, from_dataset, partition
from fedma.errors import InputError

X, Y = torch.arange(24).float().view(12, 2), torch.arange(12) % 3


class Rows(TorchDataset):
    """Twelve samples as dictionaries; notes what is read."""

    def __init__(self) -> None:
        self.read: list[int] = []

    def __len__(self) -> int:
        return 12

    def __getitem__(self, row: int) -> dict[str, Any]:
        self.read.append(row)
        return {"x": X[row], "labels": int(Y[row]), "who": "ab"[row % 2]}


class Stream(IterableDataset):
    def __iter__(self) -> Iterator[int]:
        return iter(range(12))


def test_dictionaries_are_read_when_they_are_needed_and_divided_as_in_memory() -> None:
    rows = Rows()
    data = from_dataset(rows, rows, labels=Y.tolist(), owners=["a", "b"] * 6)
    assert (data.classes, len(data.train), len(data.test), rows.read) == (("0", "1", "2"), 12, 12, [])
    there = from_arrays((X, Y), (X, Y), owners=["a", "b"] * 6)
    for scheme in ("iid", "natural", "dirichlet-paper"):
        parts = partition(data.train, 2, scheme=scheme, min_samples=2)
        expected = partition(there.train, 2, scheme=scheme, min_samples=2)
        assert [part.tolist() for part in parts] == [part.tolist() for part in expected]
        assert class_counts(data.train, parts, 3).tolist() == class_counts(there.train, parts, 3).tolist()
    assert not rows.read
    assert data.train.batch(torch.tensor([4, 1]))["labels"].tolist() == [1, 1]
    assert rows.read == [4, 1]
    assert data.input_shape == (2,)
    assert data.fingerprint == from_dataset(Rows(), Rows(), labels=Y, owners=["a", "b"] * 6).fingerprint
    assert data.fingerprint != from_dataset(Rows(), Rows(), labels=Y).fingerprint


def test_labels_and_owners_may_be_keys_or_functions_of_samples() -> None:
    keys = from_dataset(Rows(), Rows(), labels="labels", owners="who")
    calls = from_dataset(Rows(), Rows(), labels=lambda row: row["labels"], owners=lambda row: row["who"])
    for data in (keys, calls):
        assert data.train.labels.tolist() == Y.tolist()
        assert data.train.owners == ("a", "b") * 6


class Tagged(Rows):
    targets = Y.tolist()


@pytest.mark.parametrize(
    ("samples", "expected"),
    [
        (TensorDataset(X, Y), Y.tolist()),
        (Subset(TensorDataset(X, Y), [3, 1]), [0, 1]),
        (Subset(Subset(Tagged(), [4, 3, 1]), [2, 0]), [1, 1]),
        (Tagged(), Y.tolist()),
        (TensorDataset(X, X), None),
        (ConcatDataset([Rows(), Rows()]), None),
    ],
)
def test_labels_in_memory_are_found(samples: Any, expected: list | None) -> None:
    data = from_dataset(samples, samples)
    assert (data.train.labels if expected is None else data.train.labels.tolist()) == expected
    assert data.classes == (() if expected is None else tuple(map(str, range(max(expected) + 1))))


def test_a_table_of_the_hub_needs_no_pass_over_its_samples() -> None:
    kinds = datasets.Features({"text": datasets.Value("string"), "fine": datasets.ClassLabel(names=["x", "y", "z"])})
    table = datasets.Dataset.from_dict({"text": ["a b", "c", "d e f"], "fine": [2, 0, 2]}, features=kinds)

    def tokens(row: dict[str, Any]) -> dict[str, Any]:
        return {"ids": [torch.tensor([len(word) for word in text.split()]) for text in row["text"]], **row}

    def collate(rows: list[Any]) -> Any:
        return torch.nn.utils.rnn.pad_sequence([row["ids"] for row in rows], batch_first=True)

    changed = table.with_transform(tokens)
    data = from_dataset(changed, changed, labels="fine", collate=collate)
    assert (data.classes, data.train.labels.tolist()) == (("x", "y", "z"), [2, 0, 2])
    assert data.train.batch(torch.tensor([1, 2])).tolist() == [[1, 0, 0], [1, 1, 1]]


@pytest.mark.parametrize(
    ("train", "more", "message"),
    [
        (Stream(), {}, "train is a Stream, which has no length; it must be a map-style data set"),
        (DataLoader(TensorDataset(X, Y)), {}, "train is a DataLoader; it must be one map-style data set"),
        (datasets.DatasetDict(train=datasets.Dataset.from_dict({"a": [1]})), {}, "train is a DatasetDict"),
        ((X, Y), {}, "train is a tuple; it must be one map-style data set"),
        (TensorDataset(X[:0], Y[:0]), {}, "train has no samples"),
        (Rows(), {"labels": Y[:5]}, "train has 12 samples and 5 labels; give one for each sample"),
        (Rows(), {"owners": ["a"]}, "train has 12 samples and 1 owners"),
        (Rows(), {"labels": Y - 1}, "sample 0 of train has label -1; labels must be 0 or more"),
        (Rows(), {"labels": Y, "classes": 2}, r"sample 2 of train has label 2; labels must be from 0 to 1"),
        (Rows(), {"labels": Y, "classes": ["a", "b"]}, r"must be from 0 to 1 \(classes: 2\)"),
        (Rows(), {"labels": Y + 0.5}, "labels are float32 of shape"),
        (Rows(), {"labels": "abc" * 4}, r"labels cannot be read from sample 0 of train \(KeyError"),
        (Rows(), {"labels": ["a"] * 12}, "labels are <U1 of shape"),
        (Rows(), {"loaders": -1}, "loaders is -1; it must be 0 or more"),
    ],
)
def test_what_cannot_be_used_is_named(train: Any, more: dict, message: str) -> None:
    with pytest.raises(InputError, match=message) as error:
        from_dataset(train, Rows(), **more)
    assert "\n" not in str(error.value)


def test_division_by_class_needs_classes() -> None:
    data = from_dataset(Rows(), Rows())
    assert [len(part) for part in partition(data.train, 3, scheme="iid", min_samples=1)] == [4, 4, 4]
    with pytest.raises(InputError, match=r"'shards' divides by class.* give from_dataset their labels"):
        partition(data.train, 2, scheme="shards", min_samples=1)


def test_labels_of_many_samples_stay_small() -> None:
    class Endless(Rows):
        def __len__(self) -> int:
            return 10**6

    labels = np.zeros(10**6, dtype=np.int8)
    data = from_dataset(Endless(), Rows(), labels=labels, classes=2)
    (first, second) = partition(data.train, 2, scheme="iid")
    assert (len(data.train), len(first), len(second)) == (10**6, 500_000, 500_000)
