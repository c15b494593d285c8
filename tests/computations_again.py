"""More pairs of models whose tensors agree, written by someone who tried to have them confused or refused."""

import functools
import math
import operator
import types
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from computations import Make, free, images, layers, texts
from fedma.seeds import generator

SQUARE = torch.randn(8, 6, generator=generator(0, "square"))
SERIES = torch.randn(2, 6, 9, generator=generator(0, "series"))
Change = Callable[[Any], Any]


def after(make: Make, change: Change) -> Make:
    """A model that something is done to after it was made."""

    def changed() -> nn.Module:
        model = make()
        change(model)
        return model

    return changed


def rows(how: Callable[[Any, Tensor], Any], **own: Any) -> Make:
    """What is done to a square of hidden units."""
    return free(lambda s, x: s.out(how(s, s.a(x))), **own)


def series(*middle: nn.Module, **options: Any) -> Make:
    return lambda: nn.Sequential(
        nn.Conv1d(6, 8, 3, **options), *middle, nn.AdaptiveMaxPool1d(1), nn.Flatten(), nn.Linear(8, 2)
    )


def heads(count: int, *, scale: float = 1.0, order: str = "bhqd,bhkd->bhqk", merge: bool = True) -> Make:
    """Attention of one's own."""

    def forward(s: Any, x: Tensor) -> Tensor:
        h = s.a(x)[None]
        parts = [each.view(1, len(x), count, -1).transpose(1, 2) for each in (s.b(h), h, h.tanh())]
        scores = torch.einsum(order, parts[0], parts[1]).mul(scale).softmax(-1)
        mixed = torch.einsum("bhqk,bhkd->bqhd" if merge else "bhqk,bhkd->bqdh", scores, parts[2])
        return s.out(mixed.reshape(1, len(x), -1))

    return free(forward)


def turned(theta: float, *, halves: bool = True) -> Make:
    """Rotary positions."""

    def forward(s: Any, x: Tensor) -> Tensor:
        h = s.a(x)
        angles = torch.arange(float(len(x)))[:, None] * theta ** (-torch.arange(0.0, 4) / 4)
        one, two = h.chunk(2, -1) if halves else (h[:, ::2], h[:, 1::2])
        turned = torch.cat([one * angles.cos() - two * angles.sin(), one * angles.sin() + two * angles.cos()], -1)
        return s.out((turned @ s.b(h).T).softmax(-1) @ h)

    return free(forward)


def slopes(base: float) -> Make:
    def forward(s: Any, x: Tensor) -> Tensor:
        h, at = s.a(x), torch.arange(len(x))
        bias = -(at[:, None] - at).abs() * base
        return s.out((h @ s.b(h).T + bias).softmax(-1) @ h)

    return free(forward)


class Steps(nn.Module):
    def __init__(self, times: int = 3, merge: str = "sum", reverse: bool = False, pool: str = "last") -> None:
        super().__init__()
        self.cell, self.back, self.out = nn.GRUCell(6, 8), nn.GRUCell(6, 8), nn.Linear(8, 2)
        self.times, self.merge, self.reverse, self.pool = times, merge, reverse, pool

    def forward(self, x: Tensor) -> Tensor:
        h, g, seen = x.new_zeros(2, 8), x.new_zeros(2, 8), []
        for time in range(self.times):
            h = self.cell(x[:, :, -1 - time if self.reverse else time], h)
            g = self.back(x[:, :, -1 - time], g)
            seen.append({"sum": h + g, "product": h * g, "mean": (h + g) / 2, "first": h}[self.merge])
        many = torch.stack(seen)
        return self.out(many[-1] if self.pool == "last" else many.mean(0) if self.pool == "mean" else many.amax(0))


class Shared(nn.Module):
    """One block several times."""

    def __init__(self, times: int, **flags: Any) -> None:
        super().__init__()
        self.a, self.block, self.out = nn.Linear(6, 8), nn.Linear(8, 8), nn.Linear(8, 2)
        self.times, self.flags = times, types.SimpleNamespace(**{"skip": True, "first": False, "every": 1, **flags})

    def forward(self, x: Tensor) -> Tensor:
        h = self.a(x)
        for time in range(self.times):
            new = self.block(F.layer_norm(h, (8,)) if self.flags.first else h).tanh()
            h = h + new if self.flags.skip and time % self.flags.every == 0 else new
        return self.out(h)


class Pair(NamedTuple):
    one: Tensor
    two: Tensor


@dataclass
class Answer:
    one: Any
    two: Any


def two(give: Callable[[Tensor, Tensor], Any]) -> Make:
    return free(lambda s, x: give(s.out(s.a(x)), s.out(s.b(s.a(x)))))


class Doubling(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, h: Tensor, by: float) -> Tensor:
        return h * by

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> Any:
        return g, None


class Plain(nn.Module):
    """Layers in an order that an attribute says."""

    def __init__(self, act: Any = torch.relu, **own: Any) -> None:
        super().__init__()
        self.a, self.b, self.out = nn.Linear(6, 8), nn.Linear(8, 8), nn.Linear(8, 2)
        self.act, self.config = act, own

    def forward(self, x: Tensor) -> Tensor:
        h = self.act(self.a(x))
        return self.out(self.act(self.b(h) * self.config.get("scale", 1.0)))


def plain(*given: Any, **own: Any) -> Make:
    return lambda: Plain(*given, **own)


def patched(model: nn.Module) -> None:
    def forward(self: Any, x: Tensor) -> Tensor:
        return Plain.forward(self, x).tanh()

    model.forward = types.MethodType(forward, model)


def wrapped(layer: str, by: float) -> Change:
    """A layer's forward is replaced by one that calls what was there."""

    def change(model: nn.Module) -> None:
        before = model.get_submodule(layer).forward
        model.get_submodule(layer).forward = lambda x: before(x) * by

    return change


def setting(path: str, value: Any) -> Change:
    owner, name = path.rsplit(".", 1) if "." in path else ("", path)
    return lambda model: setattr(model.get_submodule(owner), name, value)


def hooked(layer: str, hook: Callable[..., Any], *, before: bool = False) -> Change:
    def change(model: nn.Module) -> None:
        part = model.get_submodule(layer)
        part.register_forward_pre_hook(hook) if before else part.register_forward_hook(hook)

    return change


def bag(**options: Any) -> Make:
    return lambda: nn.Sequential(nn.EmbeddingBag(9, 8, **options), nn.Linear(8, 2))


def resized(**options: Any) -> Make:
    return images(nn.Upsample(**options), pooled=2)


def table(base: float) -> Make:
    """Sines and cosines of positions, made once and not saved."""

    def sines() -> Tensor:
        angles = torch.arange(8.0)[:, None] / base ** (torch.arange(4.0) / 4)
        return torch.cat([angles.sin(), angles.cos()], 1)

    return lambda: rows(lambda s, h: h + s.table, table=sines())()


def live(module: Any, given: Any, found: Tensor) -> Tensor:
    return F.batch_norm(given[0], None, None, module.weight, module.bias, training=True)


FAR = torch.tensor([-1e9, 0.0, 1, 2, 3, 4, 5, 6])
UNLIKE: dict[str, tuple[Make, Make, str]] = {
    "celu": (layers(nn.CELU(1.0)), layers(nn.CELU(1.5)), "alpha = 1 in model 0, and 1.5"),
    "softshrink": (layers(nn.Softshrink(0.5)), layers(nn.Softshrink(0.4)), "lambd = 0.5 in model 0, and 0.4"),
    "hardshrink": (layers(nn.Hardshrink(0.5)), layers(nn.Hardshrink(0.4)), "lambd = 0.5 in model 0, and 0.4"),
    "silu and mish": (layers(nn.SiLU()), layers(nn.Mish()), "silu .* mish"),
    "softplus' threshold": (layers(nn.Softplus()), layers(nn.Softplus(threshold=5)), "threshold = 20 in .* and 5 in"),
    "squared relu": (rows(lambda s, h: h.relu() ** 2), rows(lambda s, h: h.relu() ** 3), "exponent = 2 .* and 3"),
    "power and base": (rows(lambda s, h: 2**h), rows(lambda s, h: h**2), "pow"),
    "softmax and log": (layers(nn.Softmax(1)), layers(nn.LogSoftmax(1)), "softmax .* _log_softmax"),
    "softmax and softmin": (layers(nn.Softmax(1)), layers(nn.Softmin(1)), "neg|softmax"),
    "temperature": (rows(lambda s, h: (h / 0.7).softmax(1)), rows(lambda s, h: (h / 0.8).softmax(1)), "0.7 .* 0.8"),
    "norm's unit offset": (rows(lambda s, h: h * 1.0), rows(lambda s, h: h * (1 + s.b.bias)), "1|bias"),
    "instance norm eps": (
        series(nn.InstanceNorm1d(8)),
        series(nn.InstanceNorm1d(8, eps=1e-2)),
        "eps = 1e-05 in model 0, and 0.01",
    ),
    "local response": (
        images(nn.LocalResponseNorm(3)),
        images(nn.LocalResponseNorm(3, beta=0.5)),
        "0.75.* and 0.5",
    ),
    "groups of channels": (images(nn.ChannelShuffle(2)), images(nn.ChannelShuffle(4)), "2.* 4|view|shuffle"),
    "padding and dilation": (
        images(padding=1, dilation=1),
        images(padding=2, dilation=2),
        r"\[1, 1\] in model 0, and \[2, 2\]",
    ),
    "only dilation": (
        images(stride=(1, 2)),
        images(stride=(2, 1)),
        r"stride = \[1, 2\] in model 0, and \[2, 1\]",
    ),
    "padding mode": (
        images(padding=1, padding_mode="reflect"),
        images(padding=1, padding_mode="circular"),
        "reflect",
    ),
    "zeros and replicate": (images(padding=1), images(padding=1, padding_mode="replicate"), "replication_pad2d"),
    "max and mean pool": (images(nn.MaxPool2d(2)), images(nn.AvgPool2d(2)), "max_pool2d.* avg_pool2d"),
    "ceil": (
        images(nn.MaxPool2d(4, 4), pooled=1),
        images(nn.MaxPool2d(4, 4, ceil_mode=True), pooled=1),
        "ceil_mode",
    ),
    "counted padding": (
        images(nn.AvgPool2d(3, 1, 1)),
        images(nn.AvgPool2d(3, 1, 1, count_include_pad=False)),
        "count_include_pad = True in model 0, and False",
    ),
    "divisor": (
        images(nn.AvgPool2d(2)),
        images(nn.AvgPool2d(2, divisor_override=3)),
        "divisor_override = None in model 0, and 3",
    ),
    "pool's stride": (images(nn.MaxPool2d(2, 1)), images(nn.MaxPool2d(2, 2)), r"stride = \[1, 1\] .* \[2, 2\]"),
    "pool's norm": (images(nn.LPPool2d(2, 2)), images(nn.LPPool2d(3, 2)), "2.* 3"),
    "interpolation": (
        resized(scale_factor=2, mode="nearest"),
        resized(scale_factor=2, mode="bilinear"),
        "upsample_nearest2d.* upsample_bilinear2d",
    ),
    "corners": (
        resized(scale_factor=2, mode="bilinear"),
        resized(scale_factor=2, mode="bilinear", align_corners=True),
        "align_corners = False in model 0, and True",
    ),
    "rectangles": (images(nn.ZeroPad2d((1, 2, 0, 0))), images(nn.ZeroPad2d((2, 1, 0, 0))), r"\[1, 2, 0, 0\]"),
    "padding's value": (
        images(nn.ConstantPad2d(1, 0.1)),
        images(nn.ConstantPad2d(1, 0.2)),
        "value = 0.1 in model 0, and 0.2",
    ),
    "pixels": (
        rows(lambda s, h: F.pixel_shuffle(h.view(8, 8, 1, 1), 2).reshape(8, 8)),
        rows(lambda s, h: F.pixel_shuffle(h.view(8, 8, 1, 1), 2).mT.reshape(8, 8)),
        "in model 1|permute|transpose|copies|clone|mT|works on something else",
    ),
    "heads": (heads(2), heads(4), r"2.* 4"),
    "scores' scale": (heads(2, scale=0.5), heads(2, scale=0.25), "other = 0.5 in model 0, and 0.25"),
    "scores' order": (heads(2), heads(2, order="bhkd,bhqd->bhqk"), r"view has self .*\[2, 1, 8, 4, 1\]"),
    "how heads are merged": (heads(2), heads(2, merge=False), "in model|works on"),
    "rotary base": (turned(10000.0), turned(500000.0), "entry"),
    "rotary pairs": (turned(10000.0), turned(10000.0, halves=False), "split|slice"),
    "slopes": (slopes(0.5), slopes(0.25), "entry .* of a constant"),
    "positions in a table": (table(100.0), table(200.0), "entry .* of a constant"),
    "a far entry in a table": (
        rows(lambda s, h: h + s.table, table=FAR),
        rows(lambda s, h: h + s.table, table=FAR + torch.eye(8)[3]),
        "entry .3. of a constant",
    ),
    "einsum": (
        rows(lambda s, h: torch.einsum("ij,kj->ik", h, s.b.weight)),
        rows(lambda s, h: torch.einsum("ij,jk->ik", h, s.b.weight)),
        "works on something else|mat2|bmm",
    ),
    "square transposed": (
        rows(lambda s, h: h @ s.b.weight),
        rows(lambda s, h: h @ s.b.weight.T),
        "mat2|works on something else",
    ),
    "squares flattened": (
        rows(lambda s, h: h.reshape(4, 16).reshape(8, 8)),
        rows(lambda s, h: h.reshape(4, 4, 4).transpose(1, 2).reshape(8, 8)),
        "in model|works on",
    ),
    "cumulative": (rows(lambda s, h: h.cumsum(0)), rows(lambda s, h: h.cumsum(1)), "dim = 0 in model 0, and 1"),
    "roll": (rows(lambda s, h: h.roll(1, 0)), rows(lambda s, h: h.roll(2, 0)), r"shifts = \[1\] .* \[2\]"),
    "flip": (rows(lambda s, h: h.flip(0)), rows(lambda s, h: h.flip(0, 1)), r"dims = \[0\] .* \[0, 1\]"),
    "diagonals": (rows(lambda s, h: h.tril()), rows(lambda s, h: h.tril(-1)), "diagonal = 0 .* -1"),
    "concatenation": (
        free(lambda s, x: s.out(torch.cat([s.a(x)[:, :4], s.b(s.a(x))[:, :4]], 1))),
        free(lambda s, x: s.out(torch.cat([s.b(s.a(x))[:, :4], s.a(x)[:, :4]], 1))),
        "cat",
    ),
    "top": (
        rows(lambda s, h: h * (h >= h.topk(2).values[:, -1:])),
        rows(lambda s, h: h * (h >= h.topk(3).values[:, -1:])),
        "k = 2 in model 0, and 3",
    ),
    "largest": (rows(lambda s, h: h - h.amax(1, True)), rows(lambda s, h: h - h.amin(1, True)), "amax .* amin"),
    "deviation": (
        rows(lambda s, h: h / h.std(1, keepdim=True)),
        rows(lambda s, h: h / h.std(1, keepdim=True, correction=0)),
        "correction",
    ),
    "rounding": (
        rows(lambda s, h: torch.div(h, 0.1, rounding_mode="floor")),
        rows(lambda s, h: torch.div(h, 0.1, rounding_mode="trunc")),
        "rounding_mode = floor in model 0, and trunc",
    ),
    "clamped from one side": (rows(lambda s, h: h.clamp(min=0)), rows(lambda s, h: h.clamp(max=0)), "min = 0"),
    "whole numbers": (rows(lambda s, h: h.round()), rows(lambda s, h: h.floor()), "round .* floor"),
    "decimals": (rows(lambda s, h: h.round(decimals=1)), rows(lambda s, h: h.round(decimals=2)), "decimals = 1 .* 2"),
    "integers": (rows(lambda s, h: h.long().float()), rows(lambda s, h: h.int().float()), "int64|int32"),
    "bfloat16": (rows(lambda s, h: h.bfloat16().float()), rows(lambda s, h: h.half().float()), "bfloat16"),
    "noise": (rows(lambda s, h: h + torch.randn(8, 8)), rows(lambda s, h: h + torch.rand(8, 8)), "randn .* rand"),
    "noise's size": (
        rows(lambda s, h: h + 0.1 * torch.randn(8, 8)),
        rows(lambda s, h: h + 0.2 * torch.randn(8, 8)),
        "0.1 .* 0.2",
    ),
    "dropout that never rests": (
        rows(lambda s, h: F.dropout(h, 0.1, training=True)),
        rows(lambda s, h: F.dropout(h, 0.2, training=True)),
        r"p = 0.9 in model 0, and 0.8|0.1 .* 0.2",
    ),
    "steps": (lambda: Steps(3), lambda: Steps(4), "model 1"),
    "merge": (lambda: Steps(merge="sum"), lambda: Steps(merge="product"), "add .* mul"),
    "merged mean": (lambda: Steps(merge="sum"), lambda: Steps(merge="mean"), "model 1"),
    "one direction": (lambda: Steps(merge="sum"), lambda: Steps(merge="first"), "merge is sum and first"),
    "backwards": (lambda: Steps(), lambda: Steps(reverse=True), "index = 0 in model 0, and -1|select"),
    "read out": (lambda: Steps(pool="mean"), lambda: Steps(pool="max"), "mean .* amax"),
    "one block more": (lambda: Shared(2), lambda: Shared(3), "model 1"),
    "no skip": (lambda: Shared(2), lambda: Shared(2, skip=False), "add"),
    "norm before": (lambda: Shared(2), lambda: Shared(2, first=True), "layer_norm"),
    "every second skip": (lambda: Shared(3), lambda: Shared(3, every=2), "add|works on"),
    "mode of bags": (bag(mode="sum"), bag(mode="mean"), "mode = 0 in model 0, and 1"),
    "padding of bags": (bag(), bag(padding_idx=0), "padding_idx = -1 in model 0, and 0"),
    "largest norm of words": (texts(), texts(max_norm=0.1), "max_norm is None and 0.1"),
    "closures": (
        free((lambda by: lambda s, x: s.out(s.a(x) * by))(2.0)),
        free((lambda by: lambda s, x: s.out(s.a(x) * by))(3.0)),
        "other = 2 in model 0, and 3",
    ),
    "partial": (
        plain(functools.partial(F.leaky_relu, negative_slope=0.1)),
        plain(functools.partial(F.leaky_relu, negative_slope=0.2)),
        "negative_slope = 0.1 in model 0, and 0.2",
    ),
    "operators": (
        plain(functools.partial(operator.mul, 2.0)),
        plain(functools.partial(operator.add, 2.0)),
        "mul .* add",
    ),
    "config": (plain(scale=0.5), plain(scale=0.6), r"other = 0.5 in model 0, and 0.6"),
    "no config": (plain(), plain(scale=2), r"other = 1 in model 0, and 2"),
    "attribute changed": (
        layers(nn.LayerNorm(8)),
        after(layers(nn.LayerNorm(8)), setting("1.eps", 0.1)),
        r"in '1', .*eps = 1e-05 in model 0, and 0.1 in model 1",
    ),
    "stride changed": (images(), after(images(), setting("0.stride", (2, 2))), r"stride = \[1, 1\] .* \[2, 2\]"),
    "layer changed": (layers(nn.ReLU()), after(layers(nn.ReLU()), setting("1", nn.SELU())), "relu .* elu"),
    "statistics of batches": (
        series(nn.BatchNorm1d(8)),
        after(series(nn.BatchNorm1d(8)), lambda m: [setattr(m[1], "momentum", None), hooked("1", live)(m)]),
        "native_batch_norm|mean|var|batch",
    ),
    "hook": (layers(nn.ReLU()), after(layers(nn.ReLU()), hooked("1", lambda m, x, y: y * 2)), "mul"),
    "hooks": (
        after(layers(nn.ReLU()), hooked("1", lambda m, x, y: y * 3)),
        after(layers(nn.ReLU()), hooked("1", lambda m, x, y: y * 2)),
        "other = 3 in model 0, and 2",
    ),
    "hook before": (
        layers(nn.ReLU()),
        after(layers(nn.ReLU()), hooked("", lambda m, x: x[0].abs(), before=True)),
        "abs",
    ),
    "patched": (plain(), after(plain(), patched), "tanh"),
    "wrapped": (
        after(plain(), wrapped("b", 2.0)),
        after(plain(), wrapped("b", 2.0)),
        "'b', addmm reads 'b.bias' of model 0 itself, not of a copy of it, as its code closes over a layer",
    ),
    "autograd": (
        rows(lambda s, h: Doubling.apply(h, 2.0)),
        rows(lambda s, h: Doubling.apply(h, 3.0)),
        "other = 2 in model 0, and 3",
    ),
    "table changed": (
        rows(lambda s, h: h * s.table, table=torch.arange(8.0)),
        after(rows(lambda s, h: h * s.table, table=torch.arange(8.0)), lambda m: m.table.add_(1)),
        "entry|constant",
    ),
    "which output": (two(lambda p, q: p), two(lambda p, q: q), "model 0"),
    "keys": (two(lambda p, q: {"p": p, "q": q}), two(lambda p, q: {"q": p, "p": q}), "'p'"),
    "other keys": (two(lambda p, q: {"p": p, "q": q}), two(lambda p, q: {"p": p, "r": q}), "'q'.*'r'|'r'"),
    "fields": (two(lambda p, q: Pair(p, q)), two(lambda p, q: Pair(q, p)), "order|one"),
    "data classes": (two(lambda p, q: Answer(p, q)), two(lambda p, q: Answer(q, p)), "order|one"),
    "an output twice": (two(lambda p, q: (p, q, p)), two(lambda p, q: (p, q, q)), "output"),
    "once more": (two(lambda p, q: (p, q)), two(lambda p, q: (p, q, q)), "2 outputs.* 3"),
    "a number beside": (two(lambda p, q: (p, q, 0.5)), two(lambda p, q: (p, q, 0.6)), "0.5, that of model 1 0.6"),
    "nesting": (two(lambda p, q: (p, [q])), two(lambda p, q: ([p], q)), "output"),
    "nothing beside": (two(lambda p, q: (p, None)), two(lambda p, q: (None, p)), "output"),
    "shape of the output": (two(lambda p, q: p), two(lambda p, q: p[None]), "shape|\\[8, 2\\]|reshape|view"),
    "output transposed": (two(lambda p, q: p[:2]), two(lambda p, q: p[:2].T), "transpose|order|\\bt\\b|permute"),
    "fourier": (
        rows(lambda s, h: torch.fft.fft(h, dim=0).real),
        rows(lambda s, h: torch.fft.fft(h, dim=0, norm="ortho").real),
        "normalization",
    ),
    "real part": (
        rows(lambda s, h: torch.fft.fft(h, dim=0).real),
        rows(lambda s, h: torch.fft.fft(h, dim=0).imag),
        "in model|works on|select",
    ),
    "indices": (rows(lambda s, h: h[[0, 1, 2]]), rows(lambda s, h: h[[0, 2, 1]]), "entry|constant"),
    "written rows": (
        rows(lambda s, h: write(h, slice(0, 2))),
        rows(lambda s, h: write(h, slice(2, 4))),
        "write|start|slice",
    ),
    "mask's side": (
        rows(lambda s, h: h.masked_fill(h > 0, 0.0)),
        rows(lambda s, h: h.masked_fill(h < 0, 0.0)),
        "gt .* lt",
    ),
    "where": (
        rows(lambda s, h: torch.where(h > 0, h, h.tanh())),
        rows(lambda s, h: torch.where(h > 0, h.tanh(), h)),
        "where",
    ),
    "distance": (
        rows(lambda s, h: torch.cdist(h, s.b(h), p=2)),
        rows(lambda s, h: torch.cdist(h, s.b(h), p=1)),
        "p = 2 in model 0, and 1|cdist",
    ),
    "subtracted": (
        free(lambda s, x: s.out(s.a(x) - s.b(s.a(x)))),
        free(lambda s, x: s.out(s.b(s.a(x)) - s.a(x))),
        "sub",
    ),
    "a sum's factor": (
        free(lambda s, x: s.out(torch.add(s.a(x), s.b(s.a(x)), alpha=0.5))),
        free(lambda s, x: s.out(torch.add(s.b(s.a(x)), s.a(x), alpha=0.5))),
        "add",
    ),
}


def write(h: Tensor, at: slice) -> Tensor:
    h = h.clone()
    h[at] = 0.0
    return h


def kept(model: nn.Module) -> None:
    model.seen, model.last = [], None
    model.register_forward_hook(lambda m, x, y: setattr(m, "last", y))
    model(SQUARE[:2])


def counted(model: nn.Module, steps: int) -> None:
    model.register_buffer("step", torch.tensor(steps))


def used(model: nn.Module) -> None:
    for size in (1, 5):
        model(SQUARE[:size]).sum().backward()


def optimised(model: nn.Module) -> None:
    steps = torch.optim.Adam(model.parameters())
    model(SQUARE).sum().backward()
    steps.step()


class Counter(nn.Module):
    """Counts its calls in a buffer, or in a number, that no output depends on."""

    def __init__(self, calls: int) -> None:
        super().__init__()
        self.a, self.out, self.calls, self.losses = nn.Linear(6, 8), nn.Linear(8, 2), calls, [0.5] * calls
        self.register_buffer("step", torch.tensor(calls))
        self.register_buffer("mean", torch.full((8,), float(calls)))

    def forward(self, x: Tensor) -> Tensor:
        h = self.a(x)
        self.step += 1
        self.calls += 1
        self.mean.mul_(0.9).add_(h.mean(0).detach(), alpha=0.1)
        return self.out(h.relu())


class Routed(nn.Module):
    """Each row goes to the expert that a router names."""

    def __init__(self, experts: int = 3) -> None:
        super().__init__()
        self.router = nn.Linear(6, experts)
        self.experts = nn.ModuleList(nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 2)) for _ in range(experts))

    def forward(self, x: Tensor) -> Tensor:
        weight, chosen = self.router(x).softmax(-1).max(-1)
        out = x.new_zeros(len(x), 2)
        for number, expert in enumerate(self.experts):
            at = (chosen == number).nonzero().flatten()
            if len(at):
                out.index_add_(0, at, expert(x[at]) * weight[at, None])
        return out


class Early(nn.Module):
    """Stops where it is sure."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.out = nn.Linear(6, 8), nn.Linear(8, 8), nn.Linear(8, 2)

    def forward(self, x: Tensor) -> Tensor:
        h = self.a(x).relu()
        first = self.out(h)
        return first if first.softmax(-1).max() > 0.9 else self.out(self.b(h).relu())


class Packed(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.part, self.out = nn.GRU(6, 8, batch_first=True), nn.Linear(8, 2)

    def forward(self, x: Tensor) -> Tensor:
        rows = nn.utils.rnn.pack_padded_sequence(x[None].repeat(2, 1, 1), [8, 5], batch_first=True)
        return self.out(nn.utils.rnn.pad_packed_sequence(self.part(rows)[0], batch_first=True)[0])


def frozen_partly(model: nn.Module) -> None:
    model[0].requires_grad_(False)
    model.eval()
    model[1].train()


def compiled(make: Make) -> Make:
    return lambda: torch.compile(make(), backend="eager")


def parallel(make: Make) -> Make:
    return lambda: nn.DataParallel(make())


def renamed(model: nn.Module) -> None:
    model.name, model.created, model.notes = "b", 17, {"lr": 0.1}


def cast(model: nn.Module) -> None:
    model.double().float()


def initialised(model: nn.Module) -> None:
    for tensor in model.parameters():
        nn.init.zeros_(tensor)


def lasts(model: nn.Module) -> None:
    model.to(memory_format=torch.channels_last)


def shared_memory(model: nn.Module) -> None:
    model.share_memory()


def vector(model: nn.Module) -> None:
    numbers = nn.utils.parameters_to_vector(model.parameters())
    nn.utils.vector_to_parameters(numbers.detach(), model.parameters())


def normed() -> nn.Module:
    return nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Dropout(0.5), nn.Linear(8, 2))


def tabled() -> nn.Module:
    def forward(s: Any, x: Tensor) -> Tensor:
        if not hasattr(s, "memo") or s.memo[0] != len(x):
            s.memo = len(x), torch.arange(float(len(x))).cos()[:, None]
        return s.out(s.a(x) * s.memo[1])

    return free(forward)()


def noisy() -> nn.Module:
    return free(lambda s, x: s.out(s.a(x) + (torch.randn_like(s.a(x)) if s.training else 0.0)))()


class Halved(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        x[:, :4] *= 0.5
        return x.relu()


def residual(scale: float) -> Make:
    return rows(lambda s, h: h + s.b(h) * scale)


ALIKE: dict[str, tuple[Make, Make]] = {
    "used": (normed, after(normed, lambda m: [used(m.eval()), m.train()])),
    "optimised": (plain(), after(plain(), optimised)),
    "frozen": (normed, after(normed, frozen_partly)),
    "rates": (normed, after(normed, setting("3.p", 0.1))),
    "kept things": (plain(), after(plain(), kept)),
    "names": (plain(), after(plain(), renamed)),
    "config that does nothing": (plain(colour="red"), plain(colour="blue", scale=1)),
    "config of another type": (plain(scale=1), plain(scale=1.0)),
    "number of calls": (lambda: Counter(1), lambda: Counter(500)),
    "step counters": (after(plain(), lambda m: counted(m, 3)), after(plain(), lambda m: counted(m, 70))),
    "routed": (Routed, Routed),
    "early exit": (Early, after(Early, initialised)),
    "packed": (Packed, Packed),
    "compiled": (compiled(plain()), compiled(plain())),
    "parallel": (parallel(plain()), parallel(plain())),
    "cast and back": (plain(), after(plain(), cast)),
    "channels last": (images(nn.ReLU()), after(images(nn.ReLU()), lasts)),
    "channels last, written in place": (images(Halved()), after(images(Halved()), lasts)),
    "shared memory": (plain(), after(plain(), shared_memory)),
    "one vector": (plain(), after(plain(), vector)),
    "zeros": (plain(), after(plain(), initialised)),
    "table in an attribute": (tabled, after(tabled, lambda m: m(SQUARE[:3]))),
    "noise in training": (noisy, after(noisy, lambda m: m.eval())),
    "ways to write a scale": (residual(1 / math.sqrt(7)), residual(7**-0.5)),
    "ways to write a table": (
        rows(lambda s, h: h * (torch.arange(8.0) * 0.1).exp()),
        rows(lambda s, h: h * math.e ** (torch.arange(8.0) / 10)),
    ),
    "partials": (plain(functools.partial(F.gelu, approximate="none")), plain(F.gelu)),
    "classes of activations": (layers(nn.ReLU()), layers(nn.Sequential(nn.Identity(), nn.ReLU()))),
    "momentum without statistics": (
        series(nn.InstanceNorm1d(8, momentum=0.1)),
        series(nn.InstanceNorm1d(8, momentum=0.3)),
    ),
    "momentum of batches": (
        series(nn.BatchNorm1d(8, track_running_stats=False)),
        series(nn.BatchNorm1d(8, track_running_stats=False, momentum=0.5)),
    ),
    "sparse gradients": (texts(), texts(sparse=True, scale_grad_by_freq=True)),
    "same patch": (after(plain(), patched), after(plain(), patched)),
    "same hooks": (
        after(layers(nn.ReLU()), hooked("1", lambda m, x, y: y * 3)),
        after(layers(nn.ReLU()), hooked("1", lambda m, x, y: y * 3)),
    ),
    "keys in another order": (two(lambda p, q: {"p": p, "q": q}), two(lambda p, q: {"q": q, "p": p})),
    "checkpointing": (
        free(lambda s, x: s.out(s.b(s.a(x)))),
        free(lambda s, x: s.out(torch.utils.checkpoint.checkpoint(s.b, s.a(x), use_reentrant=False))),
    ),
    "assertions": (
        free(lambda s, x: s.out(s.a(x))),
        free(lambda s, x: s.out(checked(s.a(x)))),
    ),
    "no gradients inside": (
        free(lambda s, x: s.out(s.a(x))),
        free(lambda s, x: torch.no_grad()(lambda: s.out(s.a(x)))()),
    ),
    "linear by hand": (free(lambda s, x: s.out(s.a(x))), free(lambda s, x: s.out(F.linear(x, s.a.weight, s.a.bias)))),
    "einsum in other letters": (
        rows(lambda s, h: torch.einsum("ij,kj->ik", h, s.b.weight)),
        rows(lambda s, h: torch.einsum("ab,cb->ac", h, s.b.weight)),
    ),
    "a mask as a row of another": (
        rows(lambda s, h: h * torch.tensor([1.0, 1, 1, 1, 1, 0, 0, 0])),
        rows(lambda s, h: h * torch.ones(8, 8).tril()[4]),
    ),
    "steps": (lambda: Steps(), lambda: Steps(times=3)),
    "shared": (lambda: Shared(2), lambda: Shared(2, every=1)),
}


def checked(h: Tensor) -> Tensor:
    if not torch.isfinite(h).all():
        raise ValueError("not finite")
    return h


def inputs_of(model: nn.Module) -> Tensor:
    from computations import IMAGES, TOKENS

    kinds = {type(module) for module in model.modules()}
    if kinds & {nn.Conv1d, nn.GRUCell}:
        return SERIES
    return IMAGES if nn.Conv2d in kinds else TOKENS if kinds & {nn.Embedding, nn.EmbeddingBag} else SQUARE
