"""Small forward passes around a hidden tensor, and what may move in them: for tests of memory and of exits."""

import torch
from torch import nn

from fedma.seeds import generator
from fedma.units import units
from fedma.units.inputs import Inputs, outputs
from fedma.units.verify import difference

X = torch.randn(4, 3, generator=generator(3, "inputs"))


class Net(nn.Module):
    """Two layers of five units, a layer that reads five, a square matrix, and a forward given from outside."""

    def __init__(self, way):
        super().__init__()
        self.way = way
        self.a, self.b, self.out = nn.Linear(3, 5), nn.Linear(3, 5), nn.Linear(5, 2)
        self.w5 = nn.Parameter(torch.randn(5, 5, generator=generator(3, "square")))
        self.frozen = torch.tensor([0.0, 0.0, 1.0, 1.0, 1.0])
        self.register_buffer("mask", torch.ones(5), persistent=False)

    def forward(self, x):
        return self.way(self, x)


def moving(way, front_end="record"):
    """What the tracer alone says may move: unit numbers by group; every order of them leaves the outputs."""
    model = Net(way)
    expected = outputs(model, Inputs.of(X))
    graph = units(model, X, front_end=front_end, verify=False)
    for seed in range(2):
        moved = graph.permute(model, graph.random_orders(generator(seed, "orders")))
        assert difference(expected, outputs(moved, Inputs.of(X))) < 1e-4
    return graph.widths, graph
