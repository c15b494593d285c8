"""Local training."""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, fields
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.nn.modules.batchnorm import _BatchNorm

from fedma.data import Split
from fedma.errors import InputError
from fedma.seeds import generator
from fedma.training.layout import fast_layout
from fedma.units.state import tensors

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
    """

    epochs: int = 5
    optimizer: str = "sgd"
    lr: float = 0.01
    momentum: float = 0.9
    weight_decay: float = 0.0
    batch_size: int = 32
    proximal: float = 0.0

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


@dataclass(frozen=True)
class Fit:
    """What a training did: mean loss of the last epoch (nan without training), and samples seen over all epochs."""

    loss: float
    samples_seen: int


def fit(
    model: nn.Module,
    data: Split,
    schedule: Schedule,
    *,
    frozen: Collection[str] = (),
    seed: int,
    name: tuple[str | int, ...],
) -> Fit:
    """Train a model in place on a client's data with cross-entropy.

    Args:
        model: the model; its normalisation layers keep updating their running statistics, frozen or not.
        data: the client's samples.
        schedule: how.
        frozen: names of parameters that stay as they are, beside those that do not require gradients.
        seed: with `name` decides the order of the samples and dropout.
        name: of this training, such as ("client", 3, "round", 1).

    Raises:
        InputError: one sample only, and batch normalisation, which needs two.
    """
    held = [t for n, t in tensors(model).items() if t.requires_grad and n in frozen]
    trained = [t for n, t in tensors(model).items() if t.requires_grad and n not in frozen]
    if schedule.epochs == 0 or not trained:
        return Fit(float("nan"), 0)
    if len(data) == 1 and any(isinstance(m, _BatchNorm) for m in model.modules()):
        raise InputError(
            "a client with a single sample cannot train batch normalisation: give it more, or leave it out"
        )
    for tensor in held:
        tensor.requires_grad_(False)
    anchor = [t.detach().clone() for t in trained] if schedule.proximal else []
    optimizer = _optimizer(trained, schedule)
    draw = generator(seed, *name, "order")
    device = trained[0].device
    inputs, labels = data.inputs.to(device), data.labels.to(device)
    model.train()
    # Layers such as dropout draw from PyTorch's global generator only: borrow it and give it back as it was.
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.random.manual_seed(draw.initial_seed())
        inputs = fast_layout(model, inputs)
        for _ in range(schedule.epochs):
            order = torch.randperm(len(labels), generator=draw).to(device)
            loss = _epoch(model, inputs[order], labels[order], optimizer, schedule, trained=trained, anchor=anchor)
    for tensor in held:
        tensor.requires_grad_(True)
    return Fit(loss, schedule.epochs * len(labels))


def _epoch(
    model: nn.Module,
    inputs: Tensor,
    labels: Tensor,
    optimizer: torch.optim.Optimizer,
    schedule: Schedule,
    *,
    trained: Iterable[Tensor],
    anchor: list[Tensor],
) -> float:
    """One pass over the samples in the given order; the mean loss."""
    total = torch.zeros((), device=labels.device)
    for x, y in _batches(inputs, labels, schedule.batch_size, model):
        optimizer.zero_grad()
        loss = cross_entropy(model(x), y)
        total += loss.detach() * len(y)
        loss.backward()
        for tensor, start in zip(trained, anchor, strict=bool(anchor)):
            if tensor.grad is not None:
                tensor.grad.add_(tensor.detach() - start, alpha=schedule.proximal)
        optimizer.step()
    return float(total / len(labels))


def _batches(inputs: Tensor, labels: Tensor, size: int, model: nn.Module) -> Iterable[tuple[Tensor, Tensor]]:
    """Batches in order; a last single sample joins the batch before it, since batch normalisation needs two."""
    starts = list(range(0, len(labels), size))
    if len(starts) > 1 and len(labels) - starts[-1] == 1:
        starts.pop()
    for start, end in zip(starts, [*starts[1:], len(labels)], strict=True):
        yield inputs[start:end], labels[start:end]


def _optimizer(parameters: list[Tensor], schedule: Schedule) -> torch.optim.Optimizer:
    if schedule.optimizer == "adam":
        return torch.optim.Adam(parameters, lr=schedule.lr, weight_decay=schedule.weight_decay, fused=True)
    return torch.optim.SGD(
        parameters, lr=schedule.lr, momentum=schedule.momentum, weight_decay=schedule.weight_decay, fused=True
    )
