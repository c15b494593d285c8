"""Example inputs, and a model made ready to be looked at without being changed."""

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from fedma.errors import GraphError
from fedma.units.state import tensors, unsaved
from fedma.units.tracer import Tracer
from fedma.units.values import Value

Examples = Tensor | Sequence[Any] | Mapping[str, Any]
"""A tensor, a sequence of positional arguments, or a mapping of keyword arguments."""


@dataclass(frozen=True)
class Inputs:
    """Arguments of a model's forward."""

    args: tuple[Any, ...] = ()
    kwargs: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def of(cls, examples: Examples) -> "Inputs":
        """From a tensor, a sequence of positional arguments or a mapping of keyword arguments."""
        if isinstance(examples, Mapping):
            return cls(kwargs=dict(examples))
        if isinstance(examples, list | tuple):
            return cls(args=tuple(examples))
        return cls(args=(examples,))

    def map(self, function: Any) -> "Inputs":
        """The same arguments with a function applied to every tensor."""
        args, kwargs = pytree.tree_map_only(Tensor, function, (self.args, self.kwargs))
        return Inputs(args, kwargs)


@contextlib.contextmanager
def at_rest(model: nn.Module) -> Iterator[None]:
    """Evaluation mode, no gradients, no fused attention; everything as it was afterwards, all tensors included."""
    own = [(tensor, tensor.detach().clone()) for tensor in tensors(model).values()]
    fused = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        with evaluating(model):
            yield
    finally:
        torch.backends.mha.set_fastpath_enabled(fused)
        with torch.no_grad():
            for tensor, before in own:
                if not torch.equal(tensor, before):
                    tensor.copy_(before)


@contextlib.contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Evaluation mode, no gradients; each module in its own mode afterwards."""
    training = {module: module.training for module in model.modules()}
    try:
        model.eval()
        with torch.no_grad():
            yield
    finally:
        for module, mode in training.items():
            module.training = mode


def outputs(model: nn.Module, inputs: Inputs) -> list[Tensor]:
    """Every tensor that the model gives for these inputs, in evaluation mode; works on copies of the inputs."""
    with at_rest(model):
        own = inputs.map(torch.clone)
        result = model(*own.args, **own.kwargs)
    return [tensor.detach().clone() for tensor in pytree.tree_leaves(result) if isinstance(tensor, Tensor)]


def run(model: nn.Module, inputs: Inputs) -> list[Tensor]:
    """The same, for a model that the user gave.

    Raises:
        GraphError: the model has no parameters, does not run on these inputs, or gives no tensor.
    """
    if not any(True for _ in model.parameters()):
        raise GraphError(f"{type(model).__name__} has no parameters, so there are no units to find")
    try:
        found = outputs(model, inputs)
    except Exception as error:
        raise GraphError(
            f"{type(model).__name__} does not run on the example inputs: {type(error).__name__}: {error}; "
            "give a tensor, a tuple of positional arguments or a dict of keyword arguments as its forward takes them"
        ) from error
    if not found:
        raise GraphError(
            f"{type(model).__name__} gives no tensor that could be compared; let its forward return a tensor, "
            "or tuples, lists and dicts of tensors"
        )
    return found


def own_all(tracer: Tracer, model: nn.Module) -> dict[str, Value]:
    """Values for all the model's tensors: parameters and saved floating-point buffers may move, the others stay.

    A buffer that is not saved is made anew by the model's constructor, so nothing may be moved in it; numbers of
    positions and masks mean what they say, and where they are saved they may be others tomorrow.
    """
    parameters = {id(parameter) for parameter in model.parameters()}
    fixed = unsaved(model)
    for name, tensor in tensors(model).items():
        saved = id(tensor) not in fixed
        movable = id(tensor) in parameters or (tensor.is_floating_point() and saved)
        tracer.owned[name] = tracer.own(name, tensor) if movable else tracer.constant(tensor, name, lasting=not saved)
    return tracer.owned
