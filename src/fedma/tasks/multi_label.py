"""Several labels at once: each of an example's labels holds or does not."""

from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy, binary_cross_entropy_with_logits

from fedma.data import Dataset
from fedma.errors import InputError
from fedma.tasks.base import BaseTask, Better
from fedma.tasks.calling import call, logits
from fedma.tasks.sums import EXAMPLES, Sums


@dataclass(frozen=True)
class MultiLabel(BaseTask):
    """Binary cross-entropy for each label, the mean over all.

    Targets are (examples, labels) of 0 and 1. Every example trains every output, so output layers are averaged by
    samples. F1 is that of all decisions together.

    Attributes:
        threshold: the probability from which on a label is said to hold, in (0, 1).
    """

    threshold: float = 0.5
    name = "multi-label"
    metrics = MappingProxyType[str, Better]({"f1": "higher", "exact": "higher", "loss": "lower"})
    augments = True

    def loss(self, model: nn.Module, batch: Any) -> Tensor:
        """Mean binary cross-entropy."""
        scores = logits(call(model, self.inputs(batch))).float()
        return binary_cross_entropy_with_logits(scores, self.targets(batch).to(scores))

    def predict(self, model: nn.Module, batch: Any) -> Tensor:
        """(examples, labels) probabilities."""
        return logits(call(model, self.inputs(batch))).float().sigmoid()

    def sums(self, prediction: Tensor, batch: Any) -> Sums:
        """For each label what is right and wrong; examples of which all is right; the loss."""
        held = self.targets(batch) > 0.5
        said = prediction >= self.threshold
        return {
            EXAMPLES: len(held),
            "true_positives": (said & held).sum(0),
            "false_positives": (said & ~held).sum(0),
            "false_negatives": (~said & held).sum(0),
            "exact": (said == held).all(1).sum(),
            "loss": binary_cross_entropy(prediction.double(), held.double(), reduction="none").mean(1).sum(),
        }

    def measure(self, sums: Sums) -> dict[str, Any]:
        """F1 over all labels, the part of examples without a mistake, and the loss."""
        true, wrong = int(sums["true_positives"].sum()), sums["false_positives"].sum() + sums["false_negatives"].sum()
        most = 2 * true + int(wrong)
        count = sums[EXAMPLES]
        return {
            "f1": 2 * true / most if most else 1.0,
            "exact": int(sums["exact"]) / count,
            "loss": float(sums["loss"]) / count,
        }

    def outputs(self, dataset: Dataset) -> int:
        """One for each label."""
        wanted = self.targets(dataset.train.example())
        return wanted.shape[1] if isinstance(wanted, Tensor) and wanted.dim() == 2 else super().outputs(dataset)

    def check(self, model: nn.Module, batch: Any, *, outputs: int) -> None:
        """Outputs and targets of one shape."""
        scores, wanted = logits(call(model, self.inputs(batch))), self.targets(batch)
        if not isinstance(wanted, Tensor) or wanted.dim() != 2:
            raise InputError("targets of a batch must be (examples, labels) of 0 and 1 for the task multi-label")
        if scores.shape != wanted.shape:
            raise InputError(
                f"answers with {tuple(scores.shape)}, but the targets are of shape {tuple(wanted.shape)}: its output "
                "must have one score for each label"
            )
        self.check_labels(wanted, outputs=outputs)

    def check_labels(self, labels: Any, *, outputs: int) -> None:
        """Zeros and ones."""
        if isinstance(labels, Tensor) and not bool(((labels == 0) | (labels == 1)).all()):
            low, high = (float(bound) for bound in labels.double().aminmax())
            raise InputError(f"targets reach from {low:g} to {high:g}; those of the task multi-label are 0 and 1")

    def metric_inputs(self, prediction: Tensor, batch: Any) -> tuple[Tensor, Tensor]:
        """Probabilities, and whole numbers."""
        return prediction, self.targets(batch).long()

    def metric_options(self, outputs: int) -> dict[str, Any]:
        """For torchmetrics' multi-label metrics."""
        return {"num_labels": outputs, "task": "multilabel"}
