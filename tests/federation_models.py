"""Factories as a user would write them, for `--model federation_models:NAME`."""

import torch
from torch import Tensor, nn

from networks import Speaker

__all__ = ["Speaker", "broken", "complex_weights", "good", "number", "three_outputs", "wrong_inputs"]


def good() -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 12), nn.Tanh(), nn.Linear(12, 10))


def three_outputs() -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 3))


def wrong_inputs() -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.Linear(7, 10))


def broken() -> nn.Module:
    raise ZeroDivisionError("on purpose")


def number() -> int:
    return 3


def complex_weights() -> nn.Module:
    return nn.Sequential(nn.Flatten(), _Complex())


class _Complex(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.w = nn.Parameter(torch.randn(64, 10, dtype=torch.complex64))

    def forward(self, inputs: Tensor) -> Tensor:
        return (inputs.to(torch.complex64) @ self.w).abs()


def running_sums() -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 6), _Sums(), nn.Linear(6, 10))


class _Sums(nn.Module):
    def forward(self, hidden: Tensor) -> Tensor:
        return hidden.cumsum(1)
