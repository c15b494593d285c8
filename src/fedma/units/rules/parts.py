"""Operations that join tensors along an axis, or take an axis apart."""

from fedma.units.axes import Symbol, concat, factor, leaf, pin, split, unify
from fedma.units.call import Call, NoRule
from fedma.units.registry import rule
from fedma.units.values import Deferred, Memory, Symbols, Value


@rule("cat", "concat", "concatenate", "hstack", "vstack", "dstack")
def cat(op: Call) -> Symbols:
    """One after the other along one axis; along the others the units are the same."""
    parts = [value for value in op["tensors"] if value.shape != (0,)]
    if op.name in ("vstack", "dstack") or len({len(part) for part in parts}) > 1:
        raise NoRule(f"no rule for {op.name} of tensors with different dimensions")
    axis = op.args.get("dim", 0 if len(parts[0]) == 1 else 1) % len(parts[0])
    symbols = list(parts[0].symbols)
    for part in parts[1:]:
        symbols = [s if d == axis else unify(s, part[d]) for d, s in enumerate(symbols)]
    symbols[axis] = concat(*(part[axis] for part in parts))
    return tuple(symbols)


@rule("stack")
def stack(op: Call) -> Value:
    """Along a new axis; the parts need not agree until someone uses the stack as a whole."""
    parts: list[Value] = op["tensors"]
    memories = {id(part.memory) for part in parts}
    memory = Memory(parts[0].memory.uniform and len(memories) == 1)
    return stacked([part.symbols for part in parts], op["dim"] % (len(parts[0]) + 1), memory)


def stacked(parts: list[Symbols], axis: int, memory: Memory | None = None) -> Value:
    """A stack whose parts stay independent for now."""
    shape = [symbol.size for symbol in parts[0]]
    shape.insert(axis, len(parts))

    def whole() -> Symbols:
        symbols = [unify(*same) for same in zip(*parts, strict=True)]
        symbols.insert(axis, leaf(len(parts), pinned="stack"))
        return tuple(symbols)

    return Value(shape=tuple(shape), memory=memory, deferred=Deferred(axis, lambda: parts, whole))


def _taken_apart(x: Value, axis: int, why: str) -> list[Symbols]:
    """The symbols at every position along an axis, which has to stay."""
    if x.deferred is not None and x.deferred.axis == axis:
        return x.deferred.parts()
    pin(x[axis], why)
    return [tuple(symbol for d, symbol in enumerate(x.symbols) if d != axis)] * x.shape[axis]


@rule("select", view=True)
def select(op: Call) -> Symbols:
    """One position along an axis."""
    return _taken_apart(op["self"], op["dim"] % len(op["self"]), "selected")[op["index"]]


@rule("unbind", view=True)
def unbind(op: Call) -> list[Symbols]:
    """Every position along an axis."""
    return _taken_apart(op["self"], op["dim"] % len(op["self"]), "unbound")


@rule("slice", "narrow", view=True)
def slice_(op: Call) -> Symbols:
    """Consecutive positions are a part of the axis; with a step, one position of every block."""
    x = op["self"]
    axis = op["dim"] % len(x)
    before, length = op["start"] or 0, op.shape[axis]
    size = x[axis].size
    symbols = list(x.symbols)
    if length == size:
        return x.symbols
    if length == 0:
        return (*symbols[:axis], leaf(0), *symbols[axis + 1 :])
    if op.args.get("step", 1) != 1 or not isinstance(before, int):
        symbols[axis] = _one_of_each(x[axis], op["step"], length)
        return tuple(symbols)
    before = min(max(before + size if before < 0 else before, 0), size)
    symbols[axis] = split(x[axis], [before, length, size - before - length])[1]
    return tuple(symbols)


def _one_of_each(symbol: Symbol, step: int, length: int) -> Symbol:
    """One position of every block, where blocks fill the axis; else it has to stay."""
    if step * length != symbol.size:
        pin(symbol, "strided slice")
        return leaf(length, pinned="strided slice")
    blocks, inner = factor(symbol, [length, step])
    pin(inner, "strided slice")
    return blocks


@rule(
    "split",
    "chunk",
    "split_with_sizes",
    "tensor_split",
    "unsafe_split",
    "unsafe_chunk",
    "unsafe_split_with_sizes",
    view=True,
)
def split_(op: Call) -> list[Symbols | None]:
    """Consecutive parts of an axis."""
    x = op.values[0]
    axis = op["dim"] % len(x)
    parts = split(x[axis], [shape[axis] for shape in op.shapes if shape is not None])
    return [tuple(part if d == axis else symbol for d, symbol in enumerate(x.symbols)) for part in parts]


@rule("slice_scatter")
def slice_scatter(op: Call) -> Symbols:
    """A copy whose consecutive positions along one axis are others."""
    x, source, axis = op["self"], op["src"], op["dim"] % len(op["self"])
    size, length, start = x.shape[axis], source.shape[axis], op["start"] or 0
    symbols = [own if d == axis else unify(own, source[d]) for d, own in enumerate(x.symbols)]
    if length in (0, size):
        symbols[axis] = source[axis] if length else x[axis]
    elif op["step"] != 1 or not isinstance(start, int):
        op.pin([x[axis], source[axis]], "strided slice")
    else:
        start = min(max(start + size if start < 0 else start, 0), size)
        before, _, after = split(x[axis], [start, length, size - start - length])
        symbols[axis] = concat(before, source[axis], after)
    return tuple(symbols)


@rule("select_scatter")
def select_scatter(op: Call) -> Symbols:
    """A copy whose entries at one position are others."""
    x, source, axis = op["self"], op["src"], op["dim"] % len(op["self"])
    pin(x[axis], "selected")
    rest = iter(source.symbols)
    return tuple(own if d == axis else unify(own, next(rest)) for d, own in enumerate(x.symbols))


@rule("diagonal_scatter", "as_strided_scatter")
def scattered(op: Call) -> Symbols:
    """A copy whose entries at some places are others: everything stays."""
    for value in op.values:
        op.pin(value.symbols, op.name)
    return op.fixed(op.shape, op.name)


@rule("constant_pad_nd", "pad")
def pad(op: Call) -> Symbols:
    """Equal entries before and after; other ways of padding depend on the order along the axis."""
    x, amounts = op["self"], list(op["pad"])
    symbols = list(x.symbols)
    for k, (low, high) in enumerate(zip(amounts[::2], amounts[1::2], strict=True)):
        axis = len(symbols) - 1 - k
        if not (low or high):
            continue
        if low < 0 or high < 0 or op.args.get("mode", "constant") != "constant":
            pin(symbols[axis], "padding")
            symbols[axis] = leaf(op.shape[axis], pinned="padding")
        else:
            symbols[axis] = concat(leaf(low), symbols[axis], leaf(high))
    return tuple(symbols)
