"""A `Dataset` from Hugging Face tables of any columns."""

from collections.abc import Sequence
from typing import Any

from fedma.data.arrays import from_arrays
from fedma.data.loading import dataset_of
from fedma.data.samples import Samples, Source
from fedma.data.source import column_owners, number_values, numbered, stored_images
from fedma.data.split import Dataset
from fedma.errors import InputError
from fedma.optional_dependencies import imported


def from_tables(
    train: Any,
    test: Any,
    *,
    inputs: str | Sequence[str],
    label: str,
    owner: str | None = None,
    name: str = "tables",
) -> Dataset:
    """Tables of the `datasets` library as a data set, whatever their columns are called.

    Images are decoded and normalised, as `load` does it. Real numbers, or lists of them of one shape, are taken as they
    are. A column of lists of whole numbers holds sequences of tokens. Of several columns of numbers each is a feature.

    Args:
        train: a `datasets.Dataset`.
        test: the same.
        inputs: the column of the inputs, or several columns of numbers.
        label: the column of the labels: class labels, whole numbers, or words, which are numbered in sorted order.
        owner: the column that says who each training sample belongs to, for `partition(..., scheme="natural")`.
        name: what to call it.

    Raises:
        InputError: a column is missing, or holds something else.
        MissingExtra: the `datasets` library is not installed.
    """
    columns = (inputs,) if isinstance(inputs, str) else tuple(inputs)
    for table, word in ((train, "train"), (test, "test")):
        if not hasattr(table, "features"):
            raise InputError(f"{word} is a {type(table).__name__}; it must be one table, such as a DatasetDict's split")
        needed = (*columns, label, *((owner,) if owner is not None and word == "train" else ()))
        if absent := [column for column in needed if column not in table.features]:
            raise InputError(f"{word} has no column {', '.join(absent)} (its columns: {', '.join(table.features)})")
    if not columns:
        raise InputError("inputs names no column; name at least one")
    labels, classes = numbered(name, (train, test), label)
    owners = column_owners(train, owner)
    if isinstance(train.features[columns[0]], imported("datasets", extra="data").Image):
        if len(columns) > 1:
            raise InputError(f"inputs names {len(columns)} columns, the first of images; name that one alone")
        parts = (
            Samples(stored_images(train, columns[0], "train"), labels[0], owners),
            Samples(stored_images(test, columns[0], "test"), labels[1]),
        )
        return dataset_of(Source(name, classes, *parts), *parts)
    values = [number_values(table, columns, word) for table, word in ((train, "train"), (test, "test"))]
    return from_arrays((values[0], labels[0]), (values[1], labels[1]), owners=owners, classes=classes, name=name)
