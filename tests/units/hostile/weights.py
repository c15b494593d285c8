"""Weights derived from weights: ties, transposes, products, hypernetworks."""

import torch
from torch.nn import functional as F

from units.hostile.case import case


@case("a.weight")
def tied_by_transposing(s, x):
    return torch.tanh(s.a(x)) @ s.a.weight


@case("a.weight")
def both_sides_of_a_square(s, x):
    return s.out(torch.tanh(torch.tanh(s.a(x)) @ s.w5) @ s.w5.t())


@case("a.weight")
def a_gram_matrix(s, x):
    return s.out(torch.tanh(s.a(x)) @ (s.w5 @ s.w5.t()))


@case("a.weight")
def a_symmetric_sum(s, x):
    return s.out(torch.tanh(s.a(x)) @ (s.w5 + s.w5.t()))


@case()
def rows_in_another_order(s, x):
    return s.out(torch.tanh(s.a(x)) @ s.w5[[1, 2, 3, 4, 0]])


@case()
def flipped_weight(s, x):
    return s.out(torch.tanh(s.a(x)) @ (s.w5 + s.w5.flip(0)))


@case()
def a_circulant(s, x):
    rows = torch.stack([s.v5.roll(i) for i in range(5)])
    return s.out(torch.tanh(s.a(x)) @ rows)


@case()
def a_toeplitz_by_positions(s, x):
    i = torch.arange(5)
    return s.out(torch.tanh(s.a(x)) @ s.v5[(i[:, None] - i).abs()])


@case("a.weight v5")
def a_diagonal_weight(s, x):
    return s.out(torch.tanh(s.a(x)) @ torch.diag(s.v5))


@case("a.weight v5")
def an_outer_product(s, x):
    return s.out(torch.tanh(s.a(x)) @ torch.outer(s.v5, s.v5))


@case("a.weight")
def a_softmax_of_a_weight(s, x):
    return s.out(torch.tanh(s.a(x)) @ s.w5.softmax(-1))


@case("a.weight")
def a_weight_standardised(s, x):
    w = s.a.weight
    w = (w - w.mean(1, keepdim=True)) / (w.std(1, keepdim=True) + 1e-5)
    return s.out(torch.tanh(F.linear(x, w, s.a.bias)))


@case("a.weight")
def a_weight_scaled_by_its_norm(s, x):
    return s.out(torch.tanh(F.linear(x, s.a.weight / s.a.weight.norm(), s.a.bias)))


@case("a.weight")
def a_scale_from_a_weight(s, x):
    return s.out(torch.tanh(s.a(x)) * s.a.weight.abs().max().item())


@case()
def a_scale_from_one_entry(s, x):
    return s.out(torch.tanh(s.a(x))) * s.a.weight[0, 0].item()


@case()
def a_mask_from_a_weight_by_position(s, x):
    m = (s.v5 > s.v5[0]).to(x.dtype)
    return s.out(torch.tanh(s.a(x)) * m)


@case("a.weight v5")
def a_mask_from_a_weight(s, x):
    return s.out(torch.tanh(s.a(x)) * (s.v5 > 0.1).to(x.dtype))


@case("a.weight")
def a_mask_from_a_threshold(s, x):
    w = s.w5 * (s.w5.abs() > s.w5.abs().mean()).to(x.dtype)
    return s.out(torch.tanh(s.a(x)) @ w)


@case()
def a_python_mask_from_a_weight(s, x):
    kept = [i for i, v in enumerate(s.v5.tolist()) if v > 0]
    return s.out(torch.tanh(s.a(x)) * torch.tensor([float(i in kept) for i in range(5)], dtype=x.dtype))


@case()
def a_weight_sorted(s, x):
    return s.out(torch.tanh(s.a(x)) * s.v5.sort().values)


@case()
def the_order_of_a_weight(s, x):
    return s.out(torch.tanh(s.a(x))[:, s.v5.argsort()])


@case("c.weight v5")
def both_in_the_order_of_a_weight(s, x):
    order = s.v5.argsort()
    return (torch.tanh(s.c(torch.tanh(s.a(x))))[:, order] * torch.arange(5, dtype=x.dtype)).sum(-1)


@case()
def a_hypernetwork(s, x):
    w = torch.tanh(s.a(x)).t()[:, :3]
    return s.out(torch.tanh(F.linear(x, w)))


@case("b.weight")
def a_hypernetwork_of_gates(s, x):
    gates = torch.sigmoid(s.a(x.mean(0)))
    return s.out(torch.tanh(s.b(x)) * gates)


@case("a.weight")
def low_rank(s, x):
    h = torch.tanh(s.a(x))
    return s.out(h + h @ s.a.weight @ s.b.weight.t())


@case("a.weight")
def a_weight_expanded(s, x):
    return s.out(torch.tanh(s.a(x)) * s.v5.expand(4, 5))


@case("a.weight")
def a_weight_stacked_twice(s, x):
    w = torch.stack([s.a.weight, s.b.weight])
    return s.out(torch.tanh(torch.einsum("bi,koi->bko", x, w)).sum(1))


@case("a.weight b.weight")
def weights_concatenated(s, x):
    h = torch.tanh(F.linear(x, torch.cat([s.a.weight, s.b.weight])))
    return s.out(h[:, :5] * h[:, 5:])


@case()
def weights_concatenated_and_crossed(s, x):
    h = torch.tanh(F.linear(x, torch.cat([s.a.weight, s.b.weight])))
    return s.out(h[:, 2:7])


@case("a.weight")
def a_weight_written_into_a_matrix(s, x):
    w = torch.zeros(5, 4, dtype=x.dtype)
    w[:, :3] = s.a.weight
    return s.out(torch.tanh(F.linear(F.pad(x, (0, 1)), w)))


@case()
def a_weight_written_one_row_off(s, x):
    w = torch.zeros(5, 3, dtype=x.dtype)
    w[1:] = s.a.weight[:-1]
    return s.out(torch.tanh(F.linear(x, w)))


@case("a.weight")
def a_determinant(s, x):
    return s.out(torch.tanh(s.a(x))) * torch.tanh(torch.linalg.det(s.w5))


@case("a.weight")
def an_exponential_of_a_matrix(s, x):
    return s.out(torch.tanh(s.a(x)) @ torch.linalg.matrix_power(s.w5 * 0.3, 3))


@case()
def a_positional_weight_of_its_own(s, x):
    return s.out(torch.tanh(s.a(x) + s.w5.sum(0).cumsum(0)))


@case("a.weight")
def a_bias_shared_by_two(s, x):
    return s.out(torch.tanh(F.linear(x, s.a.weight, s.v5)) + torch.tanh(F.linear(x, s.b.weight, s.v5)))


@case("w5")
def a_bilinear_form(s, x):
    return torch.tanh(torch.einsum("bi,ij,bj->b", torch.tanh(s.a(x)), s.w5, torch.tanh(s.b(x))))


@case()
def as_many_rows_as_units(s, x):
    return s.out(torch.tanh(s.a(x)) + s.w5[: len(x)])


@case("a.weight")
def a_table_looked_up(s, x):
    return s.out(torch.tanh(s.a(x)) + s.w5[torch.tensor([0, 2, 1, 1])])


@case()
def a_table_looked_up_by_units(s, x):
    return s.out(torch.tanh(s.a(x)) * s.w5[torch.arange(5), torch.arange(5)])


@case("a.weight")
def a_trace(s, x):
    return s.out(torch.tanh(s.a(x))) * s.w5.trace()
