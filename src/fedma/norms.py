"""Normalisations of a fused model, which cannot be averaged like weights."""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm, _NormBase
from torch.nn.utils.parametrizations import _SpectralNorm
from torch.nn.utils.parametrize import ParametrizationList
from torch.nn.utils.spectral_norm import SpectralNorm

from fedma.errors import InputError
from fedma.units.inputs import Inputs, evaluating

_UNIT = 1e-3
"""How far from one the length of a unit vector may be, in half precision too."""


def recalibrate(model: nn.Module, batches: Iterable[Any]) -> None:
    """Estimate the running statistics of a model's normalisations again, in place, on unlabelled samples.

    Averaged units vary less than the units they average; their own statistics restore the scale. Batch and instance
    normalisations that keep running statistics take the plain mean over the batches.

    Args:
        model: a fused model.
        batches: inputs, each as for `fuse`. A few hundred samples in batches of the training's size are enough.

    Raises:
        InputError: there is no batch, the model does not run on one, or statistics would not be finite. The model is
            then unchanged.

    Example:
        >>> import torch
        >>> from torch import nn
        >>> import fedma
        >>> model = nn.Sequential(nn.BatchNorm1d(1))
        >>> fedma.recalibrate(model, [torch.tensor([[1.0], [3.0]])])
        >>> model[0].running_mean
        tensor([2.])

    Source: REPAIR (Jordan et al., ICLR 2023), for networks with batch normalisation.
    """
    samples = [Inputs.of(batch) for batch in batches]
    if not samples:
        raise InputError("there are no batches to estimate statistics on; give at least one")
    norms = {
        path: module
        for path, module in model.named_modules()
        if isinstance(module, _NormBase) and module.track_running_stats
    }
    before = [(buffer, buffer.clone()) for norm in norms.values() for buffer in norm.buffers(recurse=False)]
    momenta = [norm.momentum for norm in norms.values()]
    try:
        with evaluating(model):
            _estimate(model, list(norms.values()), samples)
        for path, norm in norms.items():
            if not all(bool(buffer.isfinite().all()) for buffer in norm.buffers(recurse=False)):
                raise InputError(f"the statistics of {path!r} are not finite on these batches; look for bad inputs")
    except BaseException:
        for buffer, values in before:
            buffer.copy_(values)
        raise
    finally:
        for norm, momentum in zip(norms.values(), momenta, strict=True):
            norm.momentum = momentum


def _estimate(model: nn.Module, norms: Sequence[_NormBase], samples: Sequence[Inputs]) -> None:
    """Run the model on all samples; the momenta of these normalisations change."""
    for norm in norms:
        norm.reset_running_stats()
        norm.train()
    for number, batch in enumerate(samples):
        for norm in norms:  # the plain mean over all batches; instance norms do not take it by themselves
            norm.momentum = None if isinstance(norm, _BatchNorm) else 1 / (number + 1)
        try:
            model(*batch.args, **batch.kwargs)
        except Exception as error:
            raise InputError(
                f"{type(model).__name__} does not run on batch {number}: {type(error).__name__}: {error}; give inputs "
                "without labels, and leave out a last batch of one sample"
            ) from error


def settle_spectral_norms(model: nn.Module) -> None:
    """Set the singular vectors of spectral norms from the weights that they scale, in place.

    Averaged singular vectors are usually not unit vectors, so they are computed again by SVD. If the models agree, the
    averages are unit vectors and are kept.
    """
    with evaluating(model):
        for matrix, left, right in _spectral_norms(model):
            if all(abs(float(vector.double().norm()) - 1) < _UNIT for vector in (left, right)):
                continue
            vectors, _, others = torch.linalg.svd(matrix.double(), full_matrices=False)
            left.copy_(vectors[:, 0])
            right.copy_(others[0])


def _spectral_norms(model: nn.Module) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    """The weights under a spectral norm as matrices, each with its left and right singular vectors."""
    for module in model.modules():
        for hook in module._forward_pre_hooks.values():
            if isinstance(hook, SpectralNorm):
                weight, left, right = (getattr(module, f"{hook.name}_{part}") for part in ("orig", "u", "v"))
                yield hook.reshape_weight_to_matrix(weight), left, right
        if isinstance(module, ParametrizationList) and module.is_tensor:
            value = module.original
            for step in module:
                if isinstance(step, _SpectralNorm) and value.dim() > 1:
                    yield step._reshape_weight_to_matrix(value), step._u, step._v
                value = step(value)
