"""Factories as a user would write them, for `--model federation_models:NAME`."""

import torch
from torch import nn


def good() -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 12), nn.Tanh(), nn.Linear(12, 10))


def three_outputs() -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 3))


def wrong_inputs() -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.Linear(7, 10))


class Speaker(nn.Module):
    """A next-character model: whole numbers in."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(20, 6)
        self.lstm = nn.LSTM(6, 9, batch_first=True)
        self.output = nn.Linear(9, 10)

    def forward(self, text: torch.Tensor) -> torch.Tensor:
        return self.output(self.lstm(self.embedding(text))[0][:, -1])


def broken() -> nn.Module:
    raise ZeroDivisionError("on purpose")


def number() -> int:
    return 3
