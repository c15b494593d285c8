"""Linear algebra: the axis that is summed over carries the same units on both sides."""

import numpy as np

from fedma.units.axes import Symbol, leaf, unify
from fedma.units.call import Call, NoRule
from fedma.units.registry import rule
from fedma.units.values import Symbols, Value


@rule("linear")
def linear(op: Call) -> Symbols:
    """Rows of the weight make units, columns read them."""
    x, weight, bias = op["input"], op["weight"], op["bias"]
    if len(weight) != 2:
        raise NoRule("no rule for linear with a vector for its weight")
    unify(x[-1], weight[1])
    op.reads(weight, 1)
    made = weight[0] if bias is None else unify(weight[0], bias[0])
    op.mix([x[-1]], [*x.symbols[:-1], made])
    return tuple(Symbol(symbol.segments) for symbol in (*x.symbols[:-1], made))


@rule("mm", "bmm", "matmul", "mv", "dot", "vdot", "inner", "linalg_matmul", "linalg_vecdot")
def matmul(op: Call) -> Symbols:
    """The last axis of the left operand with the last but one of the right."""
    left, right = op.values
    if op.name in ("inner", "linalg_vecdot") and len(right) > 1:
        raise NoRule(f"no rule for {op.name} of matrices")
    return _matmul(op, left, right)


@rule("addmm", "addmv", "baddbmm", "addbmm")
def added_matmul(op: Call) -> Symbols:
    """A product and a term broadcast to it."""
    if op.name == "addbmm":
        raise NoRule("no rule for addbmm")
    return op.broadcast(op.shape, op["self"].symbols, _matmul(op, *op.values[1:3]))


def _matmul(op: Call, left: Value, right: Value) -> Symbols:
    rows, columns = left.symbols[:-1][-1:], right.symbols[1:][-1:] if len(right) > 1 else ()
    inner = -2 if len(right) > 1 else -1
    unify(left[-1], right[inner])
    _reads(op, (left, len(left) - 1), (right, len(right) + inner))
    outer = [value.symbols[:-2] for value in (left, right)]
    batch = op.broadcast(common_shape(*([s.size for s in symbols] for symbols in outer)), *outer)
    op.mix([left[-1]], [*batch, *rows, *columns])
    return (*batch, *rows, *columns)


def common_shape(*shapes: list[int]) -> tuple[int, ...]:
    """The common shape of operands that broadcast."""
    return np.broadcast_shapes(*map(tuple, shapes))


def _reads(op: Call, *operands: tuple[Value, int]) -> None:
    """Which operand of a contraction is the weight: the one made from parameters; of two such, the last."""
    data = [value for value, _ in operands if not value.weight]
    op.tracer.ambiguous |= not data and all(value[axis].sources for value, axis in operands)
    for value, axis in operands if data else operands[-1:]:
        op.reads(value, axis)


@rule("einsum")
def einsum(op: Call) -> Symbols:
    """A letter is an axis; letters that the result lacks are summed over."""
    operands: list[Value] = op["tensors"]
    terms, result = _letters(op["equation"].replace(" ", ""), [len(value) for value in operands])
    if any(len(set(term)) < len(term) for term in terms):
        raise NoRule("no rule for einsum with a repeated letter in one operand")
    known: dict[str, Symbol] = {}
    for value, term in zip(operands, terms, strict=True):
        for letter, symbol in zip(term, value.symbols, strict=True):
            if letter not in known or known[letter].size == 1:
                known[letter] = symbol
            elif symbol.size > 1:
                unify(known[letter], symbol)
    for letter in set(known) - set(result):
        _reads(op, *((v, term.index(letter)) for v, term in zip(operands, terms, strict=True) if letter in term))
    op.mix([symbol for letter, symbol in known.items() if letter not in result], [known[c] for c in result])
    return tuple(known[letter] for letter in result)


def _letters(equation: str, dims: list[int]) -> tuple[list[str], str]:
    """The letters of every operand and of the result, with "..." written out."""
    left, arrow, result = equation.partition("->")
    terms = left.split(",")
    spare = [chr(code) for code in range(0x3B1, 0x3B1 + 32)]
    dots = max([d - len(t.replace("...", "")) for t, d in zip(terms, dims, strict=True) if "..." in t], default=0)
    if not arrow:
        letters = "".join(terms).replace(".", "")
        result = "..." * (dots > 0) + "".join(sorted(c for c in set(letters) if letters.count(c) == 1))
    written = []
    for term, dim in zip(terms, dims, strict=True):
        own = dim - len(term.replace("...", ""))
        written.append(term.replace("...", "".join(spare[dots - own : dots])))
    return written, result.replace("...", "".join(spare[:dots]))


@rule("outer", "ger")
def outer(op: Call) -> Symbols:
    """All products of two vectors."""
    left, right = op.values
    return (left[0], right[0])


@rule("bilinear")
def bilinear(op: Call) -> Symbols:
    """A weight that reads two inputs."""
    first, second, weight, bias = op["input1"], op["input2"], op["weight"], op["bias"]
    for axis, value in ((1, first), (2, second)):
        unify(value[-1], weight[axis])
        op.reads(weight, axis)
    made = weight[0] if bias is None else unify(weight[0], bias[0])
    batch = op.broadcast(op.shape[:-1], first.symbols[:-1], second.symbols[:-1])
    op.mix([first[-1], second[-1]], [*batch, made])
    return (*batch, made)


@rule("_trilinear")
def trilinear(op: Call) -> Symbols:
    """How a bilinear layer is carried out: three operands with axes inserted, multiplied and summed."""
    operands = [_inserted(op[f"i{k}"].symbols, op[f"expand{k}"]) for k in (1, 2, 3)]
    dims = len(operands[0])
    shape = [max(symbols[d].size for symbols in operands) for d in range(dims)]
    whole = op.broadcast(shape, *operands)
    summed = {axis % dims for axis in op["sumdim"]}
    for k, symbols in enumerate(operands, start=1):
        for axis in summed:
            if op[f"i{k}"].weight:
                op.tracer.incoming |= symbols[axis].sources
    kept = [symbol for d, symbol in enumerate(whole) if d not in summed]
    op.mix([whole[axis] for axis in summed], kept)
    return tuple(kept)


def _inserted(symbols: Symbols, axes: list[int]) -> Symbols:
    result = list(symbols)
    for axis in sorted(axes):
        result.insert(axis, leaf(1))
    return tuple(result)


@rule("_grouped_mm", "transformers::grouped_mm_fallback")
def grouped_matmul(op: Call) -> Symbols:
    """Rows sorted by expert, each run of them multiplied by its expert's matrix."""
    rows, experts = op.values[:2]
    if (len(rows), len(experts)) != (2, 3):
        raise NoRule(f"no rule for {op.name} of these dimensions")
    unify(rows[1], experts[1])
    op.reads(experts, 1)
    op.pin([rows[0], experts[0]], "sorted by expert")
    op.mix([rows[1]], [rows[0], experts[2]])
    return (rows[0], experts[2])
