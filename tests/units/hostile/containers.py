"""Inputs and outputs in containers that no tree walk knows, and examples that hide something."""

from collections import OrderedDict, UserDict, namedtuple
from dataclasses import dataclass
from types import SimpleNamespace

import numpy as np
import torch

from units.hostile.case import case

Pair = namedtuple("Pair", "first second")


@dataclass
class Batch:
    values: object
    scale: float = 1.0


class Slotted:
    __slots__ = ("values",)

    def __init__(self, values):
        self.values = values


def rows(random):
    return torch.randn(4, 3, generator=random)


def as_numpy(random):
    return (rows(random).numpy(),)


def as_floats(random):
    return (rows(random)[0].tolist(),)


def as_nested_floats(random):
    return (rows(random).tolist(),)


def as_dataclass(random):
    return (Batch(rows(random).numpy()),)


def ones(random):
    return (torch.ones(4, 3),)


def tensor_of(x, s):
    return torch.as_tensor(x, dtype=s.w5.dtype)


@case("a.weight", inputs=as_numpy)
def a_numpy_input(s, x):
    return s.out(torch.tanh(s.a(tensor_of(x, s))))


@case("a.weight", inputs=as_floats)
def a_list_of_floats(s, x):
    return s.out(torch.tanh(s.a(tensor_of(x, s))))


@case("a.weight", inputs=as_nested_floats)
def a_list_of_lists(s, x):
    return s.out(torch.tanh(s.a(tensor_of(x, s))))


@case("a.weight", inputs=lambda random: (tuple(float(v) for v in rows(random)[0]),))
def floats_times_columns(s, x):
    return s.out(torch.tanh(sum(float(v) * s.a.weight[:, i] for i, v in enumerate(x))))


@case("a.weight", inputs=as_dataclass)
def a_dataclass(s, x):
    return s.out(torch.tanh(s.a(tensor_of(x.values, s))))


@case("a.weight", inputs=lambda random: (Batch(rows(random), 0.5),))
def a_dataclass_of_a_tensor(s, x):
    return s.out(torch.tanh(s.a(x.values.to(s.w5.dtype)) * x.scale))


@case("a.weight", inputs=lambda random: (Pair(rows(random).numpy(), 0.5),))
def a_named_tuple(s, x):
    return s.out(torch.tanh(s.a(tensor_of(x.first, s))) * x.second)


@case("a.weight", inputs=lambda random: (UserDict(values=rows(random)),))
def a_user_dict(s, x):
    return s.out(torch.tanh(s.a(x["values"].to(s.w5.dtype))))


@case("a.weight", inputs=lambda random: (SimpleNamespace(values=rows(random)),))
def a_namespace(s, x):
    return s.out(torch.tanh(s.a(x.values.to(s.w5.dtype))))


@case("a.weight", inputs=lambda random: (Slotted(rows(random)),))
def an_object_with_slots(s, x):
    return s.out(torch.tanh(s.a(x.values.to(s.w5.dtype))))


@case("a.weight", inputs=lambda random: {"x": rows(random).numpy(), "flag": True})
def keywords_with_numpy(s, x, flag):
    return s.out(torch.tanh(s.a(tensor_of(x, s)))) if flag else None


@case("a.weight", inputs=lambda random: (rows(random), float(torch.rand((), generator=random))))
def a_float_beside_a_tensor(s, x, scale):
    return s.out(torch.tanh(s.a(x)) * scale)


@case("a.weight", example=ones)
def all_ones_example(s, x):
    return s.out(torch.tanh(s.a(x)))


@case("a.weight", example=lambda random: (torch.zeros(4, 3),))
def all_zeros_example(s, x):
    return s.out(torch.tanh(s.a(x)))


@case("a.weight", inputs=as_numpy, example=lambda random: (np.ones((4, 3), np.float32),))
def a_numpy_array_of_ones(s, x):
    return s.out(torch.tanh(s.a(tensor_of(x, s))))


@case("a.weight", inputs=as_floats, example=lambda random: ([1.0, 1.0, 1.0],))
def a_list_of_equal_floats(s, x):
    return s.out(torch.tanh(s.a(tensor_of(x, s))))


@case("a.weight", inputs=as_dataclass, example=lambda random: (Batch(np.full((4, 3), 0.5)),))
def a_dataclass_of_equal_numbers(s, x):
    return s.out(torch.tanh(s.a(tensor_of(x.values, s))))


@case(
    "a.weight",
    inputs=lambda random: (Batch(rows(random)),),
    example=lambda random: (Batch(torch.ones(4, 3)),),
)
def a_dataclass_of_a_tensor_of_ones(s, x):
    return s.out(torch.tanh(s.a(x.values.to(s.w5.dtype))))


@case("a.weight", inputs=lambda random: (Slotted(rows(random)),), example=lambda random: (Slotted(torch.ones(4, 3)),))
def a_slotted_tensor_of_ones(s, x):
    return s.out(torch.tanh(s.a(x.values.to(s.w5.dtype))))


@case(
    "a.weight",
    inputs=lambda random: ({"deep": [rows(random).numpy()]},),
    example=lambda random: ({"deep": [np.ones((4, 3))]},),
)
def ones_deep_in_a_dictionary(s, x):
    return s.out(torch.tanh(s.a(tensor_of(x["deep"][0], s))))


@case(inputs=lambda random: (torch.rand(4, 5, generator=random),), example=lambda random: (torch.ones(4, 5),))
def gates_of_ones_from_the_input(s, x):
    return s.out(torch.tanh(s.a(x[:, :3])) * x)


@case(
    inputs=lambda random: (rows(random), torch.rand(5, generator=random).tolist()),
    example=lambda random: (rows(random), [1.0] * 5),
)
def gates_of_equal_floats(s, x, gates):
    return s.out(torch.tanh(s.a(x)) * torch.tensor(gates, dtype=x.dtype))


@case(
    inputs=lambda random: (rows(random), torch.randperm(5, generator=random).tolist()),
    example=lambda random: (rows(random), [0, 1, 2, 3, 4]),
)
def an_order_from_the_input(s, x, order):
    return s.out(torch.tanh(s.a(x))[:, order])


@case(
    inputs=lambda random: (rows(random), int(torch.randint(1, 5, (), generator=random))),
    example=lambda random: (rows(random), 0),
)
def a_shift_from_the_input(s, x, shift):
    return s.out(torch.tanh(s.a(x)).roll(shift, -1))


@case(
    inputs=lambda random: (rows(random), torch.rand(5, generator=random) > 0.5),
    example=lambda random: (rows(random), torch.ones(5, dtype=torch.bool)),
)
def a_mask_of_units_from_the_input(s, x, mask):
    return s.out(torch.tanh(s.a(x)) * mask)


@case("a.weight", inputs=lambda random: (rows(random)[:1].expand(4, 3),))
def equal_rows(s, x):
    return s.out(torch.tanh(s.a(x)))


@case("a.weight", inputs=lambda random: (rows(random)[:, :1].expand(4, 3),))
def equal_columns(s, x):
    return s.out(torch.tanh(s.a(x))) + 0.1 * s.a.weight.t()[0].sum()


@case("a.weight", inputs=lambda random: (torch.randint(0, 5, (4, 6), generator=random),))
def words(s, x):
    return s.out(torch.tanh(s.w5[x].sum(1) @ s.a.weight @ s.b.weight.t()))


@case(inputs=lambda random: (torch.rand(4, 5, generator=random),))
def gates_from_the_input(s, x):
    return s.out(torch.tanh(s.a(x[:, :3])) * x)


@case("b.weight", inputs=lambda random: ([rows(random), rows(random)],))
def a_list_of_tensors(s, x):
    return s.out(torch.tanh(s.b(x[0]) + s.b(x[1])))


@case()
def a_dataclass_output(s, x):
    h = torch.tanh(s.a(x))
    return s.out(h), Batch(h)


@case()
def a_namespace_output(s, x):
    h = torch.tanh(s.a(x))
    return s.out(h), SimpleNamespace(deep={"h": [h]})


@case()
def a_slotted_output(s, x):
    h = torch.tanh(s.a(x))
    return s.out(h), SimpleNamespace(inner=Batch(Slotted(h).values))


@case()
def a_distribution_output(s, x):
    h = torch.tanh(s.a(x))
    return s.out(h), torch.distributions.Normal(h, torch.ones_like(h))


@case()
def a_categorical_output(s, x):
    return torch.distributions.Categorical(logits=torch.tanh(s.a(x)))


@case("a.weight")
def a_distribution_of_the_last_layer(s, x):
    return torch.distributions.Normal(s.out(torch.tanh(s.a(x))), 1.0)


@case()
def an_ordered_dict_output(s, x):
    h = torch.tanh(s.a(x))
    return OrderedDict(y=s.out(h), h=h)


@case()
def a_user_dict_output(s, x):
    h = torch.tanh(s.a(x))
    return UserDict(y=s.out(h), h=h)


@case()
def a_named_tuple_output(s, x):
    h = torch.tanh(s.a(x))
    return Pair(s.out(h), h)


@case()
def a_numpy_output(s, x):
    h = torch.tanh(s.a(x))
    return s.out(h), h.detach().numpy()


@case()
def a_list_of_floats_output(s, x):
    h = torch.tanh(s.a(x))
    return s.out(h), h.tolist()


@case()
def an_output_kept_in_an_attribute(s, x):
    h = torch.tanh(s.a(x))
    y = Batch(s.out(h))
    y.hidden = h
    return y


@case()
def a_set_of_outputs(s, x):
    return {torch.tanh(s.a(x))}


@case()
def a_generator_of_hidden_values(s, x):
    h = torch.tanh(s.a(x))
    return [s.out(h), iter([h])][0] + h[0, 0]


@case()
def a_packed_sequence_output(s, x):
    h = torch.tanh(s.a(x))
    return torch.nn.utils.rnn.pack_padded_sequence(h[None], torch.tensor([4]), batch_first=True)


@case()
def a_sparse_output(s, x):
    return torch.tanh(s.a(x)).to_sparse()


@case("a.weight")
def no_output_of_hidden(s, x):
    h = torch.tanh(s.a(x))
    return {"y": s.out(h), "name": "y", "none": None}


@case(inputs=lambda random: (np.float64(torch.rand((), generator=random)),))
def a_numpy_scalar_input(s, x):
    return s.out(torch.tanh(s.v5 * float(x)) * torch.linspace(0, float(x), 5).to(s.v5.dtype))
