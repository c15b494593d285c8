"""Tables of any columns become data sets."""

from typing import Any

import datasets
import numpy as np
import pytest
import torch
from PIL import Image

from fedma.data import from_tables, partition
from fedma.errors import InputError


def table(columns: dict[str, Any], **kinds: Any) -> datasets.Dataset:
    found = datasets.Dataset.from_dict(columns)
    return found.cast(datasets.Features({**found.features, **kinds}))


NUMBERS = {
    "age": [30, 40, 50, 60],
    "height": [1.5, 1.6, 1.7, 1.8],
    "ill": ["no", "yes", "no", "yes"],
    "city": list("xxyy"),
}


def test_columns_of_numbers_are_features() -> None:
    data = from_tables(table(NUMBERS), table(NUMBERS), inputs=("age", "height"), label="ill", owner="city")
    np.testing.assert_allclose(data.train.inputs.numpy(), [[30, 1.5], [40, 1.6], [50, 1.7], [60, 1.8]], rtol=1e-6)
    assert (data.classes, data.train.labels.tolist(), data.vocabulary) == (("no", "yes"), [0, 1, 0, 1], None)
    parts = partition(data.train, 2, scheme="natural", min_samples=2)
    assert [part.tolist() for part in parts] == [[0, 1], [2, 3]]
    alone = from_tables(table(NUMBERS), table(NUMBERS), inputs="age", label="ill")
    assert alone.train.inputs.tolist() == [[30.0], [40.0], [50.0], [60.0]]


def test_lists_are_features_or_tokens() -> None:
    rows = {"signal": [[0.5, 1.0], [2.0, 3.0]], "words": [[1, 2, 3], [4, 5, 6]], "kind": [3, 8]}
    data = from_tables(table(rows), table(rows), inputs="signal", label="kind")
    assert data.train.inputs.tolist() == [[0.5, 1.0], [2.0, 3.0]]
    assert data.classes == ("3", "8")
    tokens = from_tables(table(rows), table(rows), inputs="words", label="kind")
    assert (tokens.vocabulary, tokens.train.inputs.tolist()) == (7, [[1, 2, 3], [4, 5, 6]])


def test_images_are_decoded_and_normalised() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (6, 4, 4), dtype=np.uint8)
    rows = {"scan": [Image.fromarray(one) for one in pixels], "finding": [0, 1, 0, 1, 0, 1]}
    made = table(rows, finding=datasets.ClassLabel(names=["well", "ill"]))
    data = from_tables(made, made, inputs="scan", label="finding", name="scans")
    assert (data.name, data.input_shape, data.classes) == ("scans", (1, 4, 4), ("well", "ill"))
    back = data.train.inputs[:, 0] * data.std[0] + data.mean[0]
    torch.testing.assert_close(back * 255, torch.from_numpy(pixels).float())


@pytest.mark.parametrize(
    ("inputs", "label", "owner", "message"),
    [
        ("weight", "ill", None, "train has no column weight"),
        ("age", "sick", None, "train has no column sick"),
        ("age", "ill", "town", "train has no column town"),
        ((), "ill", None, "names no column"),
        ("city", "ill", None, "column 'city' holds"),
        (("age", "lists"), "ill", None, "column 'lists' holds"),
        ("ragged", "ill", None, "column 'ragged' holds"),
        ("age", "height", None, "labels of 'tables' are of type float"),
    ],
)
def test_what_cannot_be_used_is_named(inputs: Any, label: str, owner: str | None, message: str) -> None:
    made = table({**NUMBERS, "lists": [[1, 2]] * 4, "ragged": [[1], [1, 2], [1], [2]]})
    with pytest.raises(InputError, match=message):
        from_tables(made, made, inputs=inputs, label=label, owner=owner)


ABC, BC = datasets.ClassLabel(names=["a", "b", "c"]), datasets.ClassLabel(names=["b", "c"])


def coded(kind: datasets.ClassLabel | None, words: str) -> datasets.Dataset:
    """A table of these labels, numbered by a kind of its own or left as words."""
    rows = {"age": list(range(len(words))), "kind": list(words)}
    return table(rows) if kind is None else table({**rows, "kind": kind.str2int(rows["kind"])}, kind=kind)


@pytest.mark.parametrize("train", [ABC, None])
@pytest.mark.parametrize("test", [ABC, BC, None])
def test_splits_that_number_classes_differently_are_brought_together_by_name(
    train: datasets.ClassLabel | None, test: datasets.ClassLabel | None
) -> None:
    data = from_tables(coded(train, "bcabca"), coded(test, "cbb"), inputs="age", label="kind")
    assert sorted(data.classes) == list("abc")
    assert "".join(data.classes[label] for label in data.train.labels) == "bcabca"
    assert "".join(data.classes[label] for label in data.test.labels) == "cbb"


@pytest.mark.parametrize(
    ("kind", "labels"),
    [(datasets.Value("int64"), [0, None, 1]), (datasets.Value("string"), ["a", None, "b"]), (ABC, [0, None, 1])],
)
def test_samples_without_a_label_are_told(kind: Any, labels: list) -> None:
    whole = table({"age": [1, 2, 3], "kind": [label or labels[0] for label in labels]}, kind=kind)
    holed = table({"age": [1, 2, 3], "kind": labels}, kind=kind)
    for train, test in ((whole, holed), (holed, whole)):
        with pytest.raises(InputError, match="1 samples without a label; remove them"):
            from_tables(train, test, inputs="age", label="kind")


def test_words_and_numbers_do_not_mix_and_a_dictionary_of_splits_is_no_table() -> None:
    numbers = table({"age": [1, 2], "kind": [0, 1]})
    with pytest.raises(InputError, match="words in one split and numbers in the other"):
        from_tables(coded(None, "ab"), numbers, inputs="age", label="kind")
    with pytest.raises(InputError, match="train is a DatasetDict; it must be one table"):
        from_tables(datasets.DatasetDict(train=numbers), numbers, inputs="age", label="kind")
