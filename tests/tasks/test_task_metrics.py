"""Metrics of torchmetrics: of states added over parts they are those of all examples at once."""

import math
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from fedma.errors import InputError
from fedma.tasks import (
    BaseTask,
    Classification,
    Judge,
    ModelLoss,
    MultiLabel,
    NextToken,
    Regression,
    Segmentation,
    added,
    metrics_of,
)
from tasks.columns import normal, whole

torchmetrics = pytest.importorskip("torchmetrics")

COUNT = 40
IMAGES = normal(COUNT, 3, 4, 4).softmax(1)
CASES: dict[str, tuple[BaseTask, int, Tensor, Any, tuple[Any, ...]]] = {
    "classification": (
        Classification(),
        4,
        normal(COUNT, 4).softmax(1),
        whole(4, COUNT),
        (
            "f1",
            "auroc",
            "confusion",
            "iou",
            "precision",
            "recall",
            "MulticlassAveragePrecision",
            "MulticlassMatthewsCorrCoef",
        ),
    ),
    "multi-label": (
        MultiLabel(),
        3,
        normal(COUNT, 3).sigmoid(),
        whole(2, COUNT, 3),
        ("accuracy", "auroc", "confusion", "MultilabelF1Score"),
    ),
    "regression": (
        Regression(),
        1,
        normal(COUNT),
        normal(COUNT, seed=1),
        ("ExplainedVariance", "PearsonCorrCoef", "SpearmanCorrCoef", "MeanAbsoluteError"),
    ),
    "segmentation": (Segmentation(), 3, IMAGES, whole(3, COUNT, 4, 4), ("f1", "confusion", "MulticlassJaccardIndex")),
    "next-token": (NextToken(), 5, normal(COUNT, 3, 5).softmax(2), whole(5, COUNT, 3), ("Perplexity",)),
}


def judged(judge: Judge, prediction: Tensor, wanted: Tensor) -> dict[str, Any]:
    """The sums of these predictions."""
    task, batch = judge.task, (whole(5, len(wanted), 3), wanted)
    parts = [metric.sums(*task.metric_inputs(prediction, batch)) for metric in judge.metrics]
    return {**task.sums(prediction, batch), **{name: value for part in parts for name, value in part.items()}}


@given(st.sampled_from(sorted(CASES)), st.lists(st.integers(1, COUNT - 1), max_size=4, unique=True))
@settings(deadline=None, max_examples=25, derandomize=True)
def test_added_states_give_the_metric_of_all(name: str, cuts: list[int]) -> None:
    task, outputs, prediction, wanted, names = CASES[name]
    judge = Judge(task, metrics_of(names, task, outputs=outputs))
    sizes = [end - start for start, end in zip([0, *sorted(cuts)], [*sorted(cuts), COUNT], strict=True)]
    parts = zip(prediction.split(sizes), wanted.split(sizes), strict=True)
    found = judge.measure(added(judged(judge, *part) for part in parts))
    for metric in judge.metrics:
        own = metric.own.clone()
        expected = own(*task.metric_inputs(prediction, (whole(5, COUNT, 3), wanted)))
        torch.testing.assert_close(torch.tensor(found[metric.name]), expected.detach(), rtol=1e-5, atol=1e-6)


def test_metrics_as_objects_know_their_direction() -> None:
    own = (torchmetrics.MeanAbsoluteError(), torchmetrics.R2Score())
    metrics = metrics_of(own, Regression(), outputs=1)
    assert [(metric.name, metric.better) for metric in metrics] == [
        ("mean_absolute_error", "lower"),
        ("r2_score", "higher"),
    ]
    judge = Judge(Regression(), metrics)
    found = judge.measure(judged(judge, torch.tensor([1.0, 2.0, 4.0]), torch.tensor([1.0, 3.0, 3.0])))
    assert found["mean_absolute_error"] == pytest.approx(found["mae"])
    assert found["r2_score"] == pytest.approx(found["r2"], abs=1e-5)
    assert list(judge.directions(found)) == ["mae", "mse", "r2", "loss", "mean_absolute_error", "r2_score"]


def test_ours_are_torchmetrics() -> None:
    task, outputs, prediction, wanted, _ = CASES["classification"]
    judge = Judge(task, metrics_of(("MulticlassAccuracy",), task, outputs=outputs))
    (metric,) = judge.metrics
    metric.own.average = "micro"
    found = judge.measure(judged(judge, prediction, wanted))
    assert found["MulticlassAccuracy"] == pytest.approx(found["accuracy"])
    task, _, prediction, wanted, _ = CASES["segmentation"]
    judge = Judge(task, metrics_of(("f1",), task, outputs=3))
    ignored = wanted.masked_fill(normal(*wanted.shape) > 0.5, 255)
    found = judge.measure(judged(judge, prediction, ignored))
    expected = torchmetrics.classification.MulticlassJaccardIndex(num_classes=3, ignore_index=255)(prediction, ignored)
    assert found["iou"] == pytest.approx(float(expected))
    task, _, prediction, wanted, _ = CASES["next-token"]
    judge = Judge(task, metrics_of(("Perplexity",), task, outputs=5))
    found = judge.measure(judged(judge, prediction, wanted))
    assert found["perplexity"] == pytest.approx(math.exp(found["loss"]))


@pytest.mark.parametrize(
    ("names", "task", "match"),
    [
        (("auroq",), Classification(), "metric 'auroq' is not known; did you mean 'auroc'"),
        (("f1", "f1"), Classification(), "'f1' twice"),
        (("accuracy",), Classification(), "measures 'accuracy' already"),
        (("auroc",), Regression(), "is not for the task 'regression'"),
        (("f1",), ModelLoss(), "makes no predictions"),
        ((3,), Classification(), "a metric is a int"),
        (("math:pi",), Classification(), "must be a metric of torchmetrics"),
        (("MulticlassFBetaScore",), Classification(), "needs arguments of its own"),
    ],
)
def test_metrics_that_cannot_be_are_refused(names: tuple[Any, ...], task: BaseTask, match: str) -> None:
    with pytest.raises(InputError, match=match):
        metrics_of(names, task, outputs=4)


def test_a_metric_that_does_not_fit_is_named() -> None:
    metrics = metrics_of((torchmetrics.classification.MultilabelF1Score(num_labels=7),), Classification(), outputs=4)
    judge = Judge(Classification(), metrics)
    with pytest.raises(
        InputError, match=r"metric 'multilabel_f1_score' .* does not take predictions of shape \(40, 4\)"
    ):
        judged(judge, *CASES["classification"][2:4])
