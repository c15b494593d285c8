"""What is written to a part of a tensor is known of that part, however it is written; views share what is known."""

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from fedma.units import units
from units.written import Net, X, moving

pytestmark = pytest.mark.filterwarnings("ignore::fedma.errors.PinnedWarning")

APART = {"a": 2, "a.part2": 3}
"""The first two units and the other three, each among themselves."""
ALL = {"a": 5}
NONE: dict[str, int] = {}
ONE_TO_TWO = torch.tensor([1, 2])
LAST = torch.arange(5) > 2


def twice(m):
    torch.add(m[2:], 1, out=m[2:])


def by_position(write):
    return write, NONE


WRITES = {
    "a slice": (lambda m: m.__setitem__(slice(2, None), 3.0), APART),
    "a slice, by filling": (lambda m: m[:2].fill_(0.5), APART),
    "a slice, multiplied": (lambda m: m[:2].mul_(0.5), APART),
    "a slice, copied to": (lambda m: m[:2].copy_(torch.zeros(2)), APART),
    "a slice, by out=": (twice, APART),
    "a slice of a slice": (lambda m: m[1:][1:].zero_(), {"a": 3}),
    "a slice of a view": (lambda m: m.view(1, 5).t()[2:].zero_(), APART),
    "narrow": (lambda m: m.narrow(0, 0, 2).zero_(), APART),
    "split": (lambda m: m.split([2, 3])[1].zero_(), APART),
    "chunk": (lambda m: m.chunk(2)[0].zero_(), {"a": 3, "a.part2": 2}),
    "detached": (lambda m: m.detach()[2:].zero_(), APART),
    "data": (lambda m: m.data[2:].zero_(), APART),
    "a part of a part": (lambda m: (m[:4].zero_(), m[2:].zero_()), {"a": 2, "a.part2": 2}),
    "nothing": (lambda m: m[5:].zero_(), ALL),
    "all": (lambda m: m.mul_(3).fill_(2.0), ALL),
    "one place": by_position(lambda m: m.__setitem__(2, 3.0)),
    "unbind": by_position(lambda m: m.unbind(0)[1].zero_()),
    "a step": by_position(lambda m: m[::2].zero_()),
    "a mask": by_position(lambda m: m.__setitem__(LAST, 3.0)),
    "masked_fill_": by_position(lambda m: m.masked_fill_(LAST, 0.0)),
    "masked_scatter_": by_position(lambda m: m.masked_scatter_(LAST, torch.zeros(5))),
    "positions": by_position(lambda m: m.__setitem__(ONE_TO_TWO, 3.0)),
    "equal positions": by_position(lambda m: m.__setitem__(torch.zeros(1, dtype=torch.long), 3.0)),
    "index_put_": by_position(lambda m: m.index_put_((ONE_TO_TWO,), torch.tensor(3.0))),
    "index_fill_": by_position(lambda m: m.index_fill_(0, ONE_TO_TWO, 0.0)),
    "index_copy_": by_position(lambda m: m.index_copy_(0, ONE_TO_TWO, torch.zeros(2))),
    "index_add_": by_position(lambda m: m.index_add_(0, ONE_TO_TWO, torch.ones(2))),
    "scatter_": by_position(lambda m: m.scatter_(0, ONE_TO_TWO, 0.0)),
    "scatter_add_": by_position(lambda m: m.scatter_add_(0, torch.zeros(2, dtype=torch.long), torch.ones(2))),
    "put_": by_position(lambda m: m.put_(torch.tensor([0]), torch.tensor([3.0]))),
    "as_strided": by_position(lambda m: m.as_strided((2,), (2,)).zero_()),
    "as_strided with an offset": by_position(lambda m: m.as_strided((2,), (1,), 3).zero_()),
    "unfold": by_position(lambda m: m.unfold(0, 2, 1)[0].zero_()),
    "another dtype": by_position(lambda m: m.view(torch.int32)[2].zero_()),
    "several at once": by_position(lambda m: torch._foreach_mul_([m[:2]], 0.0)),
    "noise": (lambda m: m[2:].bernoulli_(0.0), {"a": 2}),
    "numpy": by_position(lambda m: m.numpy().__setitem__(2, 0)),
    "memory of another": by_position(lambda m: m.set_(torch.arange(5.0))),
    "data of another": by_position(lambda m: setattr(m, "data", torch.arange(5.0))),
    "swapped": by_position(lambda m: torch.utils.swap_tensors(m, torch.arange(5.0))),
    "storage": by_position(lambda m: m.untyped_storage().__setitem__(3, 0)),
    "dlpack": by_position(lambda m: torch.from_dlpack(m)[2:].zero_()),
}


@pytest.mark.parametrize("name", WRITES)
def test_what_is_written_to_a_part_of_equal_entries_is_known_of_that_part(name):
    write, expected = WRITES[name]

    def way(s, x):
        m = torch.ones(5)
        write(m)
        return s.out(s.a(x) * m)

    assert moving(way)[0] == expected


EXPORTED = [
    "a slice",
    "a slice, by filling",
    "a slice, by out=",
    "a slice of a view",
    "a mask",
    "several at once",
    "all",
]


@pytest.mark.parametrize("name", EXPORTED)
def test_exported_graphs_say_the_same_of_writes(name):
    write, expected = WRITES[name]

    def way(s, x):
        m = torch.ones(5)
        write(m)
        return s.out(s.a(x) * m)

    found = moving(way, "export")[0]
    assert found == expected or name == "all"


def equal(shape=5):
    return torch.ones(shape)


def shared(s, x):
    """Memory of NumPy's, written to between two uses."""
    held = np.ones(5, dtype="float32")
    m = torch.from_numpy(held)
    first = s.a(x) * m
    held[2] = 0
    return first * m


def viewed_before(s, x):
    m = equal()
    view = m.view(5, 1).t()[0]
    m[2:] = 2
    return s.a(x) * view


def expanded_before(s, x):
    m = equal((1, 5))
    view = m.expand(4, 5)
    m[:, 2:] = 0
    return s.a(x) * view


def square(write):
    def way(s, x):
        m = equal((5, 5))
        write(m)
        return s.a(x) * m[1]

    return way


def unwritten(s, x):
    m = torch.empty(4, 5)
    m[:, :2] = 0
    m[:, 2:] = 1
    return s.a(x) * m


def own_mask(s, x):
    s.mask[2:] = 3
    return s.a(x) * s.mask


MADE = {
    "view before the write": (viewed_before, APART),
    "expanded before the write": (expanded_before, APART),
    "NumPy's memory": (shared, NONE),
    "memory that was empty": (unwritten, APART),
    "a buffer of the model": (own_mask, {"mask": 2, "mask.part2": 3}),
    "the diagonal": (square(lambda m: m.diagonal().zero_()), NONE),
    "a part of the diagonal": (square(lambda m: m.diagonal()[1:].zero_()), NONE),
    "fill_diagonal_": (square(lambda m: m.fill_diagonal_(7.0)), NONE),
    "a stack of numbers": (lambda s, x: s.a(x) * torch.stack([torch.tensor(float(i)) for i in range(5)]), NONE),
    "a stack of equal parts": (lambda s, x: s.a(x) * torch.stack([torch.zeros(()), *torch.ones(4)]), NONE),
    "a stack of columns": (lambda s, x: s.a(x) * torch.stack([torch.full((4,), float(i)) for i in range(5)], 1), NONE),
    "a stack of rows": (lambda s, x: s.a(x) * torch.stack([torch.full((5,), float(i)) for i in range(4)]), ALL),
    "parts one after the other": (lambda s, x: s.a(x) * torch.cat([torch.zeros(2), torch.ones(3)]), APART),
    "a list of tensors": (lambda s, x: s.a(x) * torch.tensor([torch.zeros(()), *torch.ones(4)]), NONE),
    "sums of ones": (lambda s, x: s.a(x) * equal().cumsum(0), NONE),
    "padding": (lambda s, x: s.a(x) * F.pad(equal(2), (0, 3)), APART),
    "triangles": (lambda s, x: s.a(x) * equal((5, 5)).triu().sum(0), NONE),
    "where": (lambda s, x: s.a(x) * torch.where(equal() > 0, torch.arange(5.0), equal()), NONE),
    "one hot": (lambda s, x: s.a(x) * F.one_hot(torch.zeros(1, dtype=torch.long), 5), NONE),
    "noise": (lambda s, x: s.a(x) * F.dropout(equal(), 0.5, training=True).mul(0).add(torch.arange(5.0)), NONE),
    "slice_scatter": (lambda s, x: s.a(x) * equal().slice_scatter(torch.zeros(3), 0, 2), APART),
    "select_scatter": (lambda s, x: s.a(x) * equal().select_scatter(torch.zeros(()), 0, 1), NONE),
    "diagonal_scatter": (lambda s, x: s.a(x) * equal((5, 5)).diagonal_scatter(torch.zeros(5))[1], NONE),
    "an attribute": (lambda s, x: s.a(x) * s.frozen, NONE),
    "a mask that keeps all": (lambda s, x: s.a(x)[:, torch.ones(5, dtype=torch.bool)], NONE),
    "a mask of two axes that keeps all": (lambda s, x: s.a(x)[torch.ones(4, 5, dtype=torch.bool)].view(4, 5), NONE),
    "a mask of rows": (lambda s, x: s.a(x)[torch.ones(4, dtype=torch.bool)], ALL),
    "equal positions": (lambda s, x: s.a(x)[:, torch.zeros(5, dtype=torch.long)] + s.a(x), NONE),
    "the same strides": (lambda s, x: s.a(x).as_strided((4, 5), (5, 1)), ALL),
    "other strides": (lambda s, x: s.a(x).as_strided((4, 5), (1, 4)), NONE),
    "strides beyond the view": (lambda s, x: s.a(x) + s.a(x)[:, :1].as_strided((4, 5), (5, 1)).flip(1), NONE),
    "a matrix by other strides": (lambda s, x: s.a(x).relu() @ s.w5.as_strided((5, 5), (1, 5)), NONE),
    "transposed in place": (lambda s, x: s.a(x).t_().t_(), ALL),
    "strides in place": (lambda s, x: s.a(x).as_strided_((4, 5), (1, 4)), NONE),
    "an empty slice": (lambda s, x: (h := s.a(x), h[:, 5:].zero_())[0], ALL),
    "an empty slice, joined": (lambda s, x: torch.cat([s.a(x)[:, 5:], s.a(x)], 1), ALL),
}


@pytest.mark.parametrize("name", MADE)
def test_what_is_known_of_constants_and_views(name):
    way, expected = MADE[name]
    assert moving(lambda s, x: s.out(way(s, x)))[0] == expected


def written(shape, write, read):
    def way(s, x):
        z = torch.zeros(shape)
        write(z, s.a(x))
        return read(z)

    return way


ROWS = torch.arange(4)
HIDDEN = {
    "columns between two indices": (
        written((4, 5, 4), lambda z, h: z.__setitem__((ROWS, slice(None), ROWS), h), lambda z: z.sum(-1)),
        ALL,
    ),
    "columns before two indices": (
        written((5, 4, 2), lambda z, h: z.__setitem__((slice(None), ROWS, 0), h.t()), lambda z: z[..., 0].t()),
        ALL,
    ),
    "columns after a mask of two axes": (
        written(
            (4, 2, 5),
            lambda z, h: z.__setitem__(torch.ones(4, 2, dtype=torch.bool), h.repeat(2, 1)),
            lambda z: z.sum(1),
        ),
        ALL,
    ),
    "columns under a mask": (
        written((4, 5), lambda z, h: z.__setitem__(torch.ones(4, 5, dtype=torch.bool), h.flatten()), lambda z: z),
        NONE,
    ),
    "half of a buffer": (written((4, 10), lambda z, h: z[:, 5:].copy_(h), lambda z: z[:, :5] + z[:, 5:]), ALL),
    "the diagonals": (written((4, 5, 5), lambda z, h: z.diagonal(dim1=1, dim2=2).copy_(h), lambda z: z.sum(1)), ALL),
    "every second column": (written((4, 10), lambda z, h: z[:, ::2].copy_(h), lambda z: z[:, :5]), NONE),
    "transposed": (written((5, 4), lambda z, h: z.t().copy_(h), lambda z: z.t()), ALL),
    "by rows": (written((4, 5), lambda z, h: [z[i].copy_(h[i]) for i in range(4)], lambda z: z), ALL),
    "memory read in another shape": (
        written((20,), lambda z, h: z.view(4, 5).copy_(h), lambda z: z.view(5, 4).t()),
        NONE,
    ),
    "in another order": (written((4, 5), lambda z, h: z.index_add_(1, torch.arange(5).flip(0), h), lambda z: z), NONE),
    "where units are positive": (written((4, 5), lambda z, h: z.masked_fill_(h > 0, 2.0), lambda z: z), ALL),
    "where units are positive, as a mask": (written((4, 5), lambda z, h: z.__setitem__(h > 0, 2.0), lambda z: z), NONE),
    "one after the other": (
        written((4, 5), lambda z, h: z.masked_scatter_(torch.ones(4, 5, dtype=torch.bool), h), lambda z: z),
        NONE,
    ),
    "by out=": (written((4, 5), lambda z, h: torch.tanh(h, out=z), lambda z: z), ALL),
    "by out= that grows": (written((0,), lambda z, h: torch.tanh(h, out=z), lambda z: z), ALL),
    "by out= to a view": (
        written((4, 10), lambda z, h: torch.tanh(h, out=z[:, 5:]), lambda z: z[:, 5:] + z[:, :5]),
        ALL,
    ),
    "sorted, by out=": (
        written((4, 5), lambda z, h: torch.sort(h, 1, out=(z, torch.empty(4, 5, dtype=torch.long))), lambda z: z),
        NONE,
    ),
}


@pytest.mark.parametrize("name", HIDDEN)
def test_hidden_units_written_to_a_part(name):
    way, expected = HIDDEN[name]
    assert moving(lambda s, x: s.out(way(s, x)))[0] == expected


@pytest.mark.parametrize(
    "name", ["columns between two indices", "half of a buffer", "every second column", "transposed"]
)
def test_exported_graphs_say_the_same_of_hidden_units(name):
    way, expected = HIDDEN[name]
    assert moving(lambda s, x: s.out(way(s, x)), "export")[0] == expected


def test_a_tensor_that_is_used_for_its_shape_alone_says_nothing():
    def way(s, x):
        h = s.a(x)
        return s.out(h + torch.zeros_like(h[:, 2:3]) + torch.zeros(h[:, :, None].sum(1)[:, 0].shape[0], 1))

    assert moving(way)[0] == ALL


def test_two_names_of_one_memory_move_together():
    def way(s, x):
        return s.out(s.a(x)) + s.out(s.b(x))

    model = Net(way)
    model.b.weight.data = model.a.weight.data
    graph = units(model, X, verify=False)
    assert {place.tensor for place in graph.places("a")} == {"a.weight", "a.bias", "b.weight", "b.bias", "out.weight"}
