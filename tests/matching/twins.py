"""Small models of families that the zoo of unit groups lacks, for fusing permuted twins: `TWINS[name]()`."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fedma.seeds import generator, global_generator, number

TWINS = {}


def twin(*shapes, words=None):
    """Register a model class with the shapes of its inputs; or with the shape of its words, of which there are 11."""

    def register(build):
        def made():
            random = generator(0, "twins", build.__name__)
            inputs = [torch.randn(shape, generator=random) for shape in shapes]
            inputs += [] if words is None else [torch.randint(0, 11, words, generator=random)]
            with global_generator(number(0, "twins", build.__name__)):
                return build(), tuple(inputs)

        TWINS[build.__name__] = made
        return build

    return register


class Parts(nn.Module):
    """A module made of named layers and parameters."""

    def __init__(self, **parts: nn.Module | Tensor):
        super().__init__()
        for name, part in parts.items():
            setattr(self, name, nn.Parameter(part) if isinstance(part, Tensor) else part)


def linear(i: int, o: int) -> nn.Module:
    return nn.Linear(i, o, bias=False)


@twin((3, 3))
class SplitProducts(Parts):
    """The first half of a layer's units gates the units that the layer reads."""

    def __init__(self):
        super().__init__(a=nn.Linear(3, 8), d=linear(8, 8), u=nn.Linear(4, 8), o=nn.Linear(8, 2))

    def forward(self, x):
        h = self.a(x).tanh()
        t, b = self.d(h).split([4, 4], -1)
        return self.o(h * self.u(t) * b.tanh().sum(-1, keepdim=True))


@twin((2, 6, 4))
class SelectiveScan(Parts):
    """Mamba: steps of low rank, a state for each channel, gates."""

    def __init__(self):
        super().__init__(
            norm=nn.LayerNorm(8),
            lift=nn.Linear(4, 8),
            project=linear(8, 24),
            conv=nn.Conv1d(12, 12, 3, 1, 2, groups=12),
        )
        self.select, self.step, self.back = linear(12, 11), nn.Linear(3, 12), linear(12, 8)
        self.decay, self.skip = nn.Parameter(torch.rand(12, 4)), nn.Parameter(torch.ones(12))
        self.head = nn.Linear(8, 2)

    def forward(self, x):
        x = self.lift(x)
        h, gate = self.project(self.norm(x)).chunk(2, -1)
        h = F.silu(self.conv(h.mT)[..., : x.shape[1]].mT)
        step, read, write = self.select(h).split([3, 4, 4], -1)
        step = F.softplus(self.step(step))
        state, found = torch.zeros(()), []
        for t in range(x.shape[1]):
            decay = (-step[:, t, :, None] * self.decay.exp()).exp()
            state = decay * state + step[:, t, :, None] * read[:, t, None] * h[:, t, :, None]
            found.append((state * write[:, t, None]).sum(-1) + self.skip * h[:, t])
        return self.head(x + self.back(torch.stack(found, 1) * F.silu(gate)))


@twin((2, 5, 6))
class RelativeBias(Parts):
    """T5's attention on a stream that stays in place: heads are known by their dimensions and one bias alone."""

    def __init__(self):
        super().__init__(q=linear(6, 16), k=linear(6, 16), v=linear(6, 16), o=linear(16, 6), bias=torch.randn(9, 8))
        self.q2, self.k2, self.v2, self.o2 = linear(6, 16), linear(6, 16), linear(6, 16), linear(16, 6)

    def attend(self, x, bias, q, k, v, o):
        split = [layer(x).view(2, 5, 8, 2).transpose(1, 2) for layer in (q, k, v)]
        return x + o(((split[0] @ split[1].mT + bias).softmax(-1) @ split[2]).transpose(1, 2).reshape(2, 5, 16))

    def forward(self, x):
        place = torch.arange(5)
        bias = self.bias[place[:, None] - place + 4].permute(2, 0, 1)
        x = self.attend(x, bias, self.q, self.k, self.v, self.o)
        return self.attend(x, bias, self.q2, self.k2, self.v2, self.o2)


@twin((5, 4))
class GraphAttention(Parts):
    def __init__(self):
        super().__init__(w=linear(4, 16), left=torch.randn(4, 4), right=torch.randn(4, 4), o=nn.Linear(16, 3))

    def forward(self, x):
        edges = torch.ones(5, 5).tril(1).bool()
        h = self.w(x).view(5, 4, 4)
        score = F.leaky_relu((h * self.left).sum(-1)[:, None] + (h * self.right).sum(-1)[None], 0.2)
        weight = score.masked_fill(~edges[..., None], -1e9).softmax(1)
        return self.o(F.elu(torch.einsum("ijh,jhd->ihd", weight, h).flatten(1)))


@twin((2, 7, 5))
class Conformer(Parts):
    def __init__(self):
        super().__init__(lift=nn.Linear(5, 8), up=nn.Linear(8, 16), down=nn.Linear(16, 8))
        self.attention = nn.MultiheadAttention(8, 2, batch_first=True)
        self.point, self.depth = nn.Conv1d(8, 16, 1), nn.Conv1d(8, 8, 3, padding=1, groups=8)
        self.norm, self.back, self.head = nn.BatchNorm1d(8), nn.Conv1d(8, 8, 1), nn.Linear(8, 3)
        self.norms = nn.ModuleList(nn.LayerNorm(8) for _ in range(4))

    def forward(self, x):
        x = self.lift(x)
        x = x + 0.5 * self.down(F.silu(self.up(self.norms[0](x))))
        y = self.norms[1](x)
        x = x + self.attention(y, y, y, need_weights=False)[0]
        y = self.depth(F.glu(self.point(self.norms[2](x).mT), 1))
        return self.head(self.norms[3](x + self.back(F.silu(self.norm(y))).mT).mean(1))


@twin((2, 6, 4))
class TimeMixing(Parts):
    """RWKV: weighted sums over time with a decay for each channel, receptance gates."""

    def __init__(self):
        super().__init__(lift=nn.Linear(4, 8), k=linear(8, 8), v=linear(8, 8), r=linear(8, 8), o=linear(8, 8))
        self.decay, self.first, self.mix = (nn.Parameter(torch.rand(8)) for _ in range(3))
        self.key, self.value, self.head = linear(8, 12), linear(12, 8), nn.Linear(8, 2)

    def forward(self, x):
        x = self.lift(x)
        last = F.pad(x, (0, 0, 1, -1))
        y = x * self.mix + last * (1 - self.mix)
        k, v, r = self.k(y), self.v(y), self.r(y).sigmoid()
        top, bottom, found = torch.zeros(()), torch.zeros(()), []
        for t in range(6):
            now = (k[:, t] + self.first).exp()
            found.append((top + now * v[:, t]) / (bottom + now))
            kept = (-self.decay.exp()).exp()
            top, bottom = kept * top + k[:, t].exp() * v[:, t], kept * bottom + k[:, t].exp()
        x = x + self.o(r * torch.stack(found, 1))
        return self.head(x + self.value(self.key(x).relu().square()))


@twin((2, 8, 3))
class DiagonalStates(Parts):
    """S4D: a convolution kernel out of a few decaying states for each channel."""

    def __init__(self):
        super().__init__(lift=nn.Linear(3, 6), a=torch.rand(6, 4), b=torch.randn(6, 4), c=torch.randn(6, 4))
        self.mix, self.head = nn.Linear(6, 12), nn.Linear(6, 2)

    def forward(self, x):
        x = self.lift(x).mT
        powers = (-self.a.exp()[..., None] * torch.arange(8, dtype=x.dtype) / 8).exp()
        kernel = (self.b[..., None] * self.c[..., None] * powers).sum(1)
        y = torch.fft.irfft(torch.fft.rfft(x, n=16) * torch.fft.rfft(kernel, n=16), n=16)[..., :8]
        return self.head(F.glu(self.mix(F.gelu(y).mT), -1) + x.mT)


@twin((2, 8, 3))
class LongFilters(Parts):
    """Hyena: filters made by a network of the position, products of projections."""

    def __init__(self):
        super().__init__(project=nn.Linear(3, 18), a=nn.Linear(3, 8), b=nn.Linear(8, 6), head=nn.Linear(6, 2))

    def forward(self, x):
        v, first, second = self.project(x).chunk(3, -1)
        t = torch.arange(8, dtype=x.dtype)[:, None] / 8
        filters = self.b(self.a(torch.cat([t, t.sin(), t.cos()], -1)).sin())
        mixed = torch.fft.irfft(
            torch.fft.rfft(v * first, n=16, dim=1) * torch.fft.rfft(filters, n=16, dim=0), n=16, dim=1
        )
        return self.head(mixed[:, :8] * second)


@twin((2, 5, 4))
class Capsules(Parts):
    """Routing by agreement between hidden capsules."""

    def __init__(self):
        super().__init__(lift=nn.Linear(4, 6), weight=torch.randn(5, 7, 6, 3), head=nn.Linear(3, 2))

    def forward(self, x):
        votes = torch.einsum("bni,nmio->bnmo", self.lift(x).tanh(), self.weight)
        logits = torch.zeros(2, 5, 7, dtype=x.dtype)
        for _ in range(2):
            s = (logits.softmax(2)[..., None] * votes).sum(1)
            size = s.square().sum(-1, keepdim=True)
            out = s * size / (1 + size) / (size + 1e-6).sqrt()
            logits = logits + (votes * out[:, None]).sum(-1)
        return self.head(out.sum(1))


@twin((4, 5))
class GatedUnits(Parts):
    """GEGLU, SwiGLU and a bilinear unit, one after the other."""

    def __init__(self):
        super().__init__(a=nn.Linear(5, 16), b=linear(8, 12), c=linear(12, 8), d=linear(8, 12), e=linear(8, 6))
        self.f, self.g = linear(8, 6), nn.Linear(6, 2)

    def forward(self, x):
        h, gate = self.a(x).chunk(2, -1)
        h = h * F.gelu(gate)
        h = h + self.c(F.silu(self.b(h)) * self.d(h))
        return self.g(self.e(h) * self.f(h))


@twin(words=(2, 6))
class TiedEmbeddings(Parts):
    def __init__(self):
        super().__init__(words=nn.Embedding(11, 8), up=nn.Linear(8, 12), down=nn.Linear(12, 8), norm=nn.LayerNorm(8))

    def forward(self, words):
        x = self.words(words)
        return self.norm(x + self.down(F.gelu(self.up(x))).cumsum(1)) @ self.words.weight.T


@twin((4, 5))
class Adapters(Parts):
    """LoRA: what is added to a weight is multiplied out first, so nothing makes the units of its rank."""

    def __init__(self):
        super().__init__(weight=torch.randn(6, 5), down=torch.randn(3, 5), up=torch.randn(6, 3), head=nn.Linear(6, 2))

    def forward(self, x):
        return self.head(F.linear(x, self.weight + 0.5 * self.up @ self.down).tanh())


@twin((4, 5), (4, 3))
class Modulated(Parts):
    """FiLM."""

    def __init__(self):
        super().__init__(a=nn.Linear(5, 8), b=nn.Linear(8, 8), how=nn.Linear(3, 6), film=nn.Linear(6, 16))
        self.head = nn.Linear(8, 2)

    def forward(self, x, given):
        scale, shift = self.film(self.how(given).relu()).chunk(2, -1)
        return self.head((self.b(self.a(x).relu()) * (1 + scale) + shift).relu())


@twin((2, 6, 4))
class Perceiver(Parts):
    """Latents are read out by their mean, so they have no order either."""

    def __init__(self):
        super().__init__(latents=torch.randn(5, 8), k=linear(4, 8), v=linear(4, 8), q=linear(8, 8), o=linear(8, 8))
        self.up, self.down, self.head = nn.Linear(8, 12), nn.Linear(12, 8), nn.Linear(8, 2)

    def forward(self, x):
        latents = self.latents.expand(2, -1, -1)
        score = (self.q(latents) @ self.k(x).mT / 3).softmax(-1)
        latents = latents + self.o(score @ self.v(x))
        latents = latents + self.down(self.up(latents).relu())
        return self.head(latents.mean(1))


@twin((2, 3, 12))
class WaveNet(Parts):
    def __init__(self):
        super().__init__(lift=nn.Conv1d(3, 6, 1), head=nn.Conv1d(8, 2, 1))
        self.dilated = nn.ModuleList(nn.Conv1d(6, 10, 2, dilation=2**n) for n in range(3))
        self.skips = nn.ModuleList(nn.Conv1d(5, 8, 1) for _ in range(3))
        self.backs = nn.ModuleList(nn.Conv1d(5, 6, 1) for _ in range(3))

    def forward(self, x):
        x, total = self.lift(x), 0
        for n, (dilated, skip, back) in enumerate(zip(self.dilated, self.skips, self.backs, strict=True)):
            value, gate = dilated(F.pad(x, (2**n, 0))).chunk(2, 1)
            h = value.tanh() * gate.sigmoid()
            total, x = total + skip(h), x + back(h)
        return self.head(total.relu())


@twin((2, 3, 12))
class TemporalConvolutions(Parts):
    def __init__(self):
        super().__init__(a=nn.Conv1d(3, 6, 3, dilation=1), b=nn.Conv1d(6, 6, 3, dilation=2), down=nn.Conv1d(3, 6, 1))
        self.c, self.head = nn.Conv1d(6, 8, 3, dilation=4), nn.Linear(8, 2)

    def forward(self, x):
        y = (self.b(F.pad(self.a(F.pad(x, (2, 0))).relu(), (4, 0))).relu() + self.down(x)).relu()
        return self.head(self.c(F.pad(y, (8, 0))).relu()[..., -1])


@twin((2, 3, 6, 6))
class InvertedResidual(Parts):
    """EfficientNet's block: expand, depthwise, squeeze and excite, project."""

    def __init__(self):
        super().__init__(stem=nn.Conv2d(3, 4, 3, 2, 1, bias=False), up=nn.Conv2d(4, 12, 1, bias=False))
        self.depth, self.squeeze = nn.Conv2d(12, 12, 3, 1, 1, groups=12, bias=False), nn.Conv2d(12, 3, 1)
        self.excite, self.down, self.head = nn.Conv2d(3, 12, 1), nn.Conv2d(12, 4, 1, bias=False), nn.Linear(4, 2)
        self.norms = nn.ModuleList(map(nn.BatchNorm2d, (4, 12, 12, 4)))

    def forward(self, x):
        x = F.silu(self.norms[0](self.stem(x)))
        h = F.silu(self.norms[2](self.depth(F.silu(self.norms[1](self.up(x))))))
        h = h * self.excite(F.silu(self.squeeze(h.mean((2, 3), keepdim=True)))).sigmoid()
        return self.head((x + self.norms[3](self.down(h))).mean((2, 3)))


@twin((4, 5), (4, 3))
class VariationalAutoencoder(Parts):
    def __init__(self):
        super().__init__(a=nn.Linear(5, 8), mean=nn.Linear(8, 3), size=nn.Linear(8, 3), b=nn.Linear(3, 8))
        self.c = nn.Linear(8, 5)

    def forward(self, x, noise):
        h = self.a(x).relu()
        return self.c(self.b(self.mean(h) + (0.5 * self.size(h)).exp() * noise).relu())


@twin((2, 1, 8, 8))
class Autoencoder(Parts):
    def __init__(self):
        super().__init__(a=nn.Conv2d(1, 4, 3, 2, 1), b=nn.Conv2d(4, 6, 3, 2, 1), code=nn.Linear(24, 5))
        self.back = nn.Linear(5, 24)
        self.c, self.d = nn.ConvTranspose2d(6, 4, 4, 2, 1), nn.ConvTranspose2d(4, 1, 4, 2, 1)

    def forward(self, x):
        code = self.code(self.b(self.a(x).relu()).relu().flatten(1))
        return self.d(self.c(self.back(code).relu().view(2, 6, 2, 2)).relu())


@twin((4, 5), (4, 5))
class Siamese(Parts):
    def __init__(self):
        super().__init__(a=nn.Linear(5, 8), b=nn.Linear(8, 6))

    def forward(self, x, y):
        x, y = (self.b(self.a(each).relu()) for each in (x, y))
        return torch.stack([F.cosine_similarity(x, y), (x - y).square().sum(-1)])


@twin((2, 9, 3))
class PointNet(Parts):
    def __init__(self):
        super().__init__(a=nn.Linear(3, 6), b=nn.Linear(6, 9), head=nn.Linear(8, 2))
        self.c, self.d = nn.Linear(3, 6), nn.Linear(6, 8)

    def forward(self, x):
        turn = self.b(self.a(x).relu().amax(1)).view(2, 3, 3)
        return self.head(self.d(self.c(x @ turn).relu()).amax(1))


@twin((4, 5))
class MixtureDensity(Parts):
    def __init__(self):
        super().__init__(a=nn.Linear(5, 8), weight=nn.Linear(8, 4), mean=nn.Linear(8, 4), size=nn.Linear(8, 4))

    def forward(self, x):
        h = self.a(x).tanh()
        gap = (x.sum(-1, keepdim=True) - self.mean(h)) / self.size(h).exp()
        return (self.weight(h).log_softmax(-1) - 0.5 * gap.square() - self.size(h)).logsumexp(-1)


@twin((2, 6, 3))
class DeepSets(Parts):
    def __init__(self):
        super().__init__(a=nn.Linear(3, 6), b=linear(6, 6), mean=linear(6, 6), head=nn.Linear(6, 2))

    def forward(self, x):
        h = self.a(x).relu()
        return self.head((self.b(h) - self.mean(h.mean(1, keepdim=True))).relu().sum(1))


@twin((2, 5, 3))
class StackedLSTM(Parts):
    def __init__(self):
        super().__init__(lstm=nn.LSTM(3, 6, 2, batch_first=True, bidirectional=True), head=nn.Linear(12, 2))

    def forward(self, x):
        return self.head(self.lstm(x)[0])


@twin((2, 5, 3))
class ProjectedLSTM(Parts):
    def __init__(self):
        super().__init__(lstm=nn.LSTM(3, 8, 2, batch_first=True, proj_size=4), head=nn.Linear(4, 2))

    def forward(self, x):
        return self.head(self.lstm(x)[0])


@twin((2, 5, 3))
class StackedGRU(Parts):
    def __init__(self):
        super().__init__(gru=nn.GRU(3, 6, 2, batch_first=True, bidirectional=True), head=nn.Linear(12, 2))

    def forward(self, x):
        return self.head(self.gru(x)[0][:, -1])


@twin((2, 5, 3))
class IndependentRNN(Parts):
    def __init__(self):
        super().__init__(a=nn.Linear(3, 6), u=torch.rand(6), b=nn.Linear(6, 8), w=torch.rand(8), head=nn.Linear(8, 2))

    def forward(self, x):
        for layer, weight in ((self.a, self.u), (self.b, self.w)):
            state, found = torch.zeros(()), []
            for t in range(5):
                state = (layer(x[:, t]) + weight * state).relu()
                found.append(state)
            x = torch.stack(found, 1)
        return self.head(x)


@twin((2, 3, 1, 5, 5))
class ConvLSTM(Parts):
    def __init__(self):
        super().__init__(cell=nn.Conv2d(5, 16, 3, padding=1), head=nn.Conv2d(4, 1, 1))

    def forward(self, x):
        h = c = torch.zeros(2, 4, 5, 5, dtype=x.dtype)
        for t in range(3):
            i, f, o, g = self.cell(torch.cat([x[:, t], h], 1)).chunk(4, 1)
            c = f.sigmoid() * c + i.sigmoid() * g.tanh()
            h = o.sigmoid() * c.tanh()
        return self.head(h)


@twin((2, 5, 3))
class Cell(Parts):
    def __init__(self):
        super().__init__(cell=nn.GRUCell(3, 6), start=torch.randn(6), head=nn.Linear(6, 2))

    def forward(self, x):
        h = self.start.expand(2, -1)
        for t in range(5):
            h = self.cell(x[:, t], h)
        return self.head(h)


@twin((4, 5))
class Highway(Parts):
    def __init__(self):
        super().__init__(a=nn.Linear(5, 6), h=nn.Linear(6, 6), t=nn.Linear(6, 6), head=nn.Linear(6, 2))

    def forward(self, x):
        x = self.a(x)
        gate = self.t(x).sigmoid()
        return self.head(gate * self.h(x).relu() + (1 - gate) * x)


@twin((4, 5))
class EulerSteps(Parts):
    """A neural ODE: one network, many times."""

    def __init__(self):
        super().__init__(lift=nn.Linear(5, 6), a=nn.Linear(6, 8), b=nn.Linear(8, 6), head=nn.Linear(6, 2))

    def forward(self, x):
        x = self.lift(x)
        for _ in range(4):
            x = x + 0.1 * self.b(self.a(x).tanh())
        return self.head(x)


@twin((4, 4))
class Hypernetwork(Parts):
    """The weights of a layer are made by another."""

    def __init__(self):
        super().__init__(a=nn.Linear(4, 6), made=nn.Linear(6, 20), head=nn.Linear(5, 2))

    def forward(self, x):
        weight = self.made(self.a(x).relu()).view(4, 5, 4)
        return self.head(torch.einsum("boi,bi->bo", weight, x).tanh())


@twin((2, 6, 4))
class LinearAttention(Parts):
    def __init__(self):
        super().__init__(q=linear(4, 8), k=linear(4, 8), v=linear(4, 8), o=nn.Linear(8, 3))

    def forward(self, x):
        q, k, v = (layer(x).view(2, 6, 2, 4) for layer in (self.q, self.k, self.v))
        q, k = F.elu(q) + 1, F.elu(k) + 1
        memory = torch.einsum("bthd,bthe->bhde", k, v)
        return self.o((torch.einsum("bthd,bhde->bthe", q, memory) / (q @ k.sum(1)[..., None].mean(1, True))).flatten(2))


@twin((2, 6, 4))
class GatedMixing(Parts):
    """gMLP: channels gate each other after a mixing over positions."""

    def __init__(self):
        super().__init__(up=nn.Linear(4, 12), norm=nn.LayerNorm(6), mix=nn.Linear(6, 6), down=nn.Linear(6, 4))
        self.head = nn.Linear(4, 2)

    def forward(self, x):
        u, v = F.gelu(self.up(x)).chunk(2, -1)
        return self.head(x + self.down(u * self.mix(self.norm(v).mT).mT))


@twin((4, 5), (4, 3))
class BilinearForm(Parts):
    def __init__(self):
        super().__init__(a=nn.Linear(5, 6), b=nn.Linear(3, 4), c=nn.Bilinear(6, 4, 5), head=nn.Linear(5, 2))

    def forward(self, x, y):
        return self.head(self.c(self.a(x).relu(), self.b(y).relu()).relu())


@twin((4, 5))
class RankedAdapters(Parts):
    """AdaLoRA: a factor for each rank, all of them alike at first."""

    def __init__(self):
        super().__init__(weight=torch.randn(6, 5), down=torch.randn(3, 5), up=torch.randn(6, 3), head=nn.Linear(6, 2))
        self.factor = nn.Parameter(torch.ones(3))

    def forward(self, x):
        return self.head((F.linear(x, self.weight) + ((x @ self.down.T) * self.factor) @ self.up.T).tanh())


@twin((4, 5))
class SingularValues(Parts):
    """A weight as its singular values and vectors."""

    def __init__(self):
        super().__init__(left=torch.randn(6, 3), values=torch.ones(3), right=torch.randn(3, 5), head=nn.Linear(6, 2))

    def forward(self, x):
        return self.head(F.linear(x, self.left * self.values @ self.right).tanh())


@twin((2, 6, 4))
class StartVector(Parts):
    """A stream that begins as one vector, all ones at first, and layers that read and write it."""

    def __init__(self):
        super().__init__(start=torch.ones(6), k=linear(4, 8), v=linear(4, 8), q=linear(6, 8), o=linear(8, 6))
        self.head = nn.Linear(6, 2)

    def forward(self, x):
        h = self.start.expand(2, 1, 6)
        for _ in range(2):
            h = h + self.o((self.q(h) @ self.k(x).mT).softmax(-1) @ self.v(x))
        return self.head(h[:, 0])


@twin((4, 6))
class Tucker(Parts):
    """A weight as a core and a factor for each side: nothing makes the units of the core."""

    def __init__(self):
        super().__init__(core=torch.randn(4, 3), out=torch.randn(7, 4), back=torch.randn(3, 6), head=nn.Linear(7, 2))

    def forward(self, x):
        return self.head(F.linear(x, self.out @ self.core @ self.back).relu())


@twin((2, 3, 6, 6))
class Canonical(Parts):
    """A convolution kernel as a sum of products of four factors."""

    def __init__(self):
        super().__init__(o=torch.randn(6, 4), i=torch.randn(3, 4), x=torch.randn(3, 4), y=torch.randn(3, 4))
        self.head = nn.Linear(6, 2)

    def forward(self, x):
        kernel = torch.einsum("or,ir,xr,yr->oixy", self.o, self.i, self.x, self.y)
        return self.head(F.conv2d(x, kernel).relu().mean((2, 3)))


@twin((4, 3))
class FromConstant(Parts):
    """A recurrence that begins at a constant: its units are told apart by each other, and by who reads them."""

    def __init__(self):
        super().__init__(w=torch.randn(6, 6), o=torch.randn(3, 6))

    def forward(self, x):
        h = torch.ones(6, dtype=x.dtype)
        for _ in range(3):
            h = (self.w @ h).sin()
        return x * (self.o @ h)


@twin((4, 3))
class ThreeInACycle(Parts):
    """Each of three groups is told apart by the other two alone."""

    def __init__(self):
        super().__init__(a=torch.randn(5, 6), b=torch.randn(6, 7), c=torch.randn(7, 5))

    def forward(self, x):
        return x * torch.einsum("ij,jk,ki->", self.a.tanh(), self.b.tanh(), self.c.tanh())


@twin((4, 3))
class TwoAlone(Parts):
    """Two groups that only tell each other apart."""

    def __init__(self):
        super().__init__(a=torch.randn(8, 6))

    def forward(self, x):
        return x * self.a.sin().sum(1).cos().sum()


@twin((4, 5))
class PairScales(Parts):
    """A scale for each pair of units of one group."""

    def __init__(self):
        super().__init__(a=nn.Linear(5, 4), scale=torch.randn(16), head=nn.Linear(16, 2))

    def forward(self, x):
        h = self.a(x).tanh()
        return self.head((h[:, :, None] * h[:, None]).flatten(1) * self.scale)


@twin((4, 5))
class ScaleFirst(Parts):
    """A scale that is met before the layer that it scales, and that layer reads another one."""

    def __init__(self):
        super().__init__(scale=torch.ones(6), a=nn.Linear(5, 8), b=nn.Linear(8, 6), head=nn.Linear(6, 2))

    def forward(self, x):
        scale = self.scale.exp()
        return self.head(scale * self.b(self.a(x).relu()).tanh())


@twin((2, 6, 4))
class Slots(Parts):
    """Slot attention: slots compete for the inputs, and a gated unit updates them."""

    def __init__(self):
        super().__init__(start=torch.randn(3, 6), q=linear(6, 6), k=linear(4, 6), v=linear(4, 6))
        self.cell, self.head = nn.GRUCell(6, 6), nn.Linear(6, 2)

    def forward(self, x):
        slots = self.start.expand(2, -1, -1)
        for _ in range(2):
            share = (self.k(x) @ self.q(slots).mT / math.sqrt(6)).softmax(-1)
            found = (share / share.sum(1, keepdim=True)).mT @ self.v(x)
            slots = self.cell(found.reshape(6, 6), slots.reshape(6, 6)).view(2, 3, 6)
        return self.head(slots.sum(1))


@twin(words=(3, 4))
class FactorizationMachine(Parts):
    def __init__(self):
        super().__init__(
            linear=nn.Embedding(11, 1), factors=nn.Embedding(11, 6), deep=nn.Linear(24, 8), out=nn.Linear(8, 1)
        )

    def forward(self, words):
        v = self.factors(words)
        pairs = 0.5 * (v.sum(1).square() - v.square().sum(1)).sum(-1, keepdim=True)
        return self.linear(words).sum(1) + pairs + self.out(self.deep(v.flatten(1)).relu())


@twin((4, 6))
class Coupling(Parts):
    """A flow: each half of the inputs is scaled and shifted by a network of the other."""

    def __init__(self):
        super().__init__(a=nn.Linear(3, 8), b=nn.Linear(8, 6), c=nn.Linear(3, 8), d=nn.Linear(8, 6))

    def forward(self, x):
        left, right = x.chunk(2, -1)
        scale, shift = self.b(self.a(left).relu()).chunk(2, -1)
        right = right * scale.tanh().exp() + shift
        scale, shift = self.d(self.c(right).relu()).chunk(2, -1)
        return torch.cat([left * scale.tanh().exp() + shift, right], -1)


@twin((4, 5))
class SharedBasis(Parts):
    """Experts whose weights are mixed before use: their number has no order, and they are told apart by all else."""

    def __init__(self):
        super().__init__(
            gate=nn.Linear(5, 3), experts=torch.randn(3, 6, 5), shifts=torch.randn(3, 6), head=nn.Linear(6, 2)
        )

    def forward(self, x):
        gate = self.gate(x).softmax(-1)
        weight = torch.einsum("bn,noi->boi", gate, self.experts)
        return self.head((torch.einsum("boi,bi->bo", weight, x) + gate @ self.shifts).relu())


@twin((2, 5, 4))
class Memory(Parts):
    """A product-key memory: keys and values without an order, read by a softmax over both."""

    def __init__(self):
        super().__init__(q=linear(4, 6), keys=torch.randn(9, 6), values=torch.randn(9, 8), head=nn.Linear(8, 2))

    def forward(self, x):
        return self.head((self.q(x) @ self.keys.T).softmax(-1) @ self.values)


@twin((4, 5))
class MeanPooledPairs(Parts):
    """A relation network over hidden objects that one layer makes."""

    def __init__(self):
        super().__init__(make=nn.Linear(5, 12), left=linear(4, 6), right=linear(4, 6), head=nn.Linear(6, 2))

    def forward(self, x):
        objects = self.make(x).view(4, 3, 4).tanh()
        return self.head((self.left(objects)[:, :, None] + self.right(objects)[:, None]).relu().mean((1, 2)))


@twin((4, 3))
class Cube(Parts):
    """Three groups that tell each other apart in one tensor, each ordered inside those outside it."""

    def __init__(self):
        super().__init__(t=torch.randn(4, 5, 6))

    def forward(self, x):
        return x * self.t.sin().sum(2).cos().sum(1).sin().sum()


@twin((4, 3))
class Circle(Parts):
    """Two streams that begin at ones and read each other."""

    def __init__(self):
        super().__init__(a=torch.randn(6, 5), b=torch.randn(5, 6), o=linear(6, 3))

    def forward(self, x):
        h = torch.ones(6, dtype=x.dtype)
        for _ in range(2):
            h = (self.a @ (self.b @ h).sin()).sin()
        return self.o(h) * x


@twin((4, 3))
class RecurrentHeads(Parts):
    """Recurrences inside blocks, which begin at ones."""

    def __init__(self):
        super().__init__(w=torch.randn(3, 5, 5) / 2, o=torch.randn(3, 15))

    def forward(self, x):
        h = torch.ones(3, 5, dtype=x.dtype)
        for _ in range(3):
            h = torch.einsum("hij,hj->hi", self.w, h).sin()
        return x * (self.o @ h.flatten())
