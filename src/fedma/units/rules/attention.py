"""Scaled dot-product attention: heads are blocks, with dimensions of queries and keys, and of values, inside."""

from fedma.units.axes import Symbol, factor, product, unify
from fedma.units.call import Call
from fedma.units.registry import rule
from fedma.units.values import Symbols, Value


@rule(
    "scaled_dot_product_attention",
    "_scaled_dot_product_flash_attention_for_cpu",
    "_scaled_dot_product_efficient_attention",
    "_scaled_dot_product_flash_attention",
    "_scaled_dot_product_attention_math",
    "_scaled_dot_product_attention_math_for_mps",
    "_scaled_dot_product_cudnn_attention",
)
def attention(op: Call) -> list[Symbols | None]:
    """Queries meet keys in one set of dimensions, values pass in another; heads never mix."""
    query, key, value = op["query"], op["key"], op["value"]
    dimensions = unify(query[-1], key[-1])
    positions = unify(key[-2], value[-2])
    batch = _batch(op, query, key, value)
    if op.get("is_causal"):
        op.pin([query[-2], positions], "causal attention")
    op.hold([positions], "normalised over by a softmax")
    if op.get("scale") is None:
        op.hold([dimensions], "the scale of attention depends on their number")
    op.mix([dimensions], [*batch, query[-2], positions])
    op.mix([positions], [*batch, query[-2], value[-1]])
    scores = (*batch, query[-2], positions)
    mask = op.get("attn_mask", "attn_bias")
    if isinstance(mask, Value):
        op.broadcast([symbol.size for symbol in scores], scores, mask.symbols)
    if batch:
        op.hint(batch[-1], "heads", "queries")
    op.hint(dimensions, "keys")
    op.hint(value[-1], "values")
    sums = (*batch, query[-2])
    rest = [sums if shape == tuple(symbol.size for symbol in sums) else None for shape in op.shapes[1:]]
    return [(*sums, value[-1]), *rest]


def _batch(op: Call, query: Value, key: Value, value: Value) -> Symbols:
    """The axes before positions and dimensions; where there are fewer heads of keys, queries share them in blocks."""
    if len(query) > 3 and query.shape[-3] != key.shape[-3]:
        shared, repeated = factor(query[-3], [key.shape[-3], query.shape[-3] // key.shape[-3]])
        unify(shared, key[-3], value[-3])
        op.hold([shared, repeated], "number of heads")
        return (*_common(op, query, key, value, 3), product(shared, repeated))
    return _common(op, query, key, value, 2)


def _common(op: Call, query: Value, key: Value, value: Value, last: int) -> tuple[Symbol, ...]:
    return op.broadcast(query.shape[:-last], *(v.symbols[:-last] for v in (query, key, value)))
