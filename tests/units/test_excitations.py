"""How strongly samples excite units."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn.functional import linear

from federation import texts
from fedma.errors import InputError
from fedma.models import build
from fedma.seeds import generator
from fedma.units import units
from fedma.units.activity import excitations
from networks import made

LAW = settings(max_examples=10, deadline=None, derandomize=True)
INPUTS = torch.randn(20, 1, 8, 8, generator=generator(0, "inputs"))


@torch.no_grad()
def test_a_unit_is_as_excited_as_the_next_layer_sees_it() -> None:
    model = build("cnn", (1, 8, 8), 3, seed=0)
    found = excitations(model, INPUTS.split(7))
    assert list(found) == ["conv1", "conv2", "fc1"]
    torch.testing.assert_close(found["conv1"], model[:3](INPUTS).mean((2, 3)))
    torch.testing.assert_close(found["conv2"], model[:6](INPUTS).mean((2, 3)))
    torch.testing.assert_close(found["fc1"], model[:-1](INPUTS))


@torch.no_grad()
def test_of_several_layers_that_read_a_unit_the_first_counts() -> None:
    model = made("residual", seed=0).eval()
    found = excitations(model, [INPUTS])
    stream = model.first(model.stem(INPUTS)).relu()
    torch.testing.assert_close(found["stem"], stream.mean((2, 3)))
    torch.testing.assert_close(found["inner"], model.inner(stream).relu().mean((2, 3)))


@torch.no_grad()
def test_the_units_of_a_recurrent_layer_are_seen_where_they_are_read() -> None:
    model, tokens = made("speaker", seed=0), texts(9).inputs
    found = excitations(model, [tokens])
    assert list(found) == ["lstm"]
    torch.testing.assert_close(found["lstm"], model.lstm(model.embedding(tokens))[0][:, -1])


@LAW
@given(st.sampled_from(["mlp", "cnn", "residual", "wide", "attention"]), st.integers(0, 1000))
def test_the_units_of_a_permuted_model_are_as_excited_as_before(name: str, seed: int) -> None:
    model = made(name, seed=seed)
    graph = units(model, INPUTS)
    orders = graph.random_orders(generator(seed, "orders"))
    found = excitations(model, [INPUTS], graph=graph)
    moved = excitations(graph.permute(model, orders), [INPUTS], graph=graph)
    assert found
    for group, values in found.items():
        torch.testing.assert_close(moved[group], values[:, orders[group]], rtol=1e-4, atol=1e-5)


def test_a_wider_model_is_measured_at_its_own_widths() -> None:
    model = made("cnn", seed=0)
    graph = units(model, INPUTS)
    wide = graph.widen(model, {"conv1": 20, "fc1": 70})
    found = excitations(wide, [INPUTS], graph=graph)
    assert {group: values.shape for group, values in found.items()} == {
        "conv1": (20, 20), "conv2": (20, 32), "fc1": (20, 70),
    }  # fmt: skip
    assert not found["fc1"][:, 64:].any()


class Twice(nn.Module):
    """A layer that is read by a function, and one that is called twice."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second, self.output = nn.Linear(64, 5), nn.Linear(5, 5), nn.Linear(5, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.first(x.flatten(1)).relu()
        x = self.second(self.second(x).relu()).relu()
        return linear(x, self.output.weight, self.output.bias)


@torch.no_grad()
def test_a_layer_that_is_called_again_counts_once() -> None:
    model = Twice()
    (values,) = excitations(model, INPUTS.split(6)).values()
    torch.testing.assert_close(values, model.first(INPUTS.flatten(1)).relu())


class Positions(nn.Module):
    """Its hidden layer is read position by position, samples second."""

    def __init__(self) -> None:
        super().__init__()
        self.hidden, self.output = nn.Linear(8, 5), nn.Linear(5, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.output(self.hidden(x.squeeze(1).transpose(0, 1)).relu()).mean(0)


def test_samples_that_do_not_come_first_are_not_taken_for_others() -> None:
    assert excitations(Positions(), [INPUTS]) == {}


def test_what_cannot_be_measured_is_refused() -> None:
    model = made("mlp", seed=0)
    with pytest.raises(InputError, match="no batches"):
        excitations(model, [])
    with pytest.raises(InputError, match="group 'fc1' is not finite"):
        excitations(model, [INPUTS * float("inf")], graph=units(model, INPUTS))
