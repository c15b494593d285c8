"""Operations that act entry by entry: operands broadcast to the result, and axes of one length carry the same units."""

from fedma.units.axes import leaf, split, unify
from fedma.units.call import Call
from fedma.units.registry import names, rule
from fedma.units.values import Symbols

ELEMENTWISE = names("""
__and__ __lshift__ __or__ __rshift__ __xor__ _neg_view _autocast_to_full_precision _autocast_to_reduced_precision _conj
_prelu_kernel _unsafe_copy abs absolute acos acosh add addcdiv addcmul angle arccos arcsin arctan arctan2 asin asinh
atan atan2 atanh bitwise_and bitwise_left_shift bitwise_not bitwise_or bitwise_right_shift bitwise_xor ceil celu clamp
clamp_max clamp_min clip complex conj copy copysign cos cosh cosine deg2rad digamma div divide double elu eq erf erfc
erfinv exp exp2 expm1 float floor floor_divide fmax fmin fmod frac ge gelu greater greater_equal gt half hardshrink
hardsigmoid hardswish hardtanh heaviside hypot imag isclose isfinite isinf isnan isneginf isposinf isreal ldexp le
leaky_relu lerp less less_equal lgamma lift lift_fresh_copy log log10 log1p log2 log_sigmoid log_sigmoid_forward
logaddexp logaddexp2 logical_and logical_not logical_or logical_xor logit lt masked_fill maximum minimum mish mul
multiply nan_to_num ne neg negative nextafter not_equal polar positive pow rad2deg real reciprocal relu relu6
remainder resolve_conj resolve_neg round rsqrt rsub selu sgn sigmoid sign signbit silu sin sinc sinh softplus
softshrink special_erf special_expit special_expm1 special_log1p sqrt square sub subtract tan tanh tanhshrink
threshold to_dense true_divide trunc where xlogy
""")
NOISY = names("""
alpha_dropout dropout feature_alpha_dropout feature_dropout native_dropout rrelu rrelu_with_noise
""")
"""Entry by entry, with a random part: equal entries become unequal."""
UNIFORM = names("""
zeros ones full new_zeros new_ones new_full zeros_like ones_like full_like zero fill
""")
BLANK = names("empty new_empty empty_strided new_empty_strided empty_permuted empty_like empty_quantized")
POSITIONS = names("""
arange rand randn randint linspace logspace randperm triu_indices tril_indices range scalar_tensor rand_like
randn_like randint_like bernoulli normal uniform exponential log_normal
""")


@rule(*NOISY)
@rule(*ELEMENTWISE, keeps_uniform=True)
def elementwise(op: Call) -> list[Symbols | None]:
    """Every operand's axes are the result's."""
    operands = [value.symbols for value in op.values]
    return [None if shape is None else op.broadcast(shape, *operands) for shape in op.shapes]


@rule(*UNIFORM, makes_uniform=True)
def uniform(op: Call) -> Symbols:
    """All entries are equal: nothing is said of the axes."""
    return op.fresh(*op.shape)


@rule(*BLANK, blank=True)
def blank(op: Call) -> Symbols:
    """Memory to be written to."""
    return op.fresh(*op.shape)


@rule(*POSITIONS)
def positions(op: Call) -> list[Symbols | None]:
    """Numbers of positions, and noise: they stay in place."""
    return [None if shape is None else op.fixed(shape, f"made by {op.name}") for shape in op.shapes]


@rule("prelu")
def prelu(op: Call) -> Symbols:
    """One slope for all channels, or one for each."""
    x, weight = op["self"], op["weight"]
    if weight.shape in ((), (1,)):
        return x.symbols
    return (x[0], unify(x[1], weight[0]), *x.symbols[2:])


@rule("glu")
def glu(op: Call) -> Symbols:
    """The two halves of the axis are the units and their gates, in one order."""
    x, axis = op["self"], op["dim"] % len(op["self"])
    units, gates = split(x[axis], [x[axis].size // 2] * 2)
    return (*x.symbols[:axis], unify(units, gates), *x.symbols[axis + 1 :])


@rule("_weight_norm", "_weight_norm_interface")
def weight_norm(op: Call) -> list[Symbols | None]:
    """A direction scaled to a norm that is learnt for each index of one axis."""
    v, g, axis = op["v"], op["g"], op["dim"] % len(op["v"]) if op["dim"] != -1 else -1
    op.mix([s for d, s in enumerate(v.symbols) if d != axis], [v[axis]] if axis >= 0 else [])
    scaled = op.broadcast(v.shape, v.symbols, g.symbols)
    return [scaled, *(g.symbols if shape == g.shape else None for shape in op.shapes[1:])]


@rule("_assert_tensor_metadata", "_assert_async", "_assert_scalar", "sym_size", "manual_seed")
def nothing(op: Call) -> list[Symbols | None]:
    """No result."""
    return []


@rule("meshgrid")
def meshgrid(op: Call) -> list[Symbols | None]:
    """Every vector repeated along the axes of the others."""
    return [
        op.broadcast(shape, *(_laid(v.symbols, d, len(shape)) for d, v in enumerate(op["tensors"])))
        for shape in op.shapes
        if shape is not None
    ]


def _laid(symbols: Symbols, axis: int, dims: int) -> Symbols:
    return tuple(symbols[0] if d == axis else leaf(1) for d in range(dims))
