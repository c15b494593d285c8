"""Metrics of torchmetrics, whose states add up exactly over batches, workers and clients."""

import inspect
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from functools import partial
from typing import Any

import torch
from torch import Tensor

from fedma.errors import InputError
from fedma.optional_dependencies import imported
from fedma.registry import load
from fedma.tasks.base import BaseTask, Better, can_combine
from fedma.tasks.sums import Sums

METRICS = {
    "accuracy": {"multiclass": "MulticlassAccuracy", "multilabel": "MultilabelAccuracy"},
    "f1": {"multiclass": "MulticlassF1Score", "multilabel": "MultilabelF1Score"},
    "precision": {"multiclass": "MulticlassPrecision", "multilabel": "MultilabelPrecision"},
    "recall": {"multiclass": "MulticlassRecall", "multilabel": "MultilabelRecall"},
    "auroc": {"multiclass": "MulticlassAUROC", "multilabel": "MultilabelAUROC"},
    "confusion": {"multiclass": "MulticlassConfusionMatrix", "multilabel": "MultilabelConfusionMatrix"},
    "iou": {"multiclass": "MulticlassJaccardIndex", "multilabel": "MultilabelJaccardIndex"},
    "mae": {"": "MeanAbsoluteError"},
    "mse": {"": "MeanSquaredError"},
    "r2": {"": "R2Score"},
    "perplexity": {"": "Perplexity"},
}
"""Short names, and torchmetrics' class for each kind of task."""

_ROOMS = ("classification", "regression", "text", "segmentation", "image", "audio", "retrieval", "clustering")
_PREDICTIONS, _TARGETS = "predictions", "targets"


@dataclass(frozen=True, eq=False)
class Metric:
    """One metric of torchmetrics.

    Attributes:
        name: in results.
        own: the metric; its state is never kept in it.
        better: which direction is better; "higher" where torchmetrics does not say.
        additive: whether all of its states are sums from zero, or joined lists. Otherwise the predictions and targets
            themselves are joined, and the metric is computed of all of them at the end.
    """

    name: str
    own: Any
    better: Better
    additive: bool

    @classmethod
    def of(cls, name: str, own: Any) -> "Metric":
        """Of a metric of torchmetrics."""
        better: Better = "lower" if getattr(own, "higher_is_better", None) is False else "higher"
        return cls(name, own, better, _additive(own))

    def sums(self, prediction: Tensor, targets: Tensor) -> dict[str, Any]:
        """The state after these predictions alone, by name."""
        prediction, targets = prediction.detach().cpu(), targets.detach().cpu()
        if not self.additive:
            return {self._key(_PREDICTIONS): (prediction,), self._key(_TARGETS): (targets,)}
        own = self.own.clone()
        own.reset()
        self._updated(own, prediction, targets)
        return {self._key(state): _kept(getattr(own, state)) for state in own._defaults}

    def value(self, sums: Sums) -> Any:
        """The metric over all examples: a number, or nested lists of numbers."""
        own = self.own.clone()
        own.reset()
        if self.additive:
            for state, default in own._defaults.items():
                kept = sums[self._key(state)]
                setattr(own, state, list(kept) if isinstance(default, list) else kept.to(default.dtype))
            own._update_count = 1
        else:
            self._updated(own, torch.cat(sums[self._key(_PREDICTIONS)]), torch.cat(sums[self._key(_TARGETS)]))
        found = own.compute()
        return found.tolist() if isinstance(found, Tensor) else found

    def _key(self, state: str) -> str:
        return f"{self.name}/{state}"

    def _updated(self, own: Any, prediction: Tensor, targets: Tensor) -> None:
        try:
            own.update(prediction, targets)
        except (ValueError, RuntimeError, TypeError, IndexError) as error:
            raise InputError(
                f"metric {self.name!r} ({type(self.own).__name__}) does not take predictions of shape "
                f"{tuple(prediction.shape)} and targets of shape {tuple(targets.shape)}: "
                f"{str(error).splitlines()[0]}; leave it out, or give one that fits the task"
            ) from error


def metrics_of(given: Sequence[Any], task: BaseTask, *, outputs: int) -> tuple[Metric, ...]:
    """Metrics by name or as objects, for this task.

    Args:
        given: short names (`METRICS`), names of torchmetrics' classes, `package.module:name`, or metrics of
            torchmetrics.
        task: gives the arguments of classes that are named.
        outputs: how many classes, labels or numbers.

    Raises:
        InputError: an unknown metric, one named twice, or one that does not fit the task.
        MissingExtra: torchmetrics is not installed.
    """
    if not given:
        return ()
    library = imported("torchmetrics", extra="metrics")
    if not can_combine(task):
        raise InputError(f"task {task.name!r} makes no predictions that metrics could take; leave metrics out")
    found = [_metric(one, task, outputs, library) for one in given]
    names = [metric.name for metric in found]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise InputError(f"metrics names {twice[0]!r} twice; name it once")
    if known := sorted(set(names) & set(task.metrics)):
        raise InputError(f"task {task.name!r} measures {known[0]!r} already; leave it out of metrics")
    return tuple(found)


def _metric(given: Any, task: BaseTask, outputs: int, library: Any) -> Metric:
    if isinstance(given, library.Metric):
        return Metric.of(_snake(type(given).__name__), given)
    if not isinstance(given, str):
        raise InputError(f"a metric is a {type(given).__name__}; give a name or a metric of torchmetrics")
    if ":" in given:
        own = load(given, kind="metric")
        own = own() if isinstance(own, type) else own
        if not isinstance(own, library.Metric):
            raise InputError(f"metric {given!r} is a {type(own).__name__}; it must be a metric of torchmetrics")
        return Metric.of(given.partition(":")[2], own)
    options = task.metric_options(outputs)
    return Metric.of(given, _made(given, _class(given, options.get("task", ""), task, library), options))


def _class(name: str, kind: str, task: BaseTask, library: Any) -> type:
    """Torchmetrics' class of this name."""
    if name in METRICS:
        if kind not in METRICS[name] and "" not in METRICS[name]:
            raise InputError(f"metric {name!r} is not for the task {task.name!r}, whose targets are no classes")
        name = METRICS[name].get(kind) or METRICS[name][""]
    for room in _ROOMS:
        found = getattr(getattr(library, room, None), name, None)
        if isinstance(found, type):
            return found
    near = get_close_matches(name, METRICS, n=1)
    guess = f"; did you mean {near[0]!r}?" if near else ""
    raise InputError(f"metric {name!r} is not known{guess}; known are {', '.join(METRICS)}, and torchmetrics' classes")


def _made(name: str, kind: type, options: Mapping[str, Any]) -> Any:
    """An instance, with the options that its class knows."""
    known = inspect.signature(kind).parameters
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message=".*will save all targets and predictions")
            return partial(kind, **{option: value for option, value in options.items() if option in known})()
    except (TypeError, ValueError) as error:
        raise InputError(
            f"metric {name!r} needs arguments of its own: {error}; in Python give the object itself"
        ) from error


def _additive(own: Any) -> bool:
    """Whether states can be added: sums that begin at zero, and lists that are joined."""
    reductions = own._reductions
    for name, default in own._defaults.items():
        how = getattr(reductions[name], "__name__", None)
        joins = isinstance(default, list) and how in ("dim_zero_cat", None)
        adds = isinstance(default, Tensor) and how == "dim_zero_sum" and not bool(default.any())
        if not (joins or adds):
            return False
    return True


def _kept(state: Any) -> Any:
    return tuple(state) if isinstance(state, list) else state.detach()


def _snake(name: str) -> str:
    return "".join(f"_{letter.lower()}" if letter.isupper() else letter for letter in name).strip("_")
