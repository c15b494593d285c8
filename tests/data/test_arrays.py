"""Data sets of one's own arrays: what goes in comes out, and what cannot be used is named."""

import numpy as np
import pandas as pd
import pytest
import torch

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


HOLE = X.copy()
HOLE[7, 0, 1, 1] = np.nan


@pytest.mark.parametrize(
    ("train", "test", "more", "message"),
    [
        ((X, Y[:5]), (X, Y), {}, r"train has inputs of shape \(12, 1, 4, 4\) and labels of shape \(5,\)"),
        ((X, Y), (X, Y[:, None]), {}, r"test has inputs .* and labels of shape \(12, 1\)"),
        ((X, Y), (X[:0], Y[:0]), {}, "test has no samples"),
        ((X[:0], Y[:0]), (X, Y), {}, "train has no samples"),
        ((X, Y), (X[:, :, :3], Y), {}, r"of shape \(1, 4, 4\) each, test inputs torch.float32 of \(1, 3, 4\)"),
        ((TOKENS, Y), (TOKENS.double(), Y), {}, "training inputs are torch.int64 .* make them alike"),
        ((HOLE, Y), (X, Y), {}, r"inputs of train are not finite as float32 \(first in sample 7\)"),
        ((X, Y + 0.5), (X, Y), {}, "labels of train are torch.float64; they must be whole numbers"),
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
