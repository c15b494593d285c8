"""Masks, positions and writes by them."""

import torch

from units.hostile.case import case


@case("a.weight")
def a_mask_that_keeps_all(s, x):
    return s.out(torch.tanh(s.a(x))[torch.ones(4, dtype=torch.bool)])


@case()
def a_mask_over_units_that_keeps_all(s, x):
    return s.out(torch.tanh(s.a(x))[:, torch.ones(5, dtype=torch.bool)])


@case()
def a_mask_over_units_that_keeps_some(s, x):
    h = torch.cat([s.a(x), s.b(x)], -1)
    return s.out(h[:, torch.arange(10) % 2 == 0])


@case()
def a_byte_mask(s, x):
    return s.out(torch.tanh(s.a(x))[:, (torch.arange(5) < 9)])


@case()
def a_mask_of_two_axes(s, x):
    h = torch.tanh(s.a(x))
    return s.out(h[torch.ones(4, 5, dtype=torch.bool)].view(4, 5))


@case()
def a_mask_of_two_axes_written(s, x):
    h = torch.tanh(s.a(x))
    mask = torch.ones(4, 5, dtype=torch.bool).tril()
    h[mask] = 0.5
    return s.out(h)


@case()
def hidden_written_under_a_mask_of_two_axes(s, x):
    z = torch.zeros(4, 5, dtype=x.dtype)
    z[torch.ones(4, 5, dtype=torch.bool)] = torch.tanh(s.a(x)).flatten()
    return s.out(z)


@case("a.weight")
def a_diagonal_written_by_positions(s, x):
    z, i = torch.zeros(4, 5, 4, dtype=x.dtype), torch.arange(4)
    z[i, :, i] = torch.tanh(s.a(x))
    return s.out(z.sum(-1))


@case()
def a_diagonal_written_at_units(s, x):
    z, i = torch.zeros(5, 4, 5, dtype=x.dtype), torch.arange(5)
    z[i, :, i] = torch.tanh(s.a(x)).t()
    return s.out(z[1])


@case("a.weight")
def positions_on_both_sides_read(s, x):
    z = torch.tanh(s.a(x))[:, :, None].expand(4, 5, 4)
    i = torch.arange(4)
    return s.out(z[i, :, i])


@case()
def pairs_of_positions(s, x):
    h = torch.tanh(s.a(x))
    return h[torch.arange(4), torch.tensor([0, 1, 2, 3])]


@case()
def all_positions_in_order(s, x):
    return s.out(torch.tanh(s.a(x))[:, torch.arange(5)])


@case()
def a_list_of_positions(s, x):
    return s.out(torch.tanh(s.a(x))[:, [4, 3, 2, 1, 0]])


@case()
def index_put_accumulated(s, x):
    z = torch.zeros(4, 5, dtype=x.dtype)
    z.index_put_((torch.arange(4)[:, None], torch.tensor([[0, 1, 2, 3, 3]])), torch.tanh(s.a(x)), accumulate=True)
    return s.out(z)


@case("a.weight")
def index_put_rows(s, x):
    z = torch.zeros(4, 5, dtype=x.dtype)
    z.index_put_((torch.tensor([0, 2]),), torch.tanh(s.a(x))[:2])
    return s.out(z)


@case()
def index_put_a_row_of_other_width(s, x):
    z = torch.zeros(5, 4, dtype=x.dtype)
    z[torch.arange(5)] = torch.tanh(s.a(x)).t().contiguous()
    return s.out(z.t())


@case("a.weight")
def index_select_rows(s, x):
    return s.out(torch.tanh(s.a(x)).index_select(0, torch.tensor([3, 0, 1])))


@case()
def index_copy_of_columns(s, x):
    h = torch.tanh(s.a(x))
    return s.out(h.index_copy(1, torch.tensor([0, 1]), h[:, 3:]))


@case("a.weight b.weight")
def index_add_of_rows(s, x):
    return s.out(torch.tanh(s.a(x)).index_add(0, torch.tensor([0, 1, 1, 0]), torch.tanh(s.b(x))))


@case()
def gather_along_units(s, x):
    h = torch.tanh(s.a(x))
    return s.out(h.gather(1, torch.tensor([[1, 2, 3, 4, 0]]).expand(4, 5)))


@case("a.weight")
def gather_along_rows(s, x):
    h = torch.tanh(s.a(x))
    return s.out(h.gather(0, torch.tensor([[1], [2], [3], [0]]).expand(4, 5)))


@case()
def gather_along_rows_by_a_mixed_index(s, x):
    h = torch.tanh(s.a(x))
    return s.out(h.gather(0, torch.arange(20).view(4, 5) % 4))


@case()
def scatter_of_columns(s, x):
    h = torch.tanh(s.a(x))
    where = torch.tensor([[4, 3, 2, 1, 0]]).expand(4, 5)
    return s.out(torch.zeros_like(h).scatter(1, where, h))


@case()
def scatter_a_number(s, x):
    h = torch.tanh(s.a(x))
    return s.out(h.scatter(1, torch.full((4, 1), 2), 0.3))


@case()
def take(s, x):
    h = torch.tanh(s.a(x))
    return s.out(torch.take(h, torch.arange(20).flip(0).view(4, 5)))


@case()
def masked_select_and_view(s, x):
    h = torch.tanh(s.a(x))
    return s.out(h.masked_select(torch.ones_like(h, dtype=torch.bool)).view(4, 5))


@case("a.weight")
def masked_fill_by_itself(s, x):
    h = torch.tanh(s.a(x))
    return s.out(h.masked_fill(h > 0.1, 0.3))


@case()
def masked_fill_at_positions(s, x):
    h = torch.tanh(s.a(x))
    return s.out(h.masked_fill(torch.arange(5) == 3, 0.0))


@case()
def a_mask_of_minus_infinity(s, x):
    mask = torch.zeros(5, dtype=x.dtype)
    mask[3:] = float("-inf")
    return s.out((s.a(x) + mask).softmax(-1))


@case("a.weight")
def an_action_mask_on_the_output(s, x):
    mask = torch.tensor([0.0, float("-inf")], dtype=x.dtype)
    return s.out(torch.tanh(s.a(x))) + mask


@case("a.weight")
def not_a_number_on_purpose(s, x):
    y = s.out(torch.tanh(s.a(x)))
    return torch.where(torch.tensor([True, False]), y, torch.full_like(y, float("nan")))


@case()
def nonzero_positions(s, x):
    h = torch.tanh(s.a(x))
    rows, columns = (h > -2).nonzero(as_tuple=True)
    return s.out(h) + (h[rows, columns] * columns).sum()


@case()
def bucketed(s, x):
    h = torch.tanh(s.a(x))
    return s.out(h * torch.bucketize(torch.arange(5), torch.tensor([1, 3])).to(x.dtype))


@case()
def boolean_sum_as_width(s, x):
    h = torch.tanh(s.a(x))
    count = (torch.arange(5) < 3).sum()
    return s.out(h * (torch.arange(5) < count).to(x.dtype))


@case("a.weight")
def select_the_last_row(s, x):
    return s.out(torch.tanh(s.a(x))[-1:])


@case()
def a_slice_with_a_step(s, x):
    h = torch.cat([torch.tanh(s.a(x)), torch.tanh(s.b(x))], -1)
    return s.out(h[:, ::2])


class _Wide(torch.nn.Module):
    def __init__(self, run):
        super().__init__()
        self.i, self.o, self.run = torch.nn.Linear(3, 8), torch.nn.Linear(4, 2), run

    def forward(self, x):
        return self.run(self, x)


@case("i.weight o.weight:1", model=True)
def interleaved_gates():
    return _Wide(lambda s, x: s.o(s.i(x)[..., ::2] * s.i(x)[..., 1::2].sigmoid()))


@case("i.weight o.weight:1", model=True)
def interleaved_written():
    def run(s, x):
        h = s.i(x)
        z = torch.empty(4, 4, dtype=x.dtype)
        z.copy_(h[:, 0::2])
        return s.o(z.mul_(h[:, 1::2].tanh()))

    return _Wide(run)


@case(model=True)
def interleaved_by_three():
    def run(s, x):
        h = s.i(x)[:, ::2]
        return s.o(h + s.i(x)[:, [1, 0, 5, 3]])

    return _Wide(run)
