"""Models that change while they run, or keep things for the next time."""

import torch
from torch import nn
from torch.nn.utils import parametrizations, parametrize, prune

from units.hostile.case import Small, case


@case(model=True)
def a_buffer_written_in_the_forward():
    def run(s, x):
        s.memory.copy_(torch.tanh(s.a(x)).mean(0))
        return s.out(torch.tanh(s.b(x)) * s.memory)

    s = Small(run)
    s.register_buffer("memory", torch.zeros(5))
    return s


@case(model=True)
def a_running_mean_of_its_own():
    def run(s, x):
        h = torch.tanh(s.a(x))
        return s.out(h - s.mean)

    s = Small(run)
    s.register_buffer("mean", torch.zeros(5))
    return s


@case(model=True)
def a_constant_buffer_that_is_not_saved():
    s = Small(lambda s, x: s.out(torch.tanh(s.a(x)) * s.scale))
    s.register_buffer("scale", torch.linspace(0.1, 1, 5), persistent=False)
    return s


@case(model=True)
def a_constant_buffer_of_ones_that_is_not_saved():
    s = Small(lambda s, x: s.out(torch.tanh(s.a(x)) * s.scale))
    s.register_buffer("scale", torch.ones(5), persistent=False)
    return s


@case(model=True)
def a_buffer_of_positions():
    s = Small(lambda s, x: s.out(torch.tanh(s.a(x))[:, s.order]))
    s.register_buffer("order", torch.tensor([4, 2, 0, 1, 3]))
    return s


@case(model=True)
def a_counter():
    def run(s, x):
        s.calls += 1
        return s.out(torch.tanh(s.a(x)))

    s = Small(run)
    s.register_buffer("calls", torch.zeros((), dtype=torch.long))
    return s


@case("a.weight", model=True)
def a_cache_by_shape():
    def run(s, x):
        if s.cache is None or len(s.cache) != len(x):
            s.cache = torch.arange(len(x), dtype=x.dtype)[:, None] * 0.1
        return s.out(torch.tanh(s.a(x)) + s.cache.to(x.dtype))

    s = Small(run)
    s.cache = None
    return s


@case(model=True)
def a_cache_of_a_weight():
    def run(s, x):
        if s.cache is None:
            s.cache = s.w5.detach().clone()
        return s.out(torch.tanh(s.a(x)) @ s.cache.to(x.dtype))

    s = Small(run)
    s.cache = None
    return s


@case(model=True)
def a_feature_kept_for_later():
    def run(s, x):
        s.feature = torch.tanh(s.a(x))
        return s.out(s.feature)

    return Small(run)


@case(model=True)
def what_it_saw_last_time():
    def run(s, x):
        last, s.last = getattr(s, "last", None), torch.tanh(s.a(x)).detach()
        return s.out(s.last if last is None or last.shape != s.last.shape else s.last + 0.1 * last.to(x.dtype))

    return Small(run)


@case("a.weight", model=True)
def one_layer_used_twice():
    return Small(lambda s, x: s.out(torch.tanh(s.c(torch.tanh(s.c(torch.tanh(s.a(x))))))))


@case("a.weight", model=True)
def a_module_under_two_names():
    s = Small(lambda s, x: s.out(torch.tanh(s.a(x)) + torch.tanh(s.again(x))))
    s.again = s.a
    return s


@case("a.weight", model=True)
def batch_norm():
    s = Small(lambda s, x: s.out(torch.relu(s.norm(s.a(x)))))
    s.norm = nn.BatchNorm1d(5)
    return s


@case(model=True)
def spectral_norm():
    s = Small(lambda s, x: s.out(torch.tanh(s.a(x))))
    s.a = parametrizations.spectral_norm(s.a)
    return s


@case("a.parametrizations.weight.original1", model=True)
def weight_norm():
    s = Small(lambda s, x: s.out(torch.tanh(s.a(x))))
    s.a = parametrizations.weight_norm(s.a)
    return s


@case(model=True)
def orthogonal():
    s = Small(lambda s, x: s.out(torch.tanh(s.c(torch.tanh(s.a(x))))))
    s.c = parametrizations.orthogonal(s.c)
    return s


class Symmetric(nn.Module):
    def forward(self, w):
        return w + w.t()


class Banded(nn.Module):
    def forward(self, w):
        return w.triu(-1).tril(1)


@case("a.weight", model=True)
def a_symmetric_parametrization():
    s = Small(lambda s, x: s.out(torch.tanh(s.c(torch.tanh(s.a(x))))))
    parametrize.register_parametrization(s.c, "weight", Symmetric())
    return s


@case(model=True)
def a_banded_parametrization():
    s = Small(lambda s, x: s.out(s.c(torch.tanh(s.a(x)))))
    parametrize.register_parametrization(s.c, "weight", Banded())
    return s


@case(model=True)
def pruned():
    s = Small(lambda s, x: s.out(torch.tanh(s.a(x))))
    prune.l1_unstructured(s.a, "weight", 3)
    return s


@case("r.weight_ih_l0", model=True)
def a_recurrent_layer():
    s = Small(lambda s, x: s.out(s.r(x[None])[0][0]))
    s.r = nn.GRU(3, 5, batch_first=True)
    return s


@case("r.weight_ih_l0", model=True)
def both_directions_summed():
    s = Small(lambda s, x: s.out(sum(s.r(x[None])[0][0].chunk(2, -1))))
    s.r = nn.LSTM(3, 5, batch_first=True, bidirectional=True)
    return s


@case(model=True)
def the_state_of_a_recurrent_layer_rolled():
    def run(s, x):
        _, h = s.r(x[None])
        return s.out(torch.tanh(s.r(x[None], h.roll(1, -1))[0][0]))

    s = Small(run)
    s.r = nn.GRU(3, 5, batch_first=True)
    return s


@case(model=True)
def a_hook_that_reorders():
    s = Small(lambda s, x: s.out(torch.tanh(s.a(x))))
    s.a.register_forward_hook(lambda module, args, result: result[:, [1, 0, 2, 3, 4]])
    return s


@case(model=True)
def a_hook_that_writes():
    def write(module, args, result):
        result[:, 1] = 0.5

    s = Small(lambda s, x: s.out(torch.tanh(s.a(x))))
    s.a.register_forward_hook(write)
    return s


@case("a.weight", model=True)
def a_hook_that_only_looks():
    s = Small(lambda s, x: s.out(torch.tanh(s.a(x))))
    s.a.register_forward_hook(lambda module, args, result: None)
    return s


@case(model=True)
def a_parameter_added_in_the_forward():
    def run(s, x):
        if not hasattr(s, "late"):
            s.late = nn.Parameter(torch.linspace(0.1, 1, 5).to(x.dtype))
        return s.out(torch.tanh(s.a(x)) * s.late)

    return Small(run)


@case("a.weight", model=True)
def dropout_in_evaluation():
    s = Small(lambda s, x: s.out(s.drop(torch.tanh(s.a(x)))))
    s.drop = nn.Dropout(0.5)
    return s


@case("experts.0.weight", model=True)
def experts_by_a_router():
    def run(s, x):
        gates = s.out(torch.tanh(s.a(x))).softmax(-1)
        return sum(gates[:, i : i + 1] * s.out(torch.tanh(expert(x))) for i, expert in enumerate(s.experts))

    s = Small(run)
    s.experts = nn.ModuleList(nn.Linear(3, 5) for _ in range(2))
    return s


@case("embed.weight:1", model=True, inputs=lambda random: (torch.randint(0, 7, (4, 3), generator=random),))
def tied_embeddings():
    s = Small(lambda s, x: torch.tanh(s.embed(x).mean(1) @ s.w5) @ s.embed.weight.t())
    s.embed = nn.Embedding(7, 5)
    return s


@case("a.weight", model=True)
def lazily_built_mask():
    def run(s, x):
        h = torch.tanh(s.a(x))
        mask = torch.ones_like(h)
        mask[:, :] = 0.5
        return s.out(h * mask)

    return Small(run)
