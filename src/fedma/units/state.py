"""A model's tensors by name, each once."""

import itertools
from collections.abc import Mapping

import torch
from torch import Tensor, nn


def tensors(model: nn.Module) -> dict[str, Tensor]:
    """The model's own parameters and buffers (not copies), module by module, each under its first name."""
    first: dict[int, tuple[str, Tensor]] = {}
    for path, module in model.named_modules():
        named = itertools.chain(module.named_parameters(path, recurse=False), module.named_buffers(path, recurse=False))
        for name, tensor in named:
            first.setdefault(id(tensor), (name, tensor))
    return dict(first.values())


def weights(model: nn.Module) -> dict[str, Tensor]:
    """Copies of the model's parameters and buffers by name, detached, each tensor once."""
    return {name: tensor.detach().clone() for name, tensor in tensors(model).items()}


def load(model: nn.Module, weights: Mapping[str, Tensor]) -> None:
    """Copy weights into the model's tensors of the same names and shapes. Other tensors stay unchanged."""
    own = tensors(model)
    with torch.no_grad():
        for name, tensor in weights.items():
            own[name].copy_(tensor)


def unsaved(model: nn.Module) -> set[int]:
    """The ids of buffers that a state dict leaves out. The model's constructor makes them anew."""
    return {
        id(module._buffers[name])
        for module in model.modules()
        for name in module._non_persistent_buffers_set
        if name in module._buffers
    }
