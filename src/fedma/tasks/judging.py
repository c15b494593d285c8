"""Judging one model, or several as an ensemble, on a batch; and what comes of the sums."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch import nn

from fedma.errors import InputError
from fedma.tasks.base import BaseTask, Better, can_combine
from fedma.tasks.metrics import Metric
from fedma.tasks.sums import Sums, plain


@dataclass(frozen=True, eq=False)
class Judge:
    """A task and further metrics.

    Attributes:
        task: what a batch means.
        metrics: of torchmetrics, beside the task's own.
    """

    task: BaseTask
    metrics: tuple[Metric, ...] = ()

    def sums(self, models: Sequence[nn.Module], batch: Any) -> list[dict[str, Any]]:
        """The sums of all models together, and of several also of each by itself, in their order.

        Raises:
            InputError: several models whose predictions cannot be combined, or sums that cannot be added.
        """
        task = self.task
        if len(models) == 1 and not self.metrics:
            return [self._plain(task.judge(models[0], batch), batch)]
        if not can_combine(task):
            raise InputError(
                f"task {task.name!r} does not say how predictions are averaged (methods predict and sums), which an "
                "ensemble needs; leave ensemble out"
            )
        own = [task.predict(model, batch) for model in models]
        predictions = [task.combine(own), *(own if len(own) > 1 else ())]
        found = []
        for prediction in predictions:
            further = [metric.sums(*task.metric_inputs(prediction, batch)) for metric in self.metrics]
            merged = {name: value for part in (task.sums(prediction, batch), *further) for name, value in part.items()}
            found.append(self._plain(merged, batch))
        return found

    def measure(self, sums: Sums) -> dict[str, Any]:
        """All metrics by name, the task's own first; None for what is not finite.

        Raises:
            InputError: the task's `measure` fails on its own sums.
        """
        states = tuple(f"{metric.name}/" for metric in self.metrics)
        own = {name: value for name, value in sums.items() if not name.startswith(states)} if states else sums
        try:
            found = dict(self.task.measure(own))
        except (KeyError, TypeError, ValueError, ZeroDivisionError, RuntimeError) as error:
            raise InputError(f"measure of task {self.task.name!r} fails ({type(error).__name__}: {error})") from error
        found |= {metric.name: metric.value(sums) for metric in self.metrics}
        return {name: _finite(value) for name, value in found.items()}

    def directions(self, measured: Mapping[str, Any]) -> dict[str, Better]:
        """The measured single numbers, the main one first, each with the direction that is better.

        What a task does not declare is better the lower it is if it is called a loss or an error.

        Raises:
            InputError: no single number is measured.
        """
        known = {**self.task.metrics, **{metric.name: metric.better for metric in self.metrics}}
        numbers = [name for name, value in measured.items() if not isinstance(value, (list, tuple, dict))]
        order = [name for name in self.task.metrics if name in numbers]
        order += [name for name in numbers if name not in order]
        if not order:
            raise InputError(
                f"judge of task {self.task.name!r} returns no number to compare models by; return a sum, such as the "
                "loss of all examples"
            )
        return {name: known.get(name) or _direction(name) for name in order}

    def _plain(self, found: object, batch: Any) -> dict[str, Any]:
        return plain(found, task=self.task.name, examples=self.task.size(batch))


def _direction(name: str) -> Better:
    return "lower" if name.lower().endswith(("loss", "error", "perplexity")) else "higher"


def _finite(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return [_finite(part) for part in value] if isinstance(value, (list, tuple)) else value
