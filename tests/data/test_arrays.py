"""Data sets of one's own arrays: what goes in comes out, and what cannot be used is named."""

import datasets
import numpy as np
import pandas as pd
import pytest
import torch
from torch.utils.data import TensorDataset

from fedma.data import from_arrays, partition
from fedma.errors import InputError

X, Y = np.random.default_rng(0).normal(size=(12, 1, 4, 4)), np.arange(12) % 3
TOKENS = torch.arange(24).view(12, 2) % 9


def test_images_come_out_as_they_went_in() -> None:
    data = from_arrays((X, Y), (X[:3], [0, 1, 2]), owners=[5, 6] * 6, name="mine")
    assert (data.name, data.input_shape, data.classes, data.vocabulary) == ("mine", (1, 4, 4), ("0", "1", "2"), None)
    np.testing.assert_array_equal(data.train.inputs.numpy(), X.astype(np.float32))
    assert data.train.labels.tolist() == Y.tolist()
    assert data.test.labels.tolist() == [0, 1, 2]
    assert [part.tolist() for part in partition(data.train, 2, scheme="natural", min_samples=6)] == [
        list(range(0, 12, 2)), list(range(1, 12, 2)),
    ]  # fmt: skip


def test_whole_numbers_are_tokens() -> None:
    data = from_arrays((TOKENS, Y), (TOKENS, Y))
    assert (data.input_shape, data.vocabulary, data.train.inputs.dtype) == ((2,), 9, torch.uint8)
    assert data.train.inputs.tolist() == TOKENS.tolist()
    large = from_arrays((TOKENS, Y), (TOKENS, Y), vocabulary=1000, classes=["a", "b", "c", "d"])
    assert (large.vocabulary, large.train.inputs.dtype, large.classes) == (1000, torch.int32, tuple("abcd"))


WORDS = ["cat", "dog"] * 6
PAIRS = TensorDataset(torch.from_numpy(X), torch.from_numpy(Y))
TABLE = datasets.Dataset.from_dict({"x": [0.0], "y": [1]})
HOLE = X.copy()
HOLE[7, 0, 1, 1] = np.nan


@pytest.mark.parametrize(
    ("train", "test", "more", "message"),
    [
        ((X, Y[:5]), (X, Y), {}, r"train has inputs of shape \(12, 1, 4, 4\) and labels of shape \(5,\)"),
        ((X, Y), (X, Y[:, None]), {}, r"labels are torch.int64 of shape \(\) each, test labels torch.int64 of \(1,\)"),
        ((X, Y), (X[:0], Y[:0]), {}, "test has no samples"),
        ((X[:0], Y[:0]), (X, Y), {}, "train has no samples"),
        ((X, Y), (X[:, :, :3], Y), {}, r"of shape \(1, 4, 4\) each, test inputs torch.float32 of \(1, 3, 4\)"),
        ((TOKENS, Y), (TOKENS.double(), Y), {}, "training inputs are torch.int64 .* make them alike"),
        ((HOLE, Y), (X, Y), {}, r"inputs of train are not finite as float32 \(first in sample 7\)"),
        ((X, Y + 0.5), (X, Y), {}, "training labels are torch.float32 .* test labels torch.int64 .*; make them alike"),
        ((X, Y + np.inf), (X, Y + 0.5), {}, r"labels of train are not finite as float32 \(first in sample 0\)"),
        ((X, Y + 0j), (X, Y), {}, "labels of train are torch.complex128; they must be whole or real numbers"),
        ((X, WORDS), (X, Y), {}, "labels are words in one split and numbers in the other"),
        ((X, WORDS), (X, WORDS), {"classes": ["cat", "cow"]}, "label 'dog' is none of the classes cat, cow"),
        ((X, WORDS), (X, WORDS), {"classes": 1}, "labels are 2 different words"),
        ((X, [*WORDS[:-1], None]), (X, WORDS), {}, "there are objects of type NoneType, str, and numbers are needed"),
        ((X, 100 * Y), (X, Y), {"classes": 3}, "labels reach from 0 to 200; they must be from 0 to 2"),
        (PAIRS, (X, Y), {}, r"train is a TensorDataset, not a pair .*; for a data set of PyTorch or of .*from_dataset"),
        ((X, Y), TABLE, {}, "test is a Dataset, not a pair .* take fedma.data.from_dataset"),
        ((PAIRS, Y), (X, Y), {}, "there is a TensorDataset; for a data set of PyTorch take fedma.data.from_dataset"),
        ((X, Y - 1), (X, Y), {}, "labels reach from -1 to 2; they must be 0 or more"),
        ((X, Y), (X, Y + 1), {"classes": 3}, r"labels reach from 0 to 3; they must be from 0 to 2 \(classes: 3\)"),
        ((X, Y), (X, Y), {"classes": ["a", "b"]}, r"labels reach from 0 to 2; they must be from 0 to 1"),
        ((TOKENS, Y), (TOKENS, Y), {"vocabulary": 8}, r"inputs reach from 0 to 8; they must be from 0 to 7"),
        ((X, Y), (X, Y), {"vocabulary": 8}, "vocabulary is 8, and inputs are real numbers"),
        (((X * 9).astype(np.uint8), Y), (X, Y), {}, "make images and other inputs real numbers first"),
        ((X > 0, Y), (X > 0, Y), {}, "inputs of train are torch.bool"),
        ((list("ab"), Y), (X, Y), {}, "train must be a pair of arrays"),
        ((X, Y, Y), (X, Y), {}, "train must be a pair of arrays"),
        ((X, Y), (X, Y), {"owners": "ab"}, "12 inputs, 12 labels, 2 owners"),
    ],
)
def test_what_cannot_be_used_is_named(train: tuple, test: tuple, more: dict, message: str) -> None:
    with pytest.raises(InputError, match=message) as error:
        from_arrays(train, test, **more)
    assert "\n" not in str(error.value)


def test_whatever_numpy_takes_for_an_array_will_do() -> None:
    frame, labels = pd.DataFrame(X.reshape(12, -1)), pd.Series(Y, index=range(100, 112))
    data = from_arrays((frame, labels), (X.reshape(12, -1)[::-1], Y), classes=np.array(["a", "b", "c"]))
    np.testing.assert_array_equal(data.train.inputs.numpy(), X.reshape(12, -1).astype(np.float32))
    assert (data.classes, data.train.labels.tolist()) == (("a", "b", "c"), Y.tolist())


def test_numbers_beyond_float32_are_not_finite() -> None:
    with pytest.raises(InputError, match="not finite as float32"):
        from_arrays((1e300 * X, Y), (X, Y))


@pytest.mark.parametrize("kind", [">f8", ">f4", "<f4", "f2"])
@pytest.mark.parametrize("label", [">i4", ">i2", "u2", "u8", "?"])
def test_arrays_of_either_byte_order_give_the_same_numbers(kind: str, label: str) -> None:
    labels = (Y > 0) if label == "?" else Y
    data = from_arrays((X.astype(kind), labels.astype(label)), (X.astype(kind), labels.astype(label)))
    np.testing.assert_array_equal(data.train.inputs.numpy(), X.astype(kind).astype(np.float32))
    assert data.train.labels.tolist() == labels.astype(int).tolist()


@pytest.mark.parametrize(
    ("labels", "numbers", "names"),
    [
        (["b", "a", "b", "c"], [1, 0, 1, 2], ("a", "b", "c")),
        (np.array([b"b", b"a", b"b", b"c"]), [1, 0, 1, 2], ("a", "b", "c")),
        (pd.Series(list("babc"), dtype="category"), [1, 0, 1, 2], ("a", "b", "c")),
        ([70, 5, 900, 5], [1, 0, 2, 0], ("5", "70", "900")),
        ([1, 2, 3, 1], [0, 1, 2, 0], ("1", "2", "3")),
        ([1, 0, 2, 1], [1, 0, 2, 1], ("0", "1", "2")),
    ],
)
def test_words_and_numbers_with_gaps_are_numbered_by_name(labels: object, numbers: list, names: tuple) -> None:
    data = from_arrays((X[:4], labels), (X[:4], labels))
    assert (data.train.labels.tolist(), data.test.labels.tolist(), data.classes) == (numbers, numbers, names)


def test_names_of_classes_decide_the_numbers_of_words_and_gaps_may_be_filled_by_the_other_split() -> None:
    data = from_arrays((X[:2], ["a", "c"]), (X[:2], ["c", "a"]), classes=["c", "b", "a"])
    assert (data.train.labels.tolist(), data.test.labels.tolist(), data.classes) == ([2, 0], [0, 2], ("c", "b", "a"))
    split = from_arrays((X[:2], [0, 2]), (X[:2], [1, 1]))
    assert (split.train.labels.tolist(), split.test.labels.tolist()) == ([0, 2], [1, 1])
    assert from_arrays((X[:2], [0, 2]), (X[:2], [2, 2]), classes=4).train.labels.tolist() == [0, 2]


def test_labels_of_other_kinds_are_targets_as_they_are() -> None:
    real = from_arrays((X, X[:, 0, 0].astype(">f8")), (X, X[:, 0, 0]))
    assert (real.classes, real.train.labels.dtype) == ((), torch.float32)
    np.testing.assert_array_equal(real.train.labels.numpy(), X[:, 0, 0].astype(np.float32))
    pixels = (X[:, 0] > 0).astype(np.uint8) * 3
    data = from_arrays((X, pixels), (X, pixels))
    assert (data.classes, data.train.labels.dtype) == (tuple("0123"), torch.int64)
    assert data.train.labels.tolist() == pixels.tolist()
