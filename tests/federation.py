"""A small federation for tests: random data that a network can learn, a few clients."""

import torch
from torch import nn

from fedma.algorithms import Algorithm, Client, State
from fedma.data import Split
from fedma.engines import LocalEngine
from fedma.models import build
from fedma.seeds import generator
from fedma.units import Weights, units, weights

SHAPE, CLASSES = (1, 8, 8), 3


def split(samples: int, *, seed: int = 0, classes: int = CLASSES) -> Split:
    """Noisy copies of one pattern a class."""
    draw = generator(seed, "samples")
    patterns = torch.randn(classes, *SHAPE, generator=generator(0, "patterns"))
    labels = torch.randint(classes, (samples,), generator=draw)
    return Split(patterns[labels] + 0.5 * torch.randn(samples, *SHAPE, generator=draw), labels)


def texts(samples: int, *, seed: int = 0) -> Split:
    """Tokens whose last one tells the class."""
    tokens = torch.randint(12, (samples, 7), generator=generator(seed, "texts"))
    return Split(tokens, tokens[:, -1] % CLASSES)


def clients(number: int, *, model: str = "mlp", samples: int = 30, seed: int = 0) -> list[Client]:
    """Clients of different numbers of samples."""
    template = build(model, SHAPE, CLASSES, seed=seed)
    graph = units(template, torch.zeros(2, *SHAPE))
    return [
        Client(j, split(samples + 5 * j, seed=100 * seed + j), template, graph, CLASSES, seed) for j in range(number)
    ]


def initial(members: list[Client], *, model: str = "mlp", common: bool = False) -> dict[int, Weights]:
    """Weights that the clients start from."""
    return {
        c.number: weights(build(model, SHAPE, CLASSES, seed=c.seed, client=None if common else c.number))
        for c in members
    }


def play(algorithm: Algorithm, members: list[Client], start: dict[int, Weights], *, workers: int = 1) -> State:
    """Run an algorithm to its end."""
    with LocalEngine(members, workers=workers) as engine:
        engine.reset(start)
        state = algorithm.start()
        while asks := algorithm.asks(state):
            state = algorithm.absorb(state, engine.deliver(asks))
    return state


def assert_equal(left: Weights, right: Weights, **tolerance: float) -> None:
    """The same names and values."""
    torch.testing.assert_close(dict(left), dict(right), **tolerance)  # type: ignore[arg-type]


def outputs(model: nn.Module, inputs: torch.Tensor) -> torch.Tensor:
    """What a model answers."""
    with torch.no_grad():
        return model.eval()(inputs)
