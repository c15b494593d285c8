"""Casts and mixed precision: a tolerance for low precision must not let a wrong term pass."""

import torch

from units.hostile.case import Small, case


def mixed(name, dtype, run):
    """A model in which one parameter is of another precision."""
    s = Small(run)
    setattr(s, name, torch.nn.Parameter(getattr(s, name).detach().to(dtype)))
    return s


SMALL = 5e-3
"""A wrong term of half a percent."""


@case("a.weight", model=True, tolerance=1e-3)
def one_parameter_in_half():
    return mixed("v5", torch.float16, lambda s, x: s.out(torch.tanh(s.a(x)) * s.v5.to(x.dtype)))


@case(model=True, tolerance=1e-4)
def a_small_wrong_term_beside_a_half():
    def run(s, x):
        h = torch.tanh(s.a(x))
        return s.out(h + SMALL * h.roll(1, -1)) + s.v5.to(x.dtype).sum()

    return mixed("v5", torch.float16, run)


@case(model=True, tolerance=1e-4)
def a_small_wrong_term_in_float32():
    def run(s, x):
        h = torch.tanh(s.a(x))
        return s.out(h + SMALL * torch.flip(h, (-1,)))

    return Small(run)


@case(model=True, tolerance=1e-4)
def a_small_wrong_term_by_numpy():
    def run(s, x):
        h = torch.tanh(s.a(x))
        return s.out(h + SMALL * torch.from_numpy(h.detach().numpy()[:, ::-1].copy()))

    return Small(run)


@case(tolerance=1e-4)
def a_small_mask_by_pieces(s, x):
    m = torch.ones(5, dtype=x.dtype)
    m[1] += SMALL
    return s.out(torch.tanh(s.a(x)) * m)


@case(tolerance=1e-4)
def a_small_mask_in_float32_inside(s, x):
    m = torch.ones(5)
    m[1] += SMALL
    return s.out((torch.tanh(s.a(x)).float() * m).to(x.dtype))


@case("a.weight", tolerance=1e-4)
def cast_to_float_inside(s, x):
    return s.out(torch.tanh(s.a(x)).float().softmax(-1).to(x.dtype))


@case("a.weight", tolerance=3e-2)
def cast_to_half_inside(s, x):
    return s.out(torch.tanh(s.a(x)).half().to(x.dtype))


@case(tolerance=3e-2)
def cast_to_half_and_rolled(s, x):
    return s.out(torch.tanh(s.a(x)).half().roll(1, -1).to(x.dtype))


@case("a.weight", tolerance=3e-2)
def cast_to_bfloat_inside(s, x):
    return s.out(torch.tanh(s.a(x)).bfloat16().to(x.dtype))


@case(tolerance=1e-4)
def a_float32_constant(s, x):
    return s.out(torch.tanh(s.a(x)) * torch.linspace(0, 1, 5))


@case(tolerance=1e-4)
def a_float32_buffer_written(s, x):
    z = torch.zeros(4, 5)
    z[:, :3] = torch.tanh(s.a(x))[:, 2:]
    return s.out(z.to(x.dtype))


@case("a.weight", tolerance=1e-4)
def autocast_off(s, x):
    with torch.autocast("cpu", enabled=False):
        return s.out(torch.tanh(s.a(x)))


@case("a.weight", tolerance=5e-2)
def autocast_to_bfloat(s, x):
    with torch.autocast("cpu", dtype=torch.bfloat16):
        h = torch.tanh(s.a(x))
    return s.out(h.to(x.dtype))


@case(tolerance=5e-2)
def autocast_and_rolled(s, x):
    with torch.autocast("cpu", dtype=torch.bfloat16):
        h = torch.tanh(s.a(x))
    return s.out(h.to(x.dtype).flip(-1))


@case()
def by_the_bits(s, x):
    h = torch.tanh(s.a(x))
    return s.out(torch.where(torch.arange(5) > 2, h.float().to(x.dtype) * 2, h))


@case("a.weight")
def rounded_to_a_grid(s, x):
    return s.out(torch.round(torch.tanh(s.a(x)) * 7) / 7)


@case("a.weight")
def straight_through(s, x):
    h = torch.tanh(s.a(x))
    return s.out(h + (h.sign() - h).detach())


@case("a.weight")
def large_numbers(s, x):
    return s.out(torch.tanh(s.a(x)) * 1e4) / 1e4


@case()
def a_wrong_term_beside_a_large_output(s, x):
    h = torch.tanh(s.a(x))
    return torch.cat([s.out(h) * 1e3, 0.1 * h[:, :1]], -1)


@case()
def a_tiny_second_output(s, x):
    h = torch.tanh(s.a(x))
    return s.out(h) * 100, 1e-4 * h[:, 2]


@case()
def a_wrong_term_in_one_row_of_many(s, x):
    h = torch.tanh(s.a(x))
    y = s.out(h) * 50
    return torch.cat([y, s.out(h * torch.arange(5, dtype=x.dtype))[:1] * 0.01])


@case("a.weight")
def precision_asked_of_the_weights(s, x):
    return s.out(torch.tanh(s.a(x)) * torch.finfo(s.a.weight.dtype).eps ** 0)
