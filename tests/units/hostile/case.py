"""What a hostile case is."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

from fedma.seeds import generator


class Small(nn.Module):
    """Two ways in, one way out, and loose tensors between; `run` is the forward under test."""

    def __init__(self, run=None, units=5, features=3):
        super().__init__()
        self.a, self.b = nn.Linear(features, units), nn.Linear(features, units)
        self.c, self.out = nn.Linear(units, units), nn.Linear(units, 2)
        self.w5, self.v5 = nn.Parameter(torch.empty(units, units)), nn.Parameter(torch.empty(units))
        self.run = run

    def forward(self, *args, **kwargs):
        return self.run(self, *args, **kwargs)


def four_rows(random):
    """The usual input: four rows of three features."""
    return (torch.randn(4, 3, generator=random),)


def scaled(thing, factor):
    """The same arguments with larger numbers, where they are tensors or arrays at the top."""
    if type(thing) is tuple:
        return tuple(scaled(part, factor) for part in thing)
    if isinstance(thing, torch.Tensor):
        return thing * factor if thing.is_floating_point() else thing
    return (thing * factor).astype(thing.dtype) if isinstance(thing, np.ndarray) else thing


@dataclass(frozen=True)
class Case:
    """One forward.

    Attributes:
        kind: the file that it stands in.
        found: tensors whose first axis belongs to a group, where "name:1" stands for another axis.
        model: gives the model.
        inputs: gives arguments, others for another generator.
        example: gives those that the graph is derived from.
        tolerance: for models that compute in less than double precision.
    """

    name: str
    kind: str
    found: tuple[tuple[str, int], ...]
    model: Callable[[], nn.Module]
    inputs: Callable
    example: Callable
    tolerance: float

    def build(self):
        """The model with random numbers everywhere, in evaluation mode."""
        random = generator(0, "hostile", self.name)
        model = self.model()
        with torch.no_grad():
            for tensor in [*model.parameters(), *model.buffers()]:
                if tensor.is_floating_point():
                    tensor.copy_(torch.randn(tensor.shape, generator=random) * 0.7)
            for name, tensor in model.named_buffers():
                if name.endswith("running_var"):
                    tensor.abs_().add_(0.3)
        return model.eval()

    def arguments(self):
        """What the graph is derived from, and others: some of the same size, some larger, some with other signs."""
        first = self.example(generator(0, "input", self.name))
        others = [self.inputs(generator(seed, "input", self.name)) for seed in (1, 2, 3)]
        return [first, others[0], scaled(others[1], 3.0), scaled(others[2], -0.5)]

    def lost(self, graph):
        """What should be in a group and is not, with the reason given."""
        return {
            f"{tensor}:{axis}": graph.fixed.get((tensor, axis), "not in a group")
            for tensor, axis in self.found
            if not graph.groups_on(tensor, axis)
        }


CASES: list[Case] = []


def case(found="", *, inputs=four_rows, example=None, model=None, tolerance=1e-7):
    """Makes a case of a forward `f(s, x)`, or of a factory where `model` is True."""

    def add(function):
        places = [place.partition(":") for place in found.split()]
        CASES.append(
            Case(
                name=function.__name__.strip("_"),
                kind=function.__module__.rpartition(".")[2],
                found=tuple((tensor, int(axis or 0)) for tensor, _, axis in places),
                model=function if model else lambda: Small(function),
                inputs=inputs,
                example=example or inputs,
                tolerance=tolerance,
            )
        )
        return function

    return add
