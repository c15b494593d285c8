"""PyTorch's optimisers in their functional form.

Their classes bring a second of imports (the compiler) on first use, in every process, and some work in each step.
"""

from collections.abc import Sequence
from typing import Protocol

import torch
from torch import Tensor
from torch.optim.adam import adam
from torch.optim.adamw import adamw
from torch.optim.sgd import sgd

from fedma.training.schedule import Schedule


class Optimizer(Protocol):
    """Moves parameters along their gradients."""

    def step(self, share: float = 1.0) -> None:
        """Once, at this share of the learning rate; parameters without a gradient stay."""


def optimizer(parameters: Sequence[Tensor], schedule: Schedule) -> Optimizer:
    """The schedule's optimiser, with its state at zero."""
    return (_SGD if schedule.optimizer == "sgd" else _Adam)(parameters, schedule)


class _SGD:
    def __init__(self, parameters: Sequence[Tensor], schedule: Schedule) -> None:
        self.parameters, self.schedule = parameters, schedule
        self.velocities = [torch.zeros_like(p) for p in parameters] if schedule.momentum else [None] * len(parameters)

    @torch.no_grad()
    def step(self, share: float = 1.0) -> None:
        live = [(p, p.grad, v) for p, v in zip(self.parameters, self.velocities, strict=True) if p.grad is not None]
        parameters, gradients, velocities = (list(column) for column in zip(*live, strict=True))
        sgd(
            parameters,
            gradients,
            velocities,
            fused=True,
            weight_decay=self.schedule.weight_decay,
            momentum=self.schedule.momentum,
            lr=share * self.schedule.lr,
            dampening=0.0,
            nesterov=False,
            maximize=False,
        )


class _Adam:
    """Adam, and AdamW, which shrinks weights apart from the gradient."""

    def __init__(self, parameters: Sequence[Tensor], schedule: Schedule) -> None:
        self.schedule, self.move = schedule, adamw if schedule.optimizer == "adamw" else adam
        self.states = [
            (p, torch.zeros_like(p), torch.zeros_like(p), torch.zeros((), device=p.device)) for p in parameters
        ]

    @torch.no_grad()
    def step(self, share: float = 1.0) -> None:
        live = [(p, p.grad, first, second, steps) for p, first, second, steps in self.states if p.grad is not None]
        parameters, gradients, firsts, seconds, steps = (list(column) for column in zip(*live, strict=True))
        self.move(
            parameters,
            gradients,
            firsts,
            seconds,
            [],
            steps,
            fused=True,
            amsgrad=False,
            beta1=0.9,
            beta2=0.999,
            lr=share * self.schedule.lr,
            weight_decay=self.schedule.weight_decay,
            eps=1e-8,
            maximize=False,
        )
