"""Constants built by pieces: their entries differ, so what they are joined with keeps its order."""

import numpy as np
import torch

from units.hostile.case import case


@case()
def zeros_with_a_slice_set(s, x):
    m = torch.zeros(5, dtype=x.dtype)
    m[2:] = 1.0
    return s.out(s.a(x) * m)


@case()
def zeros_with_one_entry_set(s, x):
    m = torch.zeros(5, dtype=x.dtype)
    m[2] = 1.0
    return s.out(s.a(x) * m)


@case()
def ones_with_a_slice_filled(s, x):
    m = torch.ones(5, dtype=x.dtype)
    m[:2].fill_(0.5)
    return s.out(s.a(x) * m)


@case()
def ones_with_a_slice_scaled(s, x):
    m = torch.ones(5, dtype=x.dtype)
    m[:2] *= 0.5
    return s.out(s.a(x) * m)


@case()
def ones_with_a_slice_copied_into(s, x):
    m = torch.ones(5, dtype=x.dtype)
    m[3:].copy_(torch.full((2,), 0.3))
    return s.out(s.a(x) * m)


@case("a.weight out.weight:1")
def the_whole_filled_again(s, x):
    m = torch.zeros(5, dtype=x.dtype)
    m[:] = 0.7
    return s.out(torch.tanh(s.a(x)) * m)


@case("a.weight out.weight:1")
def the_whole_scaled(s, x):
    m = torch.ones(5, dtype=x.dtype)
    m *= 0.5
    return s.out(torch.tanh(s.a(x)) * m)


@case()
def a_view_taken_before_the_write(s, x):
    m = torch.ones(5, dtype=x.dtype)
    late = m.view(5)
    m[0] = 0.2
    return s.out(s.a(x) * late)


@case()
def a_write_through_a_view_of_a_view(s, x):
    m = torch.ones(1, 5, dtype=x.dtype)
    m.squeeze(0)[1:][1:].mul_(0.2)
    return s.out(s.a(x) * m)


@case()
def a_write_through_chunk(s, x):
    m = torch.ones(6, dtype=x.dtype)
    m.chunk(2)[0].zero_()
    return s.out(s.a(x) * m[1:])


@case()
def a_write_through_split(s, x):
    m = torch.ones(5, dtype=x.dtype)
    m.split([2, 3])[1].add_(1.0)
    return s.out(s.a(x) * m)


@case()
def a_write_through_unbind(s, x):
    m = torch.ones(5, dtype=x.dtype)
    m.unbind(0)[3].fill_(2.0)
    return s.out(s.a(x) * m)


@case()
def a_write_through_narrow(s, x):
    m = torch.ones(5, dtype=x.dtype)
    m.narrow(0, 1, 2).neg_()
    return s.out(s.a(x) * m)


@case()
def a_write_through_the_diagonal(s, x):
    m = torch.zeros(5, 5, dtype=x.dtype)
    m.diagonal()[:2].fill_(1.0)
    return s.out(s.a(x) @ m)


@case("a.weight out.weight:1")
def a_uniform_diagonal_written(s, x):
    m = torch.zeros(5, 5, dtype=x.dtype)
    m.diagonal().fill_(0.5)
    return s.out(torch.tanh(s.a(x)) @ m)


@case()
def an_off_diagonal_written(s, x):
    m = torch.zeros(5, 5, dtype=x.dtype)
    m.diagonal(1).fill_(1.0)
    return s.out(s.a(x) @ m)


@case()
def fill_diagonal_then_roll(s, x):
    m = torch.zeros(5, 5, dtype=x.dtype)
    m.fill_diagonal_(1.0)
    return s.out(s.a(x) @ m.roll(1, 0))


@case()
def a_row_of_a_matrix_written(s, x):
    m = torch.zeros(5, 5, dtype=x.dtype)
    m[1] = 1.0
    return s.out(s.a(x) @ m.t())


@case()
def a_write_through_a_transpose(s, x):
    m = torch.ones(5, 4, dtype=x.dtype)
    m.t()[:, 2] = 0.1
    return s.out(s.a(x) * m.t())


@case()
def a_write_through_as_strided(s, x):
    m = torch.ones(5, dtype=x.dtype)
    m.as_strided((2,), (2,)).zero_()
    return s.out(s.a(x) * m)


@case()
def a_write_through_flatten(s, x):
    m = torch.ones(1, 5, dtype=x.dtype)
    m.flatten()[4] = 0.4
    return s.out(s.a(x) * m)


@case()
def index_fill(s, x):
    m = torch.ones(5, dtype=x.dtype).index_fill_(0, torch.tensor([1, 3]), 0.0)
    return s.out(s.a(x) * m)


@case()
def masked_fill_at_a_position(s, x):
    m = torch.ones(5, dtype=x.dtype).masked_fill_(torch.arange(5) == 1, 0.0)
    return s.out(s.a(x) * m)


@case()
def masked_scatter(s, x):
    m = torch.zeros(5, dtype=x.dtype)
    m.masked_scatter_(torch.tensor([True, False, True, False, True]), torch.ones(3, dtype=x.dtype))
    return s.out(s.a(x) * m)


@case()
def index_put(s, x):
    m = torch.zeros(5, dtype=x.dtype)
    m.index_put_((torch.tensor([0, 4]),), torch.ones((), dtype=x.dtype))
    return s.out(s.a(x) * m)


@case()
def put(s, x):
    m = torch.zeros(5, dtype=x.dtype).put_(torch.tensor([2]), torch.ones(1, dtype=x.dtype))
    return s.out(s.a(x) * m)


@case()
def scatter(s, x):
    m = torch.zeros(5, dtype=x.dtype).scatter_(0, torch.tensor([2]), 1.0)
    return s.out(s.a(x) * m)


@case()
def index_add(s, x):
    m = torch.ones(5, dtype=x.dtype).index_add_(0, torch.tensor([2]), torch.ones(1, dtype=x.dtype))
    return s.out(s.a(x) * m)


@case()
def out_into_a_part(s, x):
    m = torch.ones(5, dtype=x.dtype)
    torch.zeros(2, dtype=x.dtype, out=m[:2])
    return s.out(s.a(x) * m)


@case()
def out_argument_of_add(s, x):
    m = torch.zeros(5, dtype=x.dtype)
    torch.add(torch.arange(5, dtype=x.dtype), 1.0, out=m)
    return s.out(s.a(x) * m)


@case()
def a_stack_of_unequal_numbers(s, x):
    return s.out(s.a(x) * torch.stack([torch.tensor(float(i), dtype=x.dtype) for i in range(5)]))


@case("a.weight")
def a_stack_of_equal_numbers(s, x):
    return s.out(torch.tanh(s.a(x)) * torch.stack([torch.tensor(0.5, dtype=x.dtype) for _ in range(5)]))


@case()
def a_cat_of_unequal_parts(s, x):
    return s.out(s.a(x) * torch.cat([torch.zeros(2, dtype=x.dtype), torch.ones(3, dtype=x.dtype)]))


@case()
def a_stack_of_one_unequal_row(s, x):
    rows = [torch.full((4,), 1.0 + (i == 3), dtype=x.dtype) for i in range(5)]
    return s.out(s.a(x) * torch.stack(rows, -1))


@case()
def a_padded_constant(s, x):
    return s.out(s.a(x) * torch.nn.functional.pad(torch.ones(3, dtype=x.dtype), (1, 1)))


@case()
def cumsum_of_ones(s, x):
    return s.out(s.a(x) * torch.ones(5, dtype=x.dtype).cumsum(0))


@case()
def cumprod_of_twos(s, x):
    return s.out(s.a(x) * torch.full((5,), 2.0, dtype=x.dtype).cumprod(0))


@case()
def a_triangle_of_ones(s, x):
    return s.out(s.a(x) @ torch.ones(5, 5, dtype=x.dtype).tril())


@case()
def where_on_positions(s, x):
    return s.out(s.a(x) * torch.where(torch.arange(5) < 2, 1.0, 0.2).to(x.dtype))


@case()
def one_hot(s, x):
    return s.out(s.a(x) * torch.nn.functional.one_hot(torch.tensor(2), 5).to(x.dtype))


@case()
def from_a_python_list(s, x):
    return s.out(s.a(x) * torch.tensor([1.0, 2.0, 3.0, 4.0, 5.0], dtype=x.dtype))


@case()
def from_numpy(s, x):
    return s.out(s.a(x) * torch.from_numpy(np.linspace(0, 1, 5)).to(x.dtype))


@case()
def a_numpy_array_written_after(s, x):
    array = np.ones(5)
    m = torch.from_numpy(array).to(x.dtype) if x.dtype != torch.float64 else torch.from_numpy(array)
    array[2] = 3.0
    return s.out(s.a(x) * (m + torch.from_numpy(array).to(x.dtype)))


@case()
def a_constant_seen_through_numpy(s, x):
    m = torch.ones(5, dtype=x.dtype)
    m.numpy()[1] = 0.1
    return s.out(s.a(x) * m)


@case()
def random_but_seeded(s, x):
    noise = torch.randn(5, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    return s.out(s.a(x) * noise.to(x.dtype))


@case()
def a_loop_over_python_numbers(s, x):
    columns = [s.a(x)[:, i] * (i + 1) for i in range(5)]
    return s.out(torch.stack(columns, -1))


@case()
def an_even_write_of_an_uneven_step(s, x):
    m = torch.ones(5, dtype=x.dtype)
    m[::2] = 0.5
    return s.out(s.a(x) * m)


@case()
def zeros_like_hidden_with_one_column(s, x):
    h = s.a(x)
    m = torch.zeros_like(h)
    m[:, 1] = 1.0
    return s.out(h * m)


@case()
def new_zeros_with_an_ellipsis(s, x):
    h = s.a(x)
    m = h.new_zeros(h.shape)
    m[..., -1] = 1.0
    return s.out(h + m)


@case()
def eye_of_another_width(s, x):
    return s.out(s.a(x) @ torch.eye(5, 6, dtype=x.dtype)[:, 1:])


@case()
def swapped_in_place(s, x):
    m = torch.ones(2, 5, dtype=x.dtype)
    m[0, :2] = 0.0
    m[0], m[1] = m[1].clone(), m[0].clone()
    return s.out(s.a(x) * m[1])


@case("a.weight")
def rows_written_whole(s, x):
    m = torch.zeros(4, 5, dtype=x.dtype)
    m[1] = 1.0
    return s.out(torch.tanh(s.a(x)) * m)
