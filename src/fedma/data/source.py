"""Where data comes from: samples as they are stored, images not yet decoded."""

import contextlib
import logging
import os
import re
from collections.abc import Iterator, Sequence
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fedma.data.image_arrays import keep, recall
from fedma.data.images import Stored, decode
from fedma.data.samples import Samples, Source, Tables
from fedma.data.text import COLUMNS
from fedma.errors import InputError
from fedma.optional_dependencies import folder_of, imported

HUB = {"mnist": "ylecun/mnist", "cifar10": "uoft-cs/cifar10", "shakespeare": "flwrlabs/shakespeare"}
"""Short names and where they lie on the Hugging Face hub."""

READABLE = {".parquet", ".arrow", ".png", ".jpg", ".jpeg", ".bmp", ".gif", ".tif", ".tiff", ".webp"}
"""Endings of the files that make a folder one of data."""

HELD_OUT = ("test", "validation")
"""Names of the test split, in order of preference."""


def digits() -> Source:
    """Scikit-learn's 1797 handwritten digits, 8×8 pixels of 0 to 16."""
    # The file that load_digits reads; scikit-learn itself takes a second to import.
    rows = np.loadtxt(
        folder_of("sklearn", extra="data") / "datasets" / "data" / "digits.csv.gz", delimiter=",", dtype=np.uint8
    )
    samples = Samples(torch.from_numpy(rows[:, :-1].reshape(-1, 1, 8, 8)), rows[:, -1].astype(np.int64))
    return Source("digits", tuple(str(digit) for digit in range(10)), samples, None, white=16)


def tables(name: str | PathLike[str]) -> Tables:
    """A data set of the hub or of a local folder.

    Raises:
        InputError: the data do not exist, or cannot be read.
    """
    title, address = _address(name)
    splits = _splits(address)
    train = splits.get("train") or (next(iter(splits.values())) if len(splits) == 1 else None)
    if train is None:
        raise InputError(f"{title!r} has the splits {', '.join(splits)} and none named train; rename one")
    test = next((splits[held_out] for held_out in HELD_OUT if held_out in splits and len(splits) > 1), None)
    return Tables(title, train, test)


def images(tables: Tables, *, owner: str | None, decoded: bool = False) -> Source:
    """Labelled images, with the column `owner` as the samples' owners; `decoded`, they are kept so for the next time.

    Raises:
        InputError: the tables hold something else.
    """
    title, train = tables.name, tables.train
    image, label = _columns(title, train.features)
    if owner is not None and owner not in train.features:
        raise InputError(f"{title!r} has no column {owner!r} (its columns: {', '.join(train.features)})")
    both = [train] if tables.test is None else [train, tables.test]
    numbers, classes = numbered(title, both, label)
    samples = [
        Samples(_images(table, image, decoded=decoded), number, column_owners(table, owner))
        for table, number in zip(both, numbers, strict=True)
    ]
    return Source(title, classes, samples[0], samples[1] if tables.test is not None else None)


def _address(name: str | PathLike[str]) -> tuple[str, str]:
    """What to call the data, and where `datasets` finds it."""
    text = os.fspath(name)
    if text in HUB:
        return text, HUB[text]
    folder = Path(text).expanduser()
    found = bool(text) and folder.exists()
    if found and folder.is_dir():
        if not _holds_data(folder):
            raise InputError(f"folder {text!r} holds neither parquet files nor images; name the one that does")
        return folder.resolve().name, str(folder.resolve())
    if found:
        raise InputError(f"{text!r} is a file; name the folder that holds the data")
    if isinstance(name, str) and re.fullmatch(r"\w[\w.-]*/[\w.-]+", text):
        return text, text
    if isinstance(name, PathLike) or "/" in text or os.sep in text:
        raise InputError(
            f"there is no folder {text!r}; name one that holds parquet files, or images in one folder a class"
        )
    known = ", ".join(("digits", *HUB))
    raise InputError(
        f"unknown data set {text!r}; name one of {known}, an 'owner/name' of the Hugging Face hub, or a local folder"
    )


def _holds_data(folder: Path) -> bool:
    """Whether a look around finds data; hidden folders do not count."""
    for _, folders, files in os.walk(folder):
        if any(Path(file).suffix.lower() in READABLE for file in files):
            return True
        folders[:] = [name for name in folders if not name.startswith((".", "__"))]
    return False


def _splits(address: str) -> dict[str, Any]:
    """The splits at that address, by name, through the one call that reads the hub and folders alike."""
    datasets = imported("datasets", extra="data")
    local = Path(address).is_absolute()
    try:
        with _quiet(datasets), contextlib.nullcontext() if local else _offline_if_unreachable(datasets):
            return dict(datasets.load_dataset(address))
    except datasets.exceptions.DatasetNotFoundError as error:
        raise InputError(
            f"the hub has no data set {address!r} that can be read, and there is no folder of that name"
        ) from error
    except ConnectionError as error:
        raise InputError(
            f"the Hugging Face hub cannot be reached for {address!r}; name a local folder of the same data instead "
            "(parquet files, or images in one folder a class)"
        ) from error
    except (OSError, ValueError, TypeError, RuntimeError, datasets.exceptions.DatasetsError) as error:
        cause = str(error.__cause__ or error).strip().partition("\n")[0]
        raise InputError(f"{address!r} cannot be read as a data set: {cause}") from error


@contextlib.contextmanager
def _quiet(datasets: Any) -> Iterator[None]:
    """Without progress bars, and without the hub's remarks on missing cards and tries that failed."""
    were_off = datasets.are_progress_bars_disabled()
    datasets.disable_progress_bars()
    hub = logging.getLogger("huggingface_hub")
    level = hub.level
    hub.setLevel(logging.ERROR)
    try:
        yield
    finally:
        hub.setLevel(level)
        if not were_off:
            datasets.enable_progress_bars()


@contextlib.contextmanager
def _offline_if_unreachable(datasets: Any) -> Iterator[None]:
    """Offline mode (what was downloaded before can still be read) when the hub does not answer at once.

    Left alone, the library would try again for half a minute before it says so.
    """
    before = datasets.config.HF_HUB_OFFLINE
    try:
        imported("huggingface_hub", extra="data").get_session().head(datasets.config.HF_ENDPOINT, timeout=5)
    except Exception:  # whatever the reason, and its classes vary between versions
        datasets.config.HF_HUB_OFFLINE = True
    try:
        yield
    finally:
        datasets.config.HF_HUB_OFFLINE = before


def _columns(title: str, features: Any) -> tuple[str, str]:
    """The names of the image column and the label column."""
    datasets = imported("datasets", extra="data")
    found = f"(its columns: {', '.join(features)})"
    images = [column for column, kind in features.items() if isinstance(kind, datasets.Image)]
    if len(images) != 1:
        raise InputError(
            f"{title!r} has {len(images) or 'no'} image columns {found}; it needs exactly one, or text in "
            f"columns {', '.join(COLUMNS)}"
        )
    labels = [column for column, kind in features.items() if isinstance(kind, datasets.ClassLabel)]
    if "label" in features:
        labels = ["label"]
    if len(labels) != 1:
        raise InputError(
            f"{title!r} has {len(labels) or 'no'} label columns {found}; it needs one, of class labels or named "
            "'label' (images in one folder a class have theirs from the folders)"
        )
    return images[0], labels[0]


def column_values(table: Any, column: str) -> NDArray[Any]:
    """A column of numbers or words."""
    return np.asarray(table.with_format("numpy")[column][:])


def stored_images(table: Any, column: str) -> list[Stored]:
    """A column of images, not decoded."""
    undecoded = table.cast_column(column, imported("datasets", extra="data").Image(decode=False))
    return undecoded.with_format("arrow")[column][:].to_pylist()


def _images(table: Any, column: str, *, decoded: bool) -> Sequence[Stored] | Tensor:
    """A column of images; decoded on request, or if they were decoded before."""
    pixels = recall(table, column)
    if pixels is None and decoded:
        pixels = decode(stored_images(table, column))
        keep(table, column, pixels)
    return stored_images(table, column) if pixels is None else torch.from_numpy(pixels)


def column_owners(table: Any, column: str | None) -> tuple[str, ...] | None:
    """The owners of samples, as words; None without such a column."""
    if column is None or column not in table.features:
        return None
    return tuple(str(owner) for owner in table[column])


def numbered(title: str, tables: Sequence[Any], column: str) -> tuple[list[NDArray[np.int64]], tuple[str, ...]]:
    """Class numbers from 0 on for each table, and the classes' names.

    Tables that number the same classes differently are brought together by the names. Labels without names (plain
    numbers, words) are numbered in sorted order and named by their values.

    Raises:
        InputError: samples without a label, or labels that are neither whole numbers nor words.
    """
    named = [getattr(table.features[column], "names", None) for table in tables]
    names = list(dict.fromkeys(name for own in named for name in own or ()))
    labels = [_labels(title, table, column) for table in tables]
    if names:
        labels = [_words(title, part, own or names) for part, own in zip(labels, named, strict=True)]
    if len({_are_words(part) for part in labels}) > 1:
        raise InputError(f"the labels of {title!r} are words in one split and numbers in the other; make them alike")
    values, together = np.unique(np.concatenate(labels), return_inverse=True)
    names += [name for name in map(str, values) if name not in names]
    place = {name: number for number, name in enumerate(names)}
    numbers = np.array([place[str(value)] for value in values], dtype=np.int64)[together]
    return np.split(numbers, np.cumsum([len(part) for part in labels])[:-1]), tuple(names)


def _labels(title: str, table: Any, column: str) -> NDArray[Any]:
    """A column of labels: whole numbers or words."""
    if missing := table.with_format("arrow")[column][:].null_count:
        raise InputError(f"{title!r} has {missing} samples without a label; remove them")
    labels = column_values(table, column)
    if labels.ndim != 1 or labels.dtype.kind not in "biuUO":
        raise InputError(
            f"the labels of {title!r} are of type {labels.dtype}, shape {labels.shape}; they must be whole numbers or "
            "words, one a sample"
        )
    return labels


def _words(title: str, labels: NDArray[Any], names: Sequence[str]) -> NDArray[Any]:
    """Numbers of classes as their names; words as they are."""
    if _are_words(labels):
        return labels
    if len(labels) and not 0 <= labels.min() <= labels.max() < len(names):
        odd = labels.min() if labels.min() < 0 else labels.max()
        raise InputError(f"{title!r} has samples without a label (label {odd}); remove them")
    return np.array(names)[labels]


def _are_words(labels: NDArray[Any]) -> bool:
    return labels.dtype.kind in "UO"
