"""Decoded images, kept between runs: decoding tens of thousands takes seconds, reading their pixels a tenth of one."""

import contextlib
import os
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np
from numpy.typing import NDArray

from fedma.optional_dependencies import imported


def recall(table: Any, column: str) -> NDArray[np.uint8] | None:
    """What `keep` kept of a column of images; None where that is nothing, or damaged."""
    file = _file(table, column)
    if file is None or not file.exists():
        return None
    try:
        pixels: NDArray[np.uint8] = np.load(file, allow_pickle=False)
    except (OSError, ValueError, EOFError):
        return None
    fits = pixels.dtype == np.uint8 and pixels.ndim == 4 and len(pixels) == len(table)
    return pixels if fits else None


def keep(table: Any, column: str, pixels: NDArray[np.uint8]) -> None:
    """Keep the pixels of a column of images, if there is room, beside the file in which `datasets` keeps the table.

    That library gives every version of a data set a folder of its own there, so what is found is never out of date.

    Args:
        table: as `datasets.load_dataset` gave it.
        column: of images.
        pixels: samples × channels × height × width, in the order of the rows.
    """
    file = _file(table, column)
    if file is None:
        return
    partial = file.with_suffix(f".{os.getpid()}.partial")
    with contextlib.suppress(OSError):
        try:
            with partial.open("wb") as stream:
                np.save(stream, pixels)
            partial.replace(file)
        finally:
            partial.unlink(missing_ok=True)


def _file(table: Any, column: str) -> Path | None:
    """Where; None for a table that is in memory alone. Versions of Pillow may decode differently."""
    if not table.cache_files:
        return None
    own = Path(table.cache_files[0]["filename"])
    return own.with_name(f"{own.stem}-{quote(column, safe='')}-pillow-{imported('PIL', extra='data').__version__}.npy")
