"""Factories as a user would write them, for `--model federation_models:NAME`."""

from torch import nn

from networks import Speaker

__all__ = ["Speaker", "broken", "good", "number", "three_outputs", "wrong_inputs"]


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
