"""Random shifts and flips of images, whole batches at once."""

import torch
from torch import Tensor
from torch.nn.functional import pad

from fedma.errors import InputError

_SHIFT = 4


def augment(images: Tensor, draw: torch.Generator) -> Tensor:
    """Each image shifted by up to 4 pixels in either direction, with mirrored edges; half of them flipped.

    Args:
        images: (samples, channels, height, width), on the CPU.
        draw: decides shifts and flips.

    Returns:
        The same shape, in channels-last order.

    Raises:
        InputError: not images, or images of 4 pixels or fewer a side.

    Source: Lee et al., "Deeply-Supervised Nets", 2015, section 4 (pad by 4, crop, flip); mirrored instead of zeros.
    """
    if images.dim() != 4 or min(images.shape[2:]) <= _SHIFT:
        raise InputError(
            f"augment shifts images by {_SHIFT} pixels, and the inputs are of shape {tuple(images.shape[1:])}; "
            "leave it out"
        )
    samples, _, height, width = images.shape
    shifts = torch.randint(2 * _SHIFT + 1, (2, samples, 1), generator=draw)
    flipped = torch.randint(2, (samples, 1), generator=draw, dtype=torch.bool)
    rows = shifts[0] + torch.arange(height)
    columns = shifts[1] + torch.where(flipped, torch.arange(width).flip(0), torch.arange(width))
    padded = pad(images, (_SHIFT,) * 4, mode="reflect")
    # Indices on both sides of a slice: the channels come last.
    shifted = padded[torch.arange(samples)[:, None, None], :, rows[:, :, None], columns[:, None, :]]
    return shifted.permute(0, 3, 1, 2)
