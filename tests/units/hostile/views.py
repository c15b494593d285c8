"""Views of hidden tensors, and writes into them, before and after they were read."""

import torch

from units.hostile.case import case


@case("a.weight")
def as_strided_as_it_was(s, x):
    h = s.a(x)
    return s.out(torch.tanh(h).as_strided(h.shape, h.stride()))


@case()
def as_strided_transposed(s, x):
    return s.out(torch.relu(s.a(x)) @ s.w5.as_strided((5, 5), (1, 5)))


@case()
def as_strided_backwards_rows(s, x):
    return s.out(torch.relu(s.a(x)).contiguous().as_strided((4, 5), (1, 4)))


@case()
def as_strided_with_an_offset(s, x):
    return s.out(torch.cat([s.a(x), s.b(x)], -1).as_strided((4, 5), (10, 1), 2))


@case()
def as_strided_overlapping(s, x):
    return s.out(torch.relu(s.a(x)).as_strided((3, 5), (1, 2)))


@case("a.weight out.weight:1")
def a_write_into_another_axis(s, x):
    h = torch.tanh(s.a(x))
    h[0] = 0.5
    return s.out(h)


@case()
def a_column_written(s, x):
    h = torch.tanh(s.a(x))
    h[:, 2] = 0.5
    return s.out(h)


@case()
def a_column_scaled_through_a_view(s, x):
    h = torch.tanh(s.a(x))
    h[:, 2].mul_(0.1)
    return s.out(h)


@case()
def a_base_read_after_its_view_was_written(s, x):
    h = torch.tanh(s.a(x))
    h.view(2, 10)[:, :3].zero_()
    return s.out(h)


@case()
def a_view_read_after_its_base_was_written(s, x):
    h = torch.tanh(s.a(x))
    view = h[:, :]
    h[:, 0] = 0.0
    return s.out(view)


@case()
def columns_of_one_in_another(s, x):
    h, g = s.a(x).tanh(), s.b(x).tanh()
    h[:, :2] = g[:, 3:]
    return s.out(h)


@case("a.weight b.weight out.weight:1")
def one_copied_into_the_other(s, x):
    h, g = s.a(x).tanh(), s.b(x).tanh()
    z = torch.zeros_like(h)
    z.copy_(h)
    z += g
    return s.out(z)


@case("b.weight")
def overwritten_by_copy(s, x):
    h = s.a(x).tanh()
    h.copy_(s.b(x).tanh())
    return s.out(h)


@case("b.weight")
def overwritten_through_data(s, x):
    h = s.a(x)
    h.data = torch.tanh(s.b(x))
    return s.out(h)


@case()
def data_with_a_column_set(s, x):
    h = s.a(x)
    h.data[:, 1] = 0.3
    return s.out(h)


@case()
def set_to_another(s, x):
    h = s.a(x).clone()
    h.set_(torch.tanh(s.b(x)))
    return s.out(h)


@case()
def set_to_a_storage(s, x):
    h = s.a(x).contiguous()
    flat = torch.empty(0, dtype=h.dtype).set_(h.untyped_storage())
    return s.out(flat[:20].view(4, 5))


@case()
def storage_copied_whole(s, x):
    h, g = s.a(x).contiguous(), torch.empty(4, 5, dtype=x.dtype)
    g.untyped_storage().copy_(h.untyped_storage())
    return s.out(g)


@case("a.weight")
def the_tensor_of_a_parameter_constructor(s, x):
    return s.out(torch.nn.Parameter(torch.tanh(s.a(x)), requires_grad=False))


@case()
def expanded_then_written(s, x):
    h = s.a(x).tanh().sum(1, keepdim=True).expand(4, 5).clone()
    h[:, 3] = 0.0
    return s.out(h)


@case()
def diagonal_of_a_square_product(s, x):
    h = s.a(x)
    z = h.t() @ h
    z.diagonal().zero_()
    z.diagonal()[2] = 1.0
    return s.out(torch.relu(h) @ z)


@case("a.weight")
def diagonal_of_a_square_product_filled(s, x):
    h = s.a(x).tanh()
    z = h.t() @ h
    z.diagonal().fill_(0.0)
    return s.out(h @ z)


@case("a.weight")
def an_empty_slice_written(s, x):
    h = torch.tanh(s.a(x))
    h[:, 5:] = 0
    return s.out(h)


@case("a.weight")
def an_empty_slice_added(s, x):
    h = torch.tanh(s.a(x))
    return s.out(h) + h[:, 5:].sum()


@case("a.weight")
def an_empty_cat(s, x):
    h = torch.tanh(s.a(x))
    return s.out(torch.cat([h[:, :0], h, h[:, 5:]], -1))


@case("a.weight b.weight")
def halves_swapped_twice(s, x):
    h = torch.cat([s.a(x).tanh(), s.b(x).tanh()], -1)
    first, second = h.chunk(2, -1)
    again = torch.cat([second, first], -1).chunk(2, -1)
    return s.out(again[1] * again[0])


@case()
def halves_of_one_layer_written(s, x):
    h = torch.tanh(s.a(x))
    h[:, :2], h[:, 2:4] = h[:, 2:4].clone(), h[:, :2].clone()
    return s.out(h)


@case()
def view_of_another_shape_same_size(s, x):
    return s.out(s.a(x).tanh().view(5, 4).t())


@case()
def reshape_across_the_batch(s, x):
    return s.out(s.a(x).tanh().t().reshape(4, 5))


@case("a.weight")
def merged_and_taken_apart(s, x):
    return s.out(s.a(x).tanh().flatten().view(4, 5))


@case("a.weight")
def merged_and_summed_by_rows(s, x):
    return s.out(s.a(x).tanh().reshape(2, 2, 5).sum(1))


@case()
def unfolded(s, x):
    return s.out(s.a(x).tanh().unfold(1, 2, 1).sum(-1).repeat(1, 2)[:, :5])


@case()
def bits_of_a_float(s, x):
    h = s.a(x).tanh()
    h.view(torch.int64 if h.dtype == torch.float64 else torch.int32)[:, 1] = 0
    return s.out(h)


@case()
def transposed_in_place(s, x):
    h = s.a(x).tanh()
    w = s.w5.detach().clone()
    w.t_()
    w[0] = 0.0
    return s.out(h @ w)


@case("a.weight")
def resized(s, x):
    h = s.a(x).tanh()
    z = torch.empty(0, dtype=h.dtype)
    z.resize_(4, 5).copy_(h)
    return s.out(z)


@case()
def swap_tensors(s, x):
    h, g = s.a(x).tanh().clone(), s.b(x).tanh().clone()
    torch.utils.swap_tensors(h, g)
    g[:, 0] = 0.0
    return s.out(h * 2 + g)


@case("a.weight")
def out_argument(s, x):
    h = torch.empty(4, 5, dtype=x.dtype)
    torch.tanh(s.a(x), out=h)
    return s.out(h)


@case()
def out_argument_into_columns(s, x):
    h = torch.ones(4, 6, dtype=x.dtype)
    torch.add(s.a(x), 1.0, out=h[:, :5])
    return s.out(h[:, 1:])


@case()
def two_views_written_in_turn(s, x):
    h = s.a(x).tanh()
    left, right = h[:, :3], h[:, 2:]
    left.add_(1.0)
    right.mul_(0.5)
    return s.out(h)


@case("a.weight")
def select_and_stack_back(s, x):
    h = s.a(x).tanh()
    return s.out(torch.stack([h[:, i] for i in range(5)], 1))


@case()
def select_and_stack_rotated(s, x):
    h = s.a(x).tanh()
    return s.out(torch.stack([h[:, (i + 1) % 5] for i in range(5)], 1))


@case()
def written_in_a_loop(s, x):
    h = s.a(x).tanh()
    for i in range(1, 5):
        h[:, i] += h[:, i - 1] * 0.5
    return s.out(h)


@case("a.weight")
def written_in_a_loop_over_rows(s, x):
    h = s.a(x).tanh()
    for i in range(1, 4):
        h[i] += h[i - 1] * 0.5
    return s.out(h)


@case("a.weight")
def filled_row_by_row(s, x):
    z = torch.zeros(4, 5, dtype=x.dtype)
    for i in range(4):
        z[i] = torch.tanh(s.a(x[i]))
    return s.out(z)
