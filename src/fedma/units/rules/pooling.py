"""Pooling, resampling and other operations on positions: positions stay in place, channels pass through."""

from fedma.units.axes import factor, leaf, pin, product, unify
from fedma.units.call import Call, NoRule
from fedma.units.registry import rule
from fedma.units.values import Symbols

SPATIAL = [f"{kind}_pool{d}d" for kind in ("adaptive_avg", "_adaptive_avg", "adaptive_max") for d in (1, 2, 3)]
SPATIAL += [f"{name}_with_indices" for name in ("max_pool1d", "max_pool2d", "max_pool3d", "mkldnn_max_pool2d")]
SPATIAL += [
    f"upsample_{kind}" for kind in ("nearest1d", "nearest2d", "nearest3d", "linear1d", "bilinear2d", "bicubic2d")
]
SPATIAL += [f"_upsample_{kind}" for kind in ("nearest_exact1d", "nearest_exact2d", "bilinear2d_aa", "bicubic2d_aa")]
SPATIAL += ["_upsample_nearest_exact3d", "max_unpool3d", "fractional_max_pool3d"]
SPATIAL += ["upsample_trilinear3d", "fractional_max_pool2d", "max_unpool2d", "replication_pad1d", "replication_pad2d"]
SPATIAL += ["reflection_pad1d", "reflection_pad2d", "reflection_pad3d", "replication_pad3d", "quantized_max_pool2d"]


@rule(*SPATIAL)
def spatial(op: Call) -> list[Symbols | None]:
    """One operation per channel, over positions."""
    x = op.values[0]
    positions = next((int(c) for c in op.name if c in "123"), 2)
    lead = len(x) - positions
    for value in op.values:
        op.broadcast(x.shape[:lead], x.symbols[:lead], value.symbols[:lead])
        op.pin(value.symbols[lead:], "position")
    op.mix(x.symbols[lead:], x.symbols[:lead])
    return [None if s is None else (*x.symbols[:lead], *op.fixed(s[lead:], "position")) for s in op.shapes]


@rule(*(f"{kind}_pool{d}d" for kind in ("max", "avg") for d in (1, 2, 3)))
def pool(op: Call) -> Symbols:
    """The largest number, or the mean, in every window of each channel."""
    x = op["self"]
    lead = len(x) - int(op.name[-2])
    positions = op.slid(x.symbols[lead:], op["kernel_size"], op.shape[lead:])
    op.mix(x.symbols[lead:], [*x.symbols[:lead], *positions])
    return (*x.symbols[:lead], *positions)


@rule("pixel_shuffle")
def pixel_shuffle(op: Call) -> Symbols:
    """Channels hold blocks of positions: `channels × factor²`."""
    x, r = op["self"], op["upscale_factor"]
    channels, inner = factor(x[-3], [x[-3].size // r**2, r**2])
    pin(inner, "pixel shuffle")
    op.pin(x.symbols[-2:], "position")
    return (*x.symbols[:-3], channels, *op.fixed(op.shape[-2:], "position"))


@rule("pixel_unshuffle")
def pixel_unshuffle(op: Call) -> Symbols:
    """The inverse of a pixel shuffle."""
    x, r = op["self"], op["downscale_factor"]
    op.pin(x.symbols[-2:], "position")
    channels = product(x[-3], leaf(r**2, pinned="pixel shuffle"))
    return (*x.symbols[:-3], channels, *op.fixed(op.shape[-2:], "position"))


@rule("channel_shuffle", "native_channel_shuffle")
def channel_shuffle(op: Call) -> Symbols:
    """`groups × channels` becomes `channels × groups`."""
    x, groups = op["self"], op["groups"]
    outer, inner = factor(x[1], [groups, x[1].size // groups])
    return (x[0], product(inner, outer), *x.symbols[2:])


@rule("im2col")
def im2col(op: Call) -> Symbols:
    """Every position becomes a column `channels × kernel`."""
    x = op["self"]
    op.pin(x.symbols[-2:], "position")
    kernel = leaf(op.shape[-2] // x[-3].size, pinned="unfolded kernel")
    return (*x.symbols[:-3], product(x[-3], kernel), leaf(op.shape[-1], pinned="position"))


@rule("col2im")
def col2im(op: Call) -> Symbols:
    """Columns `channels × kernel` are added up at their positions."""
    x, channels = op["self"], op.shape[-3]
    units, kernel = factor(x[-2], [channels, x[-2].size // channels])
    op.pin([kernel, x[-1]], "position")
    return (*x.symbols[:-2], units, *op.fixed(op.shape[-2:], "position"))


@rule("unfold")
def unfold(op: Call) -> Symbols:
    """Windows along one axis."""
    x, axis = op["self"], op["dimension"] % len(op["self"])
    pin(x[axis], "unfold")
    symbols = list(x.symbols)
    symbols[axis] = leaf(op.shape[axis], pinned="unfold")
    return (*symbols, leaf(op.shape[-1], pinned="unfold"))


@rule("grid_sampler", "grid_sampler_2d", "grid_sampler_3d")
def grid_sampler(op: Call) -> Symbols:
    """Values at positions that another tensor gives."""
    x, grid = op["input"], op["grid"]
    op.pin([*x.symbols[2:], *grid.symbols[1:]], "position")
    return (unify(x[0], grid[0]), x[1], *op.fixed(op.shape[2:], "position"))


@rule(
    "fft_fft",
    "fft_ifft",
    "fft_rfft",
    "fft_irfft",
    "fft_fft2",
    "fft_ifft2",
    "fft_rfft2",
    "fft_irfft2",
    "fft_fftn",
    "fft_ifftn",
    "fft_rfftn",
    "fft_irfftn",
    "_fft_r2c",
    "_fft_c2c",
    "_fft_c2r",
    "fft_fftshift",
    "fft_ifftshift",
)
def fourier(op: Call) -> Symbols:
    """The transformed axes stay in place."""
    x, dim = op["self"], op["dim"]
    if dim is None:
        raise NoRule(f"no rule for {op.name} over all axes")
    axes = {axis % len(x) for axis in ([dim] if isinstance(dim, int) else dim)}
    op.pin([x[axis] for axis in axes], "Fourier transform")
    op.mix([x[axis] for axis in axes], [s for d, s in enumerate(x.symbols) if d not in axes])
    return tuple(leaf(op.shape[d], pinned="Fourier transform") if d in axes else s for d, s in enumerate(x.symbols))
