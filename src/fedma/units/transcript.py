"""What one forward pass computes: its operations in order, with one number per value, so that two can be compared."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase
from torch.overrides import TorchFunctionMode
from torch.utils import _pytree as pytree
from torch.utils._python_dispatch import TorchDispatchMode

from fedma.units.inputs import Inputs, evaluating, placed_results
from fedma.units.paths import running
from fedma.units.record import unfused
from fedma.units.reference import steady
from fedma.units.registry import bound_arguments, name_of
from fedma.units.state import tensors
from fedma.units.walk import leaves

Geometry = tuple[tuple[int, ...], tuple[int, ...], int]
"""Sizes, strides and offset of a tensor in its storage."""


@dataclass(frozen=True)
class Ref:
    """A value of a transcript, by its number."""

    number: int


@dataclass(frozen=True)
class Given:
    """A value from outside: a named tensor of the model, or a tensor among the inputs.

    Attributes:
        kind: "tensor" or "input".
        name: the tensor's name, or the input's position among the inputs.
        shape: of the value.
        dtype: likewise.
    """

    kind: str
    name: str
    shape: tuple[int, ...]
    dtype: torch.dtype


@dataclass(frozen=True)
class Constant:
    """A value that depends on no weight and no input."""

    tensor: Tensor


@dataclass(frozen=True)
class Result:
    """One of the results of a line."""

    line: int
    place: int
    shape: tuple[int, ...]
    dtype: torch.dtype


Value = Given | Constant | Result


@dataclass(frozen=True)
class Line:
    """One operation.

    Attributes:
        name: the operation's name without overload; the same whether or not it works in place.
        args: arguments by the names of its schema, including defaults, with `Ref`s for tensors.
        where: path of the module that calls it.
    """

    name: str
    args: Mapping[str, Any]
    where: str


@dataclass
class Transcript:
    """What one forward pass computes.

    Attributes:
        values: all values, in order of appearance.
        lines: the operations in order. Operations on constants alone are left out, since their values are known.
        outputs: the model's results: `Ref`s for tensors, other leaves unchanged.
        places: of the outputs in what the model gives, such as "['logits']".
        decided: whether Python read numbers from tensors. Then other weights may take other branches.
    """

    values: list[Value] = field(default_factory=list)
    lines: list[Line] = field(default_factory=list)
    outputs: list[Any] = field(default_factory=list)
    places: list[str] = field(default_factory=list)
    decided: bool = False

    def line(self, position: int) -> Line:
        """The line that made a value.

        Raises:
            ValueError: no line made it.
        """
        value = self.values[position]
        if not isinstance(value, Result):
            raise ValueError(f"value {position} is {type(value).__name__}, and no line made it")
        return self.lines[value.line]


def transcribe(model: nn.Module, inputs: Inputs, *, fixed: Collection[str] = ()) -> Transcript:
    """A transcript of one forward pass of a model in evaluation mode.

    Args:
        model: a copy to be thrown away: it keeps what a forward pass leaves behind.
        inputs: left unchanged.
        fixed: names of buffers that count as constants, by their values; see `constants`.
    """
    scribe, own = Scribe(), inputs.copied()
    scribe.introduce(model, own, fixed)
    with (
        evaluating(model),
        steady(model, double=False),
        unfused(),
        running(model, scribe.path),
        _Readers(scribe),
        scribe,
    ):
        result = model(*own.args, **own.kwargs)
    return scribe.finish(placed_results(result))


@dataclass
class _Memory:
    """What is known about a storage.

    Attributes:
        ref: the value that it holds.
        geometry: the geometry of the tensor with this value; None for the whole storage.
        writes: how often it was written to.
        constant: whether its entries are all constant.
    """

    ref: Ref
    geometry: Geometry | None
    constant: bool
    writes: int = 0


@dataclass(frozen=True)
class _Known:
    """A tensor and its value when last read. It is kept alive so that its id and its storage stay its own."""

    tensor: Tensor
    ref: Ref
    storage: int
    writes: int


class Scribe(TorchDispatchMode):
    """Runs every operation unchanged and records it."""

    def __init__(self) -> None:
        super().__init__()
        self.transcript = Transcript()
        self.path: list[str] = []
        self._known: dict[int, _Known] = {}
        self._memories: dict[int, _Memory] = {}
        self._draws = 0

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        """Keeps the compiler from being imported."""
        return False

    def introduce(self, model: nn.Module, inputs: Inputs, fixed: Collection[str]) -> None:
        """Register the model's weights and the inputs."""
        for name, tensor in tensors(model).items():
            if name not in fixed:
                self._settle(tensor, self._value(Given("tensor", name, tuple(tensor.shape), tensor.dtype)))
        for place, leaf in enumerate(leaves((inputs.args, inputs.kwargs))):
            if isinstance(leaf, Tensor):
                self._settle(leaf, self._value(Given("input", str(place), tuple(leaf.shape), leaf.dtype)))

    def finish(self, found: Sequence[tuple[str, Any]]) -> Transcript:
        """The transcript, with the model's results as its outputs."""
        script = self.transcript
        script.places = [place for place, _ in found]
        arrays = [torch.as_tensor(leaf) if isinstance(leaf, np.ndarray | np.generic) else leaf for _, leaf in found]
        script.outputs = [self.ref(leaf) if isinstance(leaf, Tensor) else leaf for leaf in arrays]
        return script

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        self.transcript.decided |= bool(DECIDING & set(func.tags))
        bound = bound_arguments(func, args, kwargs)
        line = Line(name_of(func), pytree.tree_map_only(Tensor, self.ref, bound), self.path[-1] if self.path else "")
        written = _written(func, bound)
        before = {id(tensor): self._whole(tensor) for tensor in written}
        result = func(*args, **kwargs)
        given = [r for r in (result if isinstance(result, list | tuple) else [result]) if isinstance(r, Tensor)]
        if given or written:
            self._write_down(func, line, given, written, before)
        return result

    def ref(self, tensor: Tensor) -> Ref:
        """The present value of a tensor. A tensor that no operation made is a constant."""
        key = _storage(tensor)
        memory, known = self._memories.get(key), self._known.get(id(tensor))
        if memory is None:
            return self._settle(tensor, self._value(Constant(tensor.detach().clone())), constant=True)
        if known and known.storage == key and known.writes == memory.writes:
            return known.ref
        return self._know(tensor, self._read(tensor, memory))

    def _read(self, tensor: Tensor, memory: _Memory) -> Ref:
        """The value of a new view, or of a tensor whose storage was written to since it was read."""
        if memory.constant:
            return self._value(Constant(tensor.detach().clone()))
        if memory.geometry == _geometry(tensor):
            return memory.ref
        args = {"self": memory.ref, "held": memory.geometry, "read": _geometry(tensor)}
        return self._result(Line("read", args, self.path[-1] if self.path else ""), tensor)

    def _write_down(
        self, func: Any, line: Line, given: list[Tensor], written: list[Tensor], before: Mapping[int, Ref]
    ) -> None:
        """Record one operation, the tensors that it returned, and the tensors that it wrote to."""
        folded = self._is_constant(func, line)
        if torch.Tag.nondeterministic_seeded in func.tags:
            self._draws += 1
            line = replace(line, args={**line.args, "draw": self._draws})
        number = None if folded else self._line(line)
        for place, tensor in enumerate(given):
            if not any(tensor is target for target in written):
                self._settle(tensor, self._of(tensor, number, place), constant=folded)
        start = 0 if all(any(tensor is target for target in written) for tensor in given) else len(given)
        for place, tensor in enumerate(written, start=start):
            self._overwrite(tensor, self._of(tensor, number, place), before[id(tensor)], constant=folded)

    def _is_constant(self, func: Any, line: Line) -> bool:
        """Whether the results depend on no weight and no input."""
        if line.name in HOLLOW or torch.Tag.nondeterministic_seeded in func.tags:
            return False
        skipped = {"self"} if line.name in LIKE else set()
        refs = refs_in([value for name, value in line.args.items() if name not in skipped])
        return all(isinstance(self.transcript.values[ref.number], Constant) for ref in refs)

    def _overwrite(self, tensor: Tensor, ref: Ref, before: Ref, *, constant: bool) -> None:
        """Note a write to a tensor, and so to its storage."""
        memory = self._memories[_storage(tensor)]
        memory.writes += 1
        if _covers(tensor):
            memory.ref, memory.geometry, memory.constant = ref, _geometry(tensor), constant
        elif not (memory.constant and constant):
            args = {"self": before, "held": memory.geometry, "value": ref, "at": _geometry(tensor)}
            memory.ref = self._result(Line("write", args, self.path[-1] if self.path else ""), tensor)
            memory.geometry, memory.constant = None, False
        self._know(tensor, ref)

    def _whole(self, tensor: Tensor) -> Ref:
        """The value of a tensor's whole storage, as one tensor."""
        memory = self._memories[_storage(tensor)]
        if not memory.constant or _covers(tensor):
            return memory.ref
        entries = tensor.untyped_storage().nbytes() // tensor.element_size()
        return self._value(Constant(tensor.detach().as_strided((entries,), (1,), 0).clone()))

    def _of(self, tensor: Tensor, line: int | None, place: int) -> Ref:
        if line is None:
            return self._value(Constant(tensor.detach().clone()))
        return self._value(Result(line, place, tuple(tensor.shape), tensor.dtype))

    def _settle(self, tensor: Tensor, ref: Ref, *, constant: bool = False) -> Ref:
        """Keep a tensor's value. The first tensor of a storage gives the storage its value."""
        self._memories.setdefault(_storage(tensor), _Memory(ref, _geometry(tensor), constant))
        return self._know(tensor, ref)

    def _know(self, tensor: Tensor, ref: Ref) -> Ref:
        key = _storage(tensor)
        self._known[id(tensor)] = _Known(tensor, ref, key, self._memories[key].writes)
        return ref

    def _result(self, line: Line, tensor: Tensor) -> Ref:
        return self._of(tensor, self._line(line), 0)

    def _line(self, line: Line) -> int:
        self.transcript.lines.append(line)
        return len(self.transcript.lines) - 1

    def _value(self, value: Value) -> Ref:
        self.transcript.values.append(value)
        return Ref(len(self.transcript.values) - 1)


class _Readers(TorchFunctionMode):
    """Notices when tensors become numbers of Python or NumPy without an operation."""

    def __init__(self, scribe: Scribe) -> None:
        super().__init__()
        self.scribe = scribe

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.scribe.transcript.decided |= func in (Tensor.tolist, Tensor.numpy, Tensor.__array__)
        return func(*args, **(kwargs or {}))


DECIDING = frozenset({torch.Tag.data_dependent_output, torch.Tag.dynamic_output_shape})
"""Tags of operations that give numbers to Python, or whose result's shape depends on values."""
HOLLOW = frozenset({"empty", "empty_like", "empty_strided", "empty_permuted", "new_empty", "new_empty_strided"})
"""Operations whose results are not written yet."""
LIKE = frozenset({"zeros_like", "ones_like", "full_like", "new_zeros", "new_ones", "new_full"})
"""Operations that read only the shape of their first tensor."""


def constants(model: nn.Module) -> set[str]:
    """Names of the buffers that training does not learn: unsaved buffers, integers, masks.

    A saved floating-point buffer counts as a weight, as running statistics do. The exception is a mask: it holds zeros
    and one other number, or infinite numbers. An average of masks is no mask.
    """
    unsaved = {id(m._buffers.get(name)) for m in model.modules() for name in m._non_persistent_buffers_set}
    learnt = {id(tensor) for m in model.modules() for tensor in _learnt(m)}
    return {
        name
        for name, tensor in tensors(model).items()
        if id(tensor) not in learnt and (id(tensor) in unsaved or not tensor.dtype.is_floating_point or is_mask(tensor))
    }


def _learnt(module: nn.Module) -> list[Tensor]:
    """A module's own parameters, and the running statistics of a normalisation."""
    statistics = module.buffers(recurse=False) if isinstance(module, _NormBase) else ()
    return [*module.parameters(recurse=False), *(each for each in statistics if each.is_floating_point())]


def is_mask(tensor: Tensor) -> bool:
    """Whether a tensor of real numbers holds zeros and one other number, or infinite numbers."""
    if tensor.numel() < 2 or tensor.is_meta:
        return False
    other = tensor[tensor != 0]
    if 0 < other.numel() < tensor.numel() and bool((other == other[0]).all()):
        return True
    return bool(tensor.isinf().any())


def refs_in(arguments: Any) -> list[Ref]:
    """The references among nested arguments."""
    return [leaf for leaf in pytree.tree_leaves(arguments) if isinstance(leaf, Ref)]


def _written(func: Any, bound: Mapping[str, Any]) -> list[Tensor]:
    """The tensors that an operation writes to."""
    names = [a.name for a in func._schema.arguments if a.alias_info is not None and a.alias_info.is_write]
    return [leaf for leaf in pytree.tree_leaves([bound[name] for name in names]) if isinstance(leaf, Tensor)]


def _storage(tensor: Tensor) -> int:
    """A key of a tensor's storage. A tensor without a storage is its own key."""
    try:
        return int(tensor.untyped_storage()._cdata)
    except (NotImplementedError, RuntimeError):
        return -id(tensor)


def _geometry(tensor: Tensor) -> Geometry:
    if tensor.layout != torch.strided:
        return tuple(tensor.shape), (), 0
    return tuple(tensor.shape), tuple(tensor.stride()), int(tensor.storage_offset())


def _covers(tensor: Tensor) -> bool:
    """Whether a tensor shows all of its storage."""
    try:
        nbytes = tensor.untyped_storage().nbytes()
    except (NotImplementedError, RuntimeError):
        return True
    return tensor.numel() * tensor.element_size() == nbytes and 0 not in tensor.stride()
