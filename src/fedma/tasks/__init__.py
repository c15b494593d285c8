"""Tasks: how a batch becomes a loss, what is predicted, and which numbers judge it."""

from fedma.tasks.base import BaseTask, Better, Task, can_combine
from fedma.tasks.classification import Classification
from fedma.tasks.judging import Judge
from fedma.tasks.metrics import Metric, metrics_of
from fedma.tasks.model_loss import ModelLoss
from fedma.tasks.multi_label import MultiLabel
from fedma.tasks.next_token import NextToken
from fedma.tasks.registry import TASKS, TaskEntry, task_of
from fedma.tasks.regression import Regression
from fedma.tasks.segmentation import Segmentation
from fedma.tasks.sums import EXAMPLES, Sums, added

__all__ = [
    "EXAMPLES",
    "TASKS",
    "BaseTask",
    "Better",
    "Classification",
    "Judge",
    "Metric",
    "ModelLoss",
    "MultiLabel",
    "NextToken",
    "Regression",
    "Segmentation",
    "Sums",
    "Task",
    "TaskEntry",
    "added",
    "can_combine",
    "metrics_of",
    "task_of",
]
