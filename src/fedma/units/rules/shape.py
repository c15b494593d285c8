"""Operations that only rearrange: the same units under other axes."""

import functools
import math
from collections.abc import Sequence

from fedma.units.axes import BAKED, Symbol, factor, hold, leaf, leaves, product, split
from fedma.units.call import Call, NoRule
from fedma.units.registry import rule
from fedma.units.values import Deferred, Symbols, Value


@rule(
    "view",
    "reshape",
    "_unsafe_view",
    "flatten",
    "unflatten",
    "view_as",
    "reshape_as",
    "_reshape_alias",
    "ravel",
    view=True,
)
def view(op: Call) -> "Symbols | Value":
    """Axes are merged into products and factored into blocks, run by run of equal extent."""
    x, shape = op.values[0], op.shape
    if 0 in shape:
        return op.fixed(shape, "empty")
    if len(op.args) == 2 and "dtype" in op.args:
        return x.symbols
    if x.shape == shape:
        return rearranged(x, range(len(x)))
    runs = _runs([symbol for symbol in x.symbols if symbol.size > 1], [n for n in shape if n > 1])
    fused = [
        k for k, (whole, sizes) in enumerate(runs) if len(sizes) > 1 and sizes[0] <= FUSED and not _in_place(whole)
    ]
    singles = [symbol for symbol in x.symbols if symbol.size == 1]

    def laid(symbols: list[Symbol], lengths: Sequence[int]) -> Symbols:
        units, ones = iter(symbols), iter(singles)
        return tuple(next(units) if n > 1 else next(ones, leaf(1)) for n in lengths)

    def whole() -> Symbols:
        return laid([unit for run in runs for unit in _factored(*run)], shape)

    if len(fused) != 1:
        return whole()
    run = fused[0]
    axis = [d for d, n in enumerate(shape) if n > 1][sum(len(sizes) for _, sizes in runs[:run])]

    @functools.cache
    def parts() -> list[Symbols]:
        others = [[] if k == run else _factored(*other) for k, other in enumerate(runs)]
        blocks = split(runs[run][0], [runs[run][0].size // shape[axis]] * shape[axis])
        lengths = (*shape[:axis], *shape[axis + 1 :])
        own = [_factored(block, runs[run][1][1:]) for block in blocks]
        return [laid([u for k, o in enumerate(others) for u in (part if k == run else o)], lengths) for part in own]

    return Value(shape=shape, memory=x.memory, deferred=Deferred(axis, parts, whole))


FUSED = 8
"""Views with at most so many blocks may be several tensors in one (queries, keys and values), to be taken apart."""


def _runs(source: list[Symbol], wanted: list[int]) -> list[tuple[Symbol, list[int]]]:
    """What every run of axes is as one axis, and the lengths it is viewed with."""
    result = []
    while source:
        merged, blocks = _run(source, wanted)
        result.append((product(*source[:merged]) if merged > 1 else source[0], wanted[:blocks]))
        source, wanted = source[merged:], wanted[blocks:]
    return result


def _factored(whole: Symbol, sizes: Sequence[int]) -> list[Symbol]:
    if len(sizes) < 2:
        return [whole]
    parts = factor(whole, sizes)
    for part in parts:
        hold(part, BAKED)
    return parts


def _in_place(symbol: Symbol) -> bool:
    return all(unit.pinned for unit in leaves(symbol))


def _run(source: list[Symbol], wanted: list[int]) -> tuple[int, int]:
    """The fewest leading axes on both sides with the same number of entries."""
    i, j = 1, 1
    have, need = source[0].size, wanted[0]
    while have != need:
        if have < need:
            have, i = have * source[i].size, i + 1
        else:
            need, j = need * wanted[j], j + 1
    return i, j


def rearranged(x: Value, order: Sequence[int | None]) -> "Symbols | Value":
    """The value with its axes in this order; None stands for a new axis of length one."""
    if x.deferred is None or x.deferred.axis not in order:
        return tuple(leaf(1) if axis is None else x[axis] for axis in order)
    aside = x.deferred.axis
    rest = [axis if axis is None or axis < aside else axis - 1 for axis in order if axis != aside]

    def parts(deferred: Deferred = x.deferred) -> list[Symbols]:
        return [tuple(leaf(1) if axis is None else part[axis] for axis in rest) for part in deferred.parts()]

    def whole() -> Symbols:
        return tuple(leaf(1) if axis is None else x[axis] for axis in order)

    shape = tuple(1 if axis is None else x.shape[axis] for axis in order)
    return Value(shape=shape, deferred=Deferred(list(order).index(aside), parts, whole))


@rule("contiguous", "clone", "to", "_to_copy", "alias", "detach", "lift_fresh", "type_as", keeps_uniform=True)
def copied(op: Call) -> "Symbols | Value":
    """The same entries."""
    return rearranged(op.values[0], range(len(op.values[0])))


@rule("permute", view=True)
def permute(op: Call) -> "Symbols | Value":
    """Axes in another order."""
    return rearranged(op["self"], [axis % len(op["self"]) for axis in op["dims"]])


@rule("transpose", "swapaxes", "swapdims", "t", "numpy_T", "mT", "adjoint", "matrix_H", view=True)
def transpose(op: Call) -> "Symbols | Value":
    """Two axes change places."""
    order = list(range(len(op["self"])))
    if op.name == "numpy_T" or len(order) < 2:
        return rearranged(op["self"], order[::-1])
    first, second = op.args.get("dim0", op.args.get("axis0", -2)), op.args.get("dim1", op.args.get("axis1", -1))
    order[first], order[second] = order[second], order[first]
    return rearranged(op["self"], order)


@rule("movedim", "moveaxis", view=True)
def movedim(op: Call) -> "Symbols | Value":
    """Some axes move, the others close ranks."""
    x = op["self"]
    source, target = ([d % len(x) for d in _list(op[name])] for name in ("source", "destination"))
    order = [d for d in range(len(x)) if d not in source]
    for to, axis in sorted(zip(target, source, strict=True)):
        order.insert(to, axis)
    return rearranged(x, order)


def _list(value: int | list[int]) -> list[int]:
    return [value] if isinstance(value, int) else list(value)


@rule("unsqueeze", view=True)
def unsqueeze(op: Call) -> "Symbols | Value":
    """A new axis of length one."""
    order: list[int | None] = list(range(len(op["self"])))
    order.insert(op["dim"] % (len(order) + 1), None)
    return rearranged(op["self"], order)


@rule("squeeze", view=True)
def squeeze(op: Call) -> "Symbols | Value":
    """Axes of length one vanish."""
    x, dim = op["self"], op.args.get("dim")
    axes = range(len(x)) if dim is None else [d % max(len(x), 1) for d in _list(dim)]
    return rearranged(x, [d for d, n in enumerate(x.shape) if not (d in axes and n == 1)])


@rule("as_strided", view=True)
def as_strided(op: Call) -> Symbols:
    """Any entries of the memory, in any order."""
    op.expose(op["self"], "as_strided")
    return op.fixed(op.shape, "as_strided")


@rule("expand", "expand_as", "broadcast_to", view=True)
def expand(op: Call) -> Symbols:
    """An axis of length one repeats: nothing is known of the new axis but that all its entries are equal."""
    return op.broadcast(op.shape, op.values[0].symbols)


@rule("broadcast_tensors", view=True)
def broadcast_tensors(op: Call) -> list[Symbols | None]:
    """Every tensor expanded to the common shape."""
    return [op.broadcast(op.shape, value.symbols) for value in op["tensors"]]


@rule("repeat", "tile", keeps_uniform=True)
def repeat(op: Call) -> Symbols:
    """Copies one after the other: `copies × units`."""
    x, copies = op["self"], op.get("repeats", "dims")
    symbols = (*op.fresh(*[1] * (len(op.shape) - len(x))), *x.symbols)
    copies = [1] * (len(op.shape) - len(copies)) + list(copies)
    return tuple(_copied(symbol, n, outer=True) for symbol, n in zip(symbols, copies, strict=True))


@rule("repeat_interleave", keeps_uniform=True)
def repeat_interleave(op: Call) -> Symbols:
    """Copies side by side: `units × copies`."""
    x, dim, copies = op["self"], op.args.get("dim"), op.args.get("repeats")
    if dim is None or not isinstance(copies, int):
        raise NoRule("no rule for repeat_interleave with a tensor of counts, or over all axes")
    symbols = list(x.symbols)
    symbols[dim] = _copied(symbols[dim], copies, outer=False)
    return tuple(symbols)


def _copied(symbol: Symbol, copies: int, *, outer: bool) -> Symbol:
    if copies == 1:
        return symbol
    if symbol.size == 1:
        return leaf(copies)
    count = leaf(copies, held="number of copies")
    return product(count, symbol) if outer else product(symbol, count)


@rule("roll", "flip", "fliplr", "flipud", "rot90", "tril", "triu")
def reordered(op: Call) -> Symbols:
    """Operations that depend on the order along some axes: these stay in place."""
    x = op["self"]
    if op.name in ("roll", "flip") and op["dims"]:
        axes = op["dims"]
    else:
        axes = range(len(x)) if op.name in ("roll", "flip") else (-2, -1)
    op.pin([x[axis] for axis in axes], op.name)
    if op.shape != x.shape or op.name in ("rot90", "fliplr", "flipud"):
        op.pin(x.symbols, op.name)
        return op.fixed(op.shape, op.name)
    return x.symbols


@rule("diag", "view_as_real", "view_as_complex")
def parts_of_numbers(op: Call) -> Symbols:
    """Axes that are read together, or that hold the parts of a number, stay in place."""
    x = op["self"]
    kept = math.gcd(len(x), len(op.shape)) if op.name.startswith("view_as") else 0
    shared = min(len(x), len(op.shape)) if kept else 0
    op.pin(x.symbols[shared:], op.name)
    return (*x.symbols[:shared], *op.fixed(op.shape[shared:], op.name))
