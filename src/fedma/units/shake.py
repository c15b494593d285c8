"""Perturbed models and inputs, at which accidental symmetries fail; and how far outputs differ."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from fedma.seeds import generator
from fedma.units.inputs import Inputs, dense
from fedma.units.resize import copied
from fedma.units.state import tensors
from fedma.units.walk import leaves

SHAKE = 0.1
"""How far the weights of a model are changed, relative to their own size."""
WILD = 1e8
"""Larger than any weight that training leaves behind."""
TOUCH = 1e-4
"""How far weights are changed to see whether outputs show it, relative to their own size."""
SPREADS = (0.5, 0.02)
"""How far inputs are changed, relative to their own size. The first value at which the model runs counts."""
PART = 1_000_003
"""How many entries of a tensor are changed at once. It is prime, so no multiple of the length of a row."""
FLOOR = 1e-6
"""Least unit in which a tensor's differences are measured, relative to its largest entry."""


@torch.no_grad()
def shaken(model: nn.Module, *, double: bool = True, by: float = SHAKE) -> nn.Module:
    """A copy with other weights everywhere. Its function differs, its symmetries are the same.

    Biases of zero and scales of one would not show a wrong order.
    """
    fresh = copied(model, _doubles(model)).double() if double else copied(model)
    random = generator(0, "shake")
    for tensor in _saved(fresh):
        _tame(tensor)
        for part, noise in _noisy(tensor, random):
            part.mul_(1 + by * noise)
        size = max(float(torch.linalg.vector_norm(tensor, 1)) / max(tensor.numel(), 1), SHAKE)
        for part, noise in _noisy(tensor, random):
            part.add_(by * (2 * noise - 1) * size if isinstance(tensor, nn.Parameter) else by * noise)
    return fresh


def _doubles(model: nn.Module) -> dict[int, Tensor]:
    """Plain tensors of a model in float64, by the identity of the model's own, so that they are copied but once."""
    plain = {id(own): own for own in tensors(model).values() if type(own) in (Tensor, nn.Parameter) and own.is_leaf}
    return {
        key: nn.Parameter(_high(own), requires_grad=own.requires_grad) if isinstance(own, nn.Parameter) else _high(own)
        for key, own in plain.items()
        if own.is_floating_point() and own.layout == torch.strided
    }


def _high(tensor: Tensor) -> Tensor:
    return tensor.detach().to(torch.float64, copy=True)


def _tame(tensor: Tensor) -> None:
    """Weights made usable after a diverged training. Which units move together does not depend on them."""
    tensor.nan_to_num_(0.0, 0.0, 0.0)
    if tensor.numel() and (largest := float(torch.linalg.vector_norm(tensor, float("inf")))) > WILD:
        tensor.div_(largest)


@torch.no_grad()
def roused(model: nn.Module, seed: int) -> nn.Module:
    """A copy with parameters scaled by random numbers in -1…1. Inactive or saturated units may act in it."""
    fresh = copied(model)
    random = generator(seed, "rouse")
    for tensor in _saved(fresh):
        for part, noise in _noisy(tensor, random) if isinstance(tensor, nn.Parameter) else ():
            part.mul_(2 * noise - 1)
    return fresh


@torch.no_grad()
def trembling(model: nn.Module) -> nn.Module:
    """A copy whose weights differ in their last digit. Its outputs show the effect of rounding."""
    fresh = copied(model)
    random = generator(0, "tremble")
    for tensor in _saved(fresh):
        for part, noise in _noisy(tensor, random):
            part.mul_(1 + torch.finfo(tensor.dtype).eps * (2 * noise - 1))
    return fresh


def touched(tensor: Tensor) -> Tensor:
    """The same tensor with every entry changed by a ten-thousandth at most."""
    return tensor.detach() * (1 + TOUCH * _uniform(tensor.detach(), generator(0, "touch")))


def _saved(model: nn.Module) -> list[Tensor]:
    """A model's real and complex tensors, without buffers that its constructor makes anew."""
    unsaved = {id(m._buffers.get(name)) for m in model.modules() for name in m._non_persistent_buffers_set}
    own = tensors(model).values()
    return [t for t in own if (t.is_floating_point() or t.is_complex()) and id(t) not in unsaved]


def _noisy(tensor: Tensor, random: torch.Generator) -> list[tuple[Tensor, Tensor]]:
    """The numbers of a tensor in parts, to be changed in place, each with as many random numbers from 0 to 1.

    All parts of a large tensor get the same random numbers, which cost more than all else; a part is no number of
    rows, so that no two rows get the same.
    """
    flat = _in_a_row(tensor)
    parts = flat.split(PART) if flat.dim() == 1 else (flat,)
    noise = _uniform(parts[0], random)
    return [(part, noise[: len(part)] if part.dim() else noise) for part in parts]


def _in_a_row(tensor: Tensor) -> Tensor:
    """A view of a tensor's numbers as they lie in memory; the tensor itself where they do not lie side by side."""
    lying = tensor.permute(sorted(range(tensor.dim()), key=lambda axis: -tensor.stride()[axis]))
    return lying.view(-1) if lying.is_contiguous() else tensor


def _uniform(tensor: Tensor, random: torch.Generator) -> Tensor:
    return torch.rand(tensor.shape, generator=random, dtype=torch.float64).to(tensor)


def in_double(inputs: Inputs) -> Inputs:
    """The same arguments with floating-point tensors and arrays in double precision."""
    return inputs.each(_doubled)


def _doubled(leaf: Any) -> Any:
    if isinstance(leaf, Tensor):
        kind = torch.complex128 if leaf.is_complex() else torch.float64
        return leaf.to(kind) if leaf.is_floating_point() or leaf.is_complex() else leaf
    if isinstance(leaf, np.ndarray | np.inexact) and np.issubdtype(leaf.dtype, np.floating):
        return leaf.astype(np.float64)
    return leaf


def perturbed(inputs: Inputs, spread: float) -> Inputs:
    """The same arguments with other values in every floating-point tensor, array and number. Integers stay."""
    random = generator(0, "inputs")
    return inputs.each(lambda leaf: _moved(leaf, spread, random))


def unlike(inputs: Inputs) -> list[Inputs]:
    """Arguments quite unlike these, which may take other branches: of other signs, larger, and zeros.

    Whole numbers stay within the range of their tensor, because they may be indices.
    """
    random = generator(0, "unlike")
    ways: list[Callable[[Tensor], Tensor]] = [torch.neg, partial(_drawn, random=random), torch.zeros_like]
    whole = all(isinstance(leaf, Tensor) and not leaf.is_floating_point() for leaf in leaves(vars(inputs)))
    return [inputs.each(partial(_changed, way=way)) for way in (ways[:1] if whole else ways)]


def _drawn(tensor: Tensor, random: torch.Generator) -> Tensor:
    """Normal numbers about as large as the largest."""
    largest = float(tensor.abs().nan_to_num(0, 0, 0).max()) if tensor.numel() else 0.0
    return torch.randn(tensor.shape, generator=random, dtype=torch.float64).to(tensor) * (largest or 1.0)


def _changed(leaf: Any, way: Callable[[Tensor], Tensor]) -> Any:
    if isinstance(leaf, Tensor):
        return way(leaf) if leaf.is_floating_point() else _shuffled(leaf)
    if isinstance(leaf, np.ndarray) and np.issubdtype(leaf.dtype, np.floating):
        return way(torch.as_tensor(leaf)).numpy().astype(leaf.dtype)
    if isinstance(leaf, float | np.floating):
        return type(leaf)(way(torch.tensor(float(leaf), dtype=torch.float64)).item())
    return leaf


def _shuffled(tensor: Tensor) -> Tensor:
    """The same whole numbers in other places."""
    if not tensor.dim():
        return tensor
    order = torch.randperm(tensor.numel(), generator=generator(0, "shuffled"))
    return tensor.flatten()[order.to(tensor.device)].reshape(tensor.shape)


def _moved(leaf: Any, spread: float, random: torch.Generator) -> Any:
    if isinstance(leaf, Tensor):
        return _other(leaf, spread, random) if leaf.is_floating_point() or leaf.is_complex() else leaf
    if isinstance(leaf, np.ndarray | np.generic):
        if not np.issubdtype(leaf.dtype, np.inexact):
            return leaf
        moved = _other(torch.as_tensor(leaf), spread, random).numpy().astype(leaf.dtype)
        return moved if isinstance(leaf, np.ndarray) else moved[()]
    if isinstance(leaf, float | complex) and not isinstance(leaf, bool):
        return type(leaf)(_other(torch.tensor(leaf, dtype=torch.float64), spread, random).item())
    return leaf


def _other(tensor: Tensor, spread: float, random: torch.Generator) -> Tensor:
    """Entries changed relative to their own and the overall size, within zero and the extreme of their sign."""
    size = tensor.detach().abs()
    mean = float(size[size.isfinite()].double().mean()) if size.isfinite().any() else 0.0
    scale = 1 - spread * _uniform(size, random)
    moved = tensor.detach() * scale + 0.2 * spread * (mean or 1.0) * (2 * _uniform(size, random) - 1)
    if tensor.is_complex() or not mean:
        return moved
    return moved.clamp(min(0.0, float(tensor.min())), max(0.0, float(tensor.max())))


def difference(first: Sequence[Tensor], second: Sequence[Tensor], sizes: Sequence[float] = ()) -> float:
    """The largest difference of two sets of outputs, relative to their size; infinite if they are not comparable.

    Equal infinities count as equal, and so do two NaN in the same place.

    Args:
        first: outputs.
        second: others of the same model.
        sizes: for each tensor, the unit of its differences; by default its largest entry among those that differ.
    """
    if len(first) != len(second):
        return float("inf")
    sizes = sizes or [float("inf")] * len(first)
    return max((_gap(*each) for each in zip(first, second, sizes, strict=True)), default=0.0)


def _gap(one: Tensor, other: Tensor, size: float) -> float:
    if one.shape != other.shape:
        return float("inf")
    one, other = _plain(one), _plain(other)
    unequal = ~((one == other) | (one.isnan() & other.isnan()))
    if not bool(unequal.any()):
        return 0.0
    one, other = one[unequal], other[unequal]
    gap, scale = float((one - other).abs().max()), min(float(one.abs().max()) or 1.0, size)
    return gap / scale if gap < float("inf") else float("inf")


def variation(first: Sequence[Tensor], second: Sequence[Tensor]) -> list[float]:
    """How much each output varies between two sets of inputs. The huge numbers of masks add little to it."""
    return [_variation(*each) for each in zip(first, second, strict=False)]


def _variation(one: Tensor, other: Tensor) -> float:
    if one.shape != other.shape:
        return float("inf")
    one, other = _plain(one), _plain(other)
    known = one.isfinite() & other.isfinite() & (one != other)
    one, other = one[known], other[known]
    return max(float((one - other).abs().max()), FLOOR * float(one.abs().max())) if one.numel() else float("inf")


def _plain(tensor: Tensor) -> Tensor:
    """The entries of a tensor of any dtype and layout as float64."""
    tensor = dense(tensor.detach())
    return torch.view_as_real(tensor.resolve_conj()).double() if tensor.is_complex() else tensor.double()
