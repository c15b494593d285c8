"""Factors that one model's code applies and another's does not, moved into the weights.

An adapter adds `scale * B(A(x))`, where the scale is a number in the code. Where nothing but this term reads `B`,
another scale and a `B` that is so many times as large give the same function.
"""

from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any

from fedma.units.compare import Code, Difference, live
from fedma.units.transcript import Constant, Given, Line, Ref, Result, Transcript, refs_in

KEEPS = frozenset(
    {"detach", "alias", "clone", "view", "_unsafe_view", "reshape", "_reshape_alias", "squeeze", "unsqueeze", "t"}
    | {"transpose", "permute", "expand", "slice", "select", "split", "split_with_sizes", "unbind", "sum", "mean"}
    | {"neg", "_to_copy", "index_select", "index", "repeat", "flip", "roll", "diagonal", "tril", "triu"}
)
"""Operations that are linear in their first operand: what multiplies that multiplies the result."""
EITHER = {
    "mul": ("other", "self"),
    "mm": ("mat2", "self"),
    "bmm": ("mat2", "self"),
    "matmul": ("other", "self"),
    "dot": ("tensor", "self"),
    "mv": ("vec", "self"),
    "div": ("self",),
    "embedding": ("weight",),
}
"""Operations that are linear in each of these operands; the one that is more likely a weight comes first."""
WITH_BIAS = {
    "addmm": ("self", ("mat2", "mat1")),
    "baddbmm": ("self", ("batch2", "batch1")),
    "linear": ("bias", ("weight", "input")),
    "convolution": ("bias", ("weight", "input")),
}
"""Operations that are linear in one of two operands and what is added, both together."""
FACTORS: Mapping[tuple[str, str], tuple[tuple[str, ...], Callable[[float, float], float]]] = {
    ("mul", "other"): (("self",), lambda one, two: two / one),
    ("div", "other"): (("self",), lambda one, two: one / two),
    ("add", "alpha"): (("other",), lambda one, two: two / one),
    ("sub", "alpha"): (("other",), lambda one, two: two / one),
    ("addmm", "alpha"): (("mat2", "mat1"), lambda one, two: two / one),
    ("addmm", "beta"): (("self",), lambda one, two: two / one),
    ("baddbmm", "alpha"): (("batch2", "batch1"), lambda one, two: two / one),
}
"""Numbers in the code that multiply an operand: which one, and by what the other model's must be multiplied."""
Walk = frozenset[str] | None
"""The tensors to multiply; None where there are none that would do."""


def folded(code: Code, other: Transcript) -> tuple[dict[str, float], Difference | None]:
    """By what to multiply tensors of another model so that this code computes what the other one's does.

    Returns:
        factors by the names of tensors, and the first difference that no factor explains, if there is one.
    """
    factors: dict[str, float] = {}
    same: dict[int, int] = {}
    while (found := code.difference(other, same)) is not None:
        more = _factors(code, other, found)
        if more is None or found.first is None or found.other is None:
            return factors, found
        factors = {**factors, **{name: factors.get(name, 1.0) * factor for name, factor in more.items()}}
        same[found.other] = code.numbers[found.first]
    return factors, None


def _factors(code: Code, other: Transcript, found: Difference) -> dict[str, float] | None:
    """The factors that make up for this difference; None where none do."""
    if found.first is None or found.other is None:
        return None
    one, two = code.script.line(found.first), other.line(found.other)
    if one.name != two.name or one.args.keys() != two.args.keys():
        return None
    unlike = [name for name in one.args if not _alike(code, one.args[name], other, two.args[name], found)]
    if len(unlike) != 1 or (one.name, unlike[0]) not in FACTORS:
        return None
    operands, ratio = FACTORS[one.name, unlike[0]]
    a, b = _number(code.script, one.args[unlike[0]]), _number(other, two.args[unlike[0]])
    if not (a and b):
        return None
    walk = _Walk(other)
    names = next((names for each in operands if (names := walk.into(two.args[each])) is not None), None)
    return None if names is None else dict.fromkeys(names, ratio(a, b))


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


class _Walk:
    """Looks for tensors in which a value is linear, and which nothing else reads."""

    def __init__(self, script: Transcript) -> None:
        self.script = script
        lines = {value.line for number in live(script) if isinstance(value := script.values[number], Result)}
        refs = [ref for line in lines for ref in refs_in(script.lines[line].args)]
        self.readers = Counter(ref.number for ref in [*refs, *refs_in(script.outputs)])

    def into(self, arg: Any) -> Walk:
        """The tensors to multiply, so that this operand is multiplied and nothing else."""
        if not isinstance(arg, Ref) or self.readers[arg.number] != 1:
            return None
        value = self.script.values[arg.number]
        if isinstance(value, Given):
            return frozenset({value.name}) if value.kind == "tensor" else None
        return self._behind(self.script.lines[value.line]) if isinstance(value, Result) else None

    def _behind(self, line: Line) -> Walk:
        args = line.args
        if line.name in KEEPS:
            return self.into(args["self"])
        if line.name in ("add", "sub"):
            return self._both(self.into(args["self"]), self.into(args["other"]))
        if line.name in EITHER:
            return self._either(line, EITHER[line.name])
        if line.name in WITH_BIAS:
            bias, others = WITH_BIAS[line.name]
            found = self._either(line, others)
            return found if args.get(bias) is None else self._both(self.into(args[bias]), found)
        return None

    def _either(self, line: Line, names: tuple[str, ...]) -> Walk:
        return next((found for name in names if (found := self.into(line.args[name])) is not None), None)

    def _both(self, one: Walk, two: Walk) -> Walk:
        return None if one is None or two is None else one | two
