"""Segmentation: each pixel is of one class."""

from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, nll_loss

from fedma.errors import InputError
from fedma.tasks.base import BaseTask, Better
from fedma.tasks.calling import call, logits
from fedma.tasks.classification import check_range, described
from fedma.tasks.sums import EXAMPLES, Sums


@dataclass(frozen=True)
class Segmentation(BaseTask):
    """Cross-entropy for each pixel, the mean over the pixels that count.

    Outputs are (examples, classes, height, width) scores: the answer, its `out` or `logits`, or the first of a tuple.
    Targets are (examples, height, width) class numbers. IoU is the mean over the classes that occur.

    Attributes:
        ignore_index: the number of pixels that do not count.
    """

    ignore_index: int = 255
    name = "segmentation"
    metrics = MappingProxyType[str, Better]({"iou": "higher", "pixel_accuracy": "higher", "loss": "lower"})

    def loss(self, model: nn.Module, batch: Any) -> Tensor:
        """Mean cross-entropy of the pixels that count; zero where none does."""
        wanted = self.targets(batch)
        scores = logits(call(model, self.inputs(batch))).float()
        total = cross_entropy(scores, wanted, ignore_index=self.ignore_index, reduction="sum")
        return total / (wanted != self.ignore_index).sum().clamp(min=1)

    def predict(self, model: nn.Module, batch: Any) -> Tensor:
        """(examples, classes, height, width) probabilities."""
        return logits(call(model, self.inputs(batch))).float().softmax(1)

    def sums(self, prediction: Tensor, batch: Any) -> Sums:
        """The confusion of pixels, how many count, and their loss."""
        wanted, classes = self.targets(batch), prediction.shape[1]
        counts = wanted != self.ignore_index
        true, guessed = wanted[counts], prediction.argmax(1)[counts]
        likelihood = prediction.clamp(min=1e-30).log()
        loss = nll_loss(likelihood, wanted, ignore_index=self.ignore_index, reduction="none").double().sum()
        confusion = torch.bincount(true * classes + guessed, minlength=classes * classes).view(classes, classes)
        return {EXAMPLES: len(wanted), "pixels": counts.sum(), "confusion": confusion, "loss": loss}

    def measure(self, sums: Sums) -> dict[str, Any]:
        """Intersection over union, pixel accuracy, and the loss."""
        both, pixels = sums["confusion"].double(), max(1, int(sums["pixels"]))
        right = both.diagonal()
        union = both.sum(0) + both.sum(1) - right
        there = union > 0
        iou = float((right[there] / union[there]).mean()) if bool(there.any()) else 0.0
        return {"iou": iou, "pixel_accuracy": float(right.sum()) / pixels, "loss": float(sums["loss"]) / pixels}

    def check(self, model: nn.Module, batch: Any, *, outputs: int) -> None:
        """A score for each class at each pixel."""
        scores, wanted = logits(call(model, self.inputs(batch))), self.targets(batch)
        whole = isinstance(wanted, Tensor) and not wanted.is_floating_point() and wanted.dim() > 1
        if not whole or wanted.dim() != scores.dim() - 1:
            raise InputError(
                f"answers with {tuple(scores.shape)}, and targets are {described(wanted)}; the task segmentation needs "
                "(examples, classes, height, width) and whole numbers (examples, height, width)"
            )
        if scores.shape != (len(wanted), outputs, *wanted.shape[1:]):
            raise InputError(
                f"answers with {tuple(scores.shape)}; for these targets of {outputs} classes its output must be of "
                f"shape {(len(wanted), outputs, *wanted.shape[1:])}"
            )
        check_range(wanted, outputs, "targets", ignored=self.ignore_index)

    def check_labels(self, labels: Any, *, outputs: int) -> None:
        """Class numbers, or the ignored one."""
        check_range(labels, outputs, "targets", ignored=self.ignore_index)

    def metric_options(self, outputs: int) -> dict[str, Any]:
        """For torchmetrics' multi-class metrics."""
        return {"num_classes": outputs, "task": "multiclass", "ignore_index": self.ignore_index}
