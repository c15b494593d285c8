"""Whether two models compute the same: equal operations on equal values get equal numbers.

A value's number stands for how it is made: the operation, its arguments, and the numbers of the values that it reads.
Weights and inputs are numbered by name, constants by their entries. If the outputs of two transcripts have the same
numbers, they compute the same function, in whatever order. Operations that change no entry (views to the same shape,
copies, dropout at rest) have no number of their own.
"""

import math
from bisect import bisect_left, bisect_right, insort
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from fedma.units.transcript import Constant, Given, Line, Ref, Result, Transcript, Value, refs_in

SAME = frozenset({"detach", "alias", "clone", "lift_fresh", "lift_fresh_copy", "contiguous", "positive", "_to_copy"})
"""Operations that change nothing unless they change the dtype."""
RESHAPES = frozenset({"view", "_unsafe_view", "reshape", "squeeze", "unsqueeze", "flatten", "_reshape_alias"})
"""Operations that keep the entries in their order."""
ORDERS = frozenset({"t", "transpose", "permute"})
"""Operations that change the order of axes."""
COMMUTES = frozenset({"add", "mul"})
"""Operations whose two operands may be swapped."""
VALUELESS = frozenset({"memory_format", "device", "layout", "pin_memory", "non_blocking", "generator", "dtype", "copy"})
"""Arguments that affect how a result is stored, not its values; dtypes are compared separately."""
SIZES = frozenset(
    {"size", "sizes", "normalized_shape", "split_size", "split_sizes", "C", "N", "HxW", "shape"}
    | {"start", "end", "length", "held", "read", "at"}
)
"""Arguments that depend on the models' widths."""
IDLE = {
    "native_batch_norm": ("momentum", "training", "running_mean"),
    "_native_batch_norm_legit": ("momentum", "training", "running_mean"),
    "cudnn_batch_norm": ("exponential_average_factor", "training", "running_mean"),
    "native_dropout": ("p", "train"),
}
"""Arguments that act only if all the arguments after them are given: in training, on running statistics."""
GRADIENTS = frozenset({("embedding", "padding_idx"), ("embedding", "scale_grad_by_freq"), ("embedding", "sparse")})
"""Arguments that affect gradients only."""
CLOSE = {torch.float64: 1e-12, torch.float32: 1e-6}
"""How far constants may differ, see `gap`: tables may be computed in several ways."""
DIGITS = {torch.float64: 12, torch.float32: 7}
"""Of numbers, those that count: they may be computed in several ways."""


class Numbers:
    """Numbers for keys: equal keys have equal numbers."""

    def __init__(self) -> None:
        self._known: dict[Hashable, int] = {}
        self._constants: dict[Hashable, list[tuple[Any, ...]]] = {}
        self._last = 0

    def of(self, *keys: Hashable) -> int:
        """The number of the first of these keys that has one, else a new number. All keys get it."""
        found = next((self._known[key] for key in keys if key in self._known), None)
        number = self._new() if found is None else found
        for key in keys:
            self._known.setdefault(key, number)
        return number

    def constant(self, tensor: Tensor, *, loose: bool) -> int:
        """The number of a constant. Constants with equal entries, up to rounding, share a number.

        Args: `loose` lets uniform constants differ in size.
        """
        if tensor.numel() == 1 and tensor.dim() == 0:
            return self.of(("number", _number(tensor)))
        if loose and _is_strided(tensor) and tensor.numel() and bool((tensor == tensor.flatten()[0]).all()):
            return self.of(("uniform", tensor.dtype, tensor.dim(), _plain(tensor.flatten()[0].item())))
        close, level = CLOSE.get(tensor.dtype, 0.0), _level(tensor)
        alike = self._constants.setdefault((tuple(tensor.shape), tensor.dtype), [])
        reach = 2 * close * (1 + level)
        near = slice(bisect_left(alike, (level - reach,)), bisect_right(alike, (level + reach, math.inf)))
        for _, number, other in alike[near]:
            if gap(other, tensor) <= close:
                return number
        insort(alike, (level, self._new(), tensor))
        return self._last

    def _new(self) -> int:
        self._last += 1
        return self._last


def _level(tensor: Tensor) -> float:
    """The mean size of a tensor's finite entries: constants of unlike levels need not be compared."""
    size = dense(tensor).to(torch.complex128 if tensor.is_complex() else torch.float64).abs()
    size = size[size.isfinite()]
    return float(size.mean()) if size.numel() else 0.0


def gap(first: Tensor, second: Tensor) -> float:
    """The largest difference of entries; infinite if one is not finite.

    It is relative to the larger entry, or to the largest finite entry or one if those are smaller.
    """
    first, second = dense(first), dense(second)
    if torch.equal(first, second):
        return 0.0
    kind = torch.complex128 if first.is_complex() else torch.float64
    first, second = first.to(kind), second.to(kind)
    differs = (first != second) & ~(first.isnan() & second.isnan())
    if not differs.any():
        return 0.0
    size = torch.maximum(first.abs(), second.abs())
    largest = size[size.isfinite()].max() if size.isfinite().any() else size.new_ones(())
    found = float(((first - second).abs() / size.clamp(min=float(largest.clamp(max=1.0))))[differs].max())
    return found if math.isfinite(found) else math.inf


def dense(tensor: Tensor) -> Tensor:
    """The entries of a tensor on any device, sparse or not."""
    tensor = tensor.detach().cpu()
    return tensor if _is_strided(tensor) else tensor.to_dense()


def _is_strided(tensor: Tensor) -> bool:
    return tensor.layout == torch.strided


@dataclass(frozen=True)
class Difference:
    """For each of two transcripts, its first value that the other lacks; None if the other has all.

    Attributes:
        numbers: the numbers of the second transcript's values.
    """

    first: int | None
    other: int | None
    numbers: list[int]


class Code:
    """What a model computes. Other models are compared with it.

    Args:
        script: the model's transcript.
        loose: whether other models may have other widths.
    """

    def __init__(self, script: Transcript, *, loose: bool = False) -> None:
        self.script, self.loose = script, loose
        self._numbers = Numbers()
        self.numbers = self.numbered(script, {})

    def numbered(self, script: Transcript, same: Mapping[int, int]) -> list[int]:
        """The number of each value of a transcript.

        Args: `same` gives some values their numbers in advance.
        """
        return _Numbering(script, self._numbers, loose=self.loose, same=same).run()

    def difference(self, other: Transcript, same: Mapping[int, int]) -> Difference | None:
        """Where another transcript first departs from this one; None if their outputs are the same."""
        numbers = self.numbered(other, same)
        if _outputs(self.script, self.numbers) == _outputs(other, numbers):
            return None
        first, second = _made(self.script, self.numbers), _made(other, numbers)
        return Difference(
            next((position for number, position in first.items() if number not in second), None),
            next((position for number, position in second.items() if number not in first), None),
            numbers,
        )


def _outputs(script: Transcript, numbers: Sequence[int]) -> list[Hashable]:
    found = [numbers[leaf.number] if isinstance(leaf, Ref) else _plain(leaf) for leaf in script.outputs]
    return list(zip(script.places, found, strict=True))


def live(script: Transcript) -> set[int]:
    """The values on which the outputs depend."""
    found: set[int] = set()
    waiting = [ref.number for ref in refs_in(script.outputs)]
    while waiting:
        number = waiting.pop()
        if number not in found:
            found.add(number)
            value = script.values[number]
            if isinstance(value, Result):
                waiting += [ref.number for ref in refs_in(script.lines[value.line].args)]
    return found


def _made(script: Transcript, numbers: Sequence[int]) -> dict[int, int]:
    """The numbers of computed values on which the outputs depend, in order, each with its first value."""
    found: dict[int, int] = {}
    for position in sorted(live(script)):
        value = script.values[position]
        if isinstance(value, Result) and script.lines[value.line].name not in ORDERS:
            found.setdefault(numbers[position], position)
    return found


class _Numbering:
    """Gives numbers to the values of one transcript."""

    def __init__(self, script: Transcript, numbers: Numbers, *, loose: bool, same: Mapping[int, int]) -> None:
        self.script, self.numbers, self.loose, self.same = script, numbers, loose, same
        self.found: list[int] = []
        self.bases: dict[int, tuple[str, int, Any]] = {}

    def run(self) -> list[int]:
        for position, value in enumerate(self.script.values):
            self.found.append(self.same[position] if position in self.same else self._of(value))
        return self.found

    def _of(self, value: Value) -> int:
        if isinstance(value, Given):
            return self.numbers.of((value.kind, value.name))
        if isinstance(value, Constant):
            return self.numbers.constant(value.tensor, loose=self.loose)
        line = self.script.lines[value.line]
        source = self._source(line)
        if source is not None and (known := self._unchanged(line, source, value)) is not None:
            return known
        return self._operation(line, value)

    def _source(self, line: Line) -> Ref | None:
        """The only value on which an operation works; None if it works on several."""
        if line.name == "cat":
            parts = [part for part in line.args["tensors"] if not self._is_empty(part)]
            return parts[0] if len(parts) == 1 else None
        source = line.args.get("src" if line.name == "copy" else "self")
        return source if isinstance(source, Ref) else None

    def _is_empty(self, part: Ref) -> bool:
        value = self.script.values[part.number]
        return isinstance(value, Constant) and value.tensor.numel() == 0

    def _unchanged(self, line: Line, source: Ref, value: Result) -> int | None:
        """The number of a result that only rearranges its source; None if it does more."""
        number = self.found[source.number]
        old = _facts(self.script.values[source.number])
        if old is None:
            return None
        shape, dtype = old
        if dtype != value.dtype:
            return None
        if shape == value.shape and line.name in SAME:
            return number
        if line.name in RESHAPES:
            return self._reshaped(number, shape, value.shape)
        if line.name in ORDERS:
            return self._ordered(number, _order(line, len(shape)))
        if line.name in ("expand", "copy", "cat") and shape == value.shape:
            return number
        return None

    def _reshaped(self, number: int, old: tuple[int, ...], new: tuple[int, ...]) -> int:
        """The number of a value in another shape. Shapes in between do not count."""
        kind, base, shape = self.bases.get(number, ("", number, old))
        if kind != "reshape":
            base, shape = number, old
        if shape == new:
            return base
        made = self.numbers.of(("reshape", base, len(new) if self.loose else new))
        self.bases.setdefault(made, ("reshape", base, shape))
        return made

    def _ordered(self, number: int, order: tuple[int, ...]) -> int:
        """The number of a value with its axes in another order."""
        kind, base, before = self.bases.get(number, ("", number, None))
        if kind == "order":
            number, order = base, tuple(before[axis] for axis in order)
        if order == tuple(range(len(order))):
            return number
        made = self.numbers.of(("order", number, order))
        self.bases.setdefault(made, ("order", number, order))
        return made

    def _operation(self, line: Line, value: Result) -> int:
        args = {name: self._argument(arg) for name, arg in line.args.items() if self._counts(line, name)}
        if line.name in COMMUTES and args.get("alpha", 1) == 1:
            operands = sorted((args.pop("self"), args.pop("other")), key=repr)
            args["operands"] = tuple(operands)
        if self.loose and line.name == "slice":
            args["from"] = not line.args["start"]
        shape = len(value.shape) if self.loose else value.shape
        return self.numbers.of((line.name, tuple(sorted(args.items())), value.place, shape, value.dtype))

    def _counts(self, line: Line, name: str) -> bool:
        """Whether an argument affects the result."""
        if name in VALUELESS or (line.name, name) in GRADIENTS or (self.loose and name in SIZES):
            return False
        idle, *acts = IDLE.get(line.name, ("",))
        return name != idle or all(line.args.get(act) for act in acts)

    def _argument(self, arg: Any) -> Hashable:
        """The form of an argument that serves as part of a key."""
        if isinstance(arg, Ref):
            value = self.script.values[arg.number]
            if isinstance(value, Constant) and value.tensor.dim() == 0:
                return _number(value.tensor)
            return ("value", self.found[arg.number])
        if isinstance(arg, list | tuple):
            return tuple(self._argument(each) for each in arg)
        return _plain(arg)


def _number(tensor: Tensor) -> Hashable:
    """A tensor's one entry."""
    return _plain(tensor.item(), digits=DIGITS.get(tensor.dtype, 17))


def _plain(leaf: Any, *, digits: int = DIGITS[torch.float64]) -> Hashable:
    """A leaf that can be compared: equal numbers are alike whatever their type."""
    if isinstance(leaf, float):
        return "nan" if math.isnan(leaf) else float(f"{leaf:.{digits}g}")
    if isinstance(leaf, bool | int | complex | str | torch.dtype) or leaf is None:
        return leaf
    return repr(type(leaf))


def _facts(value: Value) -> tuple[tuple[int, ...], torch.dtype] | None:
    return (value.shape, value.dtype) if isinstance(value, Result | Given) else None


def _order(line: Line, axes: int) -> tuple[int, ...]:
    """The order of axes after a line."""
    if line.name == "permute":
        return tuple(axis % axes for axis in line.args["dims"])
    order = list(range(axes))
    if axes > 1:
        first, second = (line.args["dim0"], line.args["dim1"]) if line.name == "transpose" else (0, 1)
        order[first], order[second] = order[second], order[first]
    return tuple(order)
