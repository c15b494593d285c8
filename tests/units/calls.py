"""Sample calls of the operations of PyTorch, on which the rules are tried."""

import itertools
from collections.abc import Callable
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fedma.seeds import generator
from fedma.units import registry


def rand(*shape):
    return torch.randn(*shape, generator=generator(0, "calls", *map(str, shape)), dtype=torch.float64)


x2, x3, x4, x5, W = rand(4, 6), rand(2, 6, 8), rand(2, 6, 8, 8), rand(2, 6, 4, 4, 4), rand(6, 6)


SMALL = x2.abs() * 0.1 + 0.3
"""In the domain of every function."""
ACTIVATIONS = """
tanh sigmoid relu gelu silu mish softplus elu celu selu leaky_relu hardtanh relu6 hardsigmoid hardswish hardshrink
softshrink tanhshrink softsign logsigmoid
""".split()
FUNCTIONS = """
exp log1p abs sqrt sin cos tan atan asin acos sinh cosh asinh acosh atanh erf erfc erfinv lgamma digamma expm1 log
log2 log10 rsqrt reciprocal square sign round floor frac sinc logit exp2 deg2rad neg nan_to_num i0 sgn trunc
""".split()
SPECIAL = """
airy_ai bessel_j0 bessel_j1 entr erfcx i0e i1 i1e log_ndtr ndtr ndtri modified_bessel_i0 gammaln psi
""".split()
OF_TWO = """
atan2 hypot maximum minimum fmax fmin pow xlogy logaddexp logaddexp2 fmod remainder copysign nextafter div mul ldexp
""".split()
OF_MATRICES = """
inv cholesky det eigh eigvalsh svd svdvals qr pinv matrix_exp lu inv_ex cholesky_ex lu_factor eig eigvals matrix_rank
cond ldl_factor
""".split()
MHA, LSTM, GRU = nn.MultiheadAttention(8, 2).double(), nn.LSTM(8, 3).double(), nn.GRU(8, 3).double()
RNN, TRANSFORMER = nn.RNN(8, 3).double(), nn.TransformerEncoderLayer(8, 2, 16, dropout=0.0).double()


def conv(function, *shape):
    weight = rand(*shape)
    return lambda x: function(x, weight, padding=1)


def two(function, x):
    return function(x, x.flip(0) * 0.7 + 1)


def gram(x):
    return x @ x.T + 4 * torch.eye(4, dtype=torch.float64)


def matrix(function, x):
    """The first result, as real numbers."""
    result = function(gram(x))
    return (result if isinstance(result, Tensor) else result[0]).real.double()


def resized(mode, x, **settings):
    return F.interpolate(x, mode=mode, **(settings or {"scale_factor": 2.0}))


SAMPLES: dict[str, tuple[Callable[[Tensor], Tensor], Tensor]] = {
    **{name: (getattr(F, name), x2) for name in ACTIVATIONS},
    **{name: (getattr(torch, name), SMALL) for name in FUNCTIONS},
    **{f"special.{name}": (getattr(torch.special, name), SMALL) for name in SPECIAL},
    **{f"two.{name}": (partial(two, getattr(torch, name)), x2.abs() + 0.1) for name in OF_TWO},
    **{f"linalg.{name}": (partial(matrix, getattr(torch.linalg, name)), x2) for name in OF_MATRICES},
    **{f"up1.{mode}": (partial(resized, mode), x3) for mode in ("nearest", "linear", "nearest-exact")},
    **{f"up2.{mode}": (partial(resized, mode), x4) for mode in ("nearest", "bilinear", "bicubic", "area")},
    **{f"up3.{mode}": (partial(resized, mode), x5) for mode in ("nearest", "trilinear", "nearest-exact")},
    **{f"aa.{mode}": (partial(resized, mode, size=5, antialias=True), x4) for mode in ("bilinear", "bicubic")},
}
SAMPLES.update(
    linear=(lambda x: F.linear(x, W, W[0]), x2),
    bilinear=(lambda x: F.bilinear(x, x, rand(5, 6, 6)), x2),
    matmul=(lambda x: x @ W @ x.T, x2),
    bmm=(lambda x: x @ x.transpose(1, 2), x3),
    einsum=(lambda x: torch.einsum("bi,ij,bj->b", x, W, x), x2),
    outer=(lambda x: torch.outer(x[0], x[1]), x2),
    dot=(lambda x: torch.dot(x[0], x[1]), x2),
    mv=(lambda x: x.T.mv(x[:, 0]), x2),
    cdist=(lambda x: torch.cdist(x, x * 2), x2),
    pdist=(lambda x: F.pdist(x), x2),
    cosine=(lambda x: F.cosine_similarity(x, x * 2 + 1), x2),
    pairwise=(lambda x: F.pairwise_distance(x, x * 2 + 1), x2),
    normalize=(lambda x: F.normalize(x), x2),
    cross=(lambda x: torch.linalg.cross(x[:, :3], x[:, 3:]), x2),
    kron=(lambda x: torch.kron(x[:2, :2], x[:2, 2:4]), x2),
    tensordot=(lambda x: torch.tensordot(x, W, 1), x2),
    baddbmm=(lambda x: torch.baddbmm(x[:, :, :6], x, x.transpose(1, 2)), x3),
    addbmm=(lambda x: torch.addbmm(x[0, :, :6], x, x.transpose(1, 2)), x3),
    addr=(lambda x: torch.addr(x, x[:, 0], x[0]), x2),
    chain=(lambda x: torch.linalg.multi_dot([x, W, x.T]), x2),
    conv1d=(conv(F.conv1d, 5, 6, 3), x3),
    conv2d=(conv(F.conv2d, 5, 6, 3, 3), x4),
    conv3d=(conv(F.conv3d, 5, 6, 3, 3, 3), x5),
    convt1=(conv(F.conv_transpose1d, 6, 5, 3), x3),
    convt2=(conv(F.conv_transpose2d, 6, 5, 3, 3), x4),
    conv2d_apart=(conv(F.conv2d, 5, 6, 1, 3), x4),
    conv2d_even=(lambda x: F.conv2d(x, rand(5, 6, 1, 1), stride=(1, 2), padding=(0, 1)), x4),
    conv1d_same=(lambda x: F.conv1d(x, rand(5, 6, 1), padding="same"), x3),
    convt2_apart=(lambda x: F.conv_transpose2d(x, rand(6, 5, 1, 1), stride=(2, 1), output_padding=(1, 0)), x4),
    avgp2_apart=(lambda x: F.avg_pool2d(x, (2, 1), ceil_mode=True), x4),
    maxp2_apart=(lambda x: F.max_pool2d(x, (1, 3), stride=(1, 1)), x4),
    avgp1_padded=(lambda x: F.avg_pool1d(x, 1, stride=1), x3),
    dw=(lambda x: F.conv2d(x, rand(6, 1, 3, 3), groups=6), x4),
    layer_norm=(lambda x: F.layer_norm(x, (6,), W[0], W[1]), x2),
    rms=(lambda x: F.rms_norm(x, (6,), W[0]), x2),
    gn=(lambda x: F.group_norm(x, 2, W[0], W[1]), x4),
    bn_eval=(lambda x: F.batch_norm(x, W[0], W[1].abs(), W[2], W[3]), x4),
    bn_train=(lambda x: F.batch_norm(x, None, None, W[2], W[3], training=True), x4),
    inorm=(lambda x: F.instance_norm(x, weight=W[0], bias=W[1]), x4),
    lrn=(lambda x: F.local_response_norm(x, 2), x4),
    mse=(lambda x: F.mse_loss(x, x * 2), x2),
    l1=(lambda x: F.l1_loss(x, x * 2), x2),
    smooth=(lambda x: F.smooth_l1_loss(x, x * 2), x2),
    huber=(lambda x: F.huber_loss(x, x * 2), x2),
    ce=(lambda x: F.cross_entropy(x, torch.tensor([0, 1, 2, 3])), x2),
    nll=(lambda x: F.nll_loss(F.log_softmax(x, -1), torch.tensor([0, 1, 2, 3])), x2),
    ceprob=(lambda x: F.cross_entropy(x, x.softmax(-1)), x2),
    bce=(lambda x: F.binary_cross_entropy(x.sigmoid(), x.tanh().abs()), x2),
    bcel=(lambda x: F.binary_cross_entropy_with_logits(x, x.sigmoid()), x2),
    kl=(lambda x: F.kl_div(x, x.softmax(-1)), x2),
    pnll=(lambda x: F.poisson_nll_loss(x, x.exp()), x2),
    gnll=(lambda x: F.gaussian_nll_loss(x, x * 2, x.exp()), x2),
    hinge=(lambda x: F.hinge_embedding_loss(x, x.sign()), x2),
    margin=(lambda x: F.margin_ranking_loss(x, x * 2, x.sign()), x2),
    triplet=(lambda x: F.triplet_margin_loss(x, x * 2, x * 3), x2),
    cosemb=(lambda x: F.cosine_embedding_loss(x, x * 2, rand(4)), x2),
    softm=(lambda x: F.soft_margin_loss(x, x.sign()), x2),
    mlm=(lambda x: F.multilabel_margin_loss(x, torch.zeros(4, 6).long()), x2),
    mlsm=(lambda x: F.multilabel_soft_margin_loss(x, x.sigmoid()), x2),
    mm=(lambda x: F.multi_margin_loss(x, torch.tensor([0, 1, 2, 3])), x2),
    ctc=(lambda x: F.ctc_loss(x.log_softmax(-1)[:, None], torch.tensor([[1, 2]]), [4], [2]), x2),
    embedding=(lambda x: F.embedding(torch.tensor([0, 1]), x), x2),
    embbag=(lambda x: F.embedding_bag(torch.tensor([[0, 1]]), x), x2),
    maxp1=(lambda x: F.max_pool1d(x, 2), x3),
    maxp2=(lambda x: F.max_pool2d(x, 2), x4),
    maxp3=(lambda x: F.max_pool3d(x, 2), x5),
    avgp1=(lambda x: F.avg_pool1d(x, 2), x3),
    avgp2=(lambda x: F.avg_pool2d(x, 2), x4),
    avgp3=(lambda x: F.avg_pool3d(x, 2), x5),
    aap1=(lambda x: F.adaptive_avg_pool1d(x, 3), x3),
    aap2=(lambda x: F.adaptive_avg_pool2d(x, 3), x4),
    aap2_1=(lambda x: F.adaptive_avg_pool2d(x, 1), x4),
    aap3=(lambda x: F.adaptive_avg_pool3d(x, 3), x5),
    amp1=(lambda x: F.adaptive_max_pool1d(x, 3), x3),
    amp2=(lambda x: F.adaptive_max_pool2d(x, 3), x4),
    amp3=(lambda x: F.adaptive_max_pool3d(x, 3), x5),
    lpp=(lambda x: F.lp_pool2d(x.abs(), 2, 2), x4),
    lpp1=(lambda x: F.lp_pool1d(x.abs(), 2, 2), x3),
    fmp=(lambda x: F.fractional_max_pool2d(x, 2, output_size=3), x4),
    fmp3=(lambda x: F.fractional_max_pool3d(x, 2, output_size=2), x5),
    unpool=(lambda x: F.max_unpool2d(*F.max_pool2d(x, 2, return_indices=True), 2), x4),
    unpool3=(lambda x: F.max_unpool3d(*F.max_pool3d(x, 2, return_indices=True), 2), x5),
    reflpad=(lambda x: F.pad(x, (1, 1), "reflect"), x3),
    replpad=(lambda x: F.pad(x, (1, 1, 1, 1), "replicate"), x4),
    circ=(lambda x: F.pad(x, (1, 1), "circular"), x3),
    cpad=(lambda x: F.pad(x, (1, 1)), x3),
    replpad3=(lambda x: F.pad(x, (1,) * 6, "replicate"), x5),
    reflpad3=(lambda x: F.pad(x, (1,) * 6, "reflect"), x5),
    reflpad2=(lambda x: F.pad(x, (1,) * 4, "reflect"), x4),
    replpad1=(lambda x: F.pad(x, (1,) * 2, "replicate"), x3),
    gridsample=(lambda x: F.grid_sample(x, rand(2, 4, 4, 2).sigmoid()), x4),
    gridsample3=(lambda x: F.grid_sample(x, rand(2, 4, 4, 4, 3).sigmoid()), x5),
    affine=(lambda x: F.affine_grid(x[:2, :6].reshape(2, 2, 3), (2, 1, 4, 4)), x2),
    unfold=(lambda x: F.unfold(x, 2), x4),
    fold=(lambda x: F.fold(F.unfold(x, 2), 8, 2), x4),
    tunfold=(lambda x: x.unfold(-1, 2, 1), x3),
    ps=(lambda x: F.pixel_shuffle(x[:, :4], 2), x4),
    pus=(lambda x: F.pixel_unshuffle(x, 2), x4),
    cs=(lambda x: F.channel_shuffle(x, 2), x4),
    sdpa=(lambda x: F.scaled_dot_product_attention(x[:, None], x[:, None], x[:, None]), x3),
    mha=(lambda x: MHA(x, x, x)[0], x3),
    lstm=(lambda x: LSTM(x)[0], x3),
    gru=(lambda x: GRU(x)[0], x3),
    rnn=(lambda x: RNN(x)[0], x3),
    tr=(lambda x: TRANSFORMER(x), x3),
    prelu=(lambda x: F.prelu(x, W[0, :1]), x3),
    prelu6=(lambda x: F.prelu(x, W[0]), x3),
    alibi=(lambda x: F.alpha_dropout(x, 0.5), x2),
    wn=(lambda x: torch._weight_norm(x, x[:, :1]), x2),
    gumbel=(lambda x: F.gumbel_softmax(x), x2),
    rrelu=(lambda x: F.rrelu(x), x2),
    sum=(lambda x: x.sum(-1), x2),
    mean=(lambda x: x.mean(-1), x2),
    var=(lambda x: x.var(-1), x2),
    std=(lambda x: x.std(-1), x2),
    varmean=(lambda x: torch.var_mean(x, -1)[0], x2),
    norm=(lambda x: x.norm(dim=-1), x2),
    norm3=(lambda x: torch.linalg.vector_norm(x, 3, -1), x2),
    matnorm=(lambda x: torch.linalg.matrix_norm(x), x2),
    nucnorm=(lambda x: torch.linalg.matrix_norm(x, "nuc"), x2),
    prod=(lambda x: x.prod(-1), x2),
    lse=(lambda x: x.logsumexp(-1), x2),
    max=(lambda x: x.max(-1)[0], x2),
    amax=(lambda x: x.amax(-1), x2),
    median=(lambda x: x.median(-1)[0], x2),
    mode=(lambda x: x.mode(-1)[0], x2),
    aminmax=(lambda x: x.aminmax(dim=-1)[0], x2),
    maxall=(lambda x: x.max(), x2),
    medall=(lambda x: x.median(), x2),
    prodall=(lambda x: x.prod(), x2),
    nansum=(lambda x: x.nansum(-1), x2),
    nanmean=(lambda x: x.nanmean(-1), x2),
    quantile=(lambda x: x.quantile(0.3, -1), x2),
    cov=(lambda x: torch.cov(x), x2),
    corr=(lambda x: torch.corrcoef(x), x2),
    dist=(lambda x: torch.dist(x, x * 2), x2),
    renorm=(lambda x: x.renorm(2, 0, 1.0), x2),
    cumsum=(lambda x: x.cumsum(-1), x2),
    cumprod=(lambda x: x.cumprod(-1), x2),
    cummax=(lambda x: x.cummax(-1)[0], x2),
    lcse=(lambda x: x.logcumsumexp(-1), x2),
    sort=(lambda x: x.sort(-1)[0], x2),
    topk=(lambda x: x.topk(2)[0], x2),
    kth=(lambda x: x.kthvalue(2)[0], x2),
    msort=(lambda x: x.msort(), x2),
    diff=(lambda x: x.diff(), x2),
    trapz=(lambda x: torch.trapezoid(x), x2),
    ctrapz=(lambda x: torch.cumulative_trapezoid(x), x2),
    select=(lambda x: x[:, 1], x2),
    slice=(lambda x: x[:, 1:3], x2),
    slices=(lambda x: x[:, ::2], x2),
    index=(lambda x: x[:, [0, 1]], x2),
    index_select=(lambda x: x.index_select(1, torch.tensor([0, 1])), x2),
    gather=(lambda x: x.gather(1, torch.zeros(4, 1).long()), x2),
    take=(lambda x: x.take(torch.tensor([0, 3])), x2),
    scatter=(lambda x: x.scatter(1, torch.zeros(4, 1).long(), x[:, :1]), x2),
    scatter_add=(lambda x: x.scatter_add(1, torch.zeros(4, 1).long(), x[:, :1]), x2),
    scatter_reduce=(lambda x: x.scatter_reduce(1, torch.zeros(4, 1).long(), x[:, :1], "amax"), x2),
    index_add=(lambda x: x.index_add(1, torch.tensor([0]), x[:, :1]), x2),
    index_copy=(lambda x: x.index_copy(1, torch.tensor([0]), x[:, :1]), x2),
    index_fill=(lambda x: x.index_fill(1, torch.tensor([0]), 2.0), x2),
    index_put=(lambda x: x.index_put((torch.tensor([0]),), x[0]), x2),
    masked_fill=(lambda x: x.masked_fill(x > 0, 0.0), x2),
    masked_select=(lambda x: x.masked_select(x > 0), x2),
    masked_scatter=(lambda x: x.masked_scatter(x > 0, x * 2), x2),
    where=(lambda x: torch.where(x > 0, x, x * 2), x2),
    unbind=(lambda x: x.unbind(1)[0], x2),
    split=(lambda x: x.split(2, 1)[1], x2),
    chunk=(lambda x: x.chunk(2, 1)[1], x2),
    cat=(lambda x: torch.cat([x, x * 2]), x2),
    stack=(lambda x: torch.stack([x, x * 2]), x2),
    vstack=(lambda x: torch.vstack([x, x * 2]), x2),
    dstack=(lambda x: torch.dstack([x, x * 2]), x2),
    hstack=(lambda x: torch.hstack([x, x * 2]), x2),
    roll=(lambda x: x.roll(1, 1), x2),
    flip=(lambda x: x.flip(1), x2),
    rot=(lambda x: x.rot90(), x2),
    tril=(lambda x: x.tril(), x2),
    repeat=(lambda x: x.repeat(2, 1), x2),
    tile=(lambda x: x.tile(2), x2),
    ri=(lambda x: x.repeat_interleave(2, 1), x2),
    expand=(lambda x: x[:, :1].expand(4, 3), x2),
    permute=(lambda x: x.permute(1, 0), x2),
    view=(lambda x: x.view(2, 2, 6), x2),
    flatten=(lambda x: x.flatten(1), x4),
    unflatten=(lambda x: x.unflatten(1, (2, 3)), x2),
    squeeze=(lambda x: x[:, :1].squeeze(1), x2),
    squeezeall=(lambda x: x[:, :1].squeeze(), x2),
    movedim=(lambda x: x.movedim(0, 1), x2),
    diagonal=(lambda x: x.diagonal(), x2),
    diag=(lambda x: x.diag(), x2),
    diag_embed=(lambda x: torch.diag_embed(x), x2),
    trace=(lambda x: x[:, :4].trace(), x2),
    as_strided=(lambda x: x.as_strided((2, 2), (1, 2)), x2),
    clone=(lambda x: x.clone(), x2),
    to=(lambda x: x.double(), x2),
    pad=(lambda x: F.pad(x, (1, 2)), x2),
    select_scatter=(lambda x: x.select_scatter(x[:, 0], 1, 1), x2),
    slice_scatter=(lambda x: x.slice_scatter(x[:, :2], 1, 0, 2), x2),
    diagonal_scatter=(lambda x: x.diagonal_scatter(x[:, 0]), x2),
    bucketize=(lambda x: torch.bucketize(x, x[0].sort()[0]), x2),
    clampT=(lambda x: x.clamp(x - 1, x + 1), x2),
    lerp=(lambda x: torch.lerp(x, x * 2, 0.3), x2),
    addcmul=(lambda x: torch.addcmul(x, x, x), x2),
    block_diag=(lambda x: torch.block_diag(x, x), x2),
    cartesian=(lambda x: torch.cartesian_prod(x[0], x[1]), x2),
    combinations=(lambda x: torch.combinations(x[0]), x2),
    vander=(lambda x: torch.vander(x[0]), x2),
    meshgrid=(lambda x: torch.meshgrid(x[0], x[1])[0], x2),
    triu=(lambda x: x.triu(), x2),
    tensor_split=(lambda x: x.tensor_split(2, 1)[0], x2),
    unsqueeze=(lambda x: x[None], x2),
    histc=(lambda x: torch.histc(x), x2),
    rfft=(lambda x: torch.fft.rfft(x).abs(), x2),
    irfft=(lambda x: torch.fft.irfft(torch.fft.rfft(x)), x2),
    fft2=(lambda x: torch.fft.fft2(x).real, x2),
    stft=(lambda x: torch.stft(x, 4, return_complex=True, window=rand(4)).abs(), x2),
    complexx=(lambda x: torch.complex(x, x).abs(), x2),
    viewc=(lambda x: torch.view_as_complex(x.view(4, 3, 2)).angle(), x2),
    hfft=(lambda x: torch.fft.hfft(x), x2),
    up2_exact=(partial(resized, "nearest-exact"), x4),
    softmax=(lambda x: x.softmax(-1), x2),
    log_softmax=(lambda x: x.log_softmax(-1), x2),
    glu=(lambda x: F.glu(x, -1), x2),
    threshold=(lambda x: F.threshold(x, 0.1, 0.0), x2),
    xlog1py=(lambda x: torch.special.xlog1py(x + 1.5, x), SMALL),
    zeta=(lambda x: torch.special.zeta(x + 1.5, x), SMALL),
    gammainc=(lambda x: torch.special.gammainc(x + 1.5, x), SMALL),
    multigammaln=(lambda x: torch.special.multigammaln(x + 2, 2), SMALL),
    polygamma=(lambda x: torch.special.polygamma(1, x), SMALL),
    slogdet=(lambda x: torch.linalg.slogdet(gram(x))[1], x2),
    matrix_power=(lambda x: torch.linalg.matrix_power(gram(x), 2), x2),
    householder=(lambda x: torch.linalg.householder_product(x.T, x[:, 0]), x2),
    solve=(lambda x: torch.linalg.solve(gram(x), x), x2),
    solve_right=(lambda x: torch.linalg.solve(gram(x), x.T, left=False), x2),
    solve_vector=(lambda x: torch.linalg.solve(gram(x), x[:, 0]), x2),
    lstsq=(lambda x: torch.linalg.lstsq(x.T, x.T * 2)[0], x2),
    solve_triangular=(lambda x: torch.linalg.solve_triangular(gram(x), x, upper=True), x2),
    cholesky_solve=(lambda x: torch.cholesky_solve(x, torch.linalg.cholesky(gram(x))), x2),
    cholesky_inverse=(lambda x: torch.cholesky_inverse(torch.linalg.cholesky(gram(x))), x2),
    logdet=(lambda x: torch.logdet(gram(x)), x2),
    lu_solve=(lambda x: torch.linalg.lu_solve(*torch.linalg.lu_factor(gram(x)), x), x2),
    eye=(lambda x: gram(x) + torch.eye(4, dtype=x.dtype), x2),
)


def square(sample):
    """A number made of a sample's result, to take derivatives of."""

    def total(x):
        result = sample(x)
        return result.abs().pow(2).sum() if result.is_floating_point() or result.is_complex() else x.sum()

    return total


WAYS = {
    "plain": lambda sample, x: sample(x),
    "grad": lambda sample, x: torch.func.grad(square(sample))(x),
    "jvp": lambda sample, x: torch.func.jvp(sample, (x,), (x * 0.5,)),
}


def direct(known):
    """Calls of the operations with rules that no sample reaches, with operands of the first form that they take."""
    small, mask, whole = 0.3 + 0.1 * x2.abs(), x2 > 0, (10 * x2).long()
    operands = [
        (x2,),
        (small,),
        (small, small.roll(1, 0).square()),
        (mask,),
        (mask, mask.flip(0)),
        (whole,),
        (whole, whole.flip(0)),
    ]
    operands += [(x2, n) for n in (0, 1, 2, [1], (1, 0))] + [(x2, 0, 1), (x2, -1, True), (x2, 0.5, False)]
    operands += [(n, small) for n in (1, 2)] + [
        (x4,),
        (x3,),
        (x4, 2),
        (x3, 2),
        (x4, [2, 2]),
        (x5, [2, 2, 2]),
        (x2, x2, 1),
    ]
    operands += [
        ([x2, x2],),
        (x2[0], x2[1]),
        (x2[0],),
        (x2, [4, 6]),
        (x2, [12, 2]),
        (x2, W),
        (x2[:, :4],),
    ]
    for name in registry._RULES.keys() - known:
        packet = getattr(torch.ops.aten, name, None) if "::" not in name else None
        found = (call for given in operands if packet and (call := resolved(name, packet, given)))
        yield from itertools.islice(found, 2)


def resolved(name, packet, given):
    """The overload that takes these operands, with them, if one does."""
    try:
        overload = torch._C._jit_resolve_packet(f"aten::{name}", *given)
        call = getattr(packet, overload or "default")
        call(*given)
    except (RuntimeError, TypeError, IndexError):
        return None
    return call, given
