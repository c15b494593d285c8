"""Where data comes from: samples as they are stored, images not yet decoded."""

import contextlib
import logging
import os
import re
from collections.abc import Collection, Iterator, Sequence
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

PICTURES = {".png", ".jpg", ".jpeg", ".bmp", ".gif", ".tif", ".tiff", ".webp"}
TABLES = {".parquet": "parquet", ".csv": "csv", ".tsv": "csv"}
"""Endings of files that hold a table, and what reads them."""

READABLE = {".arrow", *PICTURES, *TABLES}
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
    splits = _splits(*address)
    train = splits.get("train") or (next(iter(splits.values())) if len(splits) == 1 else None)
    if train is None:
        raise InputError(f"{title!r} has the splits {', '.join(splits)} and none named train; rename one")
    test = next((splits[held_out] for held_out in HELD_OUT if held_out in splits and len(splits) > 1), None)
    return Tables(title, train, test)


def samples(
    tables: Tables,
    *,
    inputs: Sequence[str] = (),
    label: str | None = None,
    owner: str | None = None,
    numbers: bool = False,
    decoded: bool = False,
) -> Source:
    """Labelled images, or rows of numbers.

    Args:
        tables: what was read.
        inputs: their columns; by default the one of images, or all other columns of numbers.
        label: the column of their labels; by default the one of class labels, or the one named `label`.
        owner: the column of their owners.
        numbers: whether labels are numbers to predict, and not classes.
        decoded: images are decoded, and kept so for the next time.

    Raises:
        InputError: the tables hold something else.
    """
    title, features = tables.name, tables.train.features
    for column in (*inputs, *(name for name in (label, owner) if name is not None)):
        if column not in features:
            raise InputError(f"{title!r} has no column {column!r} (its columns: {', '.join(features)})")
    label = label or _label(title, features)
    columns = tuple(inputs) or _inputs(title, features, {label, owner})
    both = [("train", tables.train), *([] if tables.test is None else [("test", tables.test)])]
    for word, table in both:
        if absent := [column for column in (*columns, label) if column not in table.features]:
            raise InputError(f"split {word} of {title!r} has no column {', '.join(absent)}, which the other has")
    labels: Sequence[NDArray[Any]]
    classes: tuple[str, ...] = ()
    if numbers:
        labels = [number_values(table, (label,), f"{word} of {title!r}")[:, 0] for word, table in both]
    else:
        labels, classes = numbered(title, [table for _, table in both], label)
    pictures = isinstance(features[columns[0]], imported("datasets", extra="data").Image)
    if pictures and len(columns) > 1:
        raise InputError(f"inputs names {len(columns)} columns, the first of images; name that one alone")
    found = [
        Samples(
            _images(table, columns[0], f"{word} of {title!r}", decoded=decoded)
            if pictures
            else torch.from_numpy(number_values(table, columns, f"{word} of {title!r}")),
            own,
            column_owners(table, owner),
        )
        for (word, table), own in zip(both, labels, strict=True)
    ]
    vocabulary = None if pictures else _vocabulary([one.decoded() for one in found])
    test = found[1] if len(found) > 1 else None
    return Source(title, classes, found[0], test, white=255 if pictures else None, vocabulary=vocabulary)


def _vocabulary(inputs: Sequence[Tensor]) -> int | None:
    """The number of tokens, if inputs are tokens."""
    if any(part.is_floating_point() for part in inputs):
        return None
    least, most = (int(bound) for bound in torch.cat([part.flatten() for part in inputs]).aminmax())
    if least < 0:
        raise InputError(f"tokens reach from {least} to {most}; they must be 0 or more")
    return most + 1


def _address(name: str | PathLike[str]) -> tuple[str, tuple[str, str | None]]:
    """What to call the data; where `datasets` finds it, and the configuration or file that is meant."""
    text = os.fspath(name)
    if text in HUB:
        return text, (HUB[text], None)
    path = Path(text).expanduser()
    if text and path.exists():
        return _local(path, text)
    if isinstance(name, str) and re.fullmatch(r"\w[\w.-]*/[\w.-]+(:[\w.+-]+)?", text):
        hub, _, config = text.partition(":")
        return text, (hub, config or None)
    if isinstance(name, PathLike) or "/" in text or os.sep in text:
        raise InputError(
            f"there is no folder {text!r}; name one that holds parquet or CSV files, or images in one folder a class"
        )
    known = ", ".join(("digits", *HUB))
    raise InputError(
        f"unknown data set {text!r}; name one of {known}, an 'owner/name' of the Hugging Face hub, or a local folder"
    )


def _local(path: Path, text: str) -> tuple[str, tuple[str, str | None]]:
    """The same for a folder of data, or a table."""
    if path.is_file():
        if path.suffix.lower() not in TABLES:
            raise InputError(
                f"{text!r} is a file; name the folder that holds the data, or a {' or '.join(TABLES)} file"
            )
        return path.stem, (TABLES[path.suffix.lower()], str(path.resolve()))
    if not _holds_data(path):
        raise InputError(f"folder {text!r} holds neither parquet or CSV files nor images; name the one that does")
    if empty := _empty_beside_pictures(path):
        raise InputError(
            f"folder {str(empty)!r} holds no images, though folders beside it do; put its images there, or remove it"
        )
    return path.resolve().name, (str(path.resolve()), None)


def _empty_beside_pictures(folder: Path) -> Path | None:
    """A folder of no data whose neighbours hold images themselves: a class without samples."""
    for place, folders, _ in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith((".", "__")))
        inside = [Path(place) / name for name in folders]
        pictures = any(_is_picture(file) for own in inside for file in own.iterdir())
        if pictures and (empty := next((own for own in inside if not _holds_data(own)), None)):
            return empty.relative_to(folder)
    return None


def _is_picture(file: Path) -> bool:
    return file.suffix.lower() in PICTURES


def _holds_data(folder: Path) -> bool:
    """Whether a look around finds data; hidden folders do not count."""
    for _, folders, files in os.walk(folder):
        if any(Path(file).suffix.lower() in READABLE for file in files):
            return True
        folders[:] = [name for name in folders if not name.startswith((".", "__"))]
    return False


def _splits(address: str, part: str | None) -> dict[str, Any]:
    """The splits at that address, by name, through the one call that reads the hub, folders and files alike."""
    datasets = imported("datasets", extra="data")
    file = address in TABLES.values()
    local = file or Path(address).is_absolute()
    if file and part is not None and part.endswith(".tsv"):
        wanted: dict[str, Any] = {"data_files": part, "sep": "\t"}
    else:
        wanted = {"data_files": part} if file else {} if part is None else {"name": part}
    try:
        with _quiet(datasets), contextlib.nullcontext() if local else _offline_if_unreachable(datasets):
            return dict(datasets.load_dataset(address, **wanted))
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
        name = part if file else address
        hint = "; name one as owner/name:config" if "Config name is missing" in cause else ""
        raise InputError(f"{name!r} cannot be read as a data set: {cause}{hint}") from error


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


def _inputs(title: str, features: Any, others: Collection[str | None]) -> tuple[str, ...]:
    """The column of images, or else all columns of numbers but the others."""
    datasets = imported("datasets", extra="data")
    found = f"(its columns: {', '.join(features)})"
    images = [column for column, kind in features.items() if isinstance(kind, datasets.Image)]
    if len(images) > 1:
        raise InputError(f"{title!r} has {len(images)} image columns {found}; name one as inputs")
    numbers = [column for column, kind in features.items() if column not in others and _is_number(kind)]
    if not images and not numbers:
        raise InputError(
            f"{title!r} has no image columns {found}; it needs one, columns of numbers, or text to be continued in "
            f"columns {', '.join(COLUMNS)} (for other text take fedma.data.from_dataset, with a tokenizer in collate)"
        )
    return tuple(images or numbers)


def _is_number(kind: Any) -> bool:
    return bool(re.match(r"(u?int|float|bool)", getattr(kind, "dtype", None) or "")) and not hasattr(kind, "names")


def _label(title: str, features: Any) -> str:
    """The column of the labels."""
    found = f"(its columns: {', '.join(features)})"
    labels = [column for column, kind in features.items() if hasattr(kind, "names")]
    if "label" in features:
        labels = ["label"]
    if len(labels) > 1:
        raise InputError(f"{title!r} has {len(labels)} label columns {found}; name one as label")
    if not labels:
        raise InputError(
            f"{title!r} has no label columns {found}; name one as label. Images in one folder a class have theirs from "
            "the folders, of which there must be two or more"
        )
    return labels[0]


def number_values(table: Any, columns: Sequence[str], place: str) -> NDArray[Any]:
    """Samples × ... of these columns: float32, or lists of whole numbers of one column as they are.

    Raises:
        InputError: a column holds something else, or a value is missing.
    """
    found = []
    for column in columns:
        values = column_values(table, column)
        empty = _empty(values)
        if empty.any():
            raise InputError(
                f"column {column!r} has {empty.sum()} empty values (first in row {empty.argmax()} of {place}); fill or "
                "remove them"
            )
        if values.dtype.kind not in "biuf" or (len(columns) > 1 and values.ndim > 1):
            raise InputError(
                f"column {column!r} holds {_held(table, column)}; inputs are images, numbers, one a sample in each of "
                "several columns, or lists of one length in a single column. For text and other samples take "
                "fedma.data.from_dataset"
            )
        found.append(values)
    if len(columns) == 1 and found[0].ndim > 1:
        return found[0] if found[0].dtype.kind in "iu" else found[0].astype(np.float32)
    return np.stack([values.astype(np.float32) for values in found], axis=1)


def _empty(values: NDArray[Any]) -> NDArray[np.bool_]:
    """Which values of a column are missing, or not a number."""
    if values.dtype.kind == "f":
        return np.isnan(values).reshape(len(values), -1).any(1)
    if values.dtype.kind != "O":
        return np.zeros(len(values), dtype=bool)
    return np.array([value is None or (isinstance(value, float) and value != value) for value in values], dtype=bool)


def _held(table: Any, column: str) -> str:
    kind = table.features[column]
    return "words" if getattr(kind, "dtype", None) == "string" else str(kind)


def column_values(table: Any, column: str) -> NDArray[Any]:
    """A column of numbers or words."""
    return np.asarray(table.with_format("numpy")[column][:])


def stored_images(table: Any, column: str, split: str) -> list[Stored]:
    """A column of images, not decoded, each with its row and split."""
    undecoded = table.cast_column(column, imported("datasets", extra="data").Image(decode=False))
    images = undecoded.with_format("arrow")[column][:].to_pylist()
    missing = {"bytes": None, "path": None}
    return [{**(image or missing), "row": row, "split": split} for row, image in enumerate(images)]


def _images(table: Any, column: str, split: str, *, decoded: bool) -> Sequence[Stored] | Tensor:
    """A column of images; decoded on request, or if they were decoded before."""
    pixels = recall(table, column)
    if pixels is None and decoded:
        pixels = decode(stored_images(table, column, split))
        keep(table, column, pixels)
    return stored_images(table, column, split) if pixels is None else torch.from_numpy(pixels)


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
