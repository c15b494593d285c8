"""How a client trains."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Any

from fedma.errors import InputError

OPTIMIZERS = ("sgd", "adam", "adamw")
COURSES = ("constant", "cosine", "linear")
"""How a learning rate goes within local training."""
ROUND_COURSES = ("constant", "cosine")
"""How a learning rate goes over rounds."""
_LATER = ("steps", "lr_schedule", "warmup", "round_schedule", "round_factor", "clip_gradients")
"""Fields that earlier versions do not know. At their defaults they are left out of messages, which stay as small."""


@dataclass(frozen=True)
class Schedule:
    """How a client trains.

    Attributes:
        epochs: passes over the client's data, also parts of one; 0 trains nothing.
        optimizer: "sgd", "adam" or "adamw".
        lr: learning rate, positive.
        momentum: of SGD, in [0, 1).
        weight_decay: L2 penalty, not negative; with "adamw" it shrinks weights apart from the gradient.
        batch_size: samples a step; a client with fewer has one batch.
        proximal: FedProx's mu, weight of mu/2·‖w − w_global‖²; 0 is FedAvg.
        augment: whether images are shifted and flipped at random (`fedma.training.augment`).
        steps: steps of the optimiser, instead of `epochs`; None for epochs.
        lr_schedule: the learning rate after the warm-up: "constant", or down to zero by "cosine" or "linear".
        warmup: the share of the steps over which the learning rate rises to its height, in [0, 1).
        round_schedule: the learning rate over rounds: "constant" or "cosine", down to zero after the last round.
        round_factor: the learning rate is multiplied by this after every round, in (0, 1].
        clip_gradients: the largest Euclidean norm of a step's gradient, the proximal term's included; None for any.
    """

    epochs: float = 5
    optimizer: str = "sgd"
    lr: float = 0.01
    momentum: float = 0.9
    weight_decay: float = 0.0
    batch_size: int = 32
    proximal: float = 0.0
    augment: bool = False
    steps: int | None = None
    lr_schedule: str = "constant"
    warmup: float = 0.0
    round_schedule: str = "constant"
    round_factor: float = 1.0
    clip_gradients: float | None = None

    def __post_init__(self) -> None:
        for name, known in (
            ("optimizer", OPTIMIZERS),
            ("lr_schedule", COURSES),
            ("round_schedule", ROUND_COURSES),
        ):
            if getattr(self, name) not in known:
                raise InputError(f"{name} {getattr(self, name)!r} is not known; known are {', '.join(known)}")
        for name, good, words in (
            ("epochs", 0 <= self.epochs < math.inf, "at least 0 and finite"),
            ("steps", self.steps is None or self.steps >= 0, "at least 0"),
            ("warmup", 0 <= self.warmup < 1, "in [0, 1)"),
            ("round_factor", 0 < self.round_factor <= 1, "above 0 and at most 1"),
            ("clip_gradients", self.clip_gradients is None or 0 < self.clip_gradients < math.inf, "positive"),
            ("lr", 0 < self.lr < float("inf"), "positive"),
            ("momentum", 0 <= self.momentum < 1, "in [0, 1)"),
            ("weight_decay", self.weight_decay >= 0, "at least 0"),
            ("batch_size", self.batch_size >= 1, "at least 1"),
            ("proximal", self.proximal >= 0, "at least 0"),
        ):
            if not good:
                raise InputError(f"{name} must be {words}; got {getattr(self, name)}")

    def steps_of(self, batches: int) -> int:
        """Steps of a client that has so many batches; at least one where there is anything to train."""
        if self.steps is not None:
            return self.steps
        return max(1, round(self.epochs * batches)) if self.epochs else 0

    def share(self, step: int, steps: int) -> float:
        """The part of the learning rate that a step has, counted from 0, of so many.

        Source: Loshchilov, Hutter, "SGDR: Stochastic Gradient Descent with Warm Restarts", 2017, without restarts.
        """
        rise = round(self.warmup * steps)
        if step < rise:
            return (step + 1) / rise
        return _fall(self.lr_schedule, (step - rise) / (steps - rise))

    def in_round(self, number: int, rounds: int) -> "Schedule":
        """The schedule in a round, counted from 0, of so many."""
        part = self.round_factor**number * _fall(self.round_schedule, number / max(rounds, 1))
        return self if part == 1 else replace(self, lr=self.lr * part)

    def to_dict(self) -> dict[str, Any]:
        """The schedule in a message's settings; of what earlier versions do not know, only what is not the default."""
        values = {own.name: (getattr(self, own.name), own.default) for own in fields(self)}
        return {name: value for name, (value, usual) in values.items() if name not in _LATER or value != usual}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> "Schedule":
        """The schedule in a message's settings."""
        return cls(**{f.name: data[f.name] for f in fields(cls) if f.name in data})


def _fall(course: str, done: float) -> float:
    """The part of the learning rate that is left when this share of the course is done."""
    if course == "cosine":
        return (1 + math.cos(math.pi * done)) / 2
    return 1 - done if course == "linear" else 1.0
