"""Operations that depend on the order of units."""

import torch
from torch.nn import functional as F

from units.hostile.case import case


@case()
def rolled(s, x):
    return s.out(torch.tanh(s.a(x)).roll(1, -1))


@case()
def flipped(s, x):
    return s.out(torch.tanh(s.a(x)).flip(-1))


@case("a.weight")
def rolled_over_rows(s, x):
    return s.out(torch.tanh(s.a(x)).roll(1, 0))


@case()
def rolled_flat(s, x):
    return s.out(torch.tanh(s.a(x)).roll(5))


@case()
def cumulative(s, x):
    return s.out(torch.tanh(s.a(x)).cumsum(-1))


@case("a.weight")
def cumulative_over_rows(s, x):
    return s.out(torch.tanh(s.a(x)).cumsum(0))


@case()
def softmax_then_cumulative(s, x):
    return s.out(s.a(x).softmax(-1).cumsum(-1))


@case()
def convolved_over_units(s, x):
    kernel = torch.tensor([[[0.2, 0.5, 0.3]]], dtype=x.dtype)
    return s.out(F.conv1d(torch.tanh(s.a(x))[:, None], kernel, padding=1)[:, 0])


@case()
def pooled_over_units(s, x):
    return s.out(F.avg_pool1d(torch.tanh(s.a(x))[:, None], 3, 1, 1)[:, 0])


@case()
def positions_added_to_units(s, x):
    return s.out(torch.tanh(s.a(x)) + torch.arange(5, dtype=x.dtype))


@case("a.weight")
def positions_added_to_rows(s, x):
    return s.out(torch.tanh(s.a(x)) + torch.arange(4, dtype=x.dtype)[:, None])


@case()
def sines_of_positions(s, x):
    return s.out(torch.tanh(s.a(x)) * torch.sin(torch.arange(5, dtype=x.dtype) / 3))


@case()
def rotary(s, x):
    h = torch.cat([torch.tanh(s.a(x)), torch.tanh(s.b(x))], -1)
    first, second = h.chunk(2, -1)
    angle = torch.arange(5, dtype=x.dtype) * 0.3
    return s.out(first * angle.cos() - second * angle.sin())


@case()
def differences(s, x):
    return s.out(F.pad(torch.tanh(s.a(x)).diff(dim=-1), (0, 1)))


@case()
def padded_and_cut(s, x):
    return s.out(F.pad(torch.tanh(s.a(x)), (1, -1)))


@case()
def padded_by_reflection(s, x):
    return s.out(F.pad(torch.tanh(s.a(x))[:, None], (1, 1), mode="reflect")[:, 0, 1:-1] * torch.arange(5))


@case("a.weight")
def sorted_and_summed(s, x):
    return s.out(torch.tanh(s.a(x))) + torch.tanh(s.b(x)).sort(-1).values[:, :2].sum(-1, keepdim=True)


@case()
def sorted_values_by_place(s, x):
    return s.out(torch.tanh(s.a(x)).sort(-1).values)


@case("a.weight")
def sorted_rows(s, x):
    return s.out(torch.tanh(s.a(x)).sort(0).values)


@case()
def argsort_used(s, x):
    return s.out(torch.tanh(s.a(x)) * s.b(x).argsort(-1).to(x.dtype))


@case("a.weight out.weight:1")
def a_threshold_from_topk(s, x):
    h = torch.tanh(s.a(x))
    return s.out(torch.where(h >= h.topk(2, -1).values[:, -1:], h, torch.zeros_like(h)))


@case()
def positions_from_topk(s, x):
    h = torch.tanh(s.a(x))
    return s.out(torch.zeros_like(h).scatter(1, h.topk(2, -1).indices, 1.0) * torch.arange(5))


@case()
def argmax_as_a_number(s, x):
    h = torch.tanh(s.a(x))
    return s.out(h) + h.argmax(-1, keepdim=True)


@case("a.weight")
def argmax_over_rows(s, x):
    h = torch.tanh(s.a(x))
    return s.out(h.gather(0, h.argmax(0, keepdim=True)))


@case("a.weight")
def median_over_units(s, x):
    h = torch.tanh(s.a(x))
    return s.out(h - h.median(-1, keepdim=True).values)


@case("a.weight")
def quantile_over_units(s, x):
    h = torch.tanh(s.a(x))
    return s.out(h - h.quantile(0.5, -1, keepdim=True))


@case()
def fft(s, x):
    return s.out(torch.fft.fft(torch.tanh(s.a(x))).real)


@case("a.weight")
def fft_over_rows(s, x):
    return s.out(torch.fft.fft(torch.tanh(s.a(x)), dim=0).real)


@case()
def fft_there_and_back(s, x):
    h = torch.fft.rfft(torch.tanh(s.a(x)))
    h[:, 1] = 0
    return s.out(torch.fft.irfft(h, 5))


@case()
def complex_parts(s, x):
    z = torch.complex(s.a(x), s.b(x))
    return s.out(
        torch.view_as_real(z * torch.polar(torch.ones(5, dtype=x.dtype), torch.arange(5, dtype=x.dtype)))[..., 0]
    )


@case("a.weight b.weight")
def complex_size(s, x):
    return s.out(torch.complex(s.a(x), s.b(x)).abs())


@case()
def complex_viewed_as_pairs(s, x):
    h = torch.tanh(torch.cat([s.a(x), s.b(x)], -1)).view(4, 5, 2)
    z = torch.view_as_complex(h.contiguous()) * torch.tensor(1j, dtype=torch.complex64).to(
        torch.complex128 if x.dtype == torch.float64 else torch.complex64
    )
    return s.out(torch.view_as_real(z)[..., 0])


@case()
def lower_triangle(s, x):
    return s.out(torch.tanh(s.a(x)) @ s.w5.tril())


@case()
def inverted(s, x):
    return s.out(
        torch.linalg.solve_triangular(s.w5.tril() + 3 * torch.eye(5, dtype=x.dtype), s.a(x).t(), upper=False).t()
    )


@case("a.weight")
def solved(s, x):
    square = s.w5 + 5 * torch.eye(5, dtype=x.dtype)
    return s.out(torch.linalg.solve(square, torch.tanh(s.a(x)).t()).t())


@case()
def householder(s, x):
    return s.out(torch.tanh(s.a(x)) @ torch.linalg.qr(s.w5)[0])


@case()
def channels_shuffled(s, x):
    h = torch.cat([torch.tanh(s.a(x)), torch.tanh(s.b(x))], -1)
    return s.out(F.channel_shuffle(h[:, :, None, None], 2)[:, :5, 0, 0])


@case()
def einsum_of_a_diagonal(s, x):
    return s.out(torch.einsum("bi,ii->bi", torch.tanh(s.a(x)), s.w5))


@case()
def einsum_of_a_repeated_letter(s, x):
    h = torch.tanh(s.a(x))
    return s.out(torch.einsum("bi,bj,ij->bi", h, torch.arange(5, dtype=x.dtype).expand(4, 5), s.w5))


@case("a.weight")
def einsum_with_an_ellipsis(s, x):
    return s.out(torch.einsum("...i,ij->...j", torch.tanh(s.a(x)), s.w5))


@case("a.weight")
def einsum_summed_out(s, x):
    return torch.einsum("bi,oi->bo", torch.tanh(s.a(x)), s.out.weight)


@case()
def outer_with_positions(s, x):
    h = torch.tanh(s.a(x))
    return s.out(torch.einsum("bi,j->bij", h, torch.arange(5, dtype=x.dtype)).diagonal(dim1=1, dim2=2))


@case()
def kronecker(s, x):
    return s.out(torch.kron(torch.tanh(s.a(x)), torch.tensor([[1.0, 2.0]], dtype=x.dtype))[:, 2:7])


@case()
def trapezoid(s, x):
    h = torch.tanh(s.a(x))
    return s.out(h) + torch.trapezoid(h, dim=-1)[:, None]


@case("a.weight")
def distances_between_rows(s, x):
    h = torch.tanh(s.a(x))
    return torch.cdist(h, h) + s.out(h).sum()


@case()
def recurrence_along_units(s, x):
    h, carry, found = torch.tanh(s.a(x)), torch.zeros(4, dtype=x.dtype), []
    for unit in h.unbind(-1):
        carry = torch.tanh(carry * 0.5 + unit)
        found.append(carry)
    return s.out(torch.stack(found, -1))


@case()
def the_first_unit_apart(s, x):
    h = torch.tanh(s.a(x))
    return s.out(h) + h[:, :1] * 2


@case("a.weight b.weight")
def maximum_over_two(s, x):
    return s.out(torch.stack([s.a(x), s.b(x)]).max(0).values)


@case()
def windows_over_units(s, x):
    return s.out(torch.tanh(s.a(x)).repeat(1, 2).unfold(1, 5, 5).sum(1) * torch.arange(5))
