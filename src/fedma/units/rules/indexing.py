"""Look-ups: the axis that is looked up in stays in place, the others pass through."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from fedma.units.axes import leaf, pin, unify
from fedma.units.call import Call, NoRule
from fedma.units.registry import rule
from fedma.units.values import Symbols, Value


@rule("embedding")
def embedding(op: Call) -> Symbols:
    """Rows are words, which stay; columns make units."""
    weight, indices = op["weight"], op["indices"]
    pin(weight[0], "vocabulary")
    op.makes(weight, 1)
    return (*indices.symbols, weight[1])


@rule("embedding_renorm")
def embedding_renorm(op: Call) -> Symbols:
    """Rows that are looked up are scaled in place to a largest norm."""
    weight = op["self"]
    pin(weight[0], "vocabulary")
    op.mix([weight[1]], [weight[0]])
    return (weight[0], weight[1])


@rule("embedding_bag", "_embedding_bag", "_embedding_bag_forward_only")
def embedding_bag(op: Call) -> list[Symbols | None]:
    """Sums of rows."""
    weight = op["weight"]
    pin(weight[0], "vocabulary")
    op.makes(weight, 1)
    return [(leaf(op.shape[0], pinned="bag"), weight[1])]


@dataclass(frozen=True)
class _Picked:
    """What indexing with tensors picks.

    Attributes:
        rest: the axes that are not indexed, in order.
        first: before which of them the axes of what is picked stand in the result.
        dims: how many axes these are.
    """

    rest: Symbols
    first: int
    dims: int


def _picked(op: Call, x: Value, indices: Sequence[Value | None]) -> _Picked:
    """What these indices pick; the axes that are indexed stay in place."""
    at: list[int] = []
    axis = 0
    for value in indices:
        covered = len(value) if value is not None and _is_mask(value) else 1
        at += range(axis, axis + covered) if value is not None else ()
        axis += covered
    op.pin([x[axis] for axis in at], "indexed")
    places = [place for place, value in enumerate(indices) if value is not None]
    adjacent = places[-1] - places[0] < len(places)
    dims = max(1 if _is_mask(value) else len(value) for value in indices if value is not None)
    rest = tuple(symbol for axis, symbol in enumerate(x.symbols) if axis not in at)
    return _Picked(rest, places[0] if adjacent else 0, dims)


def _is_mask(value: Value) -> bool:
    return value.dtype in (torch.bool, torch.uint8)


@rule("index", "_unsafe_index")
def index(op: Call) -> Symbols:
    """Indexing with tensors of positions, or with masks: what these let through stays in place."""
    found = [value for value in op["indices"] if value is not None]
    picked = _picked(op, op["self"], op["indices"])
    first, last = picked.first, picked.first + picked.dims
    if any(map(_is_mask, found)):
        op.pin([symbol for value in found for symbol in value.symbols], "masked")
        symbols = op.fixed(op.shape[first:last], "masked")
    else:
        symbols = op.broadcast(op.shape[first:last], *(value.symbols for value in found))
    return (*picked.rest[:first], *symbols, *picked.rest[first:])


@rule("index_put", "_unsafe_index_put")
def index_put(op: Call) -> Symbols:
    """Writing at positions, which stay in place; the other axes of what is written are those of the tensor."""
    x, values = op["self"], op["values"]
    op.pin([symbol for value in op["indices"] if value is not None for symbol in value.symbols], "indexed")
    picked = _picked(op, x, op["indices"])
    axes = [*picked.rest[: picked.first], *[None] * picked.dims, *picked.rest[picked.first :]]
    for own, given in zip(reversed(axes), reversed(values.symbols), strict=False):
        if own is None:
            pin(given, "indexed")
        elif own.size == given.size:
            unify(own, given)
    return x.symbols


@rule("index_fill")
def index_fill(op: Call) -> Symbols:
    """One value at positions along one axis."""
    x = op["self"]
    op.pin([x[op["dim"] % len(x)], *op["index"].symbols], "indexed")
    return x.symbols


@rule("masked_scatter", "put", "take")
def scattered(op: Call) -> Symbols:
    """Entries written or read one after the other, in an order that depends on positions: everything stays."""
    for value in op.values:
        op.pin(value.symbols, op.name)
    return op.fixed(op.shape, op.name)


@rule("index_add", "index_copy", "index_reduce")
def index_add(op: Call) -> Symbols:
    """Slices written, or added, at positions along one axis."""
    x, source, axis = op["self"], op["source"], op["dim"] % len(op["self"])
    op.pin(op["index"].symbols, "indexed")
    for d, (own, given) in enumerate(zip(x.symbols, source.symbols, strict=True)):
        if d == axis:
            op.pin([own, given], "indexed")
        else:
            unify(own, given)
    return x.symbols


@rule("index_select")
def index_select(op: Call) -> Symbols:
    """Positions along one axis."""
    x, axis = op["self"], op["dim"] % len(op["self"])
    pin(x[axis], "indexed")
    return tuple(op["index"][0] if d == axis else symbol for d, symbol in enumerate(x.symbols))


@rule("gather", "take_along_dim")
def gather(op: Call) -> Symbols:
    """One position along an axis for each entry of the result."""
    x, where = op["self"], op.get("index", "indices")
    if op["dim"] is None:
        raise NoRule(f"no rule for {op.name} over all axes")
    axis = op["dim"] % len(x)
    pin(x[axis], "gathered")
    for d, (own, other) in enumerate(zip(x.symbols, where.symbols, strict=True)):
        if d != axis and own.size == other.size:
            unify(own, other)
        elif d != axis:
            op.pin([own, other], "gathered")
    return where.symbols if where.shape == op.shape else op.fixed(op.shape, "gathered")


@rule("one_hot")
def one_hot(op: Call) -> Symbols:
    """A new axis of classes, which stay."""
    return (*op["self"].symbols, leaf(op.shape[-1], pinned="classes"))


@rule("scatter", "scatter_add", "scatter_reduce")
def scatter(op: Call) -> Symbols:
    """Entries written at positions along an axis."""
    x, where = op["self"], op["index"]
    axis = op["dim"] % len(x)
    pin(x[axis], "scattered")
    for value in (where, op.args.get("src")):
        if isinstance(value, Value):
            for d, (own, other) in enumerate(zip(x.symbols, value.symbols, strict=True)):
                if d != axis and own.size == other.size:
                    unify(own, other)
                else:
                    op.pin([own, other] if d != axis else [other], "scattered")
    return x.symbols


@rule("masked_select", "nonzero", "unique", "_unique2", "bucketize", "searchsorted", "bincount", "histc")
def found(op: Call) -> list[Symbols | None]:
    """Results that depend on positions and values: everything stays."""
    for value in op.values:
        op.pin(value.symbols, op.name)
    return []
