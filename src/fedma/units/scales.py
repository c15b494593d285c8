"""Factors that one model's code applies and another's does not, moved into the weights.

An adapter adds `scale * B(A(x))`, where the scale is a number in the code. If only this term reads `B`, dividing the
scale and multiplying `B` by the same number gives the same function. Only a product of two or more tensors counts as
an adapter: a factor of a single layer may be a mistake.
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
"""Operations that are linear in their first operand: a factor of it is a factor of the result."""
PRODUCTS = {
    "mul": ("other", "self"),
    "mm": ("mat2", "self"),
    "bmm": ("mat2", "self"),
    "matmul": ("other", "self"),
    "div": ("self",),
    "embedding": ("weight",),
}
"""Operations that are linear in each of these operands; the operand applied last comes first."""
FACTORS: Mapping[tuple[str, str], tuple[str, Callable[[float, float], float]]] = {
    ("mul", "other"): ("self", lambda one, two: two / one),
    ("mul", "self"): ("other", lambda one, two: two / one),
    ("div", "other"): ("self", lambda one, two: one / two),
    ("add", "alpha"): ("other", lambda one, two: two / one),
    ("sub", "alpha"): ("other", lambda one, two: two / one),
}
"""Arguments that multiply an operand: which operand, and the factor that the other model's operand needs."""


def folded(code: Code, other: Transcript, growth: Mapping[str, float]) -> tuple[dict[str, float], Difference | None]:
    """Factors for another model's tensors, with which this code computes the other model's function.

    Args:
        code: the code of the first model.
        other: the transcript of the other model.
        growth: for each tensor, its size in the other model divided by that in the first. In a product, the tensor
            whose ratio fits the factor best is multiplied: models trained with other scales adapted differently.

    Returns:
        The factors by tensor name, and the first difference that no factor explains (None if there is none).
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
    """The factors that compensate this difference; None if no factors do."""
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
    """A number in the code, which may be kept as a tensor; None for anything else."""
    if isinstance(arg, Ref):
        value = script.values[arg.number]
        return float(value.tensor) if isinstance(value, Constant) and value.tensor.dim() == 0 else None
    return float(arg) if isinstance(arg, int | float) else None


class _Term:
    """Finds the tensors whose product a value is."""

    def __init__(self, script: Transcript) -> None:
        self.script = script
        lines = {value.line for number in live(script) if isinstance(value := script.values[number], Result)}
        refs = [ref for line in lines for ref in refs_in(script.lines[line].args)]
        self.readers = Counter(ref.number for ref in [*refs, *refs_in(script.outputs)])

    def tensors(self, arg: Any) -> list[str]:
        """The tensors in which this operand is linear and that nothing else reads, last applied first."""
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
