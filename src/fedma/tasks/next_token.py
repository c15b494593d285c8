"""Next tokens: at every position of a sequence, the token that comes next."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, nll_loss

from fedma.data import Dataset
from fedma.errors import InputError
from fedma.tasks.base import BaseTask, Better
from fedma.tasks.calling import LABELS, call, logits
from fedma.tasks.classification import check_range
from fedma.tasks.sums import EXAMPLES, Sums

IGNORED = -100
"""The target of positions that do not count, as in PyTorch and Hugging Face's libraries."""


@dataclass(frozen=True)
class NextToken(BaseTask):
    """Cross-entropy at every position, the mean over those that count; perplexity is its exponential.

    Outputs are (examples, steps, tokens) scores. What comes next is read from the batch:

    - a pair of tokens (examples, steps) and, for each example, the token after them (examples,);
    - a pair of tokens and of next tokens, both (examples, steps);
    - tokens alone, or a mapping with `input_ids`: each position but the last predicts the one after it. Where
      there are `labels`, they stand for the tokens, as in Hugging Face's models; an `attention_mask` of 0 is padding.

    A next token of -100 does not count.

    Attributes:
        padding: the number of a token that does not count; None for none.
    """

    padding: int | None = None
    name = "next-token"
    metrics = MappingProxyType[str, Better]({"perplexity": "lower", "token_accuracy": "higher", "loss": "lower"})

    def loss(self, model: nn.Module, batch: Any) -> Tensor:
        """Mean cross-entropy of the positions that count; zero where none does."""
        wanted = self.targets(batch)
        scores = self._scores(model, batch, wanted).float()
        total = cross_entropy(scores.flatten(0, 1), wanted.flatten(), ignore_index=IGNORED, reduction="sum")
        return total / (wanted != IGNORED).sum().clamp(min=1)

    def predict(self, model: nn.Module, batch: Any) -> Tensor:
        """(examples, positions, tokens) probabilities."""
        return self._scores(model, batch, self.targets(batch)).float().softmax(-1)

    def sums(self, prediction: Tensor, batch: Any) -> Sums:
        """Positions that count, right ones, and their loss."""
        wanted = self.targets(batch)
        counts = wanted != IGNORED
        right = (prediction.argmax(-1) == wanted) & counts
        likelihood = prediction.clamp(min=1e-30).log().flatten(0, 1)
        loss = nll_loss(likelihood, wanted.flatten(), ignore_index=IGNORED, reduction="none").double().sum()
        return {EXAMPLES: len(wanted), "tokens": counts.sum(), "right": right.sum(), "loss": loss}

    def measure(self, sums: Sums) -> dict[str, Any]:
        """Perplexity, the part of tokens that are right, and the loss in nats."""
        tokens = max(1, int(sums["tokens"]))
        loss = float(sums["loss"]) / tokens
        perplexity = math.exp(loss) if loss < 700 else math.inf
        return {"perplexity": perplexity, "token_accuracy": int(sums["right"]) / tokens, "loss": loss}

    def inputs(self, batch: Any) -> Any:
        """The tokens, and of a mapping everything but labels."""
        return batch if isinstance(batch, Tensor) else super().inputs(batch)

    def targets(self, batch: Any) -> Tensor:
        """(examples, positions) next tokens, -100 where they do not count."""
        if isinstance(batch, (tuple, list)) and len(batch) > 1:
            tokens, following = batch[0], batch[-1]
            found = torch.cat([tokens[:, 1:], following[:, None]], 1) if following.dim() == 1 else following
        elif isinstance(batch, Mapping):
            found = _shifted(batch)
        else:
            tokens = batch if isinstance(batch, Tensor) else batch[0]
            found = tokens[:, 1:]
        found = found.long()
        return found if self.padding is None else found.masked_fill(found == self.padding, IGNORED)

    def outputs(self, dataset: Dataset) -> int:
        """One for each token."""
        return dataset.vocabulary or super().outputs(dataset)

    def check(self, model: nn.Module, batch: Any, *, outputs: int) -> None:
        """Scores at every position."""
        wanted = self.targets(batch)
        scores = logits(call(model, self.inputs(batch)))
        if scores.dim() != 3 or scores.shape[0] != wanted.shape[0] or scores.shape[1] < wanted.shape[1]:
            raise InputError(
                f"answers with {tuple(scores.shape)}; the task next-token needs scores at every position, "
                f"({wanted.shape[0]}, {wanted.shape[1]}, tokens)"
            )
        check_range(wanted, scores.shape[2], "tokens", ignored=IGNORED)

    def metric_inputs(self, prediction: Tensor, batch: Any) -> tuple[Tensor, Tensor]:
        """As torchmetrics' text metrics take them."""
        return prediction, self.targets(batch)

    def metric_options(self, outputs: int) -> dict[str, Any]:
        """For torchmetrics' perplexity."""
        return {"ignore_index": IGNORED}

    def _scores(self, model: nn.Module, batch: Any, wanted: Tensor) -> Tensor:
        """Of the positions that have a next token."""
        return logits(call(model, self.inputs(batch)))[:, : wanted.shape[1]]


def _shifted(batch: Mapping[str, Any]) -> Tensor:
    """The tokens after each position but the last, of a mapping."""
    found = next((batch[name] for name in LABELS if name in batch), None)
    tokens = batch.get("input_ids") if found is None else found
    if not isinstance(tokens, Tensor):
        raise InputError(f"a batch has {', '.join(map(str, batch))}; the task next-token needs 'input_ids' or 'labels'")
    if found is None and "attention_mask" in batch:
        tokens = tokens.masked_fill(batch["attention_mask"] == 0, IGNORED)
    return tokens[:, 1:]
