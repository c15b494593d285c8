"""How good models are on samples they have not seen."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.functional import nll_loss

from fedma.data import Split
from fedma.training.layout import fast_layout

_BATCH = 250


@dataclass(frozen=True)
class Score:
    """Share of samples classified rightly, in [0, 1], and mean negative log-likelihood, in nats."""

    accuracy: float
    loss: float


def evaluate(models: Sequence[nn.Module], data: Split) -> Score:
    """The score of one model, or of several as an ensemble: the uniform mean of their class probabilities."""
    probabilities = torch.stack([_probabilities(model, data.inputs) for model in models]).mean(0)
    labels = data.labels.to(probabilities.device)
    accuracy = (probabilities.argmax(1) == labels).double().mean()
    return Score(float(accuracy), float(nll_loss(probabilities.clamp(min=1e-30).log(), labels)))


@torch.no_grad()
def _probabilities(model: nn.Module, inputs: Tensor) -> Tensor:
    device = next(model.parameters()).device
    training = model.training
    model.eval()
    inputs = fast_layout(model, inputs)
    parts = [model(x.to(device)).softmax(1) for x in inputs.split(_BATCH)]
    model.train(training)
    return torch.cat(parts)
