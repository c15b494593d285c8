"""Factors that one model's code applies and another's does not, moved into the weights.

An adapter adds `scale * B(A(x))`, where the scale is a number in the code. Where nothing but this term reads `B`,
another scale and a `B` that is so many times as large give the same function. Only a product of two tensors or more is
taken for an adapter: a factor of one layer may as well be a mistake.
"""

import math
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any

from fedma.units.compare import Code, Difference, live
from fedma.units.transcript import Constant, Given, Ref, Result, Transcript, refs_in

KEEPS = frozenset(
    {"detach", "alias", "clone", "view", "_unsafe_view", "reshape", "_reshape_alias", "squeeze", "unsqueeze", "t"}
    | {"transpose", "permute", "expand", "slice", "select", "split", "split_with_sizes", "unbind", "sum", "mean"}
    | {"neg", "_to_copy", "index_select", "index", "repeat", "flip", "roll", "diagonal", "tril", "triu"}
)
"""Operations that are linear in their first operand: what multiplies that multiplies the result."""
PRODUCTS = {
    "mul": ("other", "self"),
    "mm": ("mat2", "self"),
    "bmm": ("mat2", "self"),
    "matmul": ("other", "self"),
    "div": ("self",),
    "embedding": ("weight",),
}
"""Operations that are linear in each of these operands; what is applied last comes first."""
FACTORS: Mapping[tuple[str, str], tuple[str, Callable[[float, float], float]]] = {
    ("mul", "other"): ("self", lambda one, two: two / one),
    ("mul", "self"): ("other", lambda one, two: two / one),
    ("div", "other"): ("self", lambda one, two: one / two),
    ("add", "alpha"): ("other", lambda one, two: two / one),
    ("sub", "alpha"): ("other", lambda one, two: two / one),
}
"""Numbers in the code that multiply an operand: which one, and by what the other model's must be multiplied."""


def folded(code: Code, other: Transcript, growth: Mapping[str, float]) -> tuple[dict[str, float], Difference | None]:
    """By what to multiply tensors of another model so that this code computes what the other one's does.

    Args:
        code: with which others are compared.
        other: what the other model computes.
        growth: how many times as large as the first model's the other's tensors are. Of a product, that one is
            multiplied which then comes closest: models trained with unlike scales differ in what they adapted.

    Returns:
        factors by the names of tensors, and the first difference that no factor explains, if there is one.
    """
    factors: dict[str, float] = {}
    same: dict[int, int] = {}
    while (found := code.difference(other, same)) is not None:
        more = _factors(code, other, found, growth)
        if more is None or found.first is None or found.other is None:
            return factors, found
        factors = {**factors, **{name: factors.get(name, 1.0) * factor for name, factor in more.items()}}
        same[found.other] = code.numbers[found.first]
    return factors, None


def _factors(code: Code, other: Transcript, found: Difference, growth: Mapping[str, float]) -> dict[str, float] | None:
    """The factors that make up for this difference; None where none do."""
    if found.first is None or found.other is None:
        return None
    one, two = code.script.line(found.first), other.line(found.other)
    if one.name != two.name or one.args.keys() != two.args.keys():
        return None
    unlike = [name for name in one.args if not _alike(code, one.args[name], other, two.args[name], found)]
    if len(unlike) != 1 or (one.name, unlike[0]) not in FACTORS:
        return None
    operand, ratio = FACTORS[one.name, unlike[0]]
    a, b = _number(code.script, one.args[unlike[0]]), _number(other, two.args[unlike[0]])
    if not (a and b):
        return None
    names = _Term(other).tensors(two.args[operand])
    if len(names) < 2:
        return None
    factor = ratio(a, b)
    return {min(names, key=lambda name: abs(math.log(abs(factor) * growth.get(name, 1.0)))): factor}


def _alike(code: Code, one: Any, other: Transcript, two: Any, found: Difference) -> bool:
    """Whether two arguments are the same number, the same value, or the same word."""
    numbers = _number(code.script, one), _number(other, two)
    if numbers != (None, None):
        return numbers[0] == numbers[1]
    if isinstance(one, Ref) and isinstance(two, Ref):
        return code.numbers[one.number] == found.numbers[two.number]
    return not refs_in((one, two)) and bool(one == two)


def _number(script: Transcript, arg: Any) -> float | None:
    """A number of the code, also one that it keeps as a tensor."""
    if isinstance(arg, Ref):
        value = script.values[arg.number]
        return float(value.tensor) if isinstance(value, Constant) and value.tensor.dim() == 0 else None
    return float(arg) if isinstance(arg, int | float) else None


class _Term:
    """Looks for the tensors whose product a value is."""

    def __init__(self, script: Transcript) -> None:
        self.script = script
        lines = {value.line for number in live(script) if isinstance(value := script.values[number], Result)}
        refs = [ref for line in lines for ref in refs_in(script.lines[line].args)]
        self.readers = Counter(ref.number for ref in [*refs, *refs_in(script.outputs)])

    def tensors(self, arg: Any) -> list[str]:
        """The tensors in which this operand is linear and which nothing else reads, the one applied last first."""
        if not isinstance(arg, Ref) or self.readers[arg.number] != 1:
            return []
        value = self.script.values[arg.number]
        if isinstance(value, Given):
            return [value.name] if value.kind == "tensor" else []
        if not isinstance(value, Result):
            return []
        line = self.script.lines[value.line]
        operands = ("self",) if line.name in KEEPS else PRODUCTS.get(line.name, ())
        return [name for operand in operands for name in self.tensors(line.args[operand])]
