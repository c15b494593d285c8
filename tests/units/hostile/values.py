"""Forwards that look at values or shapes and decide by them."""

import torch

from units.hostile.case import case


@case("a.weight")
def a_branch_on_the_input(s, x):
    h = torch.tanh(s.a(x))
    return s.out(h) if x.sum() > 0 else s.out(h * 2)


@case()
def a_branch_that_hides_a_roll(s, x):
    h = torch.tanh(s.a(x))
    return s.out(h.roll(1, -1) if x[0, 0] > 0 else h.flip(-1))


@case("a.weight")
def a_branch_on_a_sum_of_units(s, x):
    h = torch.tanh(s.a(x))
    return s.out(h) if h.sum() > 0 else s.out(-h)


@case()
def a_branch_on_one_unit(s, x):
    h = torch.tanh(s.a(x))
    return s.out(h) if h[0, 0] > 0 else s.out(-h)


@case()
def a_branch_on_each_unit(s, x):
    h = torch.tanh(s.a(x))
    columns = [h[:, i] * (2.0 if h[:, i].sum() > 0 else 0.5) * (i + 1) for i in range(5)]
    return s.out(torch.stack(columns, -1))


@case("a.weight")
def a_branch_on_a_flag(s, x):
    return s.out(torch.tanh(s.a(x))) if s.training else s.out(torch.relu(s.a(x)))


@case(example=lambda random: (torch.rand(4, 3, generator=random),))
def a_branch_that_the_example_does_not_take(s, x):
    h = torch.tanh(s.a(x))
    return s.out(h) if x.sum() > 0 else s.out(h.flip(-1))


@case(example=lambda random: (torch.rand(4, 3, generator=random),))
def a_part_that_the_example_does_not_reach(s, x):
    h = torch.tanh(s.a(x))
    h[x[:, 0] < 0] = h[x[:, 0] < 0].flip(-1)
    return s.out(h)


@case()
def another_branch_for_large_inputs(s, x):
    h = torch.tanh(s.a(x))
    if x.abs().max() > 2.0:
        h = h * torch.arange(5, dtype=x.dtype)
    return s.out(h)


@case()
def a_mask_by_the_input(s, x):
    h = torch.tanh(s.a(x))
    if x.min() < -1.0:
        h = h.clone()
        h[:, 0] = 0.0
    return s.out(h)


@case()
def the_width_in_the_forward(s, x):
    h = torch.tanh(s.a(x))
    return s.out(h[:, torch.arange(h.shape[1] - 1, -1, -1)])


@case("a.weight")
def a_scale_by_the_width(s, x):
    return s.out(torch.tanh(s.a(x))) / s.a.weight.shape[0] ** 0.5


@case("a.weight")
def a_mean_over_units(s, x):
    h = torch.tanh(s.a(x))
    return s.out(h) + h.mean(-1, keepdim=True)


@case("a.weight")
def a_norm_over_units(s, x):
    return s.out(torch.nn.functional.layer_norm(s.a(x), (5,), s.v5, s.v5))


@case("a.weight")
def a_softmax_over_units(s, x):
    return s.out(s.a(x).softmax(-1))


@case("a.weight")
def the_largest_unit(s, x):
    h = torch.tanh(s.a(x))
    return s.out(h) * h.amax(-1, keepdim=True)


@case("a.weight")
def two_units_by_size(s, x):
    h = torch.tanh(s.a(x))
    return s.out(h) * h.topk(2, -1).values.sum(-1, keepdim=True)


@case()
def nonzero_count_of_a_unit(s, x):
    h = torch.relu(s.a(x))
    return s.out(h) + (h[:, 3] > 0).sum()


@case()
def a_python_loop_by_value(s, x):
    h = torch.tanh(s.a(x))
    for i in range(5):
        if float(h[0, i]) > 0:
            h = h * 1.1 + i * 0.01
    return s.out(h)


@case()
def a_dictionary_of_units(s, x):
    h = torch.tanh(s.a(x))
    by = {i: h[:, i] for i in range(5)}
    return s.out(torch.stack([by[4 - i] for i in range(5)], -1))


@case("a.weight", inputs=lambda random: (torch.randn(4, 3, generator=random).abs(),))
def only_positive_inputs(s, x):
    return s.out(torch.tanh(s.a(x.clamp(min=0).sqrt())))


@case()
def the_same_for_tiny_and_not_for_large(s, x):
    h = torch.tanh(s.a(x))
    return s.out(torch.where(x.sum(-1, keepdim=True) > 1.5, h.flip(-1), h))


@case()
def units_by_a_try(s, x):
    h = torch.tanh(s.a(x))
    try:
        return s.out(h.view(5, 4))
    except RuntimeError:
        return s.out(h * torch.arange(5, dtype=x.dtype))


@case()
def by_a_hash_of_the_values(s, x):
    h = torch.tanh(s.a(x))
    return s.out(h) * (1.0 + (hash(round(float(h[0, 2]), 3)) % 3))


@case("a.weight")
def unique_rows(s, x):
    return s.out(torch.tanh(s.a(x))[: torch.unique(torch.tensor([3, 3, 1])).numel()])


@case("a.weight")
def only_the_shape_of_a_slice(s, x):
    h = torch.tanh(s.a(x))
    ones = torch.ones(h[:, -1].shape, dtype=x.dtype)
    return s.out(h) + ones[:, None]


@case("a.weight")
def a_result_nobody_uses(s, x):
    h = torch.tanh(s.a(x))
    h.roll(1, -1)
    return s.out(h)


@case("a.weight")
def zeros_like_a_slice(s, x):
    h = torch.tanh(s.a(x))
    return s.out(h) + torch.zeros_like(h[:, 2])[:, None]


@case("a.weight")
def multiplied_by_nothing(s, x):
    h = torch.tanh(s.a(x))
    return s.out(h) + 0 * h[:, :1]


@case("a.weight")
def clamped_by_values(s, x):
    h = torch.tanh(s.a(x))
    return s.out(h.clamp(h.mean(-1, keepdim=True) - 0.3, h.mean(-1, keepdim=True) + 0.3))
