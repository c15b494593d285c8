"""What does not fit is told in a sentence, before training where it can be known."""

from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from fedma.data import Dataset, Split
from fedma.errors import InputError
from fedma.experiments.callback import SILENT, Silent
from fedma.experiments.federation import assemble
from fedma.experiments.run import resume, run
from fedma.experiments.settings import Settings
from fedma.report import read
from fedma.tasks import Classification, Regression
from fedma.training import Compute, Schedule, fit
from tasks.columns import Pixels, built, mlp, normal, whole

SMALL = Settings(
    model="tasks.test_task_bad_input:five", clients=2, partition="iid", local_epochs=1, output_epochs=1, workers=1
)
CLASSES = whole(3, 40)
NUMBERS = normal(40, seed=1)


def five(outputs: int = 3) -> nn.Module:
    return mlp(outputs)()


def one() -> nn.Module:
    return five(1)


def pixels() -> nn.Module:
    return Pixels()


def dataset(targets: Tensor, *, inputs: Tensor | None = None, classes: int = 3) -> Dataset:
    inputs = normal(len(targets), 5) if inputs is None else inputs
    split = Split(inputs, targets)
    return Dataset("made", split, split.select(range(10)), tuple(map(str, range(classes))))


class Own(Classification):
    """Classification whose loss or sums are spoilt by a function."""

    def __init__(self, spoilt: Any = lambda loss: loss, sums: Any = dict) -> None:
        super().__init__()
        object.__setattr__(self, "spoilt", spoilt)
        object.__setattr__(self, "spoilt_sums", sums)

    def loss(self, model: nn.Module, batch: Any) -> Tensor:
        return self.spoilt(super().loss(model, batch))

    def judge(self, model: nn.Module, batch: Any) -> Any:
        return self.spoilt_sums(super().judge(model, batch))


class WithoutJudge:
    def loss(self, model: nn.Module, batch: Any) -> Tensor:
        return torch.zeros(())


class OnlyJudge(WithoutJudge):
    def judge(self, model: nn.Module, batch: Any) -> dict[str, Any]:
        return {"zero": 0}


class Broken:
    def __init__(self) -> None:
        raise RuntimeError("no luck")


class Answers(nn.Module):
    """Answers as a function says: in evaluation mode, and in training mode."""

    def __init__(self, evaluation: Any, training: Any) -> None:
        super().__init__()
        self.body, self.evaluation, self.training_ = five(), evaluation, training

    def forward(self, values: Tensor) -> Any:
        found = self.body(values)
        return self.training_(found) if self.training else self.evaluation(found)


@pytest.mark.parametrize(
    ("task", "match"),
    [
        (Own(lambda loss: loss.expand(4)), r"tensor of shape \(4,\); it must be a scalar tensor"),
        (Own(lambda loss: loss * torch.nan), "is nan at the start"),
        (Own(lambda loss: loss / 0), "is inf at the start"),
        (Own(lambda loss: loss.item()), "is a float; it must be a scalar tensor"),
        (Own(lambda loss: loss.detach()), "does not depend on the model's parameters"),
        (Own(lambda loss: loss.nothing), "fails in training mode .AttributeError"),
        (Own(sums=lambda sums: 3), "judge of task 'classification' returns a int"),
        (Own(sums=lambda sums: {"a": "b"}), "returns 'a' as str; sums are numbers"),
        (Own(sums=lambda sums: {"a": [1, 2]}), "returns 'a' as list"),
        (Own(sums=lambda sums: {"examples": 4}), "measure of task 'classification' fails .KeyError"),
        (Own(sums=lambda sums: sums["nothing"]), "judge of task 'classification' fails .KeyError"),
        (WithoutJudge(), "'WithoutJudge' has no method judge; a task has loss"),
        (OnlyJudge(), "does not depend on the model's parameters"),
    ],
    ids=lambda value: value if isinstance(value, str) else type(value).__name__,
)
def test_tasks_that_cannot_be_are_refused(task: Any, match: str) -> None:
    with pytest.raises(InputError, match=match):
        assemble(SMALL, dataset(CLASSES), task=task)


@pytest.mark.parametrize(
    ("name", "match"),
    [
        ("clasification", "task 'clasification' is not known; did you mean 'classification'"),
        ("tasks.test_task_bad_input:Broken", "cannot be made: RuntimeError: no luck"),
        ("tasks.test_task_bad_input:WithoutJudge", "has no method judge"),
        ("tasks.test_task_bad_input:CLASSES", "has no method loss"),
        ("tasks.test_task_bad_input:Nothing", "has no 'Nothing'"),
    ],
)
def test_names_that_are_no_tasks_are_refused(name: str, match: str) -> None:
    with pytest.raises(InputError, match=match):
        assemble(replace(SMALL, task=name), dataset(CLASSES))


@pytest.mark.parametrize(
    ("settings", "data", "match"),
    [
        ({"task": "classification"}, dataset(CLASSES + 1), "training samples of 'made': labels reach from 1 to 3"),
        ({"task": "classification"}, dataset(CLASSES - 1), "labels reach from -1 to 1; they must be from 0 to 2"),
        ({"task": "classification"}, dataset(NUMBERS), "labels are torch.float32"),
        ({"task": "classification"}, dataset(CLASSES, classes=4), "answers 2 inputs with"),
        ({"task": "classification"}, dataset(whole(3, 40, 2)), r"labels of a batch are torch.int64 of shape \(2, 2\)"),
        ({"task": "multi-label"}, dataset(CLASSES), r"targets reach from 0 to 2|must be \(examples, labels\)"),
        ({"task": "multi-label"}, dataset(whole(2, 40, 4)), r"answers with \(2, 3\), but the targets .* \(2, 4\)"),
        ({"task": "multi-label"}, dataset(whole(3, 40, 3)), "targets reach from 0 to 2"),
        ({"task": "regression"}, dataset(NUMBERS), r"answers with \(2, 3\), but the targets are of shape \(2,\)"),
        ({"task": "regression"}, dataset(NUMBERS / 0), "targets are not finite in 40 examples"),
        ({"task": "segmentation"}, dataset(CLASSES), "needs .examples, classes, height, width."),
        (
            {"task": "segmentation", "model": "tasks.test_task_bad_input:pixels"},
            dataset(whole(7, 40, 4, 4), inputs=normal(40, 1, 4, 4)),
            "targets reach from 0 to 6; they must be from 0 to 2 .3 classes., or 255",
        ),
        ({"task": "next-token"}, dataset(CLASSES), "needs|fails"),
        ({"task": "regression", "partition": "shards"}, dataset(NUMBERS), "divides by class, and task 'regression'"),
        ({"task": "regression", "augment": True}, dataset(NUMBERS), "augment changes images, but not the targets"),
        ({"task": "model-loss", "method": ("ensemble",)}, dataset(CLASSES), "which ensemble needs"),
    ],
)
def test_data_and_models_that_do_not_fit_are_refused(settings: dict[str, Any], data: Dataset, match: str) -> None:
    with pytest.raises(InputError, match=match):
        assemble(replace(SMALL, **settings), data)


def same(found: Tensor) -> Tensor:
    return found


def aux(found: Tensor) -> tuple[Tensor, Tensor]:
    return found, found * 0


class Named(tuple):
    __slots__ = ()

    @property
    def logits(self) -> Tensor:
        return self[1]


@pytest.mark.parametrize(
    "training",
    [
        lambda found: found,
        aux,
        lambda found: {"logits": found, "aux": 0 * found},
        lambda found: {"out": found, "aux": 0 * found},
        lambda found: [None, found],
        lambda found: Named((0 * found, found)),
    ],
)
def test_models_may_answer_with_more_in_training(training: Any) -> None:
    """The main output alone has a part in the loss, and the others none."""
    model, plain = (built(partial(Answers, same, own)) for own in (training, same))
    data = dataset(CLASSES).train
    for one_model in (model, plain):
        fit(one_model, data, Schedule(epochs=1), seed=0, name=("trial",))
    torch.testing.assert_close(model.state_dict(), plain.state_dict(), rtol=0, atol=0)


def more_rows(found: Tensor) -> Tensor:
    return torch.cat([found, found])


@pytest.mark.parametrize(
    ("training", "match"),
    [
        (more_rows, "loss of task 'classification' fails in training mode"),
        (lambda found: {"scores": found}, "a dict of scores, in which no tensor is known"),
        (lambda found: None, "answers with a NoneType"),
        (lambda found: found.nothing, "fails in training mode .AttributeError"),
    ],
)
def test_what_fails_in_training_mode_only_is_known_before(
    training: Any, match: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tasks.test_task_bad_input.five_made", lambda: Answers(lambda f: f, training), raising=False)
    with pytest.raises(InputError, match=match):
        assemble(replace(SMALL, model="tasks.test_task_bad_input:five_made"), dataset(CLASSES))


def test_an_empty_client_is_refused() -> None:
    with pytest.raises(InputError, match="a client has no samples"):
        fit(five(), dataset(CLASSES).train.select([]), Schedule(), seed=0, name=("trial",))


def test_labels_that_come_later_are_told_too() -> None:
    """Labels of a data set that is read lazily are known only in their batch."""
    data = Split(normal(8, 5), torch.tensor([0, 1, 2, 0, 1, 2, 0, 7]))
    with pytest.raises(InputError, match="Target 7 is out of bounds"):
        fit(five(), data, Schedule(), seed=0, name=("trial",))


def test_the_check_leaves_model_and_random_numbers_as_they_are() -> None:
    state = torch.get_rng_state()
    federation = assemble(SMALL, dataset(CLASSES))
    torch.testing.assert_close(torch.get_rng_state(), state, rtol=0, atol=0)
    assert all(parameter.grad is None for parameter in federation.template.parameters())


class Interrupted(Silent):
    """Interrupts the run when its second round begins."""

    def exchange(self, exchange: Any) -> None:
        if exchange.round == 2:
            raise KeyboardInterrupt


def test_a_run_goes_on_with_the_task_it_was_given_only(tmp_path: Path) -> None:
    settings, data = replace(SMALL, model="tasks.test_task_bad_input:one", rounds=2), dataset(NUMBERS)
    whole_run = run(settings, tmp_path / "whole", SILENT, dataset=data, task=Regression("absolute"))

    with pytest.raises(KeyboardInterrupt):
        run(settings, tmp_path / "run", Interrupted(), dataset=data, task=Regression("absolute"))
    with pytest.raises(InputError, match="was given its task; give it again"):
        resume(tmp_path / "run", dataset=data)
    again = resume(tmp_path / "run", dataset=data, task=Regression("absolute"))
    first, second = ((folder / "models" / "fedma.safetensors").read_bytes() for folder in (again, whole_run))
    assert first == second


def test_masks_stay_masks() -> None:
    batch = Compute().batch({"ids": torch.zeros(2, 3, dtype=torch.uint8), "mask": torch.ones(2, 3, dtype=torch.bool)})
    assert (batch["ids"].dtype, batch["mask"].dtype) == (torch.int64, torch.bool)


@dataclass(frozen=True, eq=False)
class Lazy(Split):
    """A split whose labels are not in memory: a batch alone has them."""

    wanted: Tensor | None = None
    labels: Any = None

    def __init__(self, inputs: Tensor, wanted: Tensor, labels: Tensor | None = None) -> None:
        for name, value in (("inputs", inputs), ("wanted", wanted), ("labels", labels), ("owners", None)):
            object.__setattr__(self, name, value)

    def __len__(self) -> int:
        return len(self.inputs)

    def batch(self, rows: Tensor) -> Any:
        return self.inputs[rows], self.wanted[rows]

    def select(self, indices: Any) -> "Lazy":
        rows = torch.as_tensor(indices, dtype=torch.int64)
        return Lazy(self.inputs[rows], self.wanted[rows], None if self.labels is None else self.labels[rows])

    def contents(self) -> Any:
        yield b"lazy"


@pytest.mark.parametrize(
    ("task", "wanted", "labels"),
    [
        ("classification", CLASSES, None),
        ("classification", CLASSES, CLASSES),
        ("regression", normal(40, 3, seed=1), None),
        ("regression", normal(40, 3, seed=1), CLASSES),
        ("multi-label", (normal(40, 3) > 0).long(), CLASSES),
    ],
)
def test_labels_that_are_not_in_memory_are_only_for_the_partition(
    task: str, wanted: Tensor, labels: Tensor | None, tmp_path: Path
) -> None:
    inputs = normal(40, 5)
    data = Dataset("lazy", Lazy(inputs, wanted, labels), Lazy(inputs[:9], wanted[:9]), ("a", "b", "c"))
    scheme = "iid" if labels is None else "shards"
    settings = replace(SMALL, task=task, partition=scheme, method=("fedma", "fedavg"), min_samples=1)
    federation = assemble(settings, data)
    by_class = task == "classification" and labels is not None
    assert federation.clients[0].classes == (3 if by_class else 1)
    lines = read(run(settings, tmp_path / "run", SILENT, dataset=data)).evaluations
    assert [bool(line.client_accuracy) for line in lines] == [by_class] * 2
