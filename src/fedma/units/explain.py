"""Describes in words where two models begin to compute different things."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from fedma.units.compare import SIZES, Difference, dense, gap
from fedma.units.transcript import Constant, Given, Line, Ref, Transcript

SHORT = 8
"""Constants of at most this many entries are written out."""
MODES = frozenset({"training", "p", "inplace", "dropout", "drop_prob"})
"""Attributes without effect in evaluation mode."""


THROUGH_SELF = "as its code closes over a layer or a tensor (a wrapped forward, a hook): let it reach them through self"


@dataclass(frozen=True)
class Side:
    """One of two models that differ.

    Attributes:
        name: what to call it, such as "model 0".
        model: the model; its attributes may explain the difference.
        script: its transcript.
        numbers: the numbers of its values; values that both models compute have equal numbers.
    """

    name: str
    model: nn.Module
    script: Transcript
    numbers: Sequence[int]


def explained(first: Side, other: Side, found: Difference) -> str:
    """What two models do differently, and where."""
    one = None if found.first is None else first.script.line(found.first)
    two = None if found.other is None else other.script.line(found.other)
    if one is not None and two is not None:
        same = one.name == two.name
        told = _arguments(first, one, other, two) if same else _operations(first, one, other, two)
        return f"in {_places(first, one, other, two)}, {told}{_settings(first, one, other, two)}"
    if one is not None:
        return _alone(first, one, other)
    return _outputs(first, other) if two is None else _alone(other, two, first)


def _alone(does: Side, line: Line, lacks: Side) -> str:
    """Describe an operation that only one model runs."""
    return f"{does.name} computes {_call(does.script, line)} in {_place(line)}, and {lacks.name} does not"


def _operations(first: Side, one: Line, other: Side, two: Line) -> str:
    """Describe two operations at the same point that differ."""
    return f"{first.name} computes {_call(first.script, one)}, {other.name} {_call(other.script, two)}"


def _place(line: Line) -> str:
    return repr(line.where) if line.where else "the model's own forward"


def _places(first: Side, one: Line, other: Side, two: Line) -> str:
    if one.where == two.where:
        return _place(one)
    return f"{_place(one)} of {first.name} and {_place(two)} of {other.name}"


def _outputs(first: Side, other: Side) -> str:
    """Describe outputs that differ although they contain the same values."""
    one, two = first.script, other.script
    if len(one.outputs) != len(two.outputs):
        return f"{first.name} gives {len(one.outputs)} outputs, {other.name} {len(two.outputs)}"
    for a, b in zip(one.places, two.places, strict=True):
        if a != b:
            return f"{first.name} gives {_output(a)}, {other.name} {_output(b)}"
    for place, a, b in zip(one.places, one.outputs, two.outputs, strict=True):
        told = _described(one, a), _described(two, b)
        if told[0] != told[1]:
            return f"{_output(place)} of {first.name} is {told[0]}, that of {other.name} {told[1]}"
    return _moved(first, other)


def _moved(first: Side, other: Side) -> str:
    """Describe outputs that are the same values in another order."""
    places = {
        _number_of(other, leaf): place for place, leaf in zip(other.script.places, other.script.outputs, strict=True)
    }
    for place, one, two in zip(first.script.places, first.script.outputs, other.script.outputs, strict=True):
        number = _number_of(first, one)
        if number != _number_of(other, two) and number in places:
            return f"{_output(place)} of {first.name} is {_output(places[number])} of {other.name}"
    return f"{first.name} and {other.name} give the same values in another order"


def _number_of(side: Side, leaf: Any) -> int | None:
    return side.numbers[leaf.number] if isinstance(leaf, Ref) else None


def _output(place: str) -> str:
    return f"output{place}" if place else "its one output"


def _arguments(first: Side, one: Line, other: Side, two: Line) -> str:
    """Describe the arguments in which two calls of one operation differ."""
    for name in sorted(one.args, key=lambda name: name in SIZES):
        a, b = one.args[name], two.args.get(name)
        if isinstance(a, Ref) and isinstance(b, Ref) and first.numbers[a.number] == other.numbers[b.number]:
            continue
        if kept := _kept(first, a):
            return f"{one.name} reads {kept!r} of {first.name} itself, not of a copy of it, {THROUGH_SELF}"
        told = _entries(first, a, other, b) or (_described(first.script, a), _described(other.script, b))
        if told[0] != told[1]:
            return f"{one.name} has {name} = {told[0]} in {first.name}, and {told[1]} in {other.name}"
    return f"{one.name} works on something else in {other.name} ({_call(first.script, one)})"


def _kept(side: Side, arg: Any) -> str:
    """The name of the model's own parameter that a constant is, also transposed; empty if it is none."""
    held = _held(side.script, arg)
    if held is None or held.numel() < 2:
        return ""
    own = side.model.named_parameters()
    return next((name for name, parameter in own if _is(held, dense(parameter))), "")


def _is(held: Tensor, tensor: Tensor) -> bool:
    return torch.equal(held, tensor) or (tensor.dim() == 2 and torch.equal(held, tensor.T))


def _entries(first: Side, a: Any, other: Side, b: Any) -> tuple[str, str] | None:
    """Describe two constants of one shape by the entry that differs most; None for anything else."""
    one, two = (_held(side.script, arg) for side, arg in ((first, a), (other, b)))
    if one is None or two is None or one.shape != two.shape or not one.dim() or one.is_complex() or not gap(one, two):
        return None
    off = (one.double() - two.double()).nan_to_num(posinf=math.inf, neginf=-math.inf, nan=0.0)
    place = int(off.abs().argmax())
    index = [int(at) for at in torch.unravel_index(torch.tensor(place), one.shape)]
    at = f"entry {index} of a constant of shape {list(one.shape)}"
    return f"{one.flatten()[place].item():g} ({at})", f"{two.flatten()[place].item():g}"


def _held(script: Transcript, arg: Any) -> Tensor | None:
    value = script.values[arg.number] if isinstance(arg, Ref) else None
    return dense(value.tensor) if isinstance(value, Constant) else None


def _call(script: Transcript, line: Line) -> str:
    """Describe an operation with the values on which it works."""
    told = [f"{name} = {_described(script, arg)}" for name, arg in line.args.items() if _says_something(arg)]
    return f"{line.name} ({'; '.join(told[:3])})" if told else line.name


def _says_something(arg: Any) -> bool:
    return isinstance(arg, Ref | float | int | torch.dtype) and not isinstance(arg, bool)


def _described(script: Transcript, arg: Any) -> str:
    """Describe an argument."""
    if isinstance(arg, list | tuple):
        return f"[{', '.join(_described(script, each) for each in arg)}]"
    if not isinstance(arg, Ref):
        return f"{arg:g}" if isinstance(arg, float) else str(arg)
    value = script.values[arg.number]
    if isinstance(value, Given):
        return f"tensor {value.name!r}" if value.kind == "tensor" else f"input {value.name}"
    if isinstance(value, Constant):
        return _constant(value.tensor)
    line = script.lines[value.line]
    return (
        f"the result of {line.name} in {_place(line)} ({str(value.dtype).removeprefix('torch.')} {list(value.shape)})"
    )


def _constant(tensor: Tensor) -> str:
    if tensor.numel() <= SHORT:
        return f"the constant {tensor.tolist()}"
    return f"a constant of shape {tuple(tensor.shape)}"


def _settings(first: Side, one: Line, other: Side, two: Line) -> str:
    """Describe an attribute that differs, of the module or of one around it; empty if none differs.

    Among several it is one whose values the operations are given, if there is one.
    """
    words = one.where.split(".") if one.where else []
    paths = [".".join(words[:length]) for length in range(len(words), -1, -1)] if one.where == two.where else []
    found = [
        (f"{path}.{name}".lstrip("."), a, b)
        for path in paths
        for name, a, b in _unlike(*(side.model.get_submodule(path) for side in (first, other)))
    ]
    given = [_numbers(side.script, line) for side, line in ((first, one), (other, two))]
    acts = [each for each in found if str(each[1]) in given[0] and str(each[2]) in given[1]]
    return next((f" ({name} is {a} and {b})" for name, a, b in [*acts, *found]), "")


def _numbers(script: Transcript, line: Line) -> set[str]:
    """The numbers and words that a line is given, as text."""
    held = [_held(script, arg) for arg in line.args.values()]
    numbers = [tensor.item() for tensor in held if tensor is not None and tensor.numel() == 1]
    return {str(arg) for arg in [*line.args.values(), *numbers]}


def _unlike(first: nn.Module, other: nn.Module) -> Iterator[tuple[str, Any, Any]]:
    """The plain attributes that differ between two modules."""
    for name, value in vars(first).items():
        if name in MODES or name.startswith("_") or not _is_plain(value):
            continue
        second = vars(other).get(name)
        if _is_plain(second) and value != second:
            yield name, value, second


def _is_plain(value: Any) -> bool:
    if isinstance(value, tuple | list):
        return all(map(_is_plain, value))
    if isinstance(value, dict):
        return bool(value) and all(map(_is_plain, value.values()))
    return value is None or isinstance(value, bool | int | float | str)
