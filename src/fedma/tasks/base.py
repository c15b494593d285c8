"""What a task is: two methods that everyone needs, and further ones with defaults."""

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, Literal, Protocol, runtime_checkable

import torch
from torch import Tensor, nn

from fedma.data import Dataset
from fedma.errors import InputError
from fedma.tasks.calling import arguments, call, logits, targets
from fedma.tasks.sums import EXAMPLES, Sums

Better = Literal["higher", "lower"]
"""Which direction of a metric is better."""


@runtime_checkable
class Task(Protocol):
    """What a batch means: the loss that training minimises, and the numbers that judge a model.

    A class of your own needs these two methods; a subclass of `BaseTask` can say more.
    """

    def loss(self, model: nn.Module, batch: Any) -> Tensor:
        """A scalar: the mean over the batch's examples."""
        ...

    def judge(self, model: nn.Module, batch: Any) -> Mapping[str, Any]:
        """Named sums over the batch's examples, which add up over batches.

        A value is a number, a tensor, or a tuple of tensors; tuples are joined. `examples` counts the examples.
        """
        ...


class BaseTask:
    """A task with defaults for all but `loss`, and `predict` with `sums`, or `judge` instead of these.

    A batch is what the data give: a pair (inputs, targets), or a mapping that holds `labels` beside the model's
    arguments.

    Attributes:
        name: in messages and results.
        metrics: what `measure` returns, the main one first, each with the direction that is better.
        has_classes: whether each example is of one class, so that output layers are averaged by class.
        augments: whether images may be shifted and flipped without their targets.
    """

    name = "own"
    metrics: Mapping[str, Better] = MappingProxyType({"loss": "lower"})
    has_classes: bool = False
    augments: bool = False

    def loss(self, model: nn.Module, batch: Any) -> Tensor:
        """A scalar: the mean over the batch's examples."""
        raise NotImplementedError

    def judge(self, model: nn.Module, batch: Any) -> Sums:
        """Named sums over the batch's examples."""
        return self.sums(self.predict(model, batch), batch)

    def predict(self, model: nn.Module, batch: Any) -> Tensor:
        """What an ensemble averages, such as probabilities: examples first."""
        raise NotImplementedError

    def combine(self, predictions: Sequence[Tensor]) -> Tensor:
        """The prediction of several models together: their uniform mean."""
        return predictions[0] if len(predictions) == 1 else torch.stack(list(predictions)).mean(0)

    def sums(self, prediction: Tensor, batch: Any) -> Sums:
        """Named sums of a prediction for the batch."""
        raise NotImplementedError

    def measure(self, sums: Sums) -> dict[str, Any]:
        """The metrics, from sums over all examples: by default each sum divided by the number of examples."""
        count = float(sums[EXAMPLES])
        return {name: _mean(value, count) for name, value in sums.items() if name != EXAMPLES}

    def inputs(self, batch: Any) -> Any:
        """The model's arguments: one tensor, a tuple of positional ones, or a mapping of keyword ones."""
        return arguments(batch)

    def targets(self, batch: Any) -> Any:
        """What the model should predict."""
        return targets(batch)

    def size(self, batch: Any) -> int:
        """The number of examples in a batch: the length of its first tensor."""
        return _size(batch)

    def outputs(self, dataset: Dataset) -> int:
        """How many outputs a model by name needs for these data."""
        return max(1, len(dataset.classes))

    def classes_of(self, labels: Any) -> Tensor | None:
        """The class of each example, int64, from a split's labels; None where the task has no classes."""
        return None

    def class_count(self, model: nn.Module, batch: Any) -> int:
        """How many classes a model tells apart: its outputs. 1 where the task has no classes."""
        return logits(call(model, self.inputs(batch))).shape[-1] if self.has_classes else 1

    def check(self, model: nn.Module, batch: Any, *, outputs: int) -> None:
        """Refuse a model or targets that do not fit the task, given a few examples; the model is in evaluation mode.

        Raises:
            InputError: what does not fit, and what to do.
        """

    def check_labels(self, labels: Any, *, outputs: int) -> None:
        """Refuse targets that are out of range, given all of a split's, where they are in memory.

        Raises:
            InputError: which ones, and what to do.
        """

    def metric_inputs(self, prediction: Tensor, batch: Any) -> tuple[Tensor, Tensor]:
        """Predictions and targets as torchmetrics takes them."""
        return prediction, self.targets(batch)

    def metric_options(self, outputs: int) -> dict[str, Any]:
        """Arguments of torchmetrics' classes, such as the number of classes; each takes those it knows."""
        return {}


def can_combine(task: BaseTask) -> bool:
    """Whether the predictions of several models can be averaged."""
    return all(_own(task, name) for name in ("predict", "sums"))


def _own(task: BaseTask, name: str) -> bool:
    return name in vars(task) or getattr(type(task), name) is not getattr(BaseTask, name)


def _mean(value: Any, count: float) -> Any:
    if isinstance(value, tuple):
        value = torch.cat([part.double().flatten() for part in value]).sum()
    if isinstance(value, Tensor):
        return (value.double() / count).tolist()
    return value / count


def _size(batch: Any) -> int:
    if isinstance(batch, Tensor):
        return len(batch)
    parts = batch.values() if isinstance(batch, Mapping) else batch if isinstance(batch, (tuple, list)) else ()
    for part in parts:
        if found := _size(part):
            return found
    return 0


def adopted(task: Task, name: str) -> BaseTask:
    """A task of the user's own with all defaults that it does not have itself.

    Raises:
        InputError: it has no `loss` or no `judge`.
    """
    for method in ("loss", "judge"):
        if not callable(getattr(task, method, None)):
            raise InputError(
                f"task {name!r} has no method {method}; a task has loss(model, batch) and judge(model, batch)"
            )
    if isinstance(task, BaseTask):
        return task
    return _Adopted(task, name)


class _Adopted(BaseTask):
    """An object with `loss` and `judge`, and the defaults for what it lacks."""

    def __init__(self, own: Task, name: str) -> None:
        self.name, self.metrics = name, {}
        for attribute in (name for name in vars(BaseTask) if not name.startswith("_")):
            if hasattr(own, attribute):
                setattr(self, attribute, getattr(own, attribute))
