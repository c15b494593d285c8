"""Normalisations and softmax: what is normalised together cannot grow by zeros."""

from fedma.units.axes import factor, unify
from fedma.units.call import Call
from fedma.units.registry import rule
from fedma.units.values import Symbols


@rule(
    "batch_norm",
    "native_batch_norm",
    "_native_batch_norm_legit_no_training",
    "_native_batch_norm_legit",
    "cudnn_batch_norm",
    "miopen_batch_norm",
    "_batch_norm_no_update",
    "_batch_norm_with_update",
    "instance_norm",
)
def batch_norm(op: Call) -> list[Symbols | None]:
    """Scale, shift and running statistics are indexed by channel."""
    x = op["input"]
    channels = x[1]
    vectors = [op.get("weight"), op.get("bias"), op.get("running_mean"), op.get("running_var")]
    for vector in vectors:
        if vector is not None:
            unify(channels, vector[0])
    op.keeps_statistics(*vectors[2:])
    op.mix([x[0], *x.symbols[2:]] if op.name != "instance_norm" else x.symbols[2:], [channels])
    rest = [(channels,) if shape == (channels.size,) else None for shape in op.shapes[1:]]
    return [x.symbols, *rest]


@rule("layer_norm", "native_layer_norm", "rms_norm", "_fused_rms_norm")
def layer_norm(op: Call) -> list[Symbols | None]:
    """Everything along the last axes is normalised together."""
    x, depth = op["input"], len(op["normalized_shape"])
    last = x.symbols[-depth:]
    for vector in (op.get("weight"), op.get("bias")):
        if vector is not None:
            for symbol, own in zip(last, vector.symbols, strict=True):
                unify(symbol, own)
    op.hold(last, "normalised over by a " + ("layer norm" if "layer" in op.name else "root-mean-square norm"))
    op.mix(last, x.symbols[:-depth])
    moments = (*x.symbols[:-depth], *op.fresh(*[1] * depth))
    return [x.symbols, *[moments] * (len(op.shapes) - 1)]


@rule("group_norm", "native_group_norm")
def group_norm(op: Call) -> list[Symbols | None]:
    """Channels of one group are normalised together."""
    x = op["input"]
    channels = x[1]
    for vector in (op.get("weight"), op.get("bias")):
        if vector is not None:
            unify(channels, vector[0])
    groups: int = op.args.get("num_groups") or op["group"]
    block, inside = factor(channels, [groups, channels.size // groups])
    op.hint(block, "groups")
    op.hold([block, inside], "normalised over by a group norm")
    op.mix([inside, *x.symbols[2:]], [block, x[0]])
    return [x.symbols, *[(x[0], block)] * (len(op.shapes) - 1)]


@rule("softmax", "_softmax", "log_softmax", "_log_softmax", "_safe_softmax", "softmin")
def softmax(op: Call) -> Symbols:
    """Everything along one axis is normalised together."""
    x, axis = op["self"], op["dim"] % max(len(op["self"]), 1)
    if len(x) == 0:
        return x.symbols
    op.hold([x[axis]], "normalised over by a softmax")
    op.mix([x[axis]], [symbol for d, symbol in enumerate(x.symbols) if d != axis])
    if len(x) == 4 and axis == 3:
        op.hint(x[1], "heads", "queries")
    return x.symbols
