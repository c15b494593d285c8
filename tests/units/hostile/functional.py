"""Functions of functions: torch.func, checkpoints, custom derivatives, functional calls."""

import torch
from torch.func import functional_call, grad, jacrev, jvp, vmap
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from units.hostile.case import Small, case


class Double(torch.autograd.Function):
    @staticmethod
    def forward(ctx, h):
        return h * 2

    @staticmethod
    def backward(ctx, given):
        return given * 2


class Backwards(torch.autograd.Function):
    @staticmethod
    def forward(ctx, h):
        return torch.from_numpy(h.detach().numpy()[:, ::-1].copy())

    @staticmethod
    def backward(ctx, given):
        return given.flip(-1)


@case("a.weight")
def a_derivative_of_its_own(s, x):
    return s.out(Double.apply(torch.tanh(s.a(x))))


@case()
def a_derivative_of_its_own_by_numpy(s, x):
    return s.out(Backwards.apply(torch.tanh(s.a(x))))


@case("a.weight")
def checkpointed(s, x):
    return s.out(checkpoint(lambda v: torch.tanh(s.a(v)), x, use_reentrant=False))


@case("a.weight")
def checkpointed_the_old_way(s, x):
    return s.out(checkpoint(lambda v: torch.tanh(s.a(v)), x, use_reentrant=True))


@case("a.weight")
def mapped_over_rows(s, x):
    return vmap(lambda row: s.out(torch.tanh(s.a(row))))(x)


@case("a.weight")
def mapped_over_units(s, x):
    return s.out(vmap(torch.tanh, in_dims=1, out_dims=1)(s.a(x)))


@case()
def mapped_over_units_with_positions(s, x):
    return s.out(vmap(lambda u, i: u * i, in_dims=(1, 0), out_dims=1)(s.a(x), torch.arange(5, dtype=x.dtype)))


@case("a.weight")
def a_gradient_in_the_forward(s, x):
    return grad(lambda v: s.out(torch.tanh(s.a(v))).sum())(x)


@case("a.weight")
def a_directional_derivative(s, x):
    return jvp(lambda v: s.out(torch.tanh(s.a(v))), (x,), (torch.ones_like(x),))[1]


@case("a.weight")
def a_jacobian(s, x):
    return jacrev(lambda v: s.out(torch.sigmoid(s.a(v))))(x[0])


@case()
def a_jacobian_of_hidden_units(s, x):
    return jacrev(lambda v: torch.sigmoid(s.a(v)))(x[0])


@case("a.weight")
def a_gradient_through_autograd(s, x):
    with torch.enable_grad():
        v = x.detach().clone().requires_grad_()
        return torch.autograd.grad(s.out(torch.tanh(s.a(v))).sum(), v)[0]


@case("a.weight")
def a_functional_call(s, x):
    return s.out(torch.tanh(functional_call(s.a, {"weight": s.a.weight * 2}, (x,))))


@case()
def a_functional_call_with_reordered_rows(s, x):
    return s.out(torch.tanh(functional_call(s.a, {"weight": s.a.weight.flip(0)}, (x,))))


@case("a.weight c.weight")
def a_functional_call_of_all(s, x):
    own = {"weight": s.c.weight + s.w5, "bias": s.c.bias}
    return s.out(torch.tanh(functional_call(s.c, own, (torch.tanh(s.a(x)),))))


@case("a.weight")
def an_inner_step_of_learning(s, x):
    def loss(weight):
        return (s.out(torch.tanh(F.linear(x, weight, s.a.bias))) ** 2).mean()

    weight = s.a.weight - 0.1 * grad(loss)(s.a.weight)
    return s.out(torch.tanh(F.linear(x, weight, s.a.bias)))


@case("a.weight")
def a_recursion(s, x):
    def deep(h, n):
        return h if n == 0 else deep(torch.tanh(s.c(h)), n - 1)

    return s.out(deep(torch.tanh(s.a(x)), 3))


@case("a.weight")
def a_fixed_point(s, x):
    h = torch.zeros(4, 5, dtype=x.dtype)
    for _ in range(5):
        h = torch.tanh(s.a(x) + 0.1 * h @ s.w5)
    return s.out(h)


@case("a.weight")
def a_while_loop_on_a_norm(s, x):
    h, n = torch.tanh(s.a(x)), 0
    while h.norm() > 0.5 and n < 20:
        h, n = h * 0.8, n + 1
    return s.out(h)


@case("a.weight")
def scanned_over_rows(s, x):
    h, found = torch.zeros(5, dtype=x.dtype), []
    for row in x:
        h = torch.tanh(s.a(row) + s.c(h))
        found.append(h)
    return s.out(torch.stack(found))


@case("a.weight", model=True)
def a_scripted_function():
    return Small(lambda s, x: s.out(_scripted(s.a(x))))


@torch.jit.script_if_tracing
def _scripted(h):
    return torch.tanh(h)


@case(model=True)
def a_method_of_another_class():
    class Odd(Small):
        def forward(self, x):
            return super().forward(x) * 1.0

    return Odd(lambda s, x: s.out(torch.tanh(s.a(x)) * s.v5.sort().values))


@case("a.weight")
def a_generator_expression(s, x):
    return sum(s.out.weight[:, i] * torch.tanh(s.a(x))[:, i : i + 1] for i in range(5))


@case("a.weight")
def matrices_in_a_batch(s, x):
    return s.out(torch.bmm(torch.tanh(s.a(x))[:, None], s.w5.expand(4, 5, 5))[:, 0])


@case("a.weight")
def a_layer_on_the_transpose(s, x):
    return (s.out.weight @ torch.tanh(s.a.weight @ x.t() + s.a.bias[:, None])).t()


@case("a.weight")
def attention_of_rows(s, x):
    q, k = torch.tanh(s.a(x)), torch.tanh(s.b(x))
    return s.out(F.scaled_dot_product_attention(q[None], k[None], torch.tanh(s.c(q))[None])[0])


@case()
def attention_with_a_bias_over_units(s, x):
    q = torch.tanh(s.a(x)).t()[None]
    bias = torch.arange(25, dtype=x.dtype).view(5, 5) / 10
    return s.out(F.scaled_dot_product_attention(q, q, q, attn_mask=bias)[0].t())


@case()
def causal_attention_over_units(s, x):
    q = torch.tanh(s.a(x)).t()[None]
    return s.out(F.scaled_dot_product_attention(q, q, q, is_causal=True)[0].t())
