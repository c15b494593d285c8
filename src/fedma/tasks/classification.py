"""Classification: each example is of one class."""

from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, nll_loss

from fedma.data import Dataset
from fedma.errors import InputError
from fedma.tasks.base import BaseTask, Better
from fedma.tasks.calling import call, logits
from fedma.tasks.sums import EXAMPLES, Sums, joined

MOST_CONFUSED = 200
"""The most classes for which a confusion matrix is counted."""


@dataclass(frozen=True)
class Classification(BaseTask):
    """Cross-entropy over classes; accuracy in [0, 1] and mean negative log-likelihood in nats.

    Outputs are (examples, classes) scores: the model's answer, its `logits`, or the first of a tuple.

    Attributes:
        label_smoothing: the part of each target that is spread over all classes, in training only, in [0, 1).
    """

    label_smoothing: float = 0.0
    name = "classification"
    metrics = MappingProxyType[str, Better]({"accuracy": "higher", "loss": "lower"})
    has_classes = True
    augments = True

    def loss(self, model: nn.Module, batch: Any) -> Tensor:
        """Mean cross-entropy."""
        scores = logits(call(model, self.inputs(batch))).float()
        return cross_entropy(scores, self.targets(batch), label_smoothing=self.label_smoothing)

    def predict(self, model: nn.Module, batch: Any) -> Tensor:
        """(examples, classes) probabilities."""
        return logits(call(model, self.inputs(batch))).float().softmax(1)

    def sums(self, prediction: Tensor, batch: Any) -> Sums:
        """Examples and right ones of each class, their confusion, and each example's log-likelihood."""
        labels, classes = self.targets(batch), prediction.shape[1]
        guessed = prediction.argmax(1)
        right = (guessed == labels).long()
        likelihood = prediction.clamp(min=1e-30).log().gather(1, labels[:, None])[:, 0]
        found = {
            EXAMPLES: len(labels),
            "present": torch.bincount(labels, minlength=classes),
            "right": torch.zeros(classes, dtype=torch.long, device=right.device).index_add_(0, labels, right),
            "log_likelihood": (likelihood,),
        }
        if classes <= MOST_CONFUSED:
            counts = torch.bincount(labels * classes + guessed, minlength=classes * classes)
            found["confusion"] = counts.view(classes, classes)
        return found

    def measure(self, sums: Sums) -> dict[str, Any]:
        """Accuracy and loss."""
        likelihood = joined(sums["log_likelihood"])
        # The loss function adds up float32 numbers in an order of its own, by which results are reproduced.
        loss = nll_loss(likelihood[:, None], torch.zeros(len(likelihood), dtype=torch.long))
        return {"accuracy": int(sums["right"].sum()) / sums[EXAMPLES], "loss": float(loss)}

    def classes_of(self, labels: Any) -> Tensor | None:
        """The labels themselves."""
        return labels if isinstance(labels, Tensor) and labels.dim() == 1 else None

    def outputs(self, dataset: Dataset) -> int:
        """One for each class."""
        return len(dataset.classes)

    def check(self, model: nn.Module, batch: Any, *, outputs: int) -> None:
        """One output for each class."""
        scores, labels = logits(call(model, self.inputs(batch))), self.targets(batch)
        if not isinstance(labels, Tensor) or labels.dim() != 1 or labels.is_floating_point():
            raise InputError(
                f"labels of a batch are {described(labels)}; classification needs one whole number an example"
            )
        if scores.dim() != 2 or scores.shape != (len(labels), outputs):
            raise InputError(
                f"answers {len(labels)} inputs with {tuple(scores.shape)}, but the data have {outputs} classes: "
                f"its output must be of shape ({len(labels)}, {outputs})"
            )

    def check_labels(self, labels: Any, *, outputs: int) -> None:
        """Whole numbers from 0, below the number of classes."""
        check_range(labels, outputs, "labels")

    def metric_options(self, outputs: int) -> dict[str, Any]:
        """For torchmetrics' multi-class metrics."""
        return {"num_classes": outputs, "task": "multiclass"}


def check_range(labels: Any, classes: int, what: str, *, ignored: int | None = None) -> None:
    """Refuse class numbers outside [0, classes), but for the ignored one.

    Raises:
        InputError: naming the least and the greatest.
    """
    if not isinstance(labels, Tensor) or not labels.numel():
        return
    kept = labels if ignored is None else labels[labels != ignored]
    if kept.is_floating_point():
        raise InputError(f"{what} are {kept.dtype}; they must be whole numbers from 0, one for each class")
    if not kept.numel():
        return
    least, most = (int(bound) for bound in kept.aminmax())
    if least < 0 or most >= classes:
        raise InputError(
            f"{what} reach from {least} to {most}; they must be from 0 to {classes - 1} ({classes} classes)"
            + ("" if ignored is None else f", or {ignored}, which is ignored")
        )


def described(labels: Any) -> str:
    """What was given as labels, in words."""
    if isinstance(labels, Tensor):
        return f"{labels.dtype} of shape {tuple(labels.shape)}"
    return f"a {type(labels).__name__}"
