"""The laws over all tasks, over one of a user's own, and over bad ones, which break them."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from fedma.errors import InputError
from fedma.matching import average
from fedma.tasks import (
    TASKS,
    BaseTask,
    Classification,
    ModelLoss,
    MultiLabel,
    NextToken,
    Regression,
    Segmentation,
    added,
    task_of,
)
from fedma.units import units, weights
from tasks.columns import OwnLoss, Pixels, Speaker, built, mlp, normal, whole
from tasks.task_laws import LAWS, Case

INPUTS = normal(23, 5)
IMAGES = normal(12, 1, 6, 6, seed=1)
TOKENS = whole(11, 9, 8)
PADDED = TOKENS.masked_fill(torch.arange(8) >= 3 + whole(6, 9, 1, seed=1), 0)
PIXELS = (IMAGES[:, 0] > 0).long() + (IMAGES[:, 0] > 0.5)


class Distance:
    """A task of a user's own: two methods."""

    def loss(self, model: nn.Module, batch: Any) -> Tensor:
        inputs, targets = batch
        return (model(inputs)[:, 0] - targets).abs().mean()

    def judge(self, model: nn.Module, batch: Any) -> dict[str, Any]:
        inputs, targets = batch
        return {"distance_error": (model(inputs)[:, 0] - targets).abs().sum()}


CASES = {
    "classification": Case(Classification(), mlp(3), (INPUTS, whole(3, 23))),
    "multi-label": Case(MultiLabel(), mlp(4), (INPUTS, (normal(23, 4, seed=2) > 0).float())),
    "regression": Case(Regression(), mlp(1), (INPUTS, normal(23, seed=3))),
    "segmentation": Case(Segmentation(), Pixels, (IMAGES, PIXELS)),
    "next-token": Case(NextToken(), Speaker, (TOKENS, whole(11, 9, seed=4))),
    "model-loss": Case(ModelLoss(), OwnLoss, {"values": INPUTS, "labels": INPUTS.sum(1)}),
}
"""One case for each task by name."""

VARIANTS = {
    "classification of a mapping": Case(Classification(), mlp(3), {"input": INPUTS, "labels": whole(3, 23)}),
    "multi-label, whole numbers": Case(MultiLabel(), mlp(2), (INPUTS, whole(2, 23, 2))),
    "regression of a shape": Case(Regression(), mlp(6), (INPUTS, normal(23, 2, 3, seed=5))),
    "regression, absolute": Case(Regression("absolute"), mlp(2), (INPUTS, normal(23, 2, seed=5))),
    "regression, huber": Case(Regression("huber"), mlp(1), (INPUTS, 3 * normal(23, 1, seed=5))),
    "regression to images": Case(Regression(), lambda: Pixels(1), (IMAGES, IMAGES.flip(3))),
    "segmentation, ignored": Case(
        Segmentation(), Pixels, (IMAGES, PIXELS.masked_fill(normal(12, 6, 6, seed=6) > 0.3, 255)), even=False
    ),
    "next-token, padded": Case(NextToken(padding=0), Speaker, (PADDED,), even=False),
    "next-token of tokens": Case(NextToken(), Speaker, TOKENS),
    "next-token, given": Case(NextToken(), Speaker, (TOKENS[:, :-1], TOKENS[:, 1:])),
    "own": Case(task_of(Distance()), mlp(1), (INPUTS, INPUTS.sum(1))),
}

ALL = {**CASES, **VARIANTS}


def test_every_task_has_a_case() -> None:
    assert set(CASES) == set(TASKS.names)
    for name, case in CASES.items():
        assert type(task_of(name)) is type(case.task)
        assert case.task.name == name


@pytest.mark.parametrize("law", LAWS, ids=lambda law: law.__name__)
@pytest.mark.parametrize("name", ALL)
def test_laws(name: str, law: Callable[[Case, list[int]], None]) -> None:
    law(ALL[name], [4, 5, 17])


@given(st.sampled_from(sorted(ALL)), st.lists(st.integers(1, 1000), max_size=5))
@settings(deadline=None, max_examples=60, derandomize=True)
def test_sums_and_losses_of_any_parts(name: str, cuts: list[int]) -> None:
    for law in LAWS[:2]:
        law(ALL[name], cuts)


class MeanSum(Regression):
    """Judges by means, which do not add up."""

    def sums(self, prediction: Tensor, batch: Any) -> dict[str, Any]:
        return {name: value / len(prediction) for name, value in super().sums(prediction, batch).items()}


class SumLoss(Classification):
    def loss(self, model: nn.Module, batch: Any) -> Tensor:
        return super().loss(model, batch) * len(batch[1])


class Detached(Classification):
    def loss(self, model: nn.Module, batch: Any) -> Tensor:
        return super().loss(model, batch).detach()


class Random(Regression):
    def predict(self, model: nn.Module, batch: Any) -> Tensor:
        found = super().predict(model, batch)
        return found + torch.rand(found.shape)


class Upside(Regression):
    metrics = {"mae": "higher", "mse": "lower", "r2": "higher", "loss": "lower"}  # noqa: RUF012


class Silent(Classification):
    def measure(self, sums: Any) -> dict[str, Any]:
        return {"loss": super().measure(sums)["loss"]}


class Extreme(Regression):
    def combine(self, predictions: Any) -> Tensor:
        return sum(predictions)


@pytest.mark.parametrize(
    ("bad", "broken"),
    [
        (Case(MeanSum(), mlp(1), CASES["regression"].batch), "sums_add_up"),
        (Case(SumLoss(), mlp(3), CASES["classification"].batch), "loss_is_the_mean"),
        (Case(Detached(), mlp(3), CASES["classification"].batch), "gradient_is_finite"),
        (Case(Random(), mlp(1), CASES["regression"].batch), "judging_is_deterministic"),
        (Case(Upside(), mlp(1), CASES["regression"].batch), "training_makes_the_loss_and_the_main_metric_better"),
        (Case(Silent(), mlp(3), CASES["classification"].batch), "what_is_declared_is_measured"),
        (Case(Extreme(), mlp(1), CASES["regression"].batch), "predictions_combine"),
    ],
    ids=lambda value: value if isinstance(value, str) else type(value.task).__name__,
)
def test_bad_tasks_break_a_law(bad: Case, broken: str) -> None:
    law = {law.__name__: law for law in LAWS}[broken]
    with pytest.raises((AssertionError, RuntimeError)):
        law(bad, [4, 5, 17])


def test_by_hand() -> None:
    """Numbers that one can check by hand."""
    labels = torch.tensor([0, 1, 1])
    prediction = torch.tensor([[0.9, 0.1], [0.6, 0.4], [0.2, 0.8]])
    sums = Classification().sums(prediction, (None, labels))
    assert sums["confusion"].tolist() == [[1, 0], [1, 1]]
    measured = Classification().measure(sums)
    assert measured["accuracy"] == pytest.approx(2 / 3)
    assert measured["loss"] == pytest.approx(-float(torch.tensor([0.9, 0.4, 0.8]).log().mean()))
    found = Regression().measure(Regression().sums(torch.tensor([1.0, 3.0]), (None, torch.tensor([1.0, 1.0]))))
    assert (found["mae"], found["mse"]) == (1.0, 2.0)
    assert found["r2"] != found["r2"]  # targets that do not vary
    found = Regression().measure(Regression().sums(torch.tensor([0.0, 1.0]), (None, torch.tensor([0.0, 2.0]))))
    assert found["r2"] == pytest.approx(0.5)
    said = torch.tensor([[0.9, 0.9], [0.1, 0.6]])
    found = MultiLabel().measure(MultiLabel().sums(said, (None, torch.tensor([[1, 0], [0, 1]]))))
    assert (found["f1"], found["exact"]) == (pytest.approx(0.8), 0.5)
    pixels = torch.tensor([[[0, 1], [1, 255]]])
    scores = torch.nn.functional.one_hot(torch.tensor([[[0, 0], [1, 1]]]), 2).movedim(-1, 1).float()
    found = Segmentation().measure(Segmentation().sums(scores, (None, pixels)))
    assert (found["iou"], found["pixel_accuracy"]) == (0.5, pytest.approx(2 / 3))
    even = torch.full((1, 3, 4), 0.25)
    found = NextToken().measure(NextToken().sums(even, (torch.tensor([[1, 2, 3]]), torch.tensor([0]))))
    assert found["perplexity"] == pytest.approx(4.0)


def test_padding_alone_gives_no_loss_and_counts_nothing() -> None:
    batch, task = (torch.zeros(2, 5, dtype=torch.long),), NextToken(padding=0)
    loss = task.loss(Speaker(), batch)
    loss.backward()
    assert float(loss.detach()) == 0.0
    assert int(task.judge(Speaker(), batch)["tokens"]) == 0
    everywhere = (IMAGES, torch.full_like(PIXELS, 255))
    assert float(Segmentation().loss(Pixels(), everywhere).detach()) == 0.0


def test_next_tokens_of_a_mapping_are_hugging_faces() -> None:
    mask = torch.ones(9, 8, dtype=torch.long)
    mask[0, 5:] = 0
    wanted = NextToken().targets({"input_ids": TOKENS, "attention_mask": mask})
    assert wanted[0].tolist() == [*TOKENS[0, 1:5].tolist(), -100, -100, -100]
    assert wanted[1].tolist() == TOKENS[1, 1:].tolist()
    labels = TOKENS.masked_fill(TOKENS == 3, -100)
    assert NextToken().targets({"input_ids": TOKENS, "labels": labels}).tolist() == labels[:, 1:].tolist()


@pytest.mark.parametrize(
    ("sums", "match"),
    [
        ([{"a": 1}, {"b": 1}], "a, b for some batches only"),
        ([{"a": torch.zeros(2)}, {"a": torch.zeros(3)}], r"\(2,\) and \(3,\)"),
    ],
)
def test_sums_that_cannot_be_added_are_refused(sums: list[dict[str, Any]], match: str) -> None:
    with pytest.raises(InputError, match=match):
        added(sums)


def test_a_task_of_ones_own_keeps_what_it_says_itself() -> None:
    class Named(Distance):
        metrics = {"distance_error": "lower", "half": "higher"}  # noqa: RUF012
        has_classes = True

        def measure(self, sums: Any) -> dict[str, float]:
            return {"distance_error": float(sums["distance_error"]) / sums["examples"], "half": 0.5}

    task = task_of(Named())
    assert isinstance(task, BaseTask)
    assert task.has_classes
    assert task.measure({"examples": 4, "distance_error": 2.0}) == {"distance_error": 0.5, "half": 0.5}
    plain_task = task_of(Distance())
    assert plain_task.measure({"examples": 4, "distance_error": 2.0}) == {"distance_error": 0.5}


def test_the_page_lists_every_task() -> None:
    page = (Path(__file__).parents[2] / "docs" / "how-to" / "my-task.md").read_text(encoding="utf-8")
    assert set(re.findall(r"^\| `([a-z-]+)` \|", page, flags=re.MULTILINE)) == set(TASKS.names)


@given(st.lists(st.integers(1, 50), min_size=2, max_size=4))
@settings(deadline=None, max_examples=20, derandomize=True)
def test_without_classes_output_layers_go_by_samples(counts: list[int]) -> None:
    """A single column of counts is for all outputs; what comes before them is averaged as ever."""
    models = [built(mlp(3), seed) for seed in range(len(counts))]
    graph = units(models[0], INPUTS[:2])
    own = [weights(model) for model in models]
    common = {"names": own[0], "maps": [{}] * len(own), "widths": graph.widths, "shares": [1.0] * len(own)}
    found = average(own, graph, class_counts=torch.tensor(counts)[:, None], **common)
    shares = torch.tensor(counts, dtype=torch.float64) / sum(counts)
    for name, tensor in found.items():
        by = shares if name.startswith("2.") else torch.full((len(counts),), 1 / len(counts), dtype=torch.float64)
        expected = sum(share * one[name].double() for share, one in zip(by, own, strict=True))
        torch.testing.assert_close(tensor.double(), expected, rtol=1e-5, atol=1e-7)
    even = average(own, graph, class_counts=torch.tensor(counts)[:, None].expand(-1, 3), **common)
    torch.testing.assert_close(found, even, rtol=0, atol=0)
