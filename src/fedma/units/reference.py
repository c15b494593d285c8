"""Comparable forward passes: in float64 throughout, with the same random numbers, and with traces of their values.

The traces are sums over every intermediate result, which reordering units does not change. So two passes can be
compared even if their outputs say little (an argmax, a saturated sigmoid). They also show the first operation that
differs.
"""

import contextlib
import re
import sys
import warnings
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from fedma.seeds import global_generators
from fedma.units.inputs import Inputs, evaluating, given, results
from fedma.units.paths import running
from fedma.units.state import tensors
from fedma.units.storages import is_plain

HIGH = {
    torch.float16: torch.float64,
    torch.bfloat16: torch.float64,
    torch.float32: torch.float64,
    torch.complex32: torch.complex128,
    torch.complex64: torch.complex128,
}
"""The dtype that replaces each dtype of less precision."""
BITS = torch.ops.aten.view.dtype
"""Operations on the bits of numbers, which depend on the dtype."""
BLIND = re.compile(r"aten::(new_.*|.*_like|fill_|zero_)")
"""Operations that ignore the values of their operands."""
FLAT = 1e-12
"""By how much rounding may lift the mean of squares above the square of the mean, relative to it."""


@dataclass(frozen=True)
class Trace:
    """A summary of one operation's results that no reordering of units changes.

    Attributes:
        operation: its name.
        where: the path of the module that ran it.
        sums: the sum of the values, of their absolute values, and their Euclidean norm.
    """

    operation: str
    where: str
    sums: Tensor


@dataclass
class Pass:
    """The results of one forward pass.

    Attributes:
        outputs: every tensor and number of its result.
        traces: of the operations in order; empty unless asked for.
        flat: whether some operation made unequal numbers equal (a dead ReLU), so that reordering cannot show.
        asked: how many truth values and fractions Python code read, by which it may take one branch or another.
    """

    outputs: list[Tensor]
    traces: list[Trace]
    flat: bool = False
    asked: int = 0


def forward(
    model: nn.Module,
    inputs: Inputs,
    *,
    double: bool = True,
    traced: bool = False,
    watched: bool = True,
    turned: Collection[int] = (),
) -> Pass:
    """One forward pass in evaluation mode; equal models get equal random numbers.

    Args:
        model: a copy to be thrown away; it may keep something of the pass.
        inputs: arguments of its forward.
        double: compute in float64, whatever dtypes the model asks for; this includes casts and constants.
        traced: keep traces of all intermediate values.
        watched: see every operation. Otherwise there are no traces, and the model's own casts stay.
        turned: which of the answers that Python code reads are turned: true to false, positive to negative.
    """
    look = _Look(double=double, traced=traced, turned=turned)
    paths = running(model, look.path) if traced and watched else contextlib.nullcontext()
    with evaluating(model), steady(model, double=double), look if watched else contextlib.nullcontext(), paths:
        found = given(model, inputs)
    return Pass(found, look.traces, look.flat, look.asked)


def gradients(model: nn.Module, inputs: Inputs, *, double: bool = True, watched: bool = True) -> dict[str, Tensor]:
    """The gradient of a random sum of the outputs by each parameter on which they depend, by name.

    Args: as for `forward`.
    """
    own = {name: tensor.requires_grad_() for name, tensor in tensors(model).items() if isinstance(tensor, nn.Parameter)}
    look = _Look(double=double, traced=False) if watched else contextlib.nullcontext()
    with evaluating(model), steady(model, double=double), torch.enable_grad(), look:
        arguments = inputs.copied()
        found = results(model(*arguments.args, **arguments.kwargs))
        sums = [
            torch.where(out.isfinite(), out, 0.0).mul(torch.rand_like(out)).sum()
            for out in found
            if isinstance(out, Tensor) and out.requires_grad and _is_real(out)
        ]
        known = torch.autograd.grad(sums, list(own.values()), allow_unused=True) if sums else [None] * len(own)
    return {name: gradient for name, gradient in zip(own, known, strict=True) if gradient is not None}


@contextlib.contextmanager
def steady(model: nn.Module, *, double: bool) -> Iterator[None]:
    """No fused attention, no compiler, no warnings, fixed random numbers. Afterwards everything is restored."""
    fused, kind = torch.backends.mha.get_fastpath_enabled(), torch.get_default_dtype()
    with warnings.catch_warnings(), seeded(model), uncompiled():
        warnings.simplefilter("ignore")
        torch.backends.mha.set_fastpath_enabled(False)
        try:
            torch.set_default_dtype(torch.float64 if double else kind)
            yield
        finally:
            torch.set_default_dtype(kind)
            torch.backends.mha.set_fastpath_enabled(fused)


@contextlib.contextmanager
def seeded(model: nn.Module) -> Iterator[None]:
    """The global random generators give the same numbers every time. Afterwards their state is restored."""
    gpus = {tensor.device.index or 0 for tensor in tensors(model).values() if tensor.is_cuda}
    with global_generators(0, gpus=gpus):
        yield


def uncompiled() -> contextlib.AbstractContextManager[None]:
    """Run compiled modules without compilation, because every copy would be compiled anew."""
    return torch.compiler.set_stance("force_eager") if "torch._dynamo" in sys.modules else contextlib.nullcontext()


def parting(first: Sequence[Trace], second: Sequence[Trace], tolerance: float) -> Trace | None:
    """The first operation whose values differ between two passes by more than their order; None if there is none."""
    for one, other in zip(first, second, strict=False):
        if one.operation != other.operation or not _alike(one.sums, other.sums, tolerance):
            return one
    return None if len(first) == len(second) else (first or second)[-1]


def _alike(one: Tensor, other: Tensor, tolerance: float) -> bool:
    near = (one - other).abs() <= tolerance * one[[1, 1, 2]]
    return bool((near | (one == other) | (one.isnan() & other.isnan())).all())


class _Look(TorchDispatchMode):
    """Runs every operation, in float64 on request, and keeps traces of its results."""

    def __init__(self, *, double: bool, traced: bool, turned: Collection[int] = ()) -> None:
        super().__init__()
        self.double, self.traced, self.turned = double, traced, turned
        self.flat = False
        self.asked = 0
        self._made: list[tuple[str, str, Tensor]] = []
        self.path: list[str] = []

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        """Keeps the compiler from being imported."""
        return False

    @property
    def traces(self) -> list[Trace]:
        """The traces of all operations so far, moved to the CPU together."""
        sums = torch.stack([own for *_, own in self._made]).cpu() if self._made else ()
        return [Trace(name, where, own) for (name, where, _), own in zip(self._made, sums, strict=True)]

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if not all(kind.__torch_dispatch__ is Tensor.__torch_dispatch__ for kind in types):
            return NotImplemented  # a subclass says first what it makes of the operation
        with torch._C.DisableTorchFunction():
            return self._take(func, args, kwargs or {})

    def _take(self, func: Any, args: Any, kwargs: Any) -> Any:
        schema = func._schema
        changes = schema.is_mutable
        view = not changes and any(result.alias_info is not None for result in schema.returns)
        if self.double and func is not BITS:
            raised = _raised_kinds if changes or view else _raised
            args, kwargs = [raised(a) for a in args], {name: raised(a) for name, a in kwargs.items()}
        result = func(*args, **kwargs)
        if isinstance(result, bool | float):
            return self._answer(result)
        if self.double and not changes and not view:
            result = _raised(result)
        if self.traced and not view:
            self._trace(schema.name, args, result)
        return result

    def _answer(self, answer: bool | float) -> bool | float:
        """What Python code is told of a tensor: the other answer, where that is asked for."""
        self.asked += 1
        if self.asked - 1 not in self.turned:
            return answer
        return not answer if isinstance(answer, bool) else -answer

    def _trace(self, name: str, args: Sequence[Any], result: Any) -> None:
        made = [tensor for tensor in _tensors(result) if _is_real(tensor)]
        if not made:
            return
        sums = [_sums(tensor) for tensor in made]
        self._made.append((name, self.path[-1] if self.path else "", torch.stack(sums).sum(0)))
        if (
            not self.flat
            and not BLIND.fullmatch(name)
            and all(t.numel() > 1 and _is_flat(t, own) for t, own in zip(made, sums, strict=True))
        ):
            operands = [tensor for tensor in _tensors(args) if _is_real(tensor) and tensor.numel() > 1]
            self.flat = bool(operands) and not any(_is_flat(tensor, _sums(tensor)) for tensor in operands)


def _raised(thing: Any) -> Any:
    """An argument or result in float64."""
    if isinstance(thing, Tensor):
        return thing.to(HIGH[thing.dtype]) if thing.dtype in HIGH and not _is_zeros(thing) else thing
    if isinstance(thing, list | tuple):
        return type(thing)(_raised(each) for each in thing)
    return _raised_kinds(thing)


def _raised_kinds(thing: Any) -> Any:
    """The same argument, with float64 instead of a dtype of less precision."""
    return HIGH.get(thing, thing) if isinstance(thing, torch.dtype) else thing


def _tensors(thing: Any) -> list[Tensor]:
    """The tensors among the arguments or results of an operation, which nest no deeper than a list."""
    things = thing if isinstance(thing, list | tuple) else [thing]
    flat = [own for each in things for own in (each if isinstance(each, list | tuple) else [each])]
    return [own for own in flat if isinstance(own, Tensor)]


def _is_zeros(tensor: Tensor) -> bool:
    """Whether a tensor is one of zeros that take no memory, with which hardly any operation works."""
    return tensor.layout is torch.strided and not tensor.is_nested and tensor._is_zerotensor()


def _is_real(tensor: Tensor) -> bool:
    """Whether the numbers of a tensor can be summed."""
    kind = type(tensor).__torch_dispatch__ is Tensor.__torch_dispatch__
    return kind and tensor.is_floating_point() and is_plain(tensor) and not tensor.is_meta and tensor.numel() > 0


def _sums(tensor: Tensor) -> Tensor:
    """Sums over a tensor that no reordering changes."""
    whole = tensor.detach().double()
    return torch.stack([whole.sum(), *(torch.linalg.vector_norm(whole, order) for order in (1, 2))])


def _is_flat(tensor: Tensor, sums: Tensor) -> bool:
    """Whether all entries of a tensor are equal. Only then is the mean of squares the square of the mean."""
    whole, _, second = sums.tolist()
    return tensor.numel() * second**2 <= whole**2 * (1 + FLAT)
