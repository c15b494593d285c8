"""Models for which no unit graph can be derived. Each is refused with the reason and what to give instead."""

from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from fedma.errors import GraphError
from fedma.units.state import tensors

QUANTISED = ("torch.ao.nn.quantized", "torch.nn.quantized", "torch.ao.nn.intrinsic.quantized")
"""Packages of modules whose weights are packed integers."""
SHARDED = ("DTensor", "ShardedTensor", "FullyShardedDataParallel")
"""Classes whose tensors are distributed over processes."""


def refuse(model: Any) -> None:
    """Refuse anything but an ordinary, complete and initialised module.

    Raises:
        GraphError: the model is refused; the message says why and what to give instead.
    """
    if not isinstance(model, nn.Module):
        raise GraphError(f"{_what(model)}; give a torch.nn.Module and example inputs for its forward")
    name = type(model).__name__
    for path, module in model.named_modules():
        if why := _refused(module):
            at = f" in its part {path!r}" if path else ""
            raise GraphError(f"{name} cannot be looked into{at}: {why}")
    if not any(True for _ in model.parameters()):
        raise GraphError(f"{name} has no parameters, so there are no units to find")
    for path, tensor in tensors(model).items():
        if why := _unusable(tensor):
            raise GraphError(f"{name} cannot be run: {path!r} {why}")


def _what(thing: Any) -> str:
    """A description of the object that was given instead of a module."""
    if thing is None:
        return "the model is None"
    if isinstance(thing, type):
        return f"{thing.__name__} is a class, not a model made by calling it"
    if isinstance(thing, Mapping) and all(isinstance(value, Tensor) for value in thing.values()):
        return "this is a state dict, which says nothing of how its tensors are used"
    if isinstance(thing, torch.optim.Optimizer):
        return f"{type(thing).__name__} is an optimiser, not a model"
    if isinstance(thing, list | tuple):
        return f"this is a {type(thing).__name__} of {len(thing)} things, not one model"
    if callable(thing) and not hasattr(thing, "__name__"):
        return f"{type(thing).__name__} can be called, but its weights are out of reach"
    if callable(thing):
        return f"{getattr(thing, '__name__', type(thing).__name__)} is a function, whose weights are out of reach"
    return f"{type(thing).__name__} is not a model"


def _refused(module: nn.Module) -> str:
    """Why a module cannot be examined; empty if it can."""
    if isinstance(module, torch.jit.ScriptModule):
        return "it is compiled by TorchScript, whose weights cannot be changed in size; give the original nn.Module"
    if type(module).__module__.startswith(QUANTISED):
        return "its weights are quantised, packed as integers; give the model as it was before quantisation"
    if _is_one_of(type(module), SHARDED):
        return "its weights are spread over processes; give the whole model, gathered on one"
    return ""


def _unusable(tensor: Tensor) -> str:
    """Why a model with this tensor cannot be run or changed; empty if it can."""
    if is_lazy(tensor):
        return "is lazy and has no shape yet; run the model once, then give it"
    if tensor.is_meta:
        return "is on the meta device and has no values; use model.to_empty(device=...) and load its weights"
    if tensor.is_quantized:
        return "is quantised; give the model as it was before quantisation"
    if _is_one_of(type(tensor), SHARDED):
        return "is spread over processes; give the whole model, gathered on one"
    return ""


def _is_one_of(kind: type, names: Iterable[str]) -> bool:
    return any(base.__name__ in names for base in kind.__mro__)
