"""Look-ups: the axis that is looked up in stays in place, the others pass through."""

from fedma.units.axes import leaf, pin, unify
from fedma.units.call import Call, NoRule
from fedma.units.registry import rule
from fedma.units.rules.linear import common_shape
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


@rule("index", "_unsafe_index")
def index(op: Call) -> Symbols:
    """Indexing with tensors of positions."""
    x, indices = op["self"], op["indices"]
    at = [axis for axis, value in enumerate(indices) if value is not None]
    found = [indices[axis] for axis in at]
    covered = len(found[0])
    if len(found) == 1 and len(op.shape) != len(x) + covered - 1:
        return _masked(op, x, found[0], at[0])
    op.pin([x[axis] for axis in at], "indexed")
    shape = common_shape(*(list(value.shape) for value in found))
    picked = op.broadcast(shape, *(value.symbols for value in found))
    rest = [symbol for axis, symbol in enumerate(x.symbols) if axis not in at]
    first = at[0] if at == list(range(at[0], at[-1] + 1)) else 0
    return (*rest[:first], *picked, *rest[first:])


def _masked(op: Call, x: Value, mask: Value, first: int) -> Symbols:
    """Indexing with a mask over several axes: what it lets through stays in place."""
    op.pin([*x.symbols[first : first + len(mask)], *mask.symbols], "masked")
    kept = leaf(op.shape[first], pinned="masked")
    return (*x.symbols[:first], kept, *x.symbols[first + len(mask) :])


@rule("index_put", "_unsafe_index_put")
def index_put(op: Call) -> Symbols:
    """Writing at positions."""
    x = op["self"]
    at = [axis for axis, value in enumerate(op["indices"]) if value is not None]
    op.pin([x[axis] for axis in at], "indexed")
    tail = x.symbols[at[-1] + 1 :]
    values: Value = op["values"]
    for own, given in zip(reversed(tail), reversed(values.symbols), strict=False):
        if own.size == given.size:
            unify(own, given)
    op.pin(values.symbols[: max(len(values) - len(tail), 0)], "indexed")
    op.pin(x.symbols[: at[0]], "indexed")
    return x.symbols


@rule("index_add", "index_copy", "index_reduce")
def index_add(op: Call) -> Symbols:
    """Slices written, or added, at positions along one axis."""
    x, source, axis = op["self"], op["source"], op["dim"] % len(op["self"])
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
