"""Whether a task, a model and data fit, before training."""

import warnings
from typing import Any

import torch
from torch import Tensor, nn

from fedma.errors import InputError
from fedma.seeds import global_generator
from fedma.tasks.calling import call
from fedma.tasks.judging import Judge
from fedma.units.inputs import evaluating
from fedma.units.resize import copied


def check_fit(judge: Judge, model: nn.Module, batch: Any, *, outputs: int, name: str) -> dict[str, Any]:
    """Try the task on a few examples: in evaluation mode, then its loss in training mode; what it measures.

    Nothing is differentiated, and the model stays as it is.

    Args:
        judge: the task and metrics.
        model: on the CPU.
        batch: a few examples.
        outputs: how many outputs are wanted.
        name: of the model, for messages.

    Raises:
        InputError: the model does not take the inputs, does not fit the task, or the loss is no finite scalar that
            depends on the model.
    """
    task = judge.task
    with global_generator(0):
        with evaluating(model):
            _taken(model, task.inputs(batch), name)
            try:
                task.check(model, batch, outputs=outputs)
            except InputError as error:
                raise InputError(f"model {name!r} {error}") from error
            with warnings.catch_warnings():
                # What metrics say of two examples says nothing of the data.
                warnings.simplefilter("ignore")
                measured = judge.measure(_tried(judge, model, batch)[0])
        check_loss(_loss(judge, copied(model).train(), batch), task.name, model)
    return measured


def check_loss(loss: object, task: str, model: nn.Module) -> None:
    """Refuse what is not a finite scalar that depends on the model.

    Raises:
        InputError: what it is instead.
    """
    if not isinstance(loss, Tensor) or loss.dim():
        found = f"a tensor of shape {tuple(loss.shape)}" if isinstance(loss, Tensor) else f"a {type(loss).__name__}"
        raise InputError(f"loss of task {task!r} is {found}; it must be a scalar tensor: the mean over the examples")
    if not bool(loss.isfinite()):
        raise InputError(f"loss of task {task!r} is {loss.item()} at the start; look at the inputs and the targets")
    if not loss.requires_grad and any(parameter.requires_grad for parameter in model.parameters()):
        raise InputError(
            f"loss of task {task!r} does not depend on the model's parameters; compute it with PyTorch's operations, "
            "without detach, item or numpy"
        )


def _taken(model: nn.Module, inputs: Any, name: str) -> None:
    """The model takes the inputs."""
    try:
        call(model, inputs)
    except InputError:
        raise
    except (RuntimeError, ValueError, TypeError, IndexError, KeyError) as error:
        shape = f"inputs of shape {tuple(inputs.shape[1:])}" if isinstance(inputs, Tensor) else "the data's inputs"
        raise InputError(f"model {name!r} does not take {shape}: {error}") from error


def _tried(judge: Judge, model: nn.Module, batch: Any) -> list[dict[str, Any]]:
    try:
        return judge.sums([model], batch)
    except InputError:
        raise
    except (RuntimeError, ValueError, TypeError, IndexError, KeyError, AttributeError) as error:
        raise InputError(f"judge of task {judge.task.name!r} fails ({type(error).__name__}: {error})") from error


def _loss(judge: Judge, model: nn.Module, batch: Any) -> object:
    try:
        with torch.enable_grad():
            return judge.task.loss(model, batch)
    except InputError:
        raise
    except (RuntimeError, ValueError, TypeError, IndexError, KeyError, AttributeError) as error:
        raise InputError(
            f"loss of task {judge.task.name!r} fails in training mode ({type(error).__name__}: {error})"
        ) from error
