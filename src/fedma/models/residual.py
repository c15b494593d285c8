"""Residual networks for small images."""

from collections.abc import Callable
from itertools import pairwise

import torch
from torch import Tensor, nn

Norm = Callable[[int], nn.Module]
"""Makes a normalisation layer for a number of channels."""


class ResNet20(nn.Module):
    """A 3×3 convolution, three stages of three residual blocks (16, 32, 64 channels), a mean over positions.

    Source: He et al., Deep Residual Learning for Image Recognition (2016), section 4.2, with n = 3 and their option B:
        where a stage changes the channels, the shortcut is a 1×1 convolution. Option A pads with zeros instead, which
        ties channels of one stage to those of the stage before; so every stage has an order of units of its own.
    """

    def __init__(self, input_shape: tuple[int, ...], classes: int, *, norm: Norm) -> None:
        super().__init__()
        self.conv = nn.Conv2d(input_shape[0], 16, 3, padding=1, bias=False)
        self.norm = norm(16)
        widths = (16, 16, 16, 16, 32, 32, 32, 64, 64, 64)
        self.blocks = nn.Sequential(*(_Block(*pair, norm) for pair in pairwise(widths)))
        self.output = nn.Linear(64, classes)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, images: Tensor) -> Tensor:
        """Scores of each class: samples × classes."""
        features: Tensor = self.blocks(torch.relu(self.norm(self.conv(images))))
        scores: Tensor = self.output(features.mean((2, 3)))
        return scores


class _Block(nn.Module):
    """Two convolutions and the shortcut around them; where channels are added, the image is halved."""

    def __init__(self, width_in: int, width_out: int, norm: Norm) -> None:
        super().__init__()
        stride = 1 if width_in == width_out else 2
        self.conv1 = nn.Conv2d(width_in, width_out, 3, stride, padding=1, bias=False)
        self.norm1 = norm(width_out)
        self.conv2 = nn.Conv2d(width_out, width_out, 3, padding=1, bias=False)
        self.norm2 = norm(width_out)
        self.shortcut: nn.Module = nn.Identity()
        if stride > 1:
            self.shortcut = nn.Sequential(nn.Conv2d(width_in, width_out, 1, stride, bias=False), norm(width_out))

    def forward(self, x: Tensor) -> Tensor:
        hidden = torch.relu(self.norm1(self.conv1(x)))
        return torch.relu(self.shortcut(x) + self.norm2(self.conv2(hidden)))


def group_norm(channels: int) -> nn.Module:
    """Group normalisation with a single group: no statistics over samples, so none that differ between clients.

    One group, because all channels can then take one order; with several, they are ordered in blocks.
    """
    return nn.GroupNorm(1, channels)
