"""Example inputs, and ways to run a model on them without changing it."""

import contextlib
import copy
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from fedma.errors import GraphError
from fedma.units.refusals import refuse
from fedma.units.state import tensors, unsaved
from fedma.units.tracer import Tracer
from fedma.units.values import Value
from fedma.units.walk import leaves, mapped

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

    def map(self, function: Callable[[Tensor], Tensor]) -> "Inputs":
        """The same arguments with a function applied to every tensor, however deeply nested."""
        return self.each(lambda leaf: function(leaf) if isinstance(leaf, Tensor) else leaf)

    def each(self, function: Callable[[Any], Any]) -> "Inputs":
        """The same arguments with a function applied to every tensor, array and number."""
        args, kwargs = mapped((list(self.args), self.kwargs), function)
        return Inputs(tuple(args), kwargs)

    def copied(self) -> "Inputs":
        """The same arguments with copies of their tensors and arrays, so that a forward pass may write into them."""
        return self.each(lambda leaf: leaf.clone() if isinstance(leaf, Tensor) else copy.copy(leaf))

    @property
    def unseen(self) -> bool:
        """Whether there are arrays or fractions outside tensors, which Python code may compare unseen."""
        return any(isinstance(leaf, float | np.floating | np.ndarray) for leaf in leaves((self.args, self.kwargs)))

    @property
    def hidden(self) -> bool:
        """Whether the inputs hold arrays or rows of numbers. A forward pass may make tensors of them unseen."""
        direct = {id(argument) for argument in (*self.args, *self.kwargs.values())}
        others = [leaf for leaf in leaves((self.args, self.kwargs)) if not isinstance(leaf, Tensor)]
        return any(np.size(leaf) > 1 for leaf in others) or sum(id(leaf) not in direct for leaf in others) > 1


@contextlib.contextmanager
def at_rest(model: nn.Module) -> Iterator[None]:
    """Evaluation mode, no gradients, no fused attention. Afterwards everything is restored, all tensors included."""
    own = [(tensor, tensor.detach().clone()) for tensor in tensors(model).values()]
    fused = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        with keeping(model), evaluating(model):
            yield
    finally:
        torch.backends.mha.set_fastpath_enabled(fused)
        with torch.no_grad():
            for tensor, before in own:
                if not torch.equal(tensor, before):
                    tensor.copy_(before)


@contextlib.contextmanager
def keeping(model: nn.Module) -> Iterator[None]:
    """Restore every module's attributes afterwards, including the contents of its lists and dicts."""
    kept = [_kept(module) for module in model.modules()]
    try:
        yield
    finally:
        for back in kept:
            back()


def _kept(module: nn.Module) -> Callable[[], None]:
    """A function that restores a module's present attributes, including the contents of lists and dicts."""
    before = dict(vars(module))
    contents = [(value, copy.copy(value)) for value in before.values() if type(value) in (list, dict, set)]

    def back() -> None:
        vars(module).clear()
        vars(module).update(before)
        for value, inside in contents:
            value.clear()
            value.extend(inside) if isinstance(value, list) else value.update(inside)

    return back


Marks = list[tuple[Any, int]]
"""What modules hold besides parameters, buffers and hooks, with how often each tensor was written to."""
EVERY = vars(nn.Module()).keys()
"""Attributes of every module."""


def marks(model: nn.Module) -> Marks:
    """What a forward pass may leave behind in a model, as it is now; nothing if a module cannot be searched."""
    own = [value for module in model.modules() for name, value in vars(module).items() if name not in EVERY]
    with contextlib.suppress(Exception):
        return [(leaf, _version(leaf)) for leaf in leaves(own, skip=_is_used_up)]
    return []


def _version(leaf: Any) -> int:
    return leaf._version if isinstance(leaf, Tensor) and not leaf.is_inference() else 0


def _is_used_up(thing: Any) -> bool:
    """Whether a look at a thing would change it."""
    return isinstance(thing, Iterator)


def unmarked(before: Marks, after: Marks) -> bool:
    """Whether nothing was left behind between two looks."""
    if len(before) != len(after):
        return False
    return all(old is new and n == m for (old, n), (new, m) in zip(before, after, strict=True))


@contextlib.contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Evaluation mode, no gradients. Afterwards each module is in its own mode again."""
    training = {module: module.training for module in model.modules()}
    try:
        model.eval()
        with torch.no_grad():
            yield
    finally:
        for module, mode in training.items():
            module.training = mode


def outputs(model: nn.Module, inputs: Inputs) -> list[Tensor]:
    """Every tensor, array and number that the model returns for these inputs. It runs on copies of the inputs.

    The model runs in evaluation mode and is left unchanged. Results may be nested; see `fedma.units.walk.leaves`.
    """
    with at_rest(model):
        return given(model, inputs)


def given(model: nn.Module, inputs: Inputs) -> list[Tensor]:
    """As `outputs`, but without restoring the model's state: for a copy that is thrown away."""
    own = inputs.copied()
    found = results(model(*own.args, **own.kwargs))
    return [dense(torch.as_tensor(leaf).detach()).clone() for leaf in found]


def dense(tensor: Tensor) -> Tensor:
    """The numbers of a tensor of any kind (sparse, nested, quantised) as an ordinary one."""
    if tensor.is_nested:
        return tensor.to_padded_tensor(0.0)
    if tensor.is_quantized:
        return tensor.dequantize()
    return tensor.to_dense() if tensor.layout is not torch.strided else tensor


def results(result: Any) -> list[Any]:
    """The leaves of a model's result that count as outputs: all except a cache, which only the model itself reads."""
    return list(leaves(result, skip=_is_cache))


def _is_cache(thing: Any) -> bool:
    return any(kind.__name__.endswith("Cache") for kind in type(thing).__mro__)


def run(model: nn.Module, inputs: Inputs) -> list[Tensor]:
    """As `outputs`, for a user's model: errors say what to do.

    Raises:
        GraphError: such a model cannot be examined, does not run on these inputs, or returns no tensor.
    """
    refuse(model)
    try:
        found = outputs(model, inputs)
    except Exception as error:
        raise GraphError(
            f"{type(model).__name__} does not run on the example inputs: {type(error).__name__}: {error}; "
            "give a tensor, a tuple of positional arguments or a dict of keyword arguments as its forward takes them"
        ) from error
    if all(tensor.dim() == 0 and not tensor.is_floating_point() for tensor in found):
        raise GraphError(
            f"{type(model).__name__} gives no tensor that could be compared; let its forward return a tensor, "
            "or anything that holds tensors, arrays or floats"
        )
    return found


def own_all(tracer: Tracer, model: nn.Module) -> dict[str, Value]:
    """Values for all the model's tensors. Parameters and saved floating-point buffers may move, the others stay.

    The model's constructor makes unsaved buffers anew, so their entries must stay. Entries of position numbers and
    masks have a meaning of their own, so they stay too, even in saved buffers.
    """
    parameters = {id(parameter) for parameter in model.parameters()}
    fixed = unsaved(model)
    for name, tensor in tensors(model).items():
        saved = id(tensor) not in fixed
        movable = id(tensor) in parameters or (tensor.is_floating_point() and saved)
        tracer.owned[name] = tracer.own(name, tensor) if movable else tracer.constant(tensor, name, lasting=not saved)
    return tracer.owned
