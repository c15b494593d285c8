"""How good models are on samples they have not seen."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import nll_loss

from fedma.data import Split
from fedma.tasks import Classification, Judge, added
from fedma.training.compute import Compute
from fedma.units.inputs import evaluating

_PLAIN = Compute()
_CLASSIFICATION = Classification()
BATCH = 125
"""Samples at a time: few enough for the feature maps to stay in the processor's cache."""


@dataclass(frozen=True)
class Score:
    """Share of samples classified rightly, in [0, 1], and mean negative log-likelihood, in nats."""

    accuracy: float
    loss: float


def evaluate(models: Sequence[nn.Module], data: Split, *, compute: Compute = _PLAIN) -> Score:
    """The score of one model, or of several as an ensemble: the uniform mean of their class probabilities."""
    return score([probabilities(model, data.inputs, compute=compute) for model in models], data.labels)


def score(predictions: Sequence[Tensor], labels: Tensor) -> Score:
    """The score of the uniform mean of several models' class probabilities, each (samples, classes)."""
    mean = torch.stack(list(predictions)).mean(0)
    accuracy = (mean.argmax(1) == labels).double().mean()
    return Score(float(accuracy), float(nll_loss(mean.clamp(min=1e-30).log(), labels)))


@torch.inference_mode()
def probabilities(model: nn.Module, inputs: Tensor, *, compute: Compute = _PLAIN) -> Tensor:
    """(samples, classes) probabilities on the CPU; the model is left on the device, in the layout of `compute`.

    Every module is in its own mode afterwards, also if the model raises.
    """
    compute.place(model)
    with evaluating(model), compute.precisely():
        parts = [_CLASSIFICATION.predict(model, (compute.inputs(batch), None)) for batch in inputs.split(BATCH)]
    return torch.cat(parts).cpu()


def judged(
    judge: Judge, models: Sequence[nn.Module], data: Split, *, rows: Tensor | None = None, compute: Compute = _PLAIN
) -> list[dict[str, Any]]:
    """The sums that judge models on data: of all together, and of several also of each by itself.

    Sums of parts of the data add up (`fedma.tasks.added`), and `judge.measure` makes metrics of them.

    Args:
        judge: the task, and further metrics.
        models: one, or several that are judged as an ensemble; left on the device, in the layout of `compute`.
        data: judged on.
        rows: the positions in `data`; by default all.
        compute: how the arithmetic is done.

    Raises:
        InputError: several models whose predictions cannot be combined, or sums that cannot be added.
    """
    for model in models:
        compute.place(model)
    rows = torch.arange(len(data)) if rows is None else rows
    with torch.inference_mode(), evaluating(nn.ModuleList(models)), compute.precisely():
        parts = [judge.sums(models, compute.batch(batch)) for batch in data.batches(rows.split(BATCH))]
    return [added(of_one) for of_one in zip(*parts, strict=True)]
