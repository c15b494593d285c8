"""How a client trains."""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from fedma.errors import InputError

OPTIMIZERS = ("sgd", "adam")


@dataclass(frozen=True)
class Schedule:
    """How a client trains.

    Attributes:
        epochs: passes over the client's data; 0 trains nothing.
        optimizer: "sgd" or "adam".
        lr: learning rate, positive.
        momentum: of SGD, in [0, 1).
        weight_decay: L2 penalty, not negative.
        batch_size: samples a step; a client with fewer has one batch.
        proximal: FedProx's mu, weight of mu/2·‖w − w_global‖²; 0 is FedAvg.
        augment: whether images are shifted and flipped at random (`fedma.training.augment`).
    """

    epochs: int = 5
    optimizer: str = "sgd"
    lr: float = 0.01
    momentum: float = 0.9
    weight_decay: float = 0.0
    batch_size: int = 32
    proximal: float = 0.0
    augment: bool = False

    def __post_init__(self) -> None:
        if self.optimizer not in OPTIMIZERS:
            raise InputError(f"optimizer {self.optimizer!r} is not known; known are {', '.join(OPTIMIZERS)}")
        for name, good, words in (
            ("epochs", self.epochs >= 0, "at least 0"),
            ("lr", 0 < self.lr < float("inf"), "positive"),
            ("momentum", 0 <= self.momentum < 1, "in [0, 1)"),
            ("weight_decay", self.weight_decay >= 0, "at least 0"),
            ("batch_size", self.batch_size >= 1, "at least 1"),
            ("proximal", self.proximal >= 0, "at least 0"),
        ):
            if not good:
                raise InputError(f"{name} must be {words}; got {getattr(self, name)}")

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> "Schedule":
        """The schedule in a message's settings."""
        return cls(**{f.name: data[f.name] for f in fields(cls) if f.name in data})
