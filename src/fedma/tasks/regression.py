"""Regression: each example has numbers to predict, of any shape."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn.functional import huber_loss, l1_loss, mse_loss

from fedma.data import Dataset
from fedma.errors import InputError
from fedma.tasks.base import BaseTask, Better
from fedma.tasks.calling import call, logits
from fedma.tasks.sums import EXAMPLES, Sums

_LOSSES: Mapping[str, Callable[..., Tensor]] = {"squared": mse_loss, "absolute": l1_loss, "huber": huber_loss}


@dataclass(frozen=True)
class Regression(BaseTask):
    """The mean squared error over all numbers, or another error.

    Targets are examples × anything; outputs have the same shape. Outputs (examples, 1) fit targets (examples,), and
    flat outputs (examples, numbers) fit targets of any shape with so many numbers.

    Attributes:
        error: what is minimised: "squared", "absolute" or "huber" (squared up to 1, absolute beyond).
    """

    error: Literal["squared", "absolute", "huber"] = "squared"
    name = "regression"
    metrics = MappingProxyType[str, Better]({"mae": "lower", "mse": "lower", "r2": "higher", "loss": "lower"})

    def __post_init__(self) -> None:
        if self.error not in _LOSSES:
            raise InputError(f"error {self.error!r} is not known; known are {', '.join(_LOSSES)}")

    def loss(self, model: nn.Module, batch: Any) -> Tensor:
        """Mean error."""
        wanted = self.targets(batch)
        found = _fitted(logits(call(model, self.inputs(batch))).float(), wanted)
        return _LOSSES[self.error](found, wanted.to(found))

    def predict(self, model: nn.Module, batch: Any) -> Tensor:
        """The outputs, in the targets' shape."""
        return _fitted(logits(call(model, self.inputs(batch))).float(), self.targets(batch))

    def sums(self, prediction: Tensor, batch: Any) -> Sums:
        """For each number of an example: errors, values and their squares."""
        wanted, found = (own.double().reshape(len(own), -1) for own in (self.targets(batch), prediction))
        loss = _LOSSES[self.error](found, wanted, reduction="none").mean(1).sum()
        return {
            EXAMPLES: len(wanted),
            "absolute": (found - wanted).abs().sum(0),
            "squared": (found - wanted).square().sum(0),
            "value": wanted.sum(0),
            "value_squared": wanted.square().sum(0),
            "loss": loss,
        }

    def measure(self, sums: Sums) -> dict[str, Any]:
        """Mean absolute and squared error, R² (the mean over numbers that vary), and the loss."""
        count = sums[EXAMPLES]
        spread = sums["value_squared"] - sums["value"].square() / count
        varies = spread > 1e-12 * sums["value_squared"]
        r2 = (1 - sums["squared"][varies] / spread[varies]).mean() if bool(varies.any()) else torch.tensor(math.nan)
        return {
            "mae": float(sums["absolute"].mean()) / count,
            "mse": float(sums["squared"].mean()) / count,
            "r2": float(r2),
            "loss": float(sums["loss"]) / count,
        }

    def outputs(self, dataset: Dataset) -> int:
        """One for each number of an example."""
        wanted = self.targets(dataset.train.example())
        return math.prod(wanted.shape[1:]) if isinstance(wanted, Tensor) else super().outputs(dataset)

    def check(self, model: nn.Module, batch: Any, *, outputs: int) -> None:
        """Outputs that fit the targets."""
        wanted = self.targets(batch)
        if not isinstance(wanted, Tensor) or wanted.dim() == 0 or wanted.is_complex():
            raise InputError("targets of a batch must be a tensor of real numbers, examples first")
        _fitted(logits(call(model, self.inputs(batch))), wanted)

    def check_labels(self, labels: Any, *, outputs: int) -> None:
        """Finite numbers."""
        if isinstance(labels, Tensor) and not bool(labels.double().isfinite().all()):
            bad = (~labels.double().reshape(len(labels), -1).isfinite()).any(1).nonzero().flatten()
            raise InputError(
                f"targets are not finite in {len(bad)} examples (first in example {int(bad[0])}); leave them out"
            )

    def metric_inputs(self, prediction: Tensor, batch: Any) -> tuple[Tensor, Tensor]:
        """Both flat: one row an example, or one number."""
        wanted = self.targets(batch).to(prediction)
        flat = (lambda t: t.reshape(len(wanted), -1)) if wanted.dim() > 1 else (lambda t: t.reshape(-1))
        return flat(prediction).contiguous(), flat(wanted).contiguous()

    def metric_options(self, outputs: int) -> dict[str, Any]:
        """For torchmetrics' regression metrics."""
        return {"num_outputs": outputs}


def _fitted(found: Tensor, wanted: Tensor) -> Tensor:
    """The outputs in the targets' shape.

    Raises:
        InputError: they do not fit.
    """
    if found.shape == wanted.shape:
        return found
    flat = found.dim() == 2 and len(found) == len(wanted) and found.numel() == wanted.numel()
    if flat or (found.dim() == 1 and wanted.shape == (len(found), 1)):
        return found.reshape(wanted.shape)
    raise InputError(
        f"answers with {tuple(found.shape)}, but the targets are of shape {tuple(wanted.shape)}: give its output the "
        "shape of the targets"
    )
