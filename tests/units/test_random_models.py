"""The permutation law on networks put together at random: sums, products, concatenations, parts, views, norms."""

import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from units.laws import Laws

WIDTHS = (4, 6, 8, 12)
STEPS = (
    "linear",
    "linear",
    "add",
    "multiply",
    "concatenate",
    "chunk",
    "swap",
    "norm",
    "gate",
    "mix",
    "shuffle",
    "heads",
)


class Network(nn.Module):
    """Steps applied to features made so far, each step a name and two numbers that choose what it works on."""

    def __init__(self, plan):
        super().__init__()
        self.plan, self.layers = plan, nn.ModuleList()
        self.start = nn.Linear(3, 12)
        widths = [12]
        for step, first, second in plan:
            widths.append(self._width(step, widths, first, second))
        self.end = nn.Linear(sum(widths), 2)

    def _width(self, step, widths, first, second):
        """Adds the layer that a step needs and says how many features it gives."""
        a, b = widths[first % len(widths)], widths[second % len(widths)]
        layer, width = {
            "linear": lambda: (nn.Linear(a, WIDTHS[second % 4]), WIDTHS[second % 4]),
            "add": lambda: (nn.Linear(a, b), b),
            "multiply": lambda: (nn.Linear(a, b), b),
            "concatenate": lambda: (nn.Identity(), a + b),
            "chunk": lambda: (nn.Identity(), a // 2 if a % 2 == 0 else a),
            "swap": lambda: (nn.Identity(), a),
            "norm": lambda: (nn.LayerNorm(a), a),
            "gate": lambda: (nn.Linear(a, 2 * b), b),
            "mix": lambda: (nn.Linear(a, a, bias=False), a),
            "shuffle": lambda: (nn.Identity(), a),
            "heads": lambda: (nn.Linear(a, 8), 8),
        }[step]()
        layer.even = a % 2 == 0
        self.layers.append(layer)
        return width

    def forward(self, x):
        done = [torch.tanh(self.start(x))]
        for (step, first, second), layer in zip(self.plan, self.layers, strict=True):
            a, b = done[first % len(done)], done[second % len(done)]
            done.append(getattr(self, step, lambda a, b, layer: torch.tanh(layer(a)))(a, b, layer))
        return self.end(torch.cat(done, -1))

    def add(self, a, b, layer):
        return b + F.softplus(layer(a))

    def multiply(self, a, b, layer):
        return b * layer(a)

    def concatenate(self, a, b, layer):
        return torch.cat([a, b], -1)

    def chunk(self, a, b, layer):
        return torch.sub(*a.chunk(2, -1)) if layer.even else a

    def swap(self, a, b, layer):
        return torch.cat(a.chunk(2, -1)[::-1], -1) if layer.even else a

    def gate(self, a, b, layer):
        return F.glu(layer(a), -1)

    def mix(self, a, b, layer):
        return a + F.linear(torch.relu(a), layer.weight.T)

    def shuffle(self, a, b, layer):
        return a.unflatten(-1, (2, -1)).transpose(-1, -2).flatten(-2) if layer.even else a

    def heads(self, a, b, layer):
        h = layer(a).unflatten(-1, (2, 4))
        return (torch.einsum("bhd,bgd->bhg", h, h).softmax(-1) @ h).flatten(-2)


STEP = st.tuples(st.sampled_from(STEPS), st.integers(0, 9), st.integers(0, 9))


@settings(max_examples=60, deadline=None, derandomize=True)
@given(st.lists(STEP, min_size=1, max_size=8))
def test_laws_hold_for_random_networks(plan):
    laws = Laws(Network(plan), torch.randn(5, 3, generator=torch.Generator().manual_seed(0)))
    graph = laws.graph("record")
    laws.permute(graph)
    laws.grow(graph)
