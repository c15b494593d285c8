"""Local training."""

from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from fedma.data import Split
from fedma.errors import InputError
from fedma.seeds import generator, global_generator, number
from fedma.tasks import BaseTask, Classification
from fedma.training.augment import augment
from fedma.training.compute import Compute
from fedma.training.freezing import check_trainable
from fedma.training.optimizer import optimizer
from fedma.training.schedule import Schedule
from fedma.units.state import tensors

_PLAIN = Compute()
_CLASSIFICATION = Classification()


@dataclass(frozen=True)
class Fit:
    """What a training did: mean loss of the last pass (nan without training), and samples seen over all passes."""

    loss: float
    samples_seen: int


def fit(
    model: nn.Module,
    data: Split,
    schedule: Schedule,
    *,
    rows: Tensor | None = None,
    frozen: Collection[str] = (),
    seed: int,
    name: tuple[str | int, ...],
    compute: Compute = _PLAIN,
    task: BaseTask = _CLASSIFICATION,
) -> Fit:
    """Train a model in place on a client's data.

    Args:
        model: the model; its normalisation layers keep updating their running statistics, frozen or not.
        data: the client's samples.
        schedule: how.
        rows: the positions of the client's samples in `data`; by default all.
        frozen: names of parameters that are not trained, besides those that do not require gradients.
        seed: with `name` decides the order of the samples, their augmentation, and dropout.
        name: of this training, such as ("client", 3, "round", 1).
        compute: how the arithmetic is done; the model is left on its device, in its layout.
        task: whose loss is minimised.

    Raises:
        InputError: no parameter requires gradients; no samples; batches of one sample, and batch normalisation, which
            needs two; augmentation of other than images; a loss that is no scalar, or a label that is none of the
            classes.
    """
    compute.place(model)
    trained = [t for n, t in tensors(model).items() if t.requires_grad and n not in frozen]
    rows = torch.arange(len(data)) if rows is None else rows
    steps = schedule.steps_of(len(_batches(rows, schedule.batch_size)))
    if steps:
        check_trainable(model)
    if not steps or not trained:
        return Fit(float("nan"), 0)
    if not len(rows):
        raise InputError("a client has no samples to train on; leave it out, or lower the number of clients")
    if len(rows) == 1 and any(isinstance(m, _BatchNorm) for m in model.modules()):
        raise InputError(
            "a client with a single sample cannot train batch normalisation: give it more, or leave it out"
        )
    draw = generator(seed, *name, "order")
    with _held(model, frozen), global_generator(draw.initial_seed(), device=compute.device):
        step, seen = _Step(model.train(), trained, schedule, compute, task, steps), 0
        for epoch, parts in enumerate(_passes(rows, schedule.batch_size, steps, draw)):
            total, last = torch.zeros((), device=compute.device), sum(map(len, parts))
            seen += last
            for part, batch in zip(parts, data.batches(parts, seed=number(seed, *name, "samples", epoch)), strict=True):
                if schedule.augment:
                    batch = _augmented(batch, draw)
                total += step(batch) * len(part)
    return Fit(float(total) / last, seen)


class _Step:
    """One step of the optimiser, on one batch."""

    def __init__(
        self,
        model: nn.Module,
        trained: Sequence[Tensor],
        schedule: Schedule,
        compute: Compute,
        task: BaseTask,
        steps: int,
    ) -> None:
        self.model, self.trained, self.compute, self.task = model, trained, compute, task
        self.schedule, self.steps, self.taken = schedule, steps, 0
        self.optimizer = optimizer(trained, schedule)
        self.proximal = schedule.proximal
        self.anchor = [t.detach().clone() for t in trained] if schedule.proximal else []

    def __call__(self, batch: Any) -> Tensor:
        """The mean loss before the step."""
        for tensor in self.trained:
            tensor.grad = None
        with self.compute.precisely(), _taught():
            loss = self.task.loss(self.model, self.compute.batch(batch))
        if loss.dim():
            raise InputError(
                f"loss of task {self.task.name!r} is of shape {tuple(loss.shape)}; it must be a scalar: the mean over "
                "the examples"
            )
        if not loss.requires_grad:  # the model uses nothing of what is trained
            return loss
        loss.backward()
        for tensor, start in zip(self.trained, self.anchor, strict=bool(self.anchor)):
            if tensor.grad is not None:
                tensor.grad.add_(tensor.detach() - start, alpha=self.proximal)
        if self.schedule.clip_gradients is not None:
            nn.utils.clip_grad_norm_(self.trained, self.schedule.clip_gradients)
        self.optimizer.step(self.schedule.share(self.taken, self.steps))
        self.taken += 1
        return loss.detach()


def _augmented(batch: Any, draw: torch.Generator) -> Any:
    """The batch with its images shifted and flipped."""
    if not isinstance(batch, (tuple, list)) or not isinstance(batch[0], Tensor):
        raise InputError("augment shifts the first tensor of a pair; leave it out, or transform samples in the data")
    return augment(batch[0], draw), *batch[1:]


@contextmanager
def _taught() -> Iterator[None]:
    """Inside, batch normalisation of a single value, and a label that is no class, raise errors that name the cause."""
    try:
        yield
    except IndexError as error:
        if "out of bounds" not in str(error):
            raise
        raise InputError(
            f"a label is none of the model's classes ({error}); labels are whole numbers from 0, below the number of "
            "outputs"
        ) from error
    except ValueError as error:
        if "more than 1 value per channel" not in str(error):
            raise
        raise InputError(
            f"batch normalisation needs more samples in a batch: raise the batch size ({error})"
        ) from error


def _passes(rows: Tensor, size: int, steps: int, draw: torch.Generator) -> Iterator[Sequence[Tensor]]:
    """The batches of each pass over the rows, each in another order; the last pass ends with the last step."""
    while steps:
        parts = _batches(rows[torch.randperm(len(rows), generator=draw)], size)[:steps]
        yield parts
        steps -= len(parts)


def _batches(order: Tensor, size: int) -> Sequence[Tensor]:
    """Batches in order; a last single sample joins the batch before it, since batch normalisation needs two."""
    parts = list(order.split(size))
    if len(parts) > 1 and len(parts[-1]) == 1:
        parts[-2:] = [torch.cat(parts[-2:])]
    return parts


@contextmanager
def _held(model: nn.Module, names: Collection[str]) -> Iterator[None]:
    """Inside, these parameters do not require gradients."""
    held = [t for n, t in tensors(model).items() if t.requires_grad and n in names]
    for tensor in held:
        tensor.requires_grad_(False)
    try:
        yield
    finally:
        for tensor in held:
            tensor.requires_grad_(True)
