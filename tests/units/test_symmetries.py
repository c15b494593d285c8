"""Symmetries that hand-written forwards have: kept where they hold, and given up where they do not."""

import time

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from fedma.seeds import generator
from fedma.units.derive import derive
from fedma.units.inputs import Inputs
from units.laws import Laws


class Between(nn.Module):
    """Anything done to six hidden units between two layers."""

    def __init__(self, done, width=6):
        super().__init__()
        self.a, self.scale, self.out = nn.Linear(3, width), nn.Parameter(torch.rand(width)), nn.Linear(width, 2)
        self.done = done

    def forward(self, x):
        return self.out(self.done(self.a(x) * self.scale, self.scale))


def eye(h):
    return torch.eye(6, dtype=h.dtype)


def gram(h):
    return h.T @ h / len(h) + eye(h)


def twice(h):
    return torch.cat([h, h], -1)


def thrice(h):
    return torch.cat([h, h.sin(), h.cos()], -1)


def rate(h):
    """The slope of a loss, taken with autograd."""
    with torch.enable_grad():
        h = h.detach().requires_grad_()
        return torch.autograd.grad((F.silu(h) ** 2).sum(), h)[0]


def marked(h):
    """An identity matrix with another first entry."""
    matrix = eye(h)
    matrix[0, 0] = 3.0
    return matrix


KEPT = {
    "topk, lowest": (6, lambda h, s: h * (h >= h.topk(2, -1).values.min(-1, keepdim=True).values)),
    "topk, last": (6, lambda h, s: h * (h >= h.topk(2, -1).values[..., -1:])),
    "sort, largest": (6, lambda h, s: h / h.sort(-1).values[:, -1:]),
    "sort of samples": (6, lambda h, s: h + h.sort(0).values),
    "kthvalue": (6, lambda h, s: h * (h > h.kthvalue(3, -1).values[:, None])),
    "quantile": (6, lambda h, s: h * (h > h.quantile(0.4, -1, keepdim=True))),
    "median": (6, lambda h, s: h - h.median(-1, keepdim=True).values),
    "msort": (6, lambda h, s: h - h.T.msort()[:1].T),
    "interleaved gate": (3, lambda h, s: twice(h[..., ::2] * h[..., 1::2].sigmoid())),
    "interleaved by three": (2, lambda h, s: thrice(h[..., ::3] * h[..., 1::3] + h[..., 2::3])),
    "pairs unbound": (3, lambda h, s: twice(torch.mul(*h.view(len(h), -1, 2).unbind(-1)))),
    "grad": (6, lambda h, s: torch.func.grad(lambda y: (y.tanh() ** 2).sum())(h)),
    "grad of a softmax": (6, lambda h, s: torch.func.grad(lambda y: (y.softmax(-1) ** 2).sum())(h)),
    "grad of a layer norm": (6, lambda h, s: torch.func.grad(lambda y: (F.layer_norm(y, (6,), s) ** 3).sum())(h)),
    "grad of gates": (3, lambda h, s: torch.func.grad(lambda y: (y[:, ::2] * y[:, 1::2]).sum())(h)),
    "vjp": (6, lambda h, s: torch.func.vjp(F.gelu, h)[1](h * 2)[0]),
    "jacrev": (6, lambda h, s: torch.func.jacrev(lambda y: (y.sigmoid() ** 2).sum(-1))(h).sum(0)),
    "autograd": (6, lambda h, s: rate(h)),
    "solve": (6, lambda h, s: torch.linalg.solve(gram(h), h.T).T),
    "inv": (6, lambda h, s: h @ torch.linalg.inv(gram(h))),
    "inv and diag_embed": (6, lambda h, s: h @ torch.linalg.inv(gram(h) + torch.diag_embed(s.exp()))),
    "logdet": (6, lambda h, s: h * torch.logdet(gram(h))),
    "slogdet": (6, lambda h, s: h * torch.linalg.slogdet(gram(h))[1]),
    "matrix_exp": (6, lambda h, s: h @ torch.matrix_exp(gram(h))),
    "trace": (6, lambda h, s: h * gram(h).trace()),
    "diagonal": (6, lambda h, s: h * gram(h).diagonal()),
    "off the diagonal": (6, lambda h, s: h @ (gram(h) * (1 - eye(h)))),
    "nuclear norm": (6, lambda h, s: h * torch.linalg.matrix_norm(h, "nuc")),
    "pinv": (6, lambda h, s: h @ torch.linalg.pinv(h) @ h),
    "renorm": (6, lambda h, s: h.renorm(2, 0, 1.0)),
    "special functions": (6, lambda h, s: torch.special.i0e(h) + torch.special.entr(h.exp())),
}
LOST = {
    "topk, where": lambda h, s: h + h.topk(2, -1).indices.sum(-1, keepdim=True),
    "topk, one-hot": lambda h, s: torch.zeros_like(h).scatter(-1, h.topk(2, -1).indices, 1.0) * h,
    "sorted units": lambda h, s: h + h.sort(-1).values,
    "every fourth of six": lambda h, s: h + h[..., ::4].sum(-1, keepdim=True),
    "cholesky": lambda h, s: h @ torch.linalg.cholesky(gram(h)),
    "eigenvalues of a triangle": lambda h, s: h * torch.linalg.eigvalsh(gram(h)).sum(),
    "a marked eye": lambda h, s: h @ marked(h),
    "rows of an eye": lambda h, s: h @ eye(h).roll(1, 0),
    "triangle of an eye": lambda h, s: h @ torch.triu(eye(h) + 1),
    "cummax": lambda h, s: h.cummax(-1).values,
}


def laws(done):
    x = torch.randn(5, 3, generator=generator(0, "symmetries"))
    return Laws(Between(done), x)


@pytest.mark.parametrize("name", KEPT)
def test_a_symmetry_that_holds_is_found(name):
    size, done = KEPT[name]
    own = laws(done)
    graph = own.graph("record")
    assert size in [group.size for group in graph.groups.values()]
    own.control(own.permute(graph))


@pytest.mark.filterwarnings("ignore::fedma.errors.PinnedWarning")
@pytest.mark.parametrize("name", LOST)
def test_a_symmetry_that_does_not_hold_is_not_claimed(name):
    own = laws(LOST[name])
    assert own.graph("record").groups == {}


class Dense(nn.Module):
    """Every layer reads the outputs of all before it."""

    def __init__(self, layers):
        super().__init__()
        self.layers = nn.ModuleList(nn.Linear(2 + 2 * k, 2) for k in range(layers))

    def forward(self, x):
        for layer in self.layers:
            x = torch.cat([x, layer(x).relu()], -1)
        return x.sum(-1)


def test_four_hundred_concatenations_can_be_derived():
    graph = derive(Dense(400).eval(), Inputs.of(torch.ones(2, 2)), front_end="record")
    assert len(graph.groups) == 400


@pytest.mark.parametrize(
    ("done", "groups"),
    [
        (lambda h, s: h + torch.cat([h[:, 1:], h[:, :1]], -1), []),
        (lambda h, s: h + torch.cat([h[:, 64:], h[:, :64]], -1), [64]),
        (lambda h, s: torch.cat([part.sigmoid() for part in h.split(1, -1)], -1), []),
    ],
)
def test_units_tied_to_their_neighbours_can_be_derived(done, groups):
    graph = derive(Between(done, 512).eval(), Inputs.of(torch.ones(2, 3)), front_end="record")
    assert [group.size for group in graph.groups.values()] == groups


def seconds(layers):
    chain = nn.Sequential(*(nn.Sequential(nn.Linear(3, 3), nn.ReLU()) for _ in range(layers))).eval()
    start = time.process_time()
    assert len(derive(chain, Inputs.of(torch.ones(1, 3)), front_end="record").groups) == layers - 1
    return time.process_time() - start


def test_the_time_for_a_chain_grows_with_its_length():
    seconds(20)
    assert seconds(800) < 8 * seconds(200)
