"""Building a model from its name."""

import importlib
import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from torch import nn
from torch.nn.parameter import is_lazy

from fedma.errors import InputError
from fedma.models import networks, residual, sequences
from fedma.seeds import global_generator, number


@dataclass(frozen=True)
class Network:
    """A network by name.

    Attributes:
        make: input shape (without the batch), number of classes and, for tokens, `vocabulary` → model.
        smallest: for images, the least height and width; 0 for inputs of any shape.
        tokens: whether it reads sequences of tokens.
    """

    make: Callable[..., nn.Module]
    smallest: int = 0
    tokens: bool = False

    def fits(self, input_shape: tuple[int, ...], vocabulary: int | None) -> bool:
        """Whether it can be built for such inputs."""
        if self.tokens or vocabulary is not None:
            return self.tokens and vocabulary is not None and len(input_shape) == 1
        return not self.smallest or (len(input_shape) == 3 and min(input_shape[1:]) >= self.smallest)

    @property
    def needs(self) -> str:
        """What it takes, in words."""
        if self.tokens:
            return "sequences of tokens"
        return f"images of at least {self.smallest}×{self.smallest} pixels" if self.smallest else "real numbers"


MODELS: dict[str, Network] = {
    "mlp": Network(networks.mlp),
    "cnn": Network(networks.cnn, smallest=4),
    "lenet": Network(networks.lenet, smallest=16),
    "vgg9": Network(networks.vgg9, smallest=8),
    "vgg9-bn": Network(partial(networks.vgg9, batch_norm=True), smallest=8),
    "resnet20": Network(partial(residual.ResNet20, norm=nn.BatchNorm2d), smallest=8),
    "resnet20-gn": Network(partial(residual.ResNet20, norm=residual.group_norm), smallest=8),
    "char-lstm": Network(sequences.Recurrent, tokens=True),
    "char-gru": Network(partial(sequences.Recurrent, cell=nn.GRU, hidden=128), tokens=True),
    "transformer": Network(sequences.Transformer, tokens=True),
}
"""Networks by name. Besides, `mlp-200-100` is a fully connected network with hidden layers of 200 and 100 neurons."""


def build(
    name: str,
    input_shape: tuple[int, ...],
    classes: int,
    *,
    seed: int,
    client: int | None = None,
    vocabulary: int | None = None,
) -> nn.Module:
    """A freshly initialised model.

    Args:
        name: one of `MODELS`, `mlp-WIDTH-WIDTH...` with the widths of its hidden layers, or `package.module:factory`,
            a callable without arguments that returns a module.
        input_shape: the shape of one input: (channels, height, width) of images, (length,) of tokens.
        classes: number of outputs.
        seed: decides the initial weights, together with `client` where each client has its own.
        client: None for the weights that all clients have in common.
        vocabulary: inputs are tokens, whole numbers below this one; None where they are real numbers.

    Raises:
        InputError: an unknown name, a factory that cannot be called, inputs that the network does not take.
    """
    factory = _users(name) if ":" in name else _factory(name, tuple(input_shape), classes, vocabulary)
    # PyTorch's initialisers draw from the global generator only: borrow it and give it back as it was.
    with global_generator(number(seed, "init", "common" if client is None else client)):
        try:
            model = factory()
        except Exception as error:
            raise InputError(f"model {name!r} cannot be built: {type(error).__name__}: {error}") from error
    if not isinstance(model, nn.Module):
        raise InputError(f"model {name!r} gives a {type(model).__name__}; it must return an nn.Module")
    if lazy := [path for path, tensor in model.named_parameters() if is_lazy(tensor)]:
        raise InputError(
            f"model {name!r}: {lazy[0]!r} has no shape yet; call the model once before the factory returns it"
        )
    return model


def _factory(name: str, input_shape: tuple[int, ...], classes: int, vocabulary: int | None) -> Callable[[], nn.Module]:
    network = _named(name)
    if not network.fits(input_shape, vocabulary):
        found = f"have shape {input_shape}" if vocabulary is None else f"are tokens of shape {input_shape}"
        fitting = [known for known, other in MODELS.items() if other.fits(input_shape, vocabulary)]
        choice = f"models that take them: {', '.join(fitting)}" if fitting else "no model of fedma takes them"
        raise InputError(f"model {name!r} needs {network.needs}; these inputs {found}; {choice}")
    tokens = {"vocabulary": vocabulary} if network.tokens else {}
    return partial(network.make, input_shape, classes, **tokens)


def _named(name: str) -> Network:
    """The network of that name; `mlp-200-100` has hidden layers of these widths."""
    if re.fullmatch(r"mlp(-[1-9]\d*)+", name):
        return Network(partial(networks.mlp, hidden=tuple(map(int, name.split("-")[1:]))))
    if name not in MODELS:
        raise InputError(
            f"model {name!r} is not known; known are {', '.join(MODELS)}, "
            "mlp-200-100 (or other widths of hidden layers), or package.module:factory"
        )
    return MODELS[name]


def _users(name: str) -> Callable[[], nn.Module]:
    """A user's own factory, checked to be there."""
    path, _, attribute = name.partition(":")
    try:
        module = importlib.import_module(path)
    except (Exception, SystemExit) as error:  # whatever happens in a file of the user's
        raise InputError(
            f"model {name!r}: {path!r} cannot be imported ({type(error).__name__}: {error}); expected "
            "package.module:factory, importable from this folder"
        ) from error
    factory = getattr(module, attribute, None)
    if factory is None:
        raise InputError(f"model {name!r}: {path!r} has no {attribute!r}; expected package.module:factory")
    if not callable(factory):
        raise InputError(f"model {name!r} is not callable; it must be a function that returns an nn.Module")
    return factory
