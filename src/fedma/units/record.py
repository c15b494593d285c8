"""Front end one: records one forward pass, operation by operation. It works for any model that runs."""

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
"""Constants with more entries than this are not searched for uniform axes."""


def trace(model: nn.Module, inputs: Inputs) -> Tracer:
    """A tracer that has read a recording of one forward pass."""
    tracer = Tracer()
    own_all(tracer, model)  # before the pass, which may write to buffers
    interpret.read(record(model, inputs), tracer)
    return tracer


def record(model: nn.Module, inputs: Inputs) -> Program:
    """A recording of one forward pass.

    Args:
        model: run as it is. Put it into evaluation mode before (`fedma.units.inputs.at_rest`).
        inputs: what the model is called with. It runs on copies of the tensors.
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
    """Runs every operation unchanged and records it.

    Attributes:
        program: the recording so far.
        path: the paths of the running modules, innermost last.
        calls: how many nested calls of PyTorch's functions are in progress.
        strangers: constants of unknown origin.

    Args:
        hidden: whether some inputs are not tensors. Then a tensor that no operation made may hold inputs.
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
        """Register one of the model's own tensors. Two that show the same memory are one tensor with two names."""
        known = self._known(tensor)
        if known is None:
            self.note(tensor, "own", names=(name,), constant=constant)
        else:
            held = self.program.tensors[known]
            self.program.tensors[known] = Held(**{**vars(held), "names": (*held.names, name)})

    def number(self, tensor: Tensor) -> int:
        """The number of a tensor. A tensor that no operation made is a constant."""
        known = self._known(tensor)
        return self._met(tensor) if known is None else known

    def note(self, tensor: Tensor, kind: Kind, /, *, constant: bool = False, **facts: Any) -> int:
        """A new number for a tensor that is met for the first time."""
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
        """Note the model's results."""
        self.program.outputs = [self.number(tensor) for tensor in outputs]
        self.program.blind |= any(self._storages[tensor].hides(tensor) for tensor in outputs)
        self.program.unseen |= self.program.blind

    def leaves(self, numbers: Iterable[int], why: str) -> None:
        """Note that these tensors turn into something that no operation shows."""
        refs = [Ref(number) for number in numbers]
        self.program.operations.append(Operation(None, refs, {}, (), where=self._where, leaves=why))

    def rebound(self, tensor: Tensor, times: int = 0) -> None:
        """Note that a tensor shows other memory from now on."""
        if self._known(tensor) is None:
            self._met(tensor, expected=True)
        self._storages[tensor].wrote(tensor, times)
        self.program.unseen = True

    def expose(self, tensor: Tensor) -> None:
        """Note that all tensors in this tensor's memory leave PyTorch."""
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
        """The number of a tensor that no operation made: an unnoticed view of known memory, or a constant."""
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
        """Whether an operation computes from constants alone; operands whose entries it all replaces do not count."""
        rule = registry.find(name)
        if rule is not None and rule.makes_uniform:
            given = given[1:]
        return all(self._storages[tensor].constant for tensor in given)


def _leaving(func: Any, results: list[Any], given: list[Tensor], written: list[Tensor]) -> str:
    """Why an operation's arguments leave PyTorch: it returns a Python number, or its effect is unknown."""
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
    """Whether the entries fill their range of memory, each place once."""
    expected = 1
    for stride, n in sorted(zip(strides, shape, strict=False)):
        if n != 1 and stride != expected:
            return False
        expected *= n
    return True


class _Exits(TorchFunctionMode):
    """Notices conversions of tensors (to numbers, NumPy, ...) that are no operations."""

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
    """Whether a layer of PyTorch itself calls (recurrent layers compare the addresses of their weights)."""
    return sys._getframe(2).f_globals.get("__name__", "").startswith("torch.nn.modules.")


_READING = {Tensor.tolist, Tensor.numpy, Tensor.__array__, Tensor.__repr__}
"""Methods that give the entries to Python."""
_EXPOSING = {
    Tensor.__dlpack__,
    Tensor.__reduce_ex__,
    Tensor.data_ptr,
    Tensor.share_memory_,
    Tensor.storage,
    Tensor.untyped_storage,
}
"""Methods that give the memory away."""
_BUILDING = {torch.tensor, torch.as_tensor, torch.asarray, Tensor.new_tensor}
"""Methods that read the entries of tensors inside lists."""


@contextlib.contextmanager
def unfused() -> Iterator[None]:
    """Run recurrent layers step by step, in operations that have rules."""
    before = torch._C._get_mkldnn_enabled()
    torch._C._set_mkldnn_enabled(False)
    try:
        with torch.backends.cudnn.flags(enabled=False):
            yield
    finally:
        torch._C._set_mkldnn_enabled(before)


@contextlib.contextmanager
def _threads(recorder: Recorder) -> Iterator[None]:
    """Notices work that is handed to other threads, whose operations are not seen."""
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
"""Methods that hand work to other threads, with their modules and classes."""


def _layers(recorder: Recorder) -> Callable[[nn.Module], None]:
    """Notices when a recurrent layer begins.

    Such a layer is recorded step by step but counts as one layer: its tensors come one after another, in its own order.
    """

    def begins(module: nn.Module) -> None:
        if isinstance(module, nn.RNNBase | nn.RNNCellBase):
            with torch._C.DisableTorchFunction():
                used = [recorder.number(parameter) for parameter in module.parameters()]
            recorder.program.layers.setdefault(len(recorder.program.operations), []).extend(used)

    return begins
