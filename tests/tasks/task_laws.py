"""Laws that every task keeps, for a model and a batch that fit it."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn
from torch.testing import assert_close

from fedma.tasks import BaseTask, Judge, added, can_combine
from fedma.tasks.sums import plain
from tasks.columns import built


@dataclass(frozen=True)
class Case:
    """A task with a model and a batch.

    Attributes:
        task: the task.
        make: makes the model.
        batch: all examples.
        even: whether every example weighs as much in the loss, so that parts of any sizes add up.
    """

    task: BaseTask
    make: Callable[[], nn.Module]
    batch: Any
    even: bool = True

    def parts(self, cuts: Sequence[int]) -> list[Any]:
        """The batch cut at these places."""
        ends = sorted({0, len(self), *(cut % len(self) for cut in cuts)})
        return [rows(self.batch, slice(start, end)) for start, end in pairwise(ends)]

    def __len__(self) -> int:
        return self.task.size(self.batch)


def rows(batch: Any, part: slice) -> Any:
    """Some examples of a batch."""
    if isinstance(batch, Tensor):
        return batch[part]
    if isinstance(batch, Mapping):
        return {name: value[part] for name, value in batch.items()}
    return tuple(value[part] for value in batch)


@torch.no_grad()
def judged(case: Case, model: nn.Module, batch: Any) -> dict[str, Any]:
    (found,) = Judge(case.task).sums([model.eval()], batch)
    return found


def sums_add_up(case: Case, cuts: Sequence[int]) -> None:
    """The sums of all parts together are those of the whole, and so is what they measure."""
    model, judge = built(case.make), Judge(case.task)
    whole = judged(case, model, case.batch)
    together = added(judged(case, model, part) for part in case.parts(cuts))
    assert whole.keys() == together.keys()
    assert together["examples"] == len(case)
    for name, value in whole.items():
        own = together[name]
        if isinstance(value, tuple):
            value, own = torch.cat(value), torch.cat(own)
        assert_close(torch.as_tensor(own), torch.as_tensor(value), rtol=1e-5, atol=1e-5)
    for name, value in judge.measure(whole).items():
        assert_close(torch.tensor(judge.measure(together)[name]), torch.tensor(value), rtol=1e-4, atol=1e-5)


def loss_is_the_mean(case: Case, cuts: Sequence[int]) -> None:
    """The loss of the whole is the mean of the parts' losses, by examples."""
    if not case.even:
        return
    model = built(case.make).train()
    whole = case.task.loss(model, case.batch).detach()
    parts = [(case.task.size(part), case.task.loss(model, part).detach()) for part in case.parts(cuts)]
    assert_close(sum(size * loss for size, loss in parts) / len(case), whole, rtol=1e-4, atol=1e-6)


def gradient_is_finite(case: Case, cuts: Sequence[int]) -> None:
    """The loss is a finite scalar, and its gradient finite and not zero everywhere."""
    model = built(case.make).train()
    loss = case.task.loss(model, case.batch)
    assert loss.dim() == 0
    assert loss.isfinite()
    loss.backward()
    gradients = [parameter.grad for parameter in model.parameters() if parameter.grad is not None]
    assert gradients
    assert all(bool(gradient.isfinite().all()) for gradient in gradients)
    assert any(bool(gradient.any()) for gradient in gradients)


def judging_is_deterministic(case: Case, cuts: Sequence[int]) -> None:
    """Judging twice gives the same, and leaves the model as it was."""
    model = built(case.make)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    first, second = judged(case, model, case.batch), judged(case, model, case.batch)
    assert_close(first, second, rtol=0, atol=0)
    assert_close(dict(model.state_dict()), before, rtol=0, atol=0)


def what_is_declared_is_measured(case: Case, cuts: Sequence[int]) -> None:
    """Every declared metric is measured, the main one is a number, and a measured loss is the loss."""
    model, judge = built(case.make), Judge(case.task)
    found = judge.measure(judged(case, model, case.batch))
    assert set(case.task.metrics) <= set(found)
    directions = judge.directions(found)
    assert isinstance(found[next(iter(directions))], float)
    if "loss" in found:
        with torch.no_grad():
            assert_close(found["loss"], float(case.task.loss(model.eval(), case.batch)), rtol=1e-4, atol=1e-6)


def training_makes_the_loss_and_the_main_metric_better(case: Case, cuts: Sequence[int]) -> None:
    """Steps along the gradient lower the loss; the main metric goes the way that is called better."""
    model, judge = built(case.make), Judge(case.task)
    before = judge.measure(judged(case, model, case.batch))
    optimizer = torch.optim.Adam(model.parameters(), lr=0.02)
    losses = []
    for _ in range(150):
        optimizer.zero_grad()
        loss = case.task.loss(model.train(), case.batch)
        loss.backward()
        losses.append(float(loss.detach()))
        optimizer.step()
    after = judge.measure(judged(case, model, case.batch))
    (main, better), *_ = judge.directions(after).items()
    assert losses[-1] < losses[0]
    assert (after[main] > before[main]) == (better == "higher")


def predictions_combine(case: Case, cuts: Sequence[int]) -> None:
    """Of one model twice the prediction is that model's; judging predictions is judging models."""
    if not can_combine(case.task):
        return
    model = built(case.make).eval()
    with torch.no_grad():
        one = case.task.predict(model, case.batch)
        assert_close(case.task.combine([one]), one, rtol=0, atol=0)
        assert_close(case.task.combine([one, one]), one)
        own = plain(case.task.sums(one, case.batch), task="", examples=len(case))
        together, *alone = Judge(case.task).sums([model, model], case.batch)
    assert_close(own, judged(case, model, case.batch), rtol=0, atol=0)
    assert_close(alone[0], own, rtol=0, atol=0)
    assert_close(together, own)


LAWS = (
    sums_add_up,
    loss_is_the_mean,
    gradient_is_finite,
    judging_is_deterministic,
    what_is_declared_is_measured,
    training_makes_the_loss_and_the_main_metric_better,
    predictions_combine,
)
