"""Reductions: the reduced axes are mixed, in no order."""

from fedma.units.axes import Symbol, leaf, pin, unify
from fedma.units.call import Call
from fedma.units.registry import names, rule
from fedma.units.values import Deferred, Symbols, Value

EVEN = names("""
sum any norm linalg_vector_norm nansum count_nonzero frobenius_norm linalg_norm
""")
"""Reductions that zeros leave alone."""
UNEVEN = names("""
mean amax amin var std prod logsumexp all var_mean std_mean nanmean median nanmedian aminmax max min argmax argmin
mode
""")
WITH_POSITIONS = ("max", "min", "median", "nanmedian", "mode")
"""Reductions that also tell where they found their values."""


@rule(*EVEN, *UNEVEN)
def reduce(op: Call) -> "list[Symbols | Value]":
    """The reduced axes vanish, or keep a length of one."""
    x, others = op.values[0], op.values[1:]
    if others:
        return [op.broadcast(op.shape, x.symbols, *(value.symbols for value in others))]
    axes = _axes(op.args.get("dim", op.args.get("dims")), len(x))
    reduced = [x[axis] for axis in axes]
    if op.name in UNEVEN:
        op.hold(reduced, f"reduced by {op.name}")
    if op.name in ("argmax", "argmin"):
        op.pin(reduced, f"positions found by {op.name}")
    op.mix(reduced, [symbol for d, symbol in enumerate(x.symbols) if d not in axes])
    if op.args.get("keepdim"):
        kept = tuple(leaf(1) if d in axes else symbol for d, symbol in enumerate(x.symbols))
    else:
        kept = tuple(symbol for d, symbol in enumerate(x.symbols) if d not in axes)
    if op.name in WITH_POSITIONS and len(op.shapes) == 2:
        return [kept, when_used(op, kept, reduced, f"positions found by {op.name}")]
    return [kept for _ in op.shapes]


def when_used(op: Call, symbols: Symbols, units: list[Symbol], why: str) -> Value:
    """A result that depends on the order of some units: they stay in place as soon as somebody uses it."""

    def asked() -> Symbols:
        op.pin(units, why)
        return symbols

    return Value(shape=tuple(symbol.size for symbol in symbols), deferred=Deferred(-1, list, asked))


def _axes(dim: int | list[int] | None, dims: int) -> set[int]:
    if dim is None or dim == [] or dims == 0:
        return set(range(dims))
    return {axis % dims for axis in (dim if isinstance(dim, list | tuple) else [dim])}


@rule("cumsum", "cumprod", "cummax", "cummin", "logcumsumexp", "argsort")
def ordered(op: Call) -> list[Symbols | None]:
    """Operations that depend on the order along an axis: it stays in place."""
    x = op.values[0]
    if len(x):
        pin(x[op["dim"]], op.name)
    return [x.symbols for _ in op.shapes]


@rule("sort", "topk", "kthvalue", "msort")
def ranked(op: Call) -> "list[Symbols | Value]":
    """Values by their rank, in which the order of the units plays no part; where they were found depends on it."""
    x = op.values[0]
    if len(x) == 0:
        return [() for _ in op.shapes]
    axis = op.args.get("dim", 0 if op.name == "msort" else -1) % len(x)
    op.hold([x[axis]], f"ranked by {op.name}")
    before, after = x.symbols[:axis], x.symbols[axis + 1 :]
    op.mix([x[axis]], [*before, *after])
    gone = len(op.shape) < len(x)
    symbols = (*before, *(() if gone else op.fixed(op.shape[axis : axis + 1], f"ranked by {op.name}")), *after)
    found: list[Symbols | Value] = [symbols, when_used(op, symbols, [x[axis]], f"positions found by {op.name}")]
    return found[: len(op.shapes)]


@rule("quantile", "nanquantile")
def quantile(op: Call) -> Symbols:
    """Values at some ranks, one or several."""
    x, dim = op["self"], op["dim"]
    axes = _axes(dim, len(x))
    reduced = [x[axis] for axis in axes]
    op.hold(reduced, f"ranked by {op.name}")
    kept = [symbol for d, symbol in enumerate(x.symbols) if d not in axes]
    op.mix(reduced, kept)
    if op["keepdim"]:
        kept = [leaf(1) if d in axes else symbol for d, symbol in enumerate(x.symbols)]
    return (*op.fixed(op.shape[: len(op.shape) - len(kept)], f"ranked by {op.name}"), *kept)


@rule("cosine_similarity", "pairwise_distance")
def compared(op: Call) -> Symbols:
    """Two tensors compared along one axis, which carries the same units on both sides."""
    left, right = op.values
    shape = tuple(max(a, b) for a, b in zip(left.shape, right.shape, strict=True))
    both = op.broadcast(shape, left.symbols, right.symbols)
    axis = op.args.get("dim", -1) % len(shape)
    kept = [symbol for d, symbol in enumerate(both) if d != axis]
    op.mix([both[axis]], kept)
    return (*both[:axis], leaf(1), *both[axis + 1 :]) if op.args.get("keepdim") else tuple(kept)


@rule("cdist", "_cdist_forward", "_euclidean_dist")
def distances(op: Call) -> Symbols:
    """All rows of one operand compared with all rows of the other, along the last axis."""
    left, right = op.values
    dimensions = unify(left[-1], right[-1])
    batch = op.broadcast(op.shape[:-2], left.symbols[:-2], right.symbols[:-2])
    op.mix([dimensions], [*batch, left[-2], right[-2]])
    return (*batch, left[-2], right[-2])
