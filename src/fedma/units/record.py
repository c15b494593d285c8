"""Front end one: a recording of one forward pass, operation by operation, which any model that runs allows."""

import contextlib
import functools
import sys
import threading
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils import _pytree as pytree
from torch.utils._python_dispatch import TorchDispatchMode

from fedma.units import interpret, registry
from fedma.units.inputs import Inputs, own_all, results
from fedma.units.paths import running
from fedma.units.program import READ, Held, Kind, Operation, Program, Ref
from fedma.units.state import tensors, unsaved
from fedma.units.storages import Storage, Storages, is_allocated, is_plain, window
from fedma.units.tracer import Tracer
from fedma.units.values import Shape, flat, mapped
from fedma.units.walk import leaves

EXPOSED = "its memory is read outside PyTorch"
CONSTANT_LIMIT = 10_000_000
"""Constants with more entries than this are not searched for axes along which they are uniform."""


def trace(model: nn.Module, inputs: Inputs) -> Tracer:
    """What the operations of one forward pass say."""
    tracer = Tracer()
    own_all(tracer, model)  # before the pass, which may write to buffers
    interpret.read(record(model, inputs), tracer)
    return tracer


def record(model: nn.Module, inputs: Inputs) -> Program:
    """One forward pass, written down.

    Args:
        model: runs as it is; put it in evaluation mode before (`fedma.units.inputs.at_rest`).
        inputs: what it is called with; works on copies of the tensors.
    """
    recorder = _run(model, inputs)
    if recorder.strangers:
        before = {tensor.data_ptr() for tensor in recorder.strangers}
        again = _run(model, inputs)
        recorder.program.blind |= any(tensor.data_ptr() not in before for tensor in again.strangers)
        recorder.program.unseen |= recorder.program.blind
    return recorder.program


def _run(model: nn.Module, inputs: Inputs) -> "Recorder":
    recorder, inputs = Recorder(hidden=inputs.hidden), inputs.copied()
    fixed = unsaved(model)
    for name, tensor in tensors(model).items():
        recorder.own(name, tensor, constant=id(tensor) in fixed)
    for tensor in _tensors(list(leaves((inputs.args, inputs.kwargs)))):
        recorder.note(tensor, "input")
    paths = running(model, recorder.path, _layers(recorder))
    with torch.no_grad(), unfused(), paths, _threads(recorder), _Exits(recorder), recorder:
        outputs = results(model(*inputs.args, **inputs.kwargs))
    recorder.end(_tensors(outputs))
    return recorder


class Recorder(TorchDispatchMode):
    """Runs every operation as it is and writes it down.

    Attributes:
        program: what has been written.
        path: of the modules that are running, innermost last.
        calls: how many calls of PyTorch's functions are going on, one inside the other.
        strangers: constants of which it is not known where they come from.

    Args:
        hidden: whether inputs stand outside tensors, so that tensors which no operation made may show them.
    """

    def __init__(self, *, hidden: bool = False) -> None:
        super().__init__()
        self.program = Program()
        self.hidden = hidden
        self.path: list[str] = []
        self.calls = 0
        self.strangers: list[Tensor] = []
        self._storages = Storages()
        self._numbers: dict[Storage, dict[Any, int]] = {}

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        """Keeps the compiler from being imported."""
        return False

    def own(self, name: str, tensor: Tensor, *, constant: bool) -> None:
        """One of the model's own tensors; one that shows the same as another has a name more."""
        known = self._known(tensor)
        if known is None:
            self.note(tensor, "own", names=(name,), constant=constant)
        else:
            held = self.program.tensors[known]
            self.program.tensors[known] = Held(**{**vars(held), "names": (*held.names, name)})

    def number(self, tensor: Tensor) -> int:
        """The number of a tensor; one that no operation made is a constant."""
        known = self._known(tensor)
        return self._met(tensor) if known is None else known

    def note(self, tensor: Tensor, kind: Kind, /, *, constant: bool = False, **facts: Any) -> int:
        """A number for a tensor that is met for the first time."""
        fresh = kind in ("made", "input")
        storage = self._storages.find(tensor) or self._storages.add(tensor, constant=constant, fresh=fresh)
        storage.wrote(tensor)
        number = self._numbers.setdefault(storage, {})[window(tensor)] = len(self.program.tensors)
        strides, offset = (tensor.stride(), int(tensor.storage_offset())) if is_plain(tensor) else ((), 0)
        shape = tuple(tensor.shape) if not tensor.is_nested else ()
        whole = tensor.numel() * tensor.itemsize == storage.size and _is_dense(shape, strides)
        self.program.tensors.append(Held(kind, shape, strides, offset, storage.number, whole, tensor.dtype, **facts))
        return number

    def end(self, outputs: list[Tensor]) -> None:
        """The model gave these back."""
        self.program.outputs = [self.number(tensor) for tensor in outputs]
        self.program.blind |= any(self._storages[tensor].hides(tensor) for tensor in outputs)
        self.program.unseen |= self.program.blind

    def leaves(self, numbers: Iterable[int], why: str) -> None:
        """These tensors become something that no operation shows."""
        refs = [Ref(number) for number in numbers]
        self.program.operations.append(Operation(None, refs, {}, (), where=self._where, leaves=why))

    def rebound(self, tensor: Tensor, times: int = 0) -> None:
        """A tensor shows other memory from now on."""
        if self._known(tensor) is None:
            self._met(tensor, expected=True)
        self._storages[tensor].wrote(tensor, times)
        self.program.unseen = True

    def expose(self, tensor: Tensor) -> None:
        """All that shares a tensor's memory leaves the sight of PyTorch."""
        self.number(tensor)
        self.leaves(self._numbers[self._storages[tensor]].values(), EXPOSED)
        self.program.unseen = True

    @property
    def _where(self) -> str:
        return self.path[-1] if self.path else ""

    def _known(self, tensor: Tensor) -> int | None:
        storage = self._storages.find(tensor)
        return None if storage is None else self._numbers[storage].get(window(tensor))

    def _met(self, tensor: Tensor, *, expected: bool = False) -> int:
        """A tensor out of nowhere: on memory that is known, which nobody saw it take, or a constant."""
        storage = self._storages.find(tensor) or self._storages.around(tensor)
        if storage is not None:
            self.leaves(self._numbers[storage].values(), EXPOSED)
        elif not expected and tensor.dim() and is_allocated(tensor):
            self.strangers.append(tensor)
        if self.hidden and tensor.numel() > 1 and storage is None:
            return self.note(tensor, "input")
        free = _free(tensor) if storage is None else (False,) * tensor.dim()
        return self.note(tensor, "constant", constant=storage is None, tensor=tensor, free=free)

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if not all(kind.__torch_dispatch__ is Tensor.__torch_dispatch__ for kind in types):
            return NotImplemented
        with torch._C.DisableTorchFunction():
            return self._take(func, args, kwargs or {})

    def _take(self, func: Any, args: Any, kwargs: Any) -> Any:
        name = registry.name_of(func)
        if name == "set":
            result = func(*args, **kwargs)
            self.rebound(result, times=1)
            return result
        if name == "lift_fresh" and self._known(args[0]) is None:
            self._met(args[0], expected=self.calls > 0)
        args_, kwargs_ = mapped(Tensor, lambda tensor: Ref(self.number(tensor)), (args, kwargs))
        given = [argument for argument in flat((args, kwargs)) if isinstance(argument, Tensor)]
        self.program.blind |= any(self._storages[tensor].hides(tensor) for tensor in given)
        constants = {
            self.number(t): _is_level(t) for t in given if self._storages[t].constant and t.numel() <= CONSTANT_LIMIT
        }
        written = _written(func, args, kwargs)
        constant = self._is_constant(name, given, written)
        targets = tuple(self.number(tensor) for tensor in written)
        shapes = [tensor.shape for tensor in written]
        result = func(*args, **kwargs)
        results = list(result) if isinstance(result, list | tuple) else [result]
        numbers = tuple(self._made(r, constant) if isinstance(r, Tensor) else None for r in results)
        for tensor, shape in zip(written, shapes, strict=True):
            storage = self._storages.find(tensor)
            if storage is not None:
                storage.constant &= constant
                storage.wrote(tensor, 1 if tensor.shape == shape else 2)
        self.program.operations.append(
            Operation(
                func, args_, kwargs_, numbers, targets, self._where, constants, _leaving(func, results, given, written)
            )
        )
        return result

    def _made(self, tensor: Tensor, constant: bool) -> int:
        known = self._known(tensor)
        return self.note(tensor, "made", constant=constant) if known is None else known

    def _is_constant(self, name: str, given: list[Tensor], written: list[Tensor]) -> bool:
        """Whether an operation computes from constants alone; where it makes entries equal, only their value counts."""
        rule = registry.find(name)
        if rule is not None and rule.makes_uniform:
            given = given[1:]
        return all(self._storages[tensor].constant for tensor in given)


def _leaving(func: Any, results: list[Any], given: list[Tensor], written: list[Tensor]) -> str:
    """Why what an operation was given leaves PyTorch: it makes a number, or does who knows what with them."""
    if not given or written or any(isinstance(result, Tensor) for result in results):
        return ""
    return READ if results != [None] or func.namespace != "aten" else ""


def _written(func: Any, args: Any, kwargs: Any) -> list[Tensor]:
    """The tensors that an operation writes to."""
    if not func._schema.is_mutable:
        return []
    declared = func._schema.arguments
    given = {**dict(zip((a.name for a in declared), args, strict=False)), **kwargs}
    return _tensors([given.get(a.name) for a in declared if a.alias_info is not None and a.alias_info.is_write])


def _tensors(tree: Any) -> list[Tensor]:
    return [leaf for leaf in pytree.tree_leaves(tree) if isinstance(leaf, Tensor)]


def _is_readable(tensor: Tensor) -> bool:
    """Whether entries can be compared."""
    return is_plain(tensor) and not (tensor.is_quantized or tensor.is_meta)


def _is_level(tensor: Tensor) -> bool:
    """Whether all entries are equal."""
    if not _is_readable(tensor):
        return False
    return tensor.numel() == 0 or bool((tensor == tensor[(0,) * tensor.dim()]).all())


def _free(tensor: Tensor) -> tuple[bool, ...]:
    """For each axis, whether all entries along it are equal."""
    if not _is_readable(tensor) or tensor.numel() > CONSTANT_LIMIT:
        return (False,) * tensor.dim()
    return tuple(n > 0 and bool((tensor == tensor.narrow(d, 0, 1)).all()) for d, n in enumerate(tensor.shape))


def _is_dense(shape: Shape, strides: Shape) -> bool:
    """Whether every entry is another place in memory, and no place is left out."""
    expected = 1
    for stride, n in sorted(zip(strides, shape, strict=False)):
        if n != 1 and stride != expected:
            return False
        expected *= n
    return True


class _Exits(TorchFunctionMode):
    """Notices what turns a tensor into something else without any operation."""

    def __init__(self, recorder: Recorder) -> None:
        super().__init__()
        self.recorder = recorder

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func in _READING:
            self.recorder.leaves([self.recorder.number(args[0])], READ)
        elif func in _EXPOSING and not _asked_by_a_layer():
            self.recorder.expose(args[0])
        elif func in _BUILDING:
            nested = _tensors([given for given in (*args, *(kwargs or {}).values()) if not isinstance(given, Tensor)])
            self.recorder.leaves([self.recorder.number(tensor) for tensor in nested], READ)
        self.recorder.calls += 1
        try:
            result = func(*args, **(kwargs or {}))
        finally:
            self.recorder.calls -= 1
        if getattr(func, "__self__", None) is Tensor.data and func.__name__ == "__set__":
            self.recorder.rebound(args[0])
        return result


def _asked_by_a_layer() -> bool:
    """Whether a layer of PyTorch's own asks (recurrent ones compare the addresses of their weights)."""
    return sys._getframe(2).f_globals.get("__name__", "").startswith("torch.nn.modules.")


_READING = {Tensor.tolist, Tensor.numpy, Tensor.__array__, Tensor.__repr__}
"""Give the entries to Python."""
_EXPOSING = {
    Tensor.__dlpack__,
    Tensor.__reduce_ex__,
    Tensor.data_ptr,
    Tensor.share_memory_,
    Tensor.storage,
    Tensor.untyped_storage,
}
"""Give the memory away."""
_BUILDING = {torch.tensor, torch.as_tensor, torch.asarray, Tensor.new_tensor}
"""Read the entries of tensors inside lists."""


@contextlib.contextmanager
def unfused() -> Iterator[None]:
    """Recurrent layers step by step, in operations that have rules."""
    before = torch._C._get_mkldnn_enabled()
    torch._C._set_mkldnn_enabled(False)
    try:
        with torch.backends.cudnn.flags(enabled=False):
            yield
    finally:
        torch._C._set_mkldnn_enabled(before)


@contextlib.contextmanager
def _threads(recorder: Recorder) -> Iterator[None]:
    """Notices work that is handed to other threads, whose operations are out of sight."""
    here = threading.get_ident()

    def noticing(original: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(original)
        def wrapped(*args: Any, **kwargs: Any) -> Any:
            recorder.program.blind |= threading.get_ident() == here
            return original(*args, **kwargs)

        return wrapped

    ways = [(getattr(sys.modules.get(module), kind, None), name) for module, kind, name in _HANDING_OVER]
    before = [(kind, name, kind.__dict__[name]) for kind, name in ways if kind is not None]
    for kind, name, original in before:
        setattr(kind, name, noticing(original))
    try:
        yield
    finally:
        for kind, name, original in before:
            setattr(kind, name, original)


_HANDING_OVER = [
    ("threading", "Thread", "start"),
    ("concurrent.futures.thread", "ThreadPoolExecutor", "submit"),
    ("multiprocessing.pool", "Pool", "_check_running"),
]
"""Methods (with their modules and classes) by which work gets to other threads."""


def _layers(recorder: Recorder) -> Callable[[nn.Module], None]:
    """Sees recurrent layers begin.

    They are taken step by step, but are one layer each: their tensors come in their own order, one after another.
    """

    def begins(module: nn.Module) -> None:
        if isinstance(module, nn.RNNBase | nn.RNNCellBase):
            with torch._C.DisableTorchFunction():
                used = [recorder.number(parameter) for parameter in module.parameters()]
            recorder.program.layers.setdefault(len(recorder.program.operations), []).extend(used)

    return begins
