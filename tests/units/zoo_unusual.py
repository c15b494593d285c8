"""The rest of the zoo: several inputs, parametrised and shared modules, models written in unusual ways."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils import parametrizations

from units import zoo_sequences
from units.zoo import ZOO, conv, entry, mlp
from units.zoo_sequences import WORDS

__all__ = ["ZOO", "zoo_sequences"]


@entry((2, 3, 6, 6))
class ChannelsLastFlatten(nn.Module):
    """Flattened with the channels innermost, after a concatenation and after a plain convolution."""

    def __init__(self):
        super().__init__()
        self.conv1, self.conv2, self.fc = conv(3, 4), conv(4, 5), nn.Linear(180, 3)

    def forward(self, x):
        return self.fc(F.relu(self.conv2(F.relu(self.conv1(x)))).permute(0, 2, 3, 1).flatten(1))


@entry((2, 1, 8, 8))
class FourierOperator(nn.Module):
    """Spectral convolution: a complex weight for each channel pair and frequency."""

    def __init__(self):
        super().__init__()
        self.lift, self.local, self.fc = nn.Conv2d(1, 4, 1), nn.Conv2d(4, 4, 1), nn.Conv2d(4, 1, 1)
        self.weight = nn.Parameter(torch.randn(4, 4, 8, 5))

    def forward(self, x):
        x = self.lift(x)
        spectrum = torch.einsum("bixy,ioxy->boxy", torch.fft.rfft2(x), self.weight.to(x.dtype.to_complex()))
        return self.fc(F.gelu(torch.fft.irfft2(spectrum, s=(8, 8)).to(x.dtype) + self.local(x)))


def relabelled(x: Tensor) -> Tensor:
    """A tensor with a gradient function of its own."""

    class Doubled(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            return 2 * x

        @staticmethod
        def backward(ctx, grad):
            return 2 * grad

    return Doubled.apply(x)


@entry((2, 5))
class CustomGradient(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Linear(5, 7), nn.Linear(7, 3)

    def forward(self, x):
        return self.second(relabelled(F.relu(self.first(x))))


@entry((11, (6,)), (3, (6,)))
class TwoInputs(nn.Module):
    """Words and tags looked up, their features multiplied."""

    def __init__(self):
        super().__init__()
        self.words, self.tags = nn.Embedding(11, 6), nn.Embedding(3, 6)
        self.both, self.fc = nn.Bilinear(6, 6, 5), nn.Linear(5, 2)

    def forward(self, words, tags):
        words, tags = self.words(words), self.tags(tags)
        return self.fc(torch.relu(self.both(words, tags)) + 1)


@entry(image=(2, 3, 8, 8), words=WORDS)
class NamedInputs(nn.Module):
    """An image and words by name; a dictionary of results."""

    def __init__(self):
        super().__init__()
        self.conv, self.embed = nn.Conv2d(3, 4, 3), nn.Embedding(11, 6)
        self.fc, self.aside = nn.Linear(10, 5), nn.Linear(5, 2)

    def forward(self, words, image):
        both = torch.cat([self.conv(image).mean((2, 3)), self.embed(words).sum(1)], -1)
        hidden = F.relu(self.fc(both))
        return {"score": self.aside(hidden), "norm": hidden.square().sum(-1)}


@entry((2, 5), (2, 5))
class SharedTowers(nn.Module):
    """One tower for two inputs, compared by their cosine."""

    def __init__(self):
        super().__init__()
        self.tower = nn.Sequential(nn.Linear(5, 7), nn.ReLU(), nn.Linear(7, 4))

    def forward(self, a, b):
        return F.cosine_similarity(self.tower(a), self.tower(b))


@entry((2, 5))
class Branching(nn.Module):
    """What happens depends on the values: `torch.export` refuses it."""

    def __init__(self):
        super().__init__()
        self.a, self.b, self.c = nn.Linear(5, 7), nn.Linear(7, 7), nn.Linear(7, 3)

    def forward(self, x):
        x = F.relu(self.a(x))
        if x.sum() > 0:
            x = x + F.relu(self.b(x))
        return self.c(x)


@entry((2, 5))
class InPlace(nn.Module):
    """Results written into a tensor of zeros and into views of it."""

    def __init__(self):
        super().__init__()
        self.a, self.b, self.c = nn.Linear(5, 4), nn.Linear(5, 3), nn.Linear(7, 3)
        self.scale = nn.Parameter(torch.rand(4))

    def forward(self, x):
        out = torch.zeros(len(x), 7, dtype=x.dtype)
        out[:, :4] = self.a(x)
        out[:, 4:].add_(self.b(x))
        out[:, :4] *= self.scale
        return self.c(out.relu_())


@entry((2, 5))
def weight_norm():
    model = mlp()
    parametrizations.weight_norm(model[0])
    parametrizations.weight_norm(model[2])
    return model


@entry((2, 3, 6, 6))
def spectral_norm():
    layers = [parametrizations.spectral_norm(nn.Conv2d(3, 4, 3)), nn.ReLU(), nn.Flatten()]
    return nn.Sequential(*layers, parametrizations.spectral_norm(nn.Linear(64, 6)), nn.ReLU(), nn.Linear(6, 2))


@entry((2, 5))
class LowRank(nn.Module):
    """A frozen layer with a learnt low-rank addition."""

    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Linear(5, 8), nn.Linear(8, 3)
        self.down, self.up = nn.Parameter(torch.randn(2, 5)), nn.Parameter(torch.randn(8, 2))
        self.first.weight.requires_grad_(False)

    def forward(self, x):
        return self.second(F.relu(F.linear(x, self.first.weight + self.up @ self.down, self.first.bias)))


@entry((2, 5))
class Experts(nn.Module):
    """A gate weighs the experts' answers; every expert has hidden units of its own."""

    def __init__(self):
        super().__init__()
        self.experts, self.gate = nn.ModuleList(mlp() for _ in range(3)), nn.Linear(5, 3)

    def forward(self, x):
        answers = torch.stack([expert(x) for expert in self.experts], 1)
        return torch.einsum("be,beo->bo", self.gate(x).softmax(-1), answers)


@entry((2, 5))
class BatchedExperts(nn.Module):
    """Experts in one tensor: an axis of experts, and hidden units ordered separately in each."""

    def __init__(self):
        super().__init__()
        self.up, self.down, self.gate = (nn.Parameter(torch.randn(s)) for s in ((3, 5, 7), (3, 7, 4), (5, 3)))

    def forward(self, x):
        hidden = torch.einsum("bi,eih->beh", x, self.up).relu()
        answers = torch.einsum("beh,eho->beo", hidden, self.down)
        return torch.einsum("be,beo->bo", (x @ self.gate).softmax(-1), answers)


@entry((2, 4, 5), (2, 4, 4))
class GraphConvolution(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Linear(5, 6), nn.Linear(6, 3)

    def forward(self, nodes, edges):
        return (edges @ self.second(F.relu(edges @ self.first(nodes)))).mean(1)


@entry((2, 4, 5))
class UnusedParts(nn.Module):
    """A layer that the forward pass never calls, a single hidden unit, and running statistics under other names."""

    def __init__(self):
        super().__init__()
        self.a, self.b, self.c, self.unused = nn.Linear(5, 6), nn.Linear(6, 1), nn.Linear(1, 3), nn.Linear(6, 6)
        self.register_buffer("centre", torch.zeros(6))
        self.register_buffer("spread", torch.ones(6))

    def forward(self, x):
        x = self.a(x.sum(1))
        return self.c(torch.tanh(self.b(F.batch_norm(x, self.centre, self.spread))))


@entry((11, (9,)), (11, (3,)))
class BagOfWords(nn.Module):
    def __init__(self):
        super().__init__()
        self.bag, self.fc = nn.EmbeddingBag(11, 6, mode="sum"), nn.Linear(6, 2)

    def forward(self, words, starts):
        return self.fc(self.bag(words, torch.tensor([0, 4, 7]))) + 0 * starts[:, None]


@entry((2, 6, 5))
class LearntNorm(nn.Module):
    """A layer norm written out, queries normalised, sums along the sequence."""

    def __init__(self):
        super().__init__()
        self.a, self.b = nn.Linear(5, 8), nn.Linear(8, 3)
        self.scale, self.shift = nn.Parameter(torch.rand(8)), nn.Parameter(torch.rand(8))

    def forward(self, x):
        x = self.a(x).cumsum(1)
        x = (x - x.mean(-1, keepdim=True)) / (x.var(-1, keepdim=True, unbiased=False) + 1e-5).sqrt()
        return self.b(F.normalize(x * self.scale + self.shift, dim=-1)).logsumexp(1)


@entry((2, 3, 8))
class AttentionAmongHeads(nn.Module):
    """Heads attend to each other: their dimensions meet, and can only be ordered alike in all of them."""

    def __init__(self):
        super().__init__()
        self.q, self.k, self.v = (nn.Linear(8, 12) for _ in range(3))
        self.fc = nn.Linear(12, 3)

    def forward(self, x):
        q, k, v = (project(x).unflatten(-1, (3, 4)) for project in (self.q, self.k, self.v))
        y = F.scaled_dot_product_attention(q, k, v) + v
        return self.fc(torch.einsum("bthd,btgd,btgc->bthc", q, k, y).flatten(2))


@entry((2, 5, 4))
class PackedLSTM(nn.Module):
    """Sequences of different lengths."""

    def __init__(self):
        super().__init__()
        self.embed, self.rnn, self.fc = nn.Linear(4, 5), nn.LSTM(5, 6, 2, batch_first=True), nn.Linear(6, 3)

    def forward(self, x):
        packed = nn.utils.rnn.pack_padded_sequence(self.embed(x), torch.tensor([5, 3]), batch_first=True)
        out, _ = self.rnn(packed)
        return self.fc(nn.utils.rnn.pad_packed_sequence(out, batch_first=True)[0]).sum(1)


@entry((2, 6, 5))
class Masked(nn.Module):
    """Entries chosen by a mask, and added up where they belong."""

    def __init__(self):
        super().__init__()
        self.a, self.b, self.c = nn.Linear(5, 7), nn.Linear(7, 6), nn.Linear(6, 3)
        self.register_buffer("mask", torch.tensor([[True, False, True, True, False, True]] * 2))

    def forward(self, x):
        chosen = self.b(F.relu(self.a(x))[self.mask])
        where = torch.tensor([0, 0, 1, 1, 0, 1, 0, 1])
        return self.c(torch.zeros(2, 6, dtype=x.dtype).index_add(0, where, chosen))
