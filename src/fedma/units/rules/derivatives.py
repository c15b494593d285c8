"""Derivatives, where a forward pass takes some (`torch.func`, `autograd.grad`): axes as in the operation itself."""

from fedma.units.axes import concat, leaf, pin, product, split, unify
from fedma.units.call import Call
from fedma.units.registry import names, rule
from fedma.units.rules.attention import attention
from fedma.units.rules.convolution import channels_met
from fedma.units.rules.elementwise import elementwise, uniform
from fedma.units.rules.normalisation import group_norm, layer_norm
from fedma.units.values import Symbols, Value

ENTRYWISE = names("""
tanh_backward sigmoid_backward threshold_backward gelu_backward silu_backward mish_backward softplus_backward
elu_backward leaky_relu_backward hardtanh_backward hardshrink_backward hardsigmoid_backward hardswish_backward
softshrink_backward log_sigmoid_backward logit_backward rrelu_with_noise_backward _prelu_kernel_backward
infinitely_differentiable_gelu_backward native_dropout_backward mse_loss_backward huber_loss_backward
smooth_l1_loss_backward binary_cross_entropy_backward soft_margin_loss_backward
""")
rule(*ENTRYWISE, keeps_uniform=True)(elementwise)
rule("_efficientzerotensor", "_new_zeros_with_same_feature_meta", makes_uniform=True)(uniform)


@rule("_softmax_backward_data", "_log_softmax_backward_data")
def softmax_backward(op: Call) -> Symbols:
    """Everything along one axis is normalised together."""
    both = op.broadcast(op.shape, op["grad_output"].symbols, op["output"].symbols)
    if both:
        axis = op["dim"] % len(both)
        op.hold([both[axis]], "normalised over by a softmax")
        op.mix([both[axis]], [symbol for d, symbol in enumerate(both) if d != axis])
    return both


@rule("select_backward")
def select_backward(op: Call) -> Symbols:
    """One position among zeros."""
    axis = op["dim"] % len(op.shape)
    symbols = list(op["grad_output"].symbols)
    symbols.insert(axis, leaf(op.shape[axis], pinned="selected"))
    return tuple(symbols)


@rule("slice_backward")
def slice_backward(op: Call) -> Symbols:
    """Consecutive positions among zeros, or one position of every block."""
    grad, axis = op["grad_output"], op["dim"] % len(op.shape)
    symbols, size, length, step = list(grad.symbols), op.shape[axis], grad.shape[axis], op["step"]
    if step == 1:
        before = min(max(op["start"] + size if op["start"] < 0 else op["start"], 0), size)
        symbols[axis] = concat(leaf(before), grad[axis], leaf(size - before - length))
    elif step * length == size:
        symbols[axis] = product(grad[axis], leaf(step, pinned="strided slice"))
    else:
        pin(grad[axis], "strided slice")
        symbols[axis] = leaf(size, pinned="strided slice")
    return tuple(symbols)


@rule("masked_scatter_backward")
def masked_scatter_backward(op: Call) -> list[Symbols | None]:
    """Entries counted through all axes: everything stays in place."""
    for value in op.values:
        op.pin(value.symbols, "masked")
    return [None for _ in op.shapes]


@rule("unfold_backward")
def unfold_backward(op: Call) -> Symbols:
    """Windows added up along one axis."""
    grad, axis = op["grad_in"], op["dim"] % len(op.shape)
    op.pin([grad[axis], grad[-1]], "unfold")
    symbols = list(grad.symbols[:-1])
    symbols[axis] = leaf(op.shape[axis], pinned="unfold")
    return tuple(symbols)


@rule("glu_backward")
def glu_backward(op: Call) -> Symbols:
    """Of units and their gates."""
    x, grad, axis = op["self"], op["grad_output"], op["dim"] % len(op["self"])
    parts = split(x[axis], [x[axis].size // 2] * 2)
    for d, symbol in enumerate(x.symbols):
        unify(*((*parts, grad[d]) if d == axis else (symbol, grad[d])))
    return x.symbols


@rule("glu_jvp")
def glu_jvp(op: Call) -> Symbols:
    """Forwards."""
    result, x, dx, axis = op["glu"], op["x"], op["dx"], op["dim"] % len(op["x"])
    for value in (x, dx):
        for d, symbol in enumerate(value.symbols):
            unify(result[d], *(split(symbol, [symbol.size // 2] * 2) if d == axis else [symbol]))
    return result.symbols


@rule("_weight_norm_interface_backward")
def weight_norm_backward(op: Call) -> list[Symbols | None]:
    """Of a direction and its norms."""
    v, axis = op["saved_v"], op["dim"] % len(op["saved_v"])
    others = [op[name].symbols for name in ("grad_w", "saved_g", "saved_norms")]
    op.mix([s for d, s in enumerate(v.symbols) if d != axis], [v[axis]])
    op.broadcast(v.shape, v.symbols, *others)
    return [v.symbols, op["saved_g"].symbols]


@rule("native_layer_norm_backward", "_fused_rms_norm_backward")
def layer_norm_backward(op: Call) -> list[Symbols | None]:
    """Scale and shift sum over all that was normalised."""
    x, depth = op["input"], len(op["normalized_shape"])
    layer_norm(op)
    op.broadcast(x.shape, x.symbols, op["grad_out"].symbols)
    for name in ("mean", "rstd"):
        if op.get(name) is not None:
            op.broadcast(x.shape, x.symbols, op[name].symbols)
    op.mix(x.symbols[:-depth], x.symbols[-depth:])
    return [x.symbols, *[x.symbols[-depth:]] * (len(op.shapes) - 1)]


@rule("native_group_norm_backward")
def group_norm_backward(op: Call) -> list[Symbols | None]:
    """Scale and shift sum over samples and positions."""
    x = op["input"]
    _, mean, *_ = group_norm(op)
    op.broadcast(x.shape, x.symbols, op["grad_out"].symbols)
    for name in ("mean", "rstd"):
        op.broadcast(op[name].shape, mean, op[name].symbols)
    op.mix([x[0], *x.symbols[2:]], [x[1]])
    return [x.symbols, (x[1],), (x[1],)]


@rule("native_batch_norm_backward", "cudnn_batch_norm_backward", "miopen_batch_norm_backward", "batch_norm_backward")
def batch_norm_backward(op: Call) -> list[Symbols | None]:
    """Every channel on its own."""
    x, channels = op["input"], op["input"][1]
    op.broadcast(x.shape, x.symbols, op.get("grad_out", "grad_output").symbols)
    for value in op.values:
        if value.shape == (channels.size,):
            unify(channels, value[0])
    op.mix([x[0], *x.symbols[2:]], [channels])
    return [x.symbols, (channels,), (channels,)]


@rule("convolution_backward")
def convolution_backward(op: Call) -> list[Symbols | None]:
    """Of the input, the weight and the bias."""
    x, grad, weight = op["input"], op["grad_output"], op["weight"]
    made, read = channels_met(op, x[1], weight, op["groups"], op["transposed"])
    unify(made, grad[1])
    unify(x[0], grad[0])
    op.pin([*x.symbols[2:], *grad.symbols[2:]], "position")
    op.pin(weight.symbols[2:], "convolution kernel")
    op.mix([made], [x[0], read])
    op.mix([x[0]], [made, read])
    return [x.symbols, weight.symbols, (made,)]


POOLED = names("""
_adaptive_avg_pool2d_backward _adaptive_avg_pool3d_backward avg_pool2d_backward avg_pool3d_backward
adaptive_max_pool2d_backward adaptive_max_pool3d_backward max_pool2d_with_indices_backward
max_pool3d_with_indices_backward fractional_max_pool2d_backward fractional_max_pool3d_backward
reflection_pad1d_backward reflection_pad2d_backward reflection_pad3d_backward replication_pad1d_backward
replication_pad2d_backward replication_pad3d_backward upsample_nearest1d_backward upsample_nearest2d_backward
upsample_nearest3d_backward upsample_linear1d_backward upsample_bilinear2d_backward upsample_bicubic2d_backward
upsample_trilinear3d_backward _upsample_nearest_exact1d_backward _upsample_nearest_exact2d_backward
_upsample_nearest_exact3d_backward _upsample_bilinear2d_aa_backward _upsample_bicubic2d_aa_backward
""")


@rule(*POOLED)
def spatial_backward(op: Call) -> Symbols:
    """One operation per channel, over positions."""
    lead = len(op.shape) - next(int(c) for c in op.name if c in "123")
    channels = op.broadcast(op.shape[:lead], *(value.symbols[:lead] for value in op.values))
    for value in op.values:
        op.pin(value.symbols[lead:], "position")
        op.mix(value.symbols[lead:], channels)
    return (*channels, *op.fixed(op.shape[lead:], "position"))


@rule("grid_sampler_2d_backward", "grid_sampler_3d_backward")
def grid_sampler_backward(op: Call) -> list[Symbols | None]:
    """Of the values, and of their positions, for which channels are summed over."""
    x, grid, grad = op["input"], op["grid"], op["grad_output"]
    op.pin([*x.symbols[2:], *grad.symbols[2:], *grid.symbols[1:]], "position")
    unify(x[1], grad[1])
    unify(x[0], grad[0], grid[0])
    op.mix([x[1]], [x[0]])
    return [x.symbols, grid.symbols]


@rule("embedding_dense_backward")
def embedding_backward(op: Call) -> Symbols:
    """Rows of words, which stay."""
    grad, indices = op["grad_output"], op["indices"]
    positions = op.broadcast(indices.shape, indices.symbols, grad.symbols[:-1])
    op.mix(positions, [grad[-1]])
    return (leaf(op.shape[0], pinned="vocabulary"), grad[-1])


@rule("_embedding_bag_backward", "_embedding_bag_dense_backward")
def embedding_bag_backward(op: Call) -> Symbols:
    """The same for bags, which stay too."""
    grad = op["grad"]
    op.pin([symbol for value in op.values if value is not grad for symbol in value.symbols], "bag")
    pin(grad[0], "bag")
    return (leaf(op.shape[0], pinned="vocabulary"), grad[-1])


@rule("_cdist_backward")
def distances_backward(op: Call) -> Symbols:
    """Of the rows of the first operand; the others are summed over."""
    left, right, grad = op["x1"], op["x2"], op["grad"]
    unify(left[-1], right[-1])
    batch = op.broadcast(op.shape[:-2], left.symbols[:-2], right.symbols[:-2], grad.symbols[:-2])
    for value in (grad, op["cdist"]):
        op.broadcast(value.shape, (*batch, left[-2], right[-2]), value.symbols)
    op.mix([right[-2]], [*batch, left[-2], left[-1]])
    return (*batch, left[-2], left[-1])


@rule("_scaled_dot_product_flash_attention_for_cpu_backward", "_scaled_dot_product_flash_attention_backward")
@rule("_scaled_dot_product_efficient_attention_backward")
def attention_backward(op: Call) -> list[Symbols | None]:
    """Of queries, keys and values."""
    result = attention(op)[0] or ()
    for name in ("grad_out", "grad_out_", "out"):
        if isinstance(op.args.get(name), Value):
            op.broadcast(op[name].shape, result, op[name].symbols)
    op.broadcast(op["logsumexp"].shape, result[:-1], op["logsumexp"].symbols)
    query, key, value = (op[name] for name in ("query", "key", "value"))
    op.mix([query[-2], value[-1]], [*query.symbols[:-2], key[-2], key[-1], value[-1]])
    return [query.symbols, key.symbols, value.symbols, *[None] * (len(op.shapes) - 3)]
