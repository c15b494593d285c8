"""Sizes that agree by chance: batch and units, squares, axes of one, groups of two."""

import torch
from torch import nn
from torch.nn import functional as F

from units.hostile.case import Small, case


def five_rows(random):
    return (torch.randn(5, 3, generator=random),)


def three_rows(random):
    return (torch.randn(3, 3, generator=random),)


def one_row(random):
    return (torch.randn(1, 3, generator=random),)


@case("a.weight", inputs=five_rows)
def as_many_rows_as_units(s, x):
    return s.out(torch.tanh(s.a(x)))


@case(inputs=five_rows)
def added_to_its_transpose(s, x):
    h = torch.tanh(s.a(x))
    return s.out(h + h.t())


@case(inputs=five_rows)
def multiplied_by_its_transpose(s, x):
    h = torch.tanh(s.a(x))
    return s.out(h @ h)


@case("a.weight", inputs=five_rows)
def rows_of_products(s, x):
    h = torch.tanh(s.a(x))
    return s.out((h @ h.t()) @ h)


@case(inputs=five_rows)
def a_vector_on_the_wrong_axis(s, x):
    return s.out(torch.tanh(s.a(x)) * x.sum(-1))


@case(inputs=five_rows)
def the_diagonal_of_a_square_batch(s, x):
    return s.out(torch.tanh(s.a(x)).diagonal()[None])


@case(inputs=five_rows)
def written_at_the_diagonal(s, x):
    h = torch.tanh(s.a(x))
    h[torch.arange(5), torch.arange(5)] = 0.0
    return s.out(h)


@case(inputs=five_rows)
def viewed_as_it_is_but_transposed(s, x):
    return s.out(torch.tanh(s.a(x)).t().contiguous().view(5, 5))


@case(inputs=five_rows)
def triangle_of_a_square_batch(s, x):
    return s.out(torch.tanh(s.a(x)).tril())


@case("a.weight", inputs=five_rows)
def softmax_over_rows(s, x):
    return s.out(s.a(x).softmax(0))


@case("a.weight", inputs=one_row)
def one_row_squeezed(s, x):
    return s.out(torch.tanh(s.a(x)).squeeze())


@case("a.weight", inputs=one_row)
def one_row_broadcast(s, x):
    return s.out(torch.tanh(s.a(x)) + torch.tanh(s.b(x)).expand(4, 5))


@case(inputs=one_row)
def one_row_transposed_and_broadcast(s, x):
    h = torch.tanh(s.a(x))
    return s.out(h + h.t())


@case("a.weight", inputs=one_row)
def an_outer_sum(s, x):
    h = torch.tanh(s.a(x))
    return s.out((h + 0.5 * h.t()).mean(0))


@case("a.weight", model=True)
def two_units():
    return Small(lambda s, x: s.out(torch.tanh(s.a(x))), units=2)


@case(model=True)
def two_units_swapped_by_roll():
    return Small(lambda s, x: s.out(torch.tanh(s.a(x)).roll(1, -1) * s.v5), units=2)


@case(model=True)
def two_units_flipped():
    return Small(lambda s, x: s.out(torch.tanh(s.a(x)).flip(-1)), units=2)


@case(model=True)
def two_units_and_a_mask():
    def run(s, x):
        m = torch.zeros(2, dtype=x.dtype)
        m[1] = 1.0
        return s.out(torch.tanh(s.a(x)) * m)

    return Small(run, units=2)


@case(model=True)
def two_units_as_a_complex_number():
    def run(s, x):
        z = torch.view_as_complex(torch.tanh(s.a(x)).contiguous())
        return s.out(torch.view_as_real(z * z))

    return Small(run, units=2)


@case(model=True)
def two_units_that_are_sizes_of_everything():
    return Small(lambda s, x: s.out(torch.tanh(s.a(x)).deg2rad() * torch.arange(2, dtype=x.dtype)), units=2)


@case("a.weight", model=True)
def one_unit():
    return Small(lambda s, x: s.out(torch.tanh(s.a(x)) * torch.ones(5, dtype=x.dtype)[:1]), units=5)


@case(model=True)
def one_unit_broadcast_over_positions():
    return Small(lambda s, x: s.out(torch.tanh(s.a(x))[:, :1] * torch.arange(5, dtype=x.dtype)), units=5)


@case("a.weight", model=True, inputs=three_rows)
def features_rows_and_units_equal():
    return Small(lambda s, x: s.out(torch.tanh(s.a(x)) @ s.w5), units=3)


@case(model=True, inputs=three_rows)
def features_and_units_added():
    return Small(lambda s, x: s.out(torch.tanh(s.a(x)) + x), units=3)


@case(model=True, inputs=three_rows)
def the_weight_transposed_by_mistake():
    return Small(lambda s, x: s.out(torch.tanh(x @ s.a.weight) + torch.tanh(s.a(x))), units=3)


@case(model=True)
def heads_and_dimensions_equal():
    def run(s, x):
        h = torch.tanh(s.a(x)).view(-1, 4, 4)
        return s.out((h + 0.5 * h.transpose(1, 2)).reshape(-1, 16))

    return Small(run, units=16)


@case("a.weight", model=True)
def heads_by_dimensions():
    def run(s, x):
        h = torch.tanh(s.a(x)).view(-1, 4, 4)
        return s.out((h * h.softmax(1)).reshape(-1, 16))

    return Small(run, units=16)


@case(model=True)
def heads_read_the_other_way():
    def run(s, x):
        h = torch.tanh(s.a(x)).view(-1, 4, 4)
        return s.out(h.transpose(1, 2).reshape(-1, 16) + torch.tanh(s.a(x)))

    return Small(run, units=16)


@case("a.weight", model=True)
def groups_of_two_normalised():
    return Small(lambda s, x: s.out(F.group_norm(torch.tanh(s.a(x)), 2)), units=4)


@case("a.weight", model=True)
def a_group_for_each_unit():
    return Small(lambda s, x: s.out(F.group_norm(torch.tanh(s.a(x))[:, :, None].expand(-1, 4, 3), 4).mean(-1)), units=4)


class Image(nn.Module):
    def __init__(self, run, channels=4, size=4):
        super().__init__()
        self.first, self.second = nn.Conv2d(3, channels, 1), nn.Conv2d(channels, channels, 3, padding=1)
        self.out, self.run = nn.Linear(channels * size * size, 2), run

    def forward(self, x):
        return self.run(self, x)


def image(random):
    return (torch.randn(4, 3, 4, 4, generator=random),)


@case("first.weight", model=True, inputs=image)
def channels_height_and_width_equal():
    return Image(lambda s, x: s.out(torch.tanh(s.second(torch.tanh(s.first(x)))).flatten(1)))


@case(model=True, inputs=image)
def channels_swapped_with_height():
    return Image(lambda s, x: s.out(torch.tanh(s.second(torch.tanh(s.first(x)).transpose(1, 2))).flatten(1)))


@case("first.weight", model=True, inputs=image)
def height_swapped_with_width():
    return Image(lambda s, x: s.out(torch.tanh(s.second(torch.tanh(s.first(x)).transpose(2, 3))).flatten(1)))


@case(model=True, inputs=image)
def added_with_channels_on_another_axis():
    def run(s, x):
        h = torch.tanh(s.first(x))
        return s.out((h + h.permute(0, 2, 1, 3)).flatten(1))

    return Image(run)


@case("first.weight", model=True, inputs=image)
def grouped_convolution():
    s = Image(lambda s, x: s.out(torch.tanh(s.second(torch.tanh(s.first(x)))).flatten(1)))
    s.second = nn.Conv2d(4, 4, 3, padding=1, groups=4)
    return s


@case("first.weight", model=True, inputs=image)
def pixels_shuffled():
    def run(s, x):
        return s.out(F.pixel_unshuffle(F.pixel_shuffle(torch.tanh(s.first(x)), 2), 2).flatten(1))

    return Image(run)


@case(model=True, inputs=image)
def space_to_depth_by_views():
    def run(s, x):
        h = torch.tanh(s.first(x)).view(4, 4, 2, 2, 2, 2).permute(0, 2, 4, 1, 3, 5).reshape(4, 4, 4, 4)
        return s.out(torch.tanh(s.second(h)).flatten(1))

    return Image(run)
