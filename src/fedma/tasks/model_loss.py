"""A model's own loss: it computes it from the batch, as Hugging Face's models do."""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from torch import Tensor, nn

from fedma.errors import InputError
from fedma.tasks.base import BaseTask, Better
from fedma.tasks.calling import LABELS, call
from fedma.tasks.sums import EXAMPLES, Sums


@dataclass(frozen=True)
class ModelLoss(BaseTask):
    """The loss that the model returns when it is called with the whole batch.

    It is the answer's `loss`, the first of a tuple, or the answer itself. The unit graph is traced without the
    entries that only the loss needs. No predictions are known, so ensembles are refused.

    Attributes:
        labels: names of the entries that only the loss needs.
    """

    labels: tuple[str, ...] = LABELS
    name = "model-loss"
    metrics = MappingProxyType[str, Better]({"loss": "lower"})

    def loss(self, model: nn.Module, batch: Any) -> Tensor:
        """What the model says."""
        answer = call(model, batch)
        found = answer.get("loss") if isinstance(answer, Mapping) else getattr(answer, "loss", answer)
        if isinstance(found, (tuple, list)):
            found = found[0]
        if not isinstance(found, Tensor):
            raise InputError(
                f"the model answers with a {type(answer).__name__} without a loss; is its label, such as 'labels', in "
                "the batch? Else take another task"
            )
        return found

    def judge(self, model: nn.Module, batch: Any) -> Sums:
        """The loss, as often as there are examples."""
        count = self.size(batch)
        return {EXAMPLES: count, "loss": self.loss(model, batch).double() * count}

    def inputs(self, batch: Any) -> Any:
        """Of a mapping all but the labels; of a tuple all of it."""
        if isinstance(batch, Mapping):
            return {name: value for name, value in batch.items() if name not in self.labels}
        return tuple(batch) if isinstance(batch, (tuple, list)) else batch
