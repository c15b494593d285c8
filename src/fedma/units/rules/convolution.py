"""Convolutions, in any number of dimensions, grouped, depthwise and transposed."""

from fedma.units.axes import Symbol, factor, leaf, product, unify
from fedma.units.call import Call
from fedma.units.registry import rule
from fedma.units.values import Symbols, Value


@rule(
    "conv1d",
    "conv2d",
    "conv3d",
    "convolution",
    "_convolution",
    "thnn_conv2d",
    "_slow_conv2d_forward",
    "conv_depthwise3d",
)
@rule("conv_transpose1d", "conv_transpose2d", "conv_transpose3d", "cudnn_convolution", "mkldnn_convolution")
def convolution(op: Call) -> Symbols:
    """Kernel and joined positions stay in place; channels are the units, in blocks when the convolution is grouped."""
    x, weight, bias = op.get("input", "self"), op["weight"], op["bias"]
    transposed = op.args.get("transposed", "transpose" in op.name)
    batched = len(x) == len(weight)
    lead = 2 if batched else 1
    channels = x[lead - 1]
    positions = op.slid(x.symbols[lead:], weight.shape[2:], op.shape[lead:])
    op.pin(weight.symbols[2:], "convolution kernel")
    made, read = channels_met(op, channels, weight, op.args.get("groups", 1), transposed)
    if bias is not None:
        unify(made, bias[0])
    batch = x.symbols[:1] if batched else ()
    op.mix([read], [*batch, made, *positions])
    return (*batch, made, *positions)


def channels_met(op: Call, channels: Symbol, weight: Value, groups: int, transposed: bool) -> tuple[Symbol, Symbol]:
    """The channels that a weight makes and those that it reads, which are the input's."""
    return (
        _plain(op, channels, weight, transposed) if groups == 1 else _grouped(op, channels, weight, groups, transposed)
    )


def _plain(op: Call, channels: Symbol, weight: Value, transposed: bool) -> tuple[Symbol, Symbol]:
    """The channels made and the channels read."""
    made, read = (1, 0) if transposed else (0, 1)
    unify(channels, weight[read])
    op.reads(weight, read)
    return weight[made], weight[read]


def _grouped(op: Call, channels: Symbol, weight: Value, groups: int, transposed: bool) -> tuple[Symbol, Symbol]:
    """The same, where only channels of one group meet: axis 0 is `groups × rows`, the input `groups × columns`."""
    block, rows = factor(weight[0], [groups, weight[0].size // groups])
    columns = weight[1]
    unify(channels, product(block, rows) if transposed else product(block, columns))
    inside, outside = (rows, columns) if transposed else (columns, rows)
    if inside.size == 1:
        op.hold([outside], "channels per group of a depthwise convolution")
    else:
        op.hint(block, "groups")
        op.hold([block], "number of groups of a convolution")
        op.reads(weight, 0 if transposed else 1)
    return product(block, outside), inside if inside.size > 1 else leaf(1)
