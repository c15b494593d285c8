"""Forwards composed at random: lines of Python that read, view and write tensors, run as a model's forward.

A program is text, so a failure can be read, cut down line by line, and kept. Whoever writes one chooses by a function
`choose(n)` that gives a number below n: Hypothesis for tests, a seed for long runs.
"""

import random
import re
from collections.abc import Callable

import torch
from torch import nn

from fedma.seeds import generator, number

ROWS, WIDTHS = (3, 4, 5), (4, 4, 4, 6, 2)
LARGEST, MOST_AXES, MOST_OUTPUTS = 200, 4, 4
BOUND = 50.0
"""Values beyond it make rounding visible, so a line that gives them is left out."""

COMPUTE = """
torch.tanh({a})
torch.sigmoid({a})
torch.relu({a})
F.gelu({a})
F.elu({a}) - {a}.exp().clamp(max=2.0)
{a} * {a}
-{a}
{a}.abs().add(1.0).rsqrt()
{a}.clamp(-0.4, 0.6)
{a} * 0.5 + 0.25
{a}.softmax({d})
{a}.log_softmax({d})
F.normalize({a} + 2.0, dim={d})
F.layer_norm({a}, ({a}.shape[-1],))
F.layer_norm({a}, ({a}.shape[-1],), {vec}, {vec})
F.group_norm({a}, {k}, {chan}, {chan})
F.batch_norm({a}, {chanbuf}, {chanbuf}.abs() + 1, {chan}, {chan})
F.glu({a}, {d})
F.prelu({a}, {chan})
F.leaky_relu({a}, 0.2)
{a} + {b}
{a} + {b}
{a} - {b}
{a} * {b}
{a} * {b}
torch.maximum({a}, {b})
torch.where({a} > 0.137, {a}, {b})
torch.where({a} > 0.137, {b}, 0.0)
({a} > 0.137).to({a}.dtype) * {b}
{a}.masked_fill({b} > 0.137, -0.3)
torch.lerp({a}, {b}, 0.3)
torch.addcmul({a}, {b}, {c})
{a}.sum({d}, keepdim=True)
{a}.sum({d})
{a}.mean({d})
{a}.mean({d}, keepdim=True)
{a}.amax({d}, keepdim=True)
{a}.max({d}).values
{a}.min({d}).values
{a}.std({d}, keepdim=True)
{a}.var({d})
{a}.norm(dim={d})
{a}.logsumexp({d})
{a}.prod({d})
{a}.median({d}).values
{a}.cumsum({d})
{a}.cumprod({d})
{a}.sort({d}).values
{a}.topk(1, {d}).values
{a}.topk(2, {d}).values
{a}.argmax({d}).to({a}.dtype)
{a}.argsort({d}).to({a}.dtype)
torch.zeros_like({a}) + {a}.sum()
""".strip().splitlines()

PARAMETERS = """
{a} + {vec}
{a} * {vec}
{a} * {like}
{a} + {like}
{a} @ {mat}
torch.tanh({a} @ {mat})
torch.tanh(F.linear({a}, {tam}, None))
torch.tanh(F.linear({a}, {tam}))
{a} @ {square}
{a} @ {square}.t()
{a} @ ({square} + {square}.t())
{a} @ {square}.flip(0)
{a} @ {square}.softmax(-1)
{a} @ {square}.tril()
{a} @ {square}.as_strided(({n1}, {n1}), (1, {n1}))
{a} @ torch.diag({vec})
torch.einsum('...i,ij->...j', {a}, {square})
torch.einsum('...i,ji->...j', {a}, {square})
torch.einsum('...i,...i->...', {a}, {like})
torch.einsum('ij,kj->ik', {a}, {like})
torch.einsum('ij,ij->j', {a}, {b})
torch.einsum('ij,kj->ikj', {a}, {b})
torch.einsum('ii->i', {square}) * {a}
F.conv1d({a}, {kernel}, padding=1)
F.conv1d({a}.unsqueeze(1), {kernel1}, padding=1).squeeze(1)
torch.outer({vec}, {vec})
torch.cat([{a}, {like}], {d})
{like}.expand_as({a}) * {a}
torch.stack([{a}, {like}], {d})
F.embedding(torch.arange({n1}), {square})
{square}[{a}.shape[-1] - 1] * {a}
{square}[torch.tensor([{i1}, 0])]
torch.bilinear({a}, {a}, {cube}, None)
{a} @ {mat} + {a} @ {mat}
{a} + {vec}.sum()
{a} * {vec}.mean().item()
{a} * torch.linspace(-1, 1, {n1}).to({a}.dtype)
{a} + torch.arange({n1}).to({a}.dtype) * 0.1
""".strip().splitlines()

SHAPES = """
{a}.transpose({d}, {e})
{a}.mT
{a}.permute(*reversed(range({a}.dim())))
{a}.movedim({d}, {e})
{a}.unsqueeze({d})
{a}.squeeze()
{a}.flatten()
{a}.flatten(1)
{a}.reshape(-1, 2)
{a}.reshape(2, -1)
{a}.reshape(-1, {n})
{a}.reshape(-1, {b}.shape[-1])
{a}.reshape({a}.shape[0], 2, -1)
{a}.reshape(*{a}.shape[:-1], -1, 2)
{a}.reshape(*{a}.shape[:-1], 2, -1)
{a}.transpose({d}, {e}).reshape({a}.shape)
{a}.reshape({a}.mT.shape)
{a}.unflatten({d}, (2, -1))
{a}.contiguous().view({a}.shape)
{a}.expand(2, *{a}.shape)
{a}.unsqueeze({d}).expand(*{a}.unsqueeze({d}).shape)
{a}.sum({d}, keepdim=True).expand({a}.shape)
{a}.sum({d}, keepdim=True).repeat_interleave({n}, {d})
{a}.repeat({k}, *[1] * ({a}.dim() - 1))
{a}.repeat(*[1] * ({a}.dim() - 1), {k})
{a}.repeat_interleave(2, {d})
{a}.roll(1, {d})
{a}.flip({d})
{a}.narrow({d}, {i}, 1)
{a}.narrow({d}, 0, {n} // 2)
{a}.select({d}, {i})
{a}[{i0}]
{a}[..., {i1}]
{a}[..., :2]
{a}[..., -2:]
{a}[..., ::2]
{a}[..., 1::2]
{a}[:, None]
{a}[..., [0, -1]]
{a}[..., torch.arange({n1})]
{a}[..., torch.ones({n1}, dtype=torch.bool)]
{a}[..., torch.arange({n1}) > 0]
{a}[torch.arange({n0})]
{a}[torch.tensor([{i0}, 0])]
{a}.diagonal(dim1=0, dim2=-1)
torch.diag_embed({a})
{a}.tril()
{a}.as_strided({a}.shape, {a}.stride())
{a}.contiguous().as_strided(({a}.numel(),), (1,))
{a}.contiguous().as_strided({a}.mT.shape, {a}.mT.stride())
{a}.contiguous().as_strided({a}.shape, {a}.mT.contiguous().mT.stride())
torch.cat([{a}, {b}], {d})
torch.cat([{a}, {a}], {d})
torch.cat([{a}, {b}, {c}], {d})
torch.stack([{a}, {b}], {d})
torch.stack([{a}, {a} * 0.5], {d})
torch.cat([{a}.narrow({d}, {i}, 1), {a}.narrow({d}, 0, {i})], {d})
torch.cat(list({a}.split(1, {d}))[::-1], {d})
torch.stack(list({a}.unbind({d})), {e})
torch.stack(list({a}.unbind({d}))[::-1], {d})
sum({a}.unbind({d}))
sum({a}.chunk(2, {d}))
{a}.chunk(2, {d})[0] * {a}.chunk(2, {d})[-1]
F.pad({a}, (0, 1))
F.pad({a}, (1, 0), value=0.3)
F.pad({a}, (1, -1))
{a}.gather({d}, torch.zeros_like({a}, dtype=torch.long))
{a}.gather({d}, {a}.argsort({d}))
{a}.index_select({d}, torch.arange({n}))
{a}.index_select({d}, torch.tensor([{i}]))
torch.zeros_like({a}).index_add({d}, torch.arange({n}), {b})
torch.zeros_like({a}).scatter({d}, torch.arange({n}).view(-1, *[1] * (-1 - ({d}))).expand({a}.shape), {a})
{a} @ {b}
{a} @ {b}.mT
{a}.mT @ {b}
torch.matmul({a}, {a}.mT) @ {b}
({a} @ {b}.mT).softmax(-1) @ {b}
{a}.unfold({d}, 2, 1)
torch.fft.rfft({a}).abs()
torch.cdist({a}, {b})
""".strip().splitlines()

CONSTANTS = """
{t} = {a}.new_zeros({n1})\n{t}[{i1}] = 0.7
{t} = {a}.new_zeros({n1})\n{t}[{i1}:] = 0.7
{t} = {a}.new_ones({n1})\n{t}[:{i1}] *= 0.5
{t} = {a}.new_ones({n1})\n{t}[{i1}:].fill_(0.5)
{t} = {a}.new_ones({n1})\n{t}.narrow(0, {i1}, 1).copy_({a}.new_full((1,), 0.2))
{t} = {a}.new_ones({n1})\n{t}[torch.tensor([{i1}])] = 0.2
{t} = {a}.new_ones({n1})\n{t}[torch.arange({n1}) > {i1}] = 0.2
{t} = {a}.new_ones({n1})\n{t}.masked_fill_(torch.arange({n1}) == {i1}, 0.2)
{t} = {a}.new_ones({n1})\n{t}.index_fill_(0, torch.tensor([{i1}]), 0.2)
{t} = {a}.new_zeros({n1}, {n1})\n{t}.fill_diagonal_(1.0)
{t} = {a}.new_zeros({n1}, {n1})\n{t}.diagonal().fill_(0.5)
{t} = {a}.new_zeros({n1}, {n1})\n{t}[{i1}] = 0.5
{t} = {a}.new_zeros({n0}, {n1})\n{t}[:, {i1}] = 0.5
{t} = {a}.new_zeros({n1}, {n1})\n{t}[..., {i1}:] += 0.5
{t} = torch.eye({n1}, dtype={a}.dtype)
{t} = torch.eye({n1}, dtype={a}.dtype).roll(1, 0)
{t} = {a}.new_ones({n1}, {n1}).tril()
{t} = {a}.new_ones({n1}, {n1}).cumsum(0)
{t} = {a}.new_ones({n1}).cumsum(0) * 0.3
{t} = torch.stack([{a}.new_tensor(0.2 * i) for i in range({n1})])
{t} = torch.cat([{a}.new_full((1,), 0.3), {a}.new_full(({n1} - 1,), -0.4)])
{t} = {a}.new_tensor([0.2 * i for i in range({n1})])
{t} = {a}.new_tensor([0.5] * {n1})
{t} = {a}.new_full(({n1},), 0.5)
{t} = F.pad({a}.new_ones({n1} - 1), (1, 0))
{t} = torch.where(torch.arange({n1}) > {i1}, 0.5, 0.1).to({a}.dtype)
{t} = {a}.new_zeros({n1}, {n1})\n{t}[torch.arange({n1}), torch.arange({n1})] = {vec}
{t} = torch.zeros_like({a})\n{t}.copy_({a})
{t} = torch.zeros_like({a})\n{t}[...] = {a}
{t} = torch.zeros_like({a})\n{t}.select({d}, {i}).copy_({a}.select({d}, {i}))\n{t}.select({d}, {i}).neg_()
{t} = {a}.new_zeros({n0}, {n1}, {n0})\n{t}[torch.arange({n0}), :, torch.arange({n0})] = {a}
{t} = {a}.new_zeros({n0}, {n1} + 1)\n{t}[:, 1:] = {a}
{t} = {a}.new_zeros({n0}, 2 * {n1})\n{t}[:, ::2] = {a}\n{t}[:, 1::2] = {a} * 0.5
{t} = {a}.new_zeros({n0}, 2, {n1})\n{t}[:, 0] = {a}\n{t}[:, 1] = {b}
{t} = {a}.new_zeros({n0}, {n1}, 2)\n{t}[..., 0] = {a}\n{t}[..., 1] = {b}
{t} = torch.cat([{a}, {b}], -1)\n{t}[..., {i1}] = 0.3
{t} = {a}.clone()\n{t} += {b}
{t} = torch.empty_like({a})\ntorch.add({a}, {b}, out={t})
{t} = torch.empty_like({a})\ntorch.mul({a}, 0.5, out={t}[:])
""".strip().splitlines()
CONSTANTS = [line.replace("\\n", "\n") for line in CONSTANTS]

WRITES = """
{a}[..., {i1}] = 0.3
{a}[..., {i1}:] = 0.3
{a}[..., {n1}:] = 0.3
{a}[{i0}] = 0.3
{a}[{i0}] = {vec}
{a}[:, :1] = {b}[:, :1]
{a}[...] = {b}
{a}[..., :2] = {b}[..., -2:]
{a}.select({d}, {i}).fill_(0.2)
{a}.select({d}, {i}).mul_(0.5)
{a}.select({d}, {i}).copy_({b}.select({d}, {i}))
{a}.narrow({d}, {i}, 1).add_(0.5)
{a}.narrow({d}, 0, {n}).mul_(0.5)
{a}.chunk(2, {d})[0].mul_(0.3)
{a}.split(1, {d})[0].zero_()
{a}.unbind({d})[-1].zero_()
{a}.diagonal(dim1=0, dim2=-1).add_(0.4)
{a}.diagonal(dim1=0, dim2=-1).fill_(0.4)
{a}.transpose({d}, {e})[0] = 0.2
{a}.mT.add_({b})
{a}.view(-1)[{i}] = 0.4
{a}.view(-1)[{i}:].zero_()
{a}.view(2, -1)[0] = 0.4
{a}.flatten()[0] = 0.4
{a}.add_({b})
{a}.mul_({b})
{a}.copy_({b})
{a}.tanh_()
{a}.zero_()
{a}.fill_(0.25)
{a} += {vec}
{a} *= 0.5
{a}.masked_fill_({b} > 0.137, 0.2)
{a}.masked_fill_(torch.arange({n1}) == {i1}, 0.2)
{a}[{a} > 0.437] = 0.0
{a}[torch.arange({n0}), torch.arange({n0}) % {n1}] = 0.3
{a}[torch.tensor([0, {i0}])] = 0.3
{a}[:, torch.tensor([0, 1])] = {b}[:, torch.tensor([1, 0])]
{a}[:, torch.arange({n1}) != {i1}] = 0.1
{a}[torch.ones({n0}, dtype=torch.bool)] = {b}
{a}.index_fill_({d}, torch.tensor([{i}]), 0.3)
{a}.index_copy_({d}, torch.arange({n}), {b})
{a}.index_add_({d}, torch.arange({n}), {b})
{a}.index_add_({d}, torch.tensor([{i}]), {b}.narrow({d}, 0, 1))
{a}.scatter_({d}, torch.zeros_like({a}, dtype=torch.long), 0.3)
{a}.clamp_(max=0.4)
{a}.as_strided((2,), (1,)).zero_()
{a}.t_()
{a}.unsqueeze_(0)
{a}.squeeze_()
{a}.transpose_({d}, {e})
{a}.data = {b}.clone()
{a}.data = torch.tanh({b})
{a}.data.mul_(0.5)
{a}.data[..., 0] = 0.3
{a}.set_({b}.clone())
torch.tanh({b}, out={a})
torch.mul({b}, 0.5, out={a})
""".strip().splitlines()

AWAY = """
copy.deepcopy({a})
copy.copy({a})
torch.from_numpy({a}.detach().numpy() * 1.0)
torch.as_tensor({a}.tolist(), dtype={a}.dtype)
torch.from_numpy(np.flip({a}.detach().numpy(), -1).copy())
torch.utils.dlpack.from_dlpack({a}.detach())
torch.tensor([float(v) for v in {a}.flatten()], dtype={a}.dtype).view({a}.shape)
{a} * float({b}.sum())
{a} * {b}.mean().item()
{a} if {b}.sum() > 0.137 else -{a}
{a} * (2.0 if bool({b}.flatten()[0] > 0.137) else 0.5)
{a}.detach()
{a}.data
{a}.to(torch.float32).to({a}.dtype)
Twice.apply({a})
torch.func.vmap(torch.tanh)({a})
torch.func.vmap(lambda v: v * v.sum())({a})
torch.func.grad(lambda v: torch.tanh(v).sum())({a})
torch.utils.checkpoint.checkpoint(torch.tanh, {a}, use_reentrant=False)
saved({a})
threaded(torch.tanh, {a})
{a}.untyped_storage() and {a}
torch.empty(0, dtype={a}.dtype).set_({a}.contiguous().untyped_storage()).view(-1)[:{a}.numel()]
torch.view_as_real(torch.view_as_complex(torch.stack([{a}, {b}], -1)))
torch.complex({a}, {b}).abs()
torch.complex({a}, {b}).real
torch.tensor_split({a}, 2, {d})[0]
torch.nn.utils.rnn.pad_sequence(list({a}))
torch.nested.nested_tensor(list({a})).to_padded_tensor(0.0)
{a}.to_sparse().to_dense()
""".strip().splitlines()

FAMILIES = [COMPUTE, COMPUTE, PARAMETERS, PARAMETERS, SHAPES, SHAPES, SHAPES, CONSTANTS, WRITES, WRITES, AWAY]

READOUTS = """
{a} @ {out}
(torch.tanh({a}) @ {out})
({a} * {like}).sum()
torch.tanh({a}).sum()
{a}.mean({d}).sum()
torch.tanh({a} @ {out}).sum(0)
{a}.flatten() @ {flat}
""".strip().splitlines()


class Forward(nn.Module):
    """A model whose forward is this text, with these parameters and buffers."""

    def __init__(self, text, parameters, buffers=()):
        super().__init__()
        self.text, self.run = text, compiled(text)
        for name, tensor in parameters.items():
            self.register_parameter(name, nn.Parameter(tensor.clone()))
        for name, tensor in dict(buffers).items():
            self.register_buffer(name, tensor.clone())

    def forward(self, x):
        return self.run(self, x)


def compiled(text):
    """The function that a program's lines are the body of."""
    scope = dict(tools())
    exec("def run(s, x):\n" + "\n".join("    " + line for line in text.splitlines()), scope)
    return scope["run"]


def tools():
    import copy
    import io
    import threading

    import numpy as np
    import torch.nn.functional as F
    import torch.utils.checkpoint

    class Twice(torch.autograd.Function):
        @staticmethod
        def forward(ctx, v):
            return v * 2

        @staticmethod
        def backward(ctx, g):
            return g * 2

    def saved(tensor):
        buffer = io.BytesIO()
        torch.save(tensor, buffer)
        buffer.seek(0)
        return torch.load(buffer, weights_only=True)

    def threaded(function, tensor):
        found = []
        worker = threading.Thread(target=lambda: found.append(function(tensor)))
        worker.start()
        worker.join()
        return found[0]

    return {
        "torch": torch, "F": F, "np": np, "copy": copy, "Twice": Twice, "saved": saved, "threaded": threaded,
    }  # fmt: skip


TOOLS = tools()


def by_seed(seed: int) -> Callable[[int], int]:
    """Choices that a seed decides."""
    return random.Random(number(seed, "program")).randrange


class Writer:
    """Writes one program, line by line, running each line to learn shapes."""

    def __init__(self, choose, families=FAMILIES):
        self.choose, self.families = choose, families
        self.parameters, self.buffers, self.lines = {}, {}, []
        self.random = generator(0, "numbers")
        rows = ROWS[choose(len(ROWS))]
        self.x = torch.randn(rows, 3, generator=self.random)
        self.scope = {**TOOLS, "s": self, "x": self.x.clone()}
        self.pool, self.fresh = ["x"], 0

    def __getattr__(self, name):
        for tensors in (self.__dict__.get("parameters", {}), self.__dict__.get("buffers", {})):
            if name in tensors:
                return tensors[name]
        raise AttributeError(name)

    def draw(self, *shape):
        """A parameter of this shape: an old one, or one more."""
        old = [name for name, tensor in self.parameters.items() if tensor.shape == shape]
        if old and self.choose(4) == 0:
            return f"s.{old[self.choose(len(old))]}"
        name = f"p{len(self.parameters)}"
        self.parameters[name] = torch.randn(shape, generator=self.random) * 0.7
        return f"s.{name}"

    def buffer(self, *shape):
        name = f"q{len(self.buffers)}"
        self.buffers[name] = torch.randn(shape, generator=self.random) * 0.5
        return f"s.{name}"

    def filled(self, template, own=None):
        """The template with its places filled, each letter the same throughout; `own` stands for {a}."""
        known = {}

        def tensor(name):
            return self.scope.get(known[name])

        def fill(match):
            place = match.group(1)
            if place in known and len(place) < 3:
                return known[place]
            known[place] = self._place(place, tensor)
            return known[place]

        known["a"] = own or self.pick()
        return re.sub(r"\{(\w+)\}", fill, template), known["a"]

    def pick(self):
        """Some tensor, a late one more often."""
        last = len(self.pool) - 1
        return self.pool[max(self.choose(last + 1), self.choose(last + 1))]

    def _place(self, place, tensor):
        a = tensor("a")
        shape, dims = tuple(a.shape), a.dim()
        if place in "abc":
            return self.pick()
        if place == "t":
            self.fresh += 1
            return f"t{self.fresh}"
        if place == "k":
            return str((1, 2, 2, 3)[self.choose(4)])
        if place in "de":
            axis = self.choose(dims) - dims
            if place == "d":
                self.axis = axis
            return str(axis)
        sizes = {"n": shape[getattr(self, "axis", -1)] if dims else 0, "n0": shape[0], "n1": shape[-1]}
        if place in sizes:
            return str(sizes[place])
        if place in ("i", "i0", "i1"):
            return str(self.choose(sizes[place.replace("i", "n")]))
        width = WIDTHS[self.choose(len(WIDTHS))]
        last, channels = shape[-1], shape[1] if dims > 1 else shape[-1]
        shapes = {
            "vec": (last,), "like": shape, "mat": (last, width), "tam": (width, last), "square": (last, last),
            "chan": (channels,), "kernel": (width, channels, 3), "kernel1": (1, 1, 3), "cube": (width, last, last),
            "out": (last, 2), "flat": (a.numel(),),
        }  # fmt: skip
        return self.buffer(channels) if place == "chanbuf" else self.draw(*shapes[place])

    def add(self, template, *, statement):
        """One more line, if it runs and gives tensors of a fair size."""
        before = (dict(self.parameters), dict(self.buffers), self.fresh)
        try:
            line, own = self.filled(template)
            if not statement:
                self.fresh += 1
                line = f"t{self.fresh} = {line}"
            kept = {name: (t, t.clone()) for name, t in self.scope.items() if isinstance(t, torch.Tensor)}
            with torch.no_grad():
                exec(line, self.scope)
            found = [name for name in self._made() if name not in kept]
            if not all(self._fair(self.scope[name]) for name in {*found, own}):
                raise ValueError("unfair")
        except Exception:
            self.parameters, self.buffers, self.fresh = before
            self._restore()
            return False
        self.lines += line.split("\n")
        self.pool += [name for name in found if name not in self.pool]
        return True

    def _made(self):
        return [name for name in self.scope if re.fullmatch(r"t\d+", name)]

    def _restore(self):
        """The scope as the lines so far leave it."""
        self.scope = {**TOOLS, "s": self, "x": self.x.clone()}
        with torch.no_grad():
            exec("\n".join(self.lines), self.scope)

    def _fair(self, tensor):
        fair = isinstance(tensor, torch.Tensor) and tensor.is_floating_point() and 0 < tensor.numel() <= LARGEST
        return fair and tensor.dim() <= MOST_AXES and bool((tensor.abs() < BOUND).all())

    def write(self, steps):
        """A program of about this many steps, as a model and its example input."""
        for _ in range(1 + self.choose(3)):
            self.add("torch.tanh(F.linear(x, {}, {}))".format(*self._start()), statement=False)
        for _ in range(steps):
            family = self.families[self.choose(len(self.families))]
            template = family[self.choose(len(family))]
            self.add(template, statement=family in (CONSTANTS, WRITES))
        ends = [self.read(name) for name in self.unread()[-MOST_OUTPUTS:]] or [self.read(self.pick())]
        text = "\n".join([*self.lines, f"return {', '.join(ends)},"])
        return Forward(text, self.parameters, self.buffers), self.x

    def _start(self):
        width = WIDTHS[self.choose(len(WIDTHS))]
        return self.draw(width, 3), self.draw(width)

    def unread(self):
        """The tensors that no later line speaks of."""
        words = [set(re.findall(r"\w+", line.partition(" = ")[2] or line)) for line in self.lines]
        return [name for name in self.pool if name != "x" and not any(name in some for some in words)]

    def read(self, own):
        """An expression of this tensor that makes an output."""
        for _ in range(5):
            template = READOUTS[self.choose(len(READOUTS))]
            try:
                line, _ = self.filled(template, own)
                with torch.no_grad():
                    exec(f"end = {line}", self.scope)
                return line
            except Exception:
                continue
        return f"torch.tanh({own}).sum()"
