"""Special functions, entry by entry, and losses: entry by entry too, then averaged or summed."""

from fedma.units.axes import Symbol
from fedma.units.call import Call
from fedma.units.registry import names, rule
from fedma.units.rules.elementwise import elementwise
from fedma.units.values import Symbols

SPECIAL = names("""
i0 igamma igammac mvlgamma polygamma special_airy_ai special_bessel_j0 special_bessel_j1 special_bessel_y0
special_bessel_y1 special_digamma special_entr special_erfc special_erfcx special_erfinv special_exp2 special_gammainc
special_gammaincc special_gammaln special_i0 special_i0e special_i1 special_i1e special_log_ndtr
special_logit special_modified_bessel_i0 special_modified_bessel_i1 special_modified_bessel_k0
special_modified_bessel_k1 special_multigammaln special_ndtr special_ndtri special_polygamma special_psi special_round
special_scaled_modified_bessel_k0 special_scaled_modified_bessel_k1 special_sinc special_spherical_bessel_j0
special_xlog1py special_xlogy special_zeta prims::add prims::mul prims::sub prims::div
""")
LOSSES = names("""
mse_loss l1_loss smooth_l1_loss huber_loss binary_cross_entropy binary_cross_entropy_with_logits soft_margin_loss
kl_div poisson_nll_loss
""")
rule(*SPECIAL, keeps_uniform=True)(elementwise)


@rule(*LOSSES)
def loss(op: Call) -> Symbols:
    """A loss of every entry; their mean or sum, where it is wanted."""
    whole = op.broadcast(max((value.shape for value in op.values), key=len), *(value.symbols for value in op.values))
    if op["reduction"] == 0:
        return whole
    if op["reduction"] == 1:
        op.hold(whole, f"averaged over by {op.name}")
    op.mix(whole, [])
    return ()


@rule("nll_loss_forward", "nll_loss2d_forward")
def likelihood(op: Call) -> list[Symbols | None]:
    """Minus what is read at the class of every sample: classes stay in place."""
    x, target, weight = op["self"], op["target"], op["weight"]
    classes, samples = _classes(op)
    op.pin([classes, *(weight.symbols if weight is not None else ())], "classes")
    samples = op.broadcast(target.shape, samples, target.symbols)
    if op["reduction"] == 0:
        return [samples, ()]
    op.hold(samples, f"averaged over by {op.name}")
    op.mix([x[0] if len(x) == 1 else x[1], *samples], [])
    return [(), ()]


@rule("nll_loss_backward", "nll_loss2d_backward")
def likelihood_backward(op: Call) -> Symbols:
    """Written at the class of every sample."""
    x, target, grad = op["self"], op["target"], op["grad_output"]
    classes, samples = _classes(op)
    op.pin([classes, *(op["weight"].symbols if op["weight"] is not None else ())], "classes")
    op.hold(samples, f"averaged over by {op.name}")
    op.broadcast(target.shape, samples, target.symbols, grad.symbols)
    return x.symbols


def _classes(op: Call) -> tuple[Symbol, Symbols]:
    x = op["self"]
    axis = 0 if len(x) == 1 else 1
    return x[axis], (*x.symbols[:axis], *x.symbols[axis + 1 :])


@rule("multi_margin_loss", "multilabel_margin_loss_forward", "multilabel_margin_loss", "_ctc_loss", "ctc_loss")
@rule("multi_margin_loss_backward", "multilabel_margin_loss_backward")
def margin(op: Call) -> list[Symbols | None]:
    """Scores compared with those at the positions of the right classes: everything stays in place."""
    for value in op.values:
        op.pin(value.symbols, "classes")
    return [None for _ in op.shapes]
