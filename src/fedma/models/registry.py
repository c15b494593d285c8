"""Building a model from its name."""

import importlib
from collections.abc import Callable
from functools import partial

import torch
from torch import nn

from fedma.errors import InputError
from fedma.models import networks
from fedma.seeds import number

MODELS: dict[str, Callable[[tuple[int, ...], int], nn.Module]] = {
    "mlp": networks.mlp,
    "cnn": networks.cnn,
    "lenet": networks.lenet,
    "vgg9": networks.vgg9,
    "vgg9-bn": partial(networks.vgg9, batch_norm=True),
}
"""Factories by name: input shape (without the batch), number of classes → model."""

_SMALLEST = {"cnn": 4, "lenet": 16, "vgg9": 8, "vgg9-bn": 8}


def build(name: str, input_shape: tuple[int, ...], classes: int, *, seed: int, client: int | None = None) -> nn.Module:
    """A freshly initialised model.

    Args:
        name: one of `MODELS`, or `package.module:factory`, a callable without arguments that returns a module.
        input_shape: the shape of one input, such as (channels, height, width).
        classes: number of outputs.
        seed: decides the initial weights, together with `client` where each client has its own.
        client: None for the weights that all clients have in common.

    Raises:
        InputError: an unknown name, a factory that cannot be called, inputs too small for the network.
    """
    factory = _factory(name, input_shape, classes)
    # PyTorch's initialisers draw from the global generator only: borrow it and give it back as it was.
    with torch.random.fork_rng(devices=[]):
        torch.random.manual_seed(number(seed, "init", "common" if client is None else client))
        try:
            model = factory()
        except Exception as error:
            raise InputError(f"model {name!r} cannot be built: {type(error).__name__}: {error}") from error
    if not isinstance(model, nn.Module):
        raise InputError(f"model {name!r} gives a {type(model).__name__}; it must return an nn.Module")
    return model


def _factory(name: str, input_shape: tuple[int, ...], classes: int) -> Callable[[], nn.Module]:
    if ":" in name:
        return _users(name)
    if name not in MODELS:
        raise InputError(f"model {name!r} is not known; known are {', '.join(MODELS)}, or package.module:factory")
    if name != "mlp" and (len(input_shape) != 3 or min(input_shape[1:]) < _SMALLEST[name]):
        raise InputError(
            f"model {name!r} needs images of at least {_SMALLEST[name]}×{_SMALLEST[name]} pixels; "
            f"these inputs have shape {input_shape}; choose another model (mlp takes any shape)"
        )
    return partial(MODELS[name], input_shape, classes)


def _users(name: str) -> Callable[[], nn.Module]:
    """A user's own factory, checked to be there."""
    module, _, attribute = name.partition(":")
    try:
        factory = getattr(importlib.import_module(module), attribute)
    except (ImportError, AttributeError, ValueError) as error:
        raise InputError(f"model {name!r}: {error}; expected package.module:factory, importable from here") from error
    if not callable(factory):
        raise InputError(f"model {name!r} is not callable; it must be a function that returns an nn.Module")
    return factory
