"""The tasks by name, and objects of a user's own by `package.module:name`."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from fedma.errors import InputError
from fedma.registry import Registry
from fedma.tasks.base import BaseTask, Task, adopted
from fedma.tasks.classification import Classification
from fedma.tasks.model_loss import ModelLoss
from fedma.tasks.multi_label import MultiLabel
from fedma.tasks.next_token import NextToken
from fedma.tasks.regression import Regression
from fedma.tasks.segmentation import Segmentation


@dataclass(frozen=True)
class TaskEntry:
    """A task by name.

    Attributes:
        name: in settings, in small letters.
        make: makes the task.
        summary: what it trains, in one line.
    """

    name: str
    make: Callable[[], Task]
    summary: str


def _adopt(path: str, found: object) -> TaskEntry:
    """An entry of a class, of a function that makes a task, or of a task itself."""
    makes = isinstance(found, type) or (callable(found) and not hasattr(found, "loss"))
    try:
        own: Any = found() if makes else found  # type: ignore[operator]
    except Exception as error:  # whatever happens in a class of the user's
        raise InputError(f"task {path!r} cannot be made: {type(error).__name__}: {error}") from error
    adopted(own, path)  # refuses what is no task
    return TaskEntry(path, lambda: own, "")


TASKS: Registry[TaskEntry] = Registry("task", _adopt)
"""All tasks. `TASKS.register` adds one of your own."""

for _entry in (
    TaskEntry("classification", Classification, "one class an example; cross-entropy, accuracy"),
    TaskEntry("multi-label", MultiLabel, "several labels an example, each holds or not; binary cross-entropy, F1"),
    TaskEntry("regression", Regression, "numbers of any shape; squared error, MAE, R²"),
    TaskEntry("segmentation", Segmentation, "a class for each pixel; cross-entropy, IoU"),
    TaskEntry("next-token", NextToken, "the next token at every position; cross-entropy, perplexity"),
    TaskEntry("model-loss", ModelLoss, "the loss that the model computes itself"),
):
    TASKS.register(_entry)


def task_of(given: str | Task) -> BaseTask:
    """The task of a name, of `package.module:name`, or an object of your own, with all defaults.

    Raises:
        InputError: no task has this name, it cannot be imported, or it lacks `loss` or `judge`.
    """
    if isinstance(given, str):
        return adopted(TASKS.get(given).make(), given)
    return adopted(given, type(given).__name__)
