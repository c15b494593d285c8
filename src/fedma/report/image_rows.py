"""Rows of images, each row with a label: what excites each unit of a group."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from fedma.optional_dependencies import imported
from fedma.report.report_figure import INK, MUTED, style

NONE = "none more than others"
"""The text for a unit that no image excites."""

_GAP, _CAPTION = 0.1, 0.3
"""Around an image and under it, as parts of its height."""

_FEWEST = 6
"""Images that there is room for; fewer do not make a figure narrower."""

_SIDE, _LABELS = 0.55, 1.6
"""Inches: of an image's longer side, of the labels."""


@dataclass(frozen=True, eq=False)
class ImageRow:
    """One row.

    Attributes:
        label: at its left.
        images: images × height × width × 1 or 3 channels, from 0 (black) to 1; there may be none.
        captions: one word beneath each.
    """

    label: str
    images: np.ndarray
    captions: Sequence[str]


def draw_image_rows(strips: Sequence[ImageRow], path: Path, *, title: str, down: str) -> None:
    """Draw the rows, all of images of one size, into a PNG file; `down` says what the labels are.

    Raises:
        MissingExtra: matplotlib is not installed.
        OSError: the file cannot be written.
    """
    most = max(len(strip.images) for strip in strips)
    height, width = strips[0].images.shape[1:3]
    wide, tall = width + _GAP * height, height * (1 + _GAP + _CAPTION)
    scale = _SIDE / max(height, width)
    inches = (_LABELS + scale * max(most, _FEWEST) * wide, 0.5 + scale * len(strips) * tall)
    with style():
        figure = imported("matplotlib.figure", extra="report").Figure(figsize=inches, layout="constrained")
        axis = figure.subplots()
        for row, strip in enumerate(strips):
            if not len(strip.images):
                axis.text(0, row * tall + height / 2, NONE, fontsize=7, color=MUTED, va="center")
            for column, (image, caption) in enumerate(zip(strip.images, strip.captions, strict=True)):
                _place(axis, image, column * wide, row * tall, caption)
        axis.set(xlim=(0, max(most, _FEWEST) * wide), ylim=(len(strips) * tall, -0.1 * height), aspect="equal")
        axis.set_xticks([])
        axis.set_yticks([row * tall + height / 2 for row in range(len(strips))], [strip.label for strip in strips])
        axis.tick_params(length=0)
        axis.spines[:].set_visible(False)
        axis.set_ylabel(down)
        axis.set_title(title, fontsize=10, loc="left", color=INK)
        figure.savefig(path, dpi=160)


def _place(axis: Any, image: np.ndarray, left: float, top: float, caption: str) -> None:
    """One image with its caption."""
    height, width, channels = image.shape
    pixels = image if channels == 3 else np.repeat(image, 3, axis=2)
    axis.imshow(pixels, extent=(left, left + width, top + height, top), interpolation="nearest")
    axis.text(left, top + height * (1 + _CAPTION * 0.85), caption, fontsize=7, color=MUTED)
