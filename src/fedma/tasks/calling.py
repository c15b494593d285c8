"""Calling a model with a batch, and reading what it answers."""

from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

from fedma.errors import InputError

LABELS = ("labels", "label", "targets", "target")
"""Entries of a mapping that are no arguments of the model, but what it should predict."""

_LOGITS = ("logits", "out")
"""Names of the main output: of Hugging Face's models, of torchvision's segmentation models."""


def arguments(batch: Any) -> Any:
    """The model's arguments in a batch: one tensor, a tuple of positional ones, or a mapping of keyword ones."""
    if isinstance(batch, Mapping):
        return {name: value for name, value in batch.items() if name not in LABELS}
    if isinstance(batch, (tuple, list)):
        return batch[0] if len(batch) <= 2 else tuple(batch[:-1])
    return batch


def targets(batch: Any) -> Any:
    """What the model should predict: a mapping's `labels`, or the last of a tuple.

    Raises:
        InputError: the batch has neither.
    """
    if isinstance(batch, Mapping):
        found = [batch[name] for name in LABELS if name in batch]
        if found:
            return found[0]
        raise InputError(f"a batch has {', '.join(map(str, batch))}, but no 'labels'; rename the entry to predict")
    if isinstance(batch, (tuple, list)) and len(batch) > 1:
        return batch[-1]
    raise InputError(f"a batch is a {type(batch).__name__} without targets; let it be a pair (inputs, targets)")


def call(model: nn.Module, inputs: Any) -> Any:
    """What the model answers."""
    if isinstance(inputs, Tensor):
        return model(inputs)
    if isinstance(inputs, Mapping):
        return model(**inputs)
    if isinstance(inputs, (tuple, list)):
        return model(*inputs)
    return model(inputs)


def logits(answer: Any) -> Tensor:
    """The main output: the answer itself, its `logits` or `out`, or the first tensor of a tuple.

    Models such as GoogLeNet and Inception answer with further outputs in training mode. These come after the main one
    and have no part in the loss.

    Raises:
        InputError: there is no such tensor.
    """
    if isinstance(answer, Tensor):
        return answer
    if isinstance(answer, Mapping):
        found = next((answer[name] for name in _LOGITS if name in answer), None)
    else:
        found = next((getattr(answer, name) for name in _LOGITS if hasattr(answer, name)), None)
    if found is None and isinstance(answer, (tuple, list)):
        found = next((part for part in answer if isinstance(part, Tensor)), None)
    if not isinstance(found, Tensor):
        what = f"{type(answer).__name__} of {', '.join(map(str, answer))}" if isinstance(answer, Mapping) else ""
        raise InputError(
            f"the model answers with a {what or type(answer).__name__}, in which no tensor is known to be the "
            "prediction; answer with a tensor, 'logits', or a tuple that begins with it, or write a task of your own"
        )
    return found
