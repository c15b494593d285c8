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
