"""Ordinary forwards, written in the ways people write them: all must be found."""

import torch
from torch import nn
from torch.nn import functional as F

from units.hostile.case import Small, case


@case("a.weight out.weight:1")
def plain(s, x):
    return s.out(torch.tanh(s.a(x)))


@case("a.weight c.weight c.weight:1 out.weight:1")
def residual(s, x):
    h = torch.tanh(s.a(x))
    return s.out(h + torch.tanh(s.c(h)))


@case("a.weight b.weight")
def gated(s, x):
    return s.out(s.a(x) * torch.sigmoid(s.b(x)))


@case("a.weight b.weight")
def gated_by_glu(s, x):
    return s.out(F.glu(torch.cat([s.a(x), s.b(x)], -1), -1))


@case("a.weight b.weight")
def concatenated_and_chunked(s, x):
    first, second = torch.cat([s.a(x), s.b(x)], -1).chunk(2, -1)
    return s.out(first.tanh() + second.sigmoid())


@case("a.weight")
def accumulated_in_a_list(s, x):
    found = []
    for row in x:
        found.append(torch.tanh(s.a(row)))
    return s.out(torch.stack(found))


@case("a.weight")
def accumulated_in_place(s, x):
    total = torch.zeros(4, 5, dtype=x.dtype)
    for _ in range(3):
        total += torch.tanh(s.a(x))
    return s.out(total)


@case("a.weight")
def written_into_zeros(s, x):
    z = torch.zeros(4, 5, dtype=x.dtype)
    z[...] = torch.tanh(s.a(x))
    return s.out(z)


@case("a.weight")
def written_into_a_slice_of_rows(s, x):
    z = torch.zeros(8, 5, dtype=x.dtype)
    z[2:6] = torch.tanh(s.a(x))
    return s.out(z)


@case("a.weight")
def dropout_by_hand(s, x):
    h = torch.tanh(s.a(x))
    return s.out(h * torch.full_like(h, 0.9))


@case("a.weight")
def einsum_all_the_way(s, x):
    h = torch.tanh(torch.einsum("bi,oi->bo", x, s.a.weight) + s.a.bias)
    return torch.einsum("bo,ko->bk", h, s.out.weight)


@case("a.weight")
def normalised_by_hand(s, x):
    h = s.a(x)
    h = (h - h.mean(-1, keepdim=True)) / (h.var(-1, keepdim=True) + 1e-5).sqrt()
    return s.out(h * s.v5)


@case("a.weight")
def attention_by_hand(s, x):
    q, k, v = s.a(x), s.b(x), torch.tanh(s.a(x))
    return s.out((q @ k.t() / 5**0.5).softmax(-1) @ v)


@case("a.weight")
def masked_attention_by_hand(s, x):
    q, v = s.a(x), torch.tanh(s.b(x))
    scores = (q @ q.t()).masked_fill(torch.ones(4, 4, dtype=torch.bool).triu(1), float("-inf"))
    return s.out(scores.softmax(-1) @ v + q)


@case("a.weight")
def squeezed_and_back(s, x):
    return s.out(torch.tanh(s.a(x)).unsqueeze(1).squeeze(1))


@case("a.weight")
def transposed_and_back(s, x):
    return s.out(torch.tanh(s.a(x)).t().contiguous().t())


@case("a.weight b.weight")
def maximum_of_two(s, x):
    return s.out(torch.maximum(s.a(x), s.b(x)))


@case("a.weight b.weight")
def stacked_and_weighted(s, x):
    both = torch.stack([s.a(x), s.b(x)])
    return s.out((both * torch.tensor([0.3, 0.7], dtype=x.dtype)[:, None, None]).sum(0))


@case("a.weight")
def where_on_itself(s, x):
    h = s.a(x)
    return s.out(torch.where(h > 0, h, 0.1 * h))


@case("a.weight")
def repeated_rows(s, x):
    return s.out(torch.tanh(s.a(x)).repeat(2, 1))


@case("a.weight")
def normalised_rows(s, x):
    return s.out(F.normalize(torch.tanh(s.a(x)), dim=-1))


@case("a.weight")
def eye_times_a_number(s, x):
    return s.out(torch.tanh(s.a(x)) @ (torch.eye(5, dtype=x.dtype) * 0.5))


@case("a.weight", model=True)
def sequential():
    s = Small(lambda s, x: s.out(s.body(x)))
    s.body = nn.Sequential(nn.Linear(3, 5), nn.ReLU(), nn.Linear(5, 5), nn.Tanh())
    s.a = s.body[0]
    return s


@case("a.weight")
def split_and_joined_in_order(s, x):
    parts = torch.tanh(s.a(x)).split([2, 3], -1)
    return s.out(torch.cat(parts, -1))


@case("a.weight")
def an_average_of_rows_taken_away(s, x):
    h = torch.tanh(s.a(x))
    return s.out(h - h.mean(0, keepdim=True))


@case("a.weight")
def a_loop_that_reads_out_each_row(s, x):
    return torch.stack([s.out(torch.tanh(s.a(x[i]))) for i in range(len(x))])


@case("a.weight")
def pooled_over_rows(s, x):
    return s.out(torch.tanh(s.a(x)).max(0).values)


@case("a.weight")
def log_sum_exp_over_units(s, x):
    h = s.a(x)
    return s.out(torch.tanh(h)) + h.logsumexp(-1, keepdim=True)
