"""Small networks beyond layers in a row, for 8×8 images (or texts of tokens) and three classes."""

import torch
from torch import Tensor, nn

from fedma.models import build
from fedma.seeds import global_generator


class Residual(nn.Module):
    """A stream that two convolutions write to, with normalisation."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(1, 6, 3, padding=1, bias=False)
        self.first = nn.BatchNorm2d(6)
        self.inner = nn.Conv2d(6, 8, 3, padding=1)
        self.outer = nn.Conv2d(8, 6, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(6)
        self.output = nn.Linear(6, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.first(self.stem(x)).relu()
        x = (x + self.norm(self.outer(self.inner(x).relu()))).relu()
        return self.output(x.amax((2, 3)))


class Disordered(nn.Module):
    """Layers declared in another order than they are used in."""

    def __init__(self) -> None:
        super().__init__()
        self.output = nn.Linear(9, 3)
        self.norm = nn.BatchNorm1d(9)
        self.hidden = nn.Linear(64, 9)

    def forward(self, x: Tensor) -> Tensor:
        return self.output(self.norm(self.hidden(x.flatten(1))).relu())


class Speaker(nn.Module):
    """A recurrent network over tokens."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(12, 5)
        self.lstm = nn.LSTM(5, 7, batch_first=True)
        self.output = nn.Linear(7, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.output(self.lstm(self.embedding(x))[0][:, -1])


class Attention(nn.Module):
    """One transformer layer over the rows of an image."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Linear(8, 12)
        self.layer = nn.TransformerEncoderLayer(12, 3, 16, dropout=0.0, batch_first=True)
        self.output = nn.Linear(12, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.output(self.layer(self.embedding(x.squeeze(1)))[:, 0])


class Grouped(nn.Module):
    """Channels that are normalised in two groups: ordered inside these."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(1, 8, 3, padding=1)
        self.norm = nn.GroupNorm(2, 8)
        self.output = nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.output(self.norm(self.first(x)).relu().amax((2, 3)))


class Wide(nn.Module):
    """A normalisation over every pixel of a flattened image, and a stream that a layer both reads and writes."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(1, 4, 3)
        self.pixels = nn.BatchNorm1d(144)
        self.stream = nn.Linear(144, 6)
        self.inner = nn.Linear(6, 6)
        self.norm = nn.BatchNorm1d(6)
        self.output = nn.Linear(6, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stream(self.pixels(self.first(x).relu().flatten(1)))
        return self.output((x + self.norm(self.inner(x))).relu())


class Linear(nn.Module):
    """No hidden units at all."""

    def __init__(self) -> None:
        super().__init__()
        self.output = nn.Linear(64, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.output(x.flatten(1))


class Latents(nn.Module):
    """Reads an image's rows into learnt latents without an order, whose dimensions have none either."""

    def __init__(self) -> None:
        super().__init__()
        self.latents = nn.Parameter(torch.randn(4, 6))
        self.key, self.value = nn.Linear(8, 5, bias=False), nn.Linear(8, 7)
        self.query, self.back = nn.Linear(6, 5), nn.Linear(7, 6)
        self.output = nn.Linear(6, 3)

    def forward(self, x: Tensor) -> Tensor:
        rows = x.squeeze(1)
        shares = (self.query(self.latents) @ self.key(rows).mT).softmax(-1)
        return self.output((self.latents + self.back(shares @ self.value(rows))).relu().mean(1))


class Factored(nn.Module):
    """A hidden and an output layer whose weights are products of factors."""

    def __init__(self) -> None:
        super().__init__()
        self.left, self.right = nn.Parameter(torch.randn(9, 4) / 4), nn.Parameter(torch.randn(4, 64) / 16)
        self.upper, self.lower = nn.Parameter(torch.randn(3, 5) / 4), nn.Parameter(torch.randn(5, 9) / 4)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.nn.functional.linear(x.flatten(1), self.left @ self.right).relu()
        return torch.nn.functional.linear(x, self.upper @ self.lower)


class Branches(nn.Module):
    """Reads many small layers one after the other."""

    def __init__(self) -> None:
        super().__init__()
        self.branches = nn.ModuleList([nn.Linear(64, 3) for _ in range(16)])
        self.output = nn.Linear(48, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.output(torch.cat([branch(x.flatten(1)).relu() for branch in self.branches], 1))


_KINDS = (Residual, Disordered, Speaker, Attention, Grouped, Wide, Linear, Latents, Factored, Branches)
NETWORKS = {kind.__name__.lower(): kind for kind in _KINDS}


def made(name: str, *, seed: int) -> nn.Module:
    """A freshly initialised network of this file or of `fedma.models`."""
    if name not in NETWORKS:
        return build(name, (1, 8, 8), 3, seed=seed)
    with global_generator(seed):
        return NETWORKS[name]()
