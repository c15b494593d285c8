"""What one forward pass on the example inputs does not show must not be taken for freedom."""

import re

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from fedma.errors import PinnedWarning
from fedma.units import units, weights
from units.zoo_unusual import ZOO


class Positions(nn.Module):
    """Learnt positions, more of them than the example is long."""

    def __init__(self):
        super().__init__()
        self.embed, self.out = nn.Linear(3, 5), nn.Linear(5, 2)
        self.positions, self.codes = nn.Parameter(torch.randn(8, 5)), nn.Parameter(torch.randn(9, 4))
        self.coded = nn.Linear(4, 5)

    def forward(self, x):
        n = x.shape[1]
        return self.out(F.relu(self.embed(x) + self.positions[:n] + self.coded(self.codes)[:n])[:, 0])


@pytest.mark.parametrize("front_end", ["export", "record"])
def test_positions_beyond_the_example_stay(front_end):
    graph = units(Positions(), torch.randn(2, 4, 3), front_end=front_end)
    assert sorted(graph.widths.values()) == [4, 5]
    assert not graph.groups_on("positions", 0) | graph.groups_on("codes", 0)


def test_single_numbers_are_not_taken_for_unused():
    class Scaled(nn.Sequential):
        def forward(self, x):
            return self[1](self[0](x) * self.scale)

    model = Scaled(nn.Linear(3, 5), nn.Linear(5, 2))
    model.scale = nn.Parameter(torch.tensor(2.0))
    assert units(model, torch.randn(2, 3)).widths == {"0": 5}


class Auxiliary(nn.Module):
    """A second head that only training uses."""

    def __init__(self):
        super().__init__()
        self.a, self.head, self.auxiliary = nn.Linear(3, 5), nn.Linear(5, 2), nn.Linear(5, 2)

    def forward(self, x):
        x = F.relu(self.a(x))
        return (self.head(x), self.auxiliary(x)) if self.training else self.head(x)


class Either(Auxiliary):
    """One head or the other, by the values."""

    def forward(self, x):
        x = F.relu(self.a(x))
        return self.head(x) if x.sum() >= 0 else self.auxiliary(x)


@pytest.mark.parametrize("model", [Auxiliary, Either])
def test_parts_that_were_not_seen_are_warned_of(model):
    with pytest.warns(PinnedWarning) as warned:
        units(model(), torch.randn(2, 3))
    unseen = re.compile(r"\(auxiliary.weight, auxiliary.bias\).* the groups may be wrong")
    assert any(unseen.search(str(warning.message)) for warning in warned)


@pytest.mark.parametrize("front_end", ["export", "record"])
def test_a_saved_mask_may_be_another_tomorrow(front_end):
    class Pruned(nn.Sequential):
        def forward(self, x):
            return self[1](self[0](x) * self.keep)

    model = Pruned(nn.Linear(3, 5), nn.Linear(5, 2))
    model.register_buffer("keep", torch.ones(5, dtype=torch.bool))
    graph = units(model, torch.randn(2, 3), front_end=front_end)
    assert not graph.groups
    assert graph.fixed["0.weight", 0] == "constant"


def test_a_forward_pass_that_changes_parameters_leaves_the_model_as_it_was():
    model = nn.Sequential(nn.Embedding(7, 4, max_norm=0.1), nn.Linear(4, 2))
    before = weights(model)
    graph = units(model, torch.tensor([[1, 2], [3, 4]]), verify=True)
    torch.testing.assert_close(weights(model), before, rtol=0, atol=0)
    assert graph.widths == {"0": 4}


def test_a_part_that_computes_for_nothing_follows():
    class Wasteful(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b, self.out = nn.Linear(3, 5), nn.Linear(5, 5), nn.Linear(5, 2)

        def forward(self, x):
            x = F.relu(self.a(x))
            self.b(x)
            return self.out(x)

    graph = units(Wasteful(), torch.randn(2, 3), front_end="export")
    assert graph.groups_on("b.weight", 1) == {"a"}
    assert graph.groups["a"].growable


class Mapped(nn.Module):
    """An ensemble by `torch.func.vmap`, whose own calls `torch.export` leaves in the graph."""

    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Parameter(torch.randn(3, 6, 4)), nn.Parameter(torch.randn(6, 2))

    def forward(self, x):
        return torch.func.vmap(lambda weight: F.linear(x, weight).relu())(self.first).mean(0) @ self.second


def test_calls_that_are_no_operations_are_recorded_instead():
    assert sorted(units(Mapped(), torch.randn(5, 4), verify=True).widths.values()) == [3, 6]


class Compared(nn.Module):
    """Units compared with a codebook, and the largest of each block, with and without where it was found."""

    def __init__(self):
        super().__init__()
        self.a, self.codes, self.out = nn.Linear(3, 5), nn.Embedding(6, 5), nn.Linear(5, 2)
        self.b, self.c = nn.Linear(3, 5), nn.Linear(3, 4)

    def forward(self, x):
        z, found = self.a(x), self.c(x).max(1)
        code = torch.cdist(z, self.codes.weight).argmin(-1)
        return self.out(self.codes(code) + z) + self.b(x).max(1)[0][:, None] + found.values[:, None], found.indices


@pytest.mark.parametrize("front_end", ["export", "record"])
def test_the_largest_may_stand_anywhere_unless_its_place_is_asked_for(front_end):
    graph = units(Compared(), torch.randn(4, 3), verify=True, front_end=front_end)
    assert list(graph.groups) == ["a", "b"]
    assert {place.tensor for place in graph.places("a")} == {"a.weight", "a.bias", "codes.weight", "out.weight"}
    assert graph.fixed["c.weight", 0] == "positions found by max"


def test_why_groups_cannot_grow_stands_below_the_table():
    graph = units(nn.Sequential(nn.Linear(3, 5), nn.LayerNorm(5), nn.Linear(5, 2)), torch.randn(2, 3))
    assert "\n\n0 cannot grow: normalised over by a layer norm\n\n1 group;" in str(graph)


def test_a_depthwise_convolution_does_not_name_its_channels_groups():
    model = nn.Sequential(nn.Conv2d(3, 5, 1), nn.Conv2d(5, 5, 3, groups=5), nn.Conv2d(5, 2, 1))
    assert list(units(model, torch.randn(1, 3, 6, 6)).groups) == ["0"]


class Aside(nn.Module):
    """Activations that go through Python's or NumPy's hands."""

    def __init__(self, way):
        super().__init__()
        self.way, self.a, self.b, self.out = way, nn.Linear(3, 5), nn.Linear(5, 4), nn.Linear(4, 2)

    def forward(self, x):
        return self.out(F.relu(self.b(torch.as_tensor(self.way(self.a(x))))))


@pytest.mark.parametrize("way", [torch.Tensor.tolist, torch.Tensor.numpy, np.asarray])
def test_what_leaves_torch_stays_in_place(way):
    graph = units(Aside(way), torch.randn(2, 3), verify=True)
    assert list(graph.groups) == ["b"]
    assert graph.fixed["a.weight", 0] == "read by Python code"


class LastState(nn.Module):
    """In one step, the matrix from state to state reads the initial state alone."""

    def __init__(self):
        super().__init__()
        self.rnn, self.out = nn.GRU(3, 5, batch_first=True), nn.Linear(5, 2)

    def forward(self, x):
        return self.out(self.rnn(x)[1][0])


def test_what_a_recording_leaves_in_doubt_export_settles():
    few, many = (units(LastState(), torch.randn(2, steps, 3), verify=True) for steps in (1, 4))
    assert few.layouts == many.layouts
    assert few.widths == {"rnn": 5}
    graph = units(*ZOO["LearntQueries"]())
    assert ("q.weight", 1) in graph.incoming
    assert ("queries", 1) not in graph.incoming
