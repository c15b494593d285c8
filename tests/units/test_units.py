"""`units` as its users meet it: what it finds, what it refuses, what it warns of, what it leaves alone."""

import warnings

import pytest
import torch
from torch import nn

from fedma.errors import GraphError, PinnedWarning
from fedma.seeds import generator
from fedma.units import rebuild, registry, rule, units, weights
from fedma.units.axes import unify
from units import zoo
from units.zoo_unusual import ZOO

LIBRARY = torch.library.Library("zoo", "DEF")
LIBRARY.define("shout(Tensor x, Tensor loudness) -> Tensor")
LIBRARY.impl("shout", lambda x, loudness: x * loudness.exp(), "CompositeExplicitAutograd")


def found(name, **settings):
    return units(*ZOO[name](), **settings)


class Shouting(nn.Module):
    """Uses an operation of a library that fedma does not know."""

    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Linear(5, 7), nn.Linear(7, 6)
        self.mouth = nn.Module()
        self.loudness, self.third = nn.Parameter(torch.rand(6)), nn.Linear(6, 3)

    def forward(self, x):
        x = self.second(torch.relu(self.first(x)))
        return self.third(torch.ops.zoo.shout(x, self.loudness))


@pytest.fixture
def forgotten():
    """Rules registered in a test are forgotten after it."""
    before = dict(registry._RULES)
    yield
    registry._RULES.clear()
    registry._RULES.update(before)


@pytest.mark.parametrize("front_end", ["export", "record"])
def test_an_unknown_operation_pins_what_it_touches_and_is_named(front_end):
    with pytest.warns(PinnedWarning, match="zoo::shout") as caught:
        graph = units(nn.Sequential(nn.Identity(), Shouting()), torch.randn(2, 5), front_end=front_end)
    assert list(graph.groups) == ["1.first"]
    assert len(caught) == 1
    assert "in 1:" in str(caught[0].message)
    assert "no rule for zoo::shout in 1" in graph.fixed["1.loudness", 0]


def test_users_register_rules(forgotten):
    @rule("zoo::shout")
    def shout(op):
        x, loudness = op["x"], op["loudness"]
        return (*x.symbols[:-1], unify(x[-1], loudness[0]))

    graph = units(Shouting(), torch.randn(2, 5))
    assert graph.widths == {"first": 7, "second": 6}
    assert graph.groups["second"].growable


def test_a_wrong_rule_is_found_out(forgotten):
    @rule("zoo::shout")
    def shout(op):
        return op["x"].symbols

    with pytest.warns(PinnedWarning, match=r"group (second|loudness) is left in place"):
        graph = units(Shouting(), torch.randn(2, 5))
    assert list(graph.groups) == ["first"]
    assert graph.fixed["third.weight", 1] == "breaks the permutation law"
    graph.check(Shouting(), torch.randn(2, 5))


def test_verifying_finds_nothing_wrong_with_the_zoo():
    for name in ("LeNet", "ResNeXt", "char_lstm", "ChunkedAttention"):
        assert found(name) == found(name)


@pytest.mark.parametrize("name", ["ResNet", "MiniLlama", "spectral_norm", "Branching"])
def test_the_model_is_left_as_it_was(name):
    model, inputs = ZOO[name]()
    model.train()
    next(model.children()).eval()
    modes = [module.training for module in model.modules()]
    before = weights(model)
    attributes = [set(vars(module)) for module in model.modules()]
    units(model, inputs)
    assert [module.training for module in model.modules()] == modes
    assert [set(vars(module)) for module in model.modules()] == attributes
    torch.testing.assert_close(weights(model), before, rtol=0, atol=0)
    assert all(parameter.requires_grad for parameter in model.parameters())


def test_nothing_to_warn_of_in_the_zoo():
    with warnings.catch_warnings():
        warnings.simplefilter("error", PinnedWarning)
        for name in ("WindowAttention", "EncoderDecoder", "MiniLlama", "Masked"):
            found(name)


def test_inputs_by_position_and_by_name():
    model = nn.Sequential(nn.Linear(5, 7), nn.ReLU(), nn.Linear(7, 3))
    x = torch.randn(2, 5)
    assert units(model, x) == units(model, (x,)) == units(model, [x]) == units(model, {"input": x})


def test_refuses_a_model_without_parameters():
    with pytest.raises(GraphError, match="ReLU has no parameters"):
        units(nn.ReLU(), torch.randn(2, 5))


def test_refuses_inputs_that_do_not_run():
    with pytest.raises(GraphError, match=r"Linear does not run on the example inputs: RuntimeError: .*2x4 and 5x7"):
        units(nn.Linear(5, 7), torch.randn(2, 4))


def test_refuses_a_model_that_gives_no_tensor():
    class Silent(nn.Linear):
        def forward(self, x):
            return 3

    with pytest.raises(GraphError, match="gives no tensor"):
        units(Silent(5, 7), torch.randn(2, 5))


def test_noise_of_the_global_generators_is_the_same_in_every_run():
    class Noisy(nn.Sequential):
        def forward(self, x):
            return super().forward(nn.functional.dropout(x, training=True))

    graph = units(Noisy(nn.Linear(5, 7), nn.ReLU(), nn.Linear(7, 3)), torch.randn(2, 5))
    assert graph.widths == {"0": 7}
    assert graph.groups["0"].growable


def test_frozen_parameters_move_and_stay_frozen():
    model = nn.Sequential(nn.Linear(5, 7), nn.ReLU(), nn.Linear(7, 3)).requires_grad_(False)
    graph = units(model, torch.randn(2, 5))
    moved = graph.permute(model, graph.random_orders(generator(0, "orders")))
    assert graph.widths == {"0": 7}
    assert not any(parameter.requires_grad for parameter in moved.parameters())


def test_what_the_forward_pass_never_uses_stays():
    with pytest.warns(PinnedWarning, match=r"2 parameters are not used .*\(unused.weight, unused.bias\)"):
        graph = found("UnusedParts")
    assert graph.fixed["unused.weight", 0] == graph.fixed["unused.bias", 0] == "not used in the forward pass"
    assert graph.fixed["b.weight", 0] == "a single unit"
    assert graph.statistics == (("centre", "spread"),)


def test_shared_modules_and_tied_tensors_move_once():
    assert found("SharedTowers").widths == {"tower.0": 7, "tower.2": 4}
    model, inputs = ZOO["SequenceToSequence"]()
    graph = units(model, inputs)
    assert list(graph.groups) == ["embed"]
    assert "out.weight" not in graph.layouts
    moved = graph.permute(model, graph.random_orders(generator(0, "orders")))
    assert moved.out.weight is moved.embed.weight


def test_buffers_that_are_not_saved_stay():
    class Rotary(nn.Module):
        def __init__(self, persistent):
            super().__init__()
            self.a, self.b = nn.Linear(5, 7), nn.Linear(7, 3)
            self.register_buffer("scale", torch.arange(7.0), persistent=persistent)

        def forward(self, x):
            return self.b(self.a(x) * self.scale)

    assert list(units(Rotary(True), torch.randn(2, 5)).groups) == ["a"]
    graph = units(Rotary(False), torch.randn(2, 5))
    assert not graph.groups
    assert graph.fixed["scale", 0] == graph.fixed["a.weight", 0] == "constant"


def test_a_resized_model_trains_and_saves(tmp_path):
    model, inputs = ZOO["ResNet"]()
    graph = units(model, inputs)
    wide = graph.widen(model, {name: size + 3 for name, size in graph.widths.items()})
    optimizer = torch.optim.SGD(wide.parameters(), 0.1)
    before = weights(wide)
    wide(*inputs).square().sum().backward()
    optimizer.step()
    assert any(not torch.equal(before[name], after) for name, after in weights(wide).items())
    torch.save(wide.state_dict(), tmp_path / "wide.pt")
    again = rebuild(model, weights(wide))
    again.load_state_dict(torch.load(tmp_path / "wide.pt", weights_only=True), strict=True)
    torch.testing.assert_close(again.eval()(*inputs), wide.eval()(*inputs))
    assert (wide.stem[0].out_channels, wide.stem[1].num_features, wide.fc.in_features) == (7, 7, 9)
    assert model.stem[0].out_channels == 4


def test_attributes_follow_recurrent_layers():
    model, inputs = ZOO["char_lstm"]()
    graph = units(model, inputs)
    wide = graph.widen(model, {"embed": 5, "rnn": 9})
    assert (wide.rnn.input_size, wide.rnn.hidden_size, wide.embed.embedding_dim) == (5, 9, 5)
    assert wide.rnn._flat_weights[0] is wide.rnn.weight_ih_l0
    assert weights(wide)["rnn.weight_hh_l0"].shape == (36, 9)


def test_rebuild_refuses_strangers():
    with pytest.raises(GraphError, match="has no tensor named nose"):
        rebuild(zoo.mlp(), {"nose": torch.zeros(1)})


def test_a_model_that_changes_its_inputs_leaves_ours():
    class Centred(nn.Sequential):
        def forward(self, x):
            return super().forward(x.sub_(1))

    x = torch.randn(2, 5)
    before = x.clone()
    graph = units(Centred(nn.Linear(5, 7), nn.ReLU(), nn.Linear(7, 3)), x)
    torch.testing.assert_close(x, before, rtol=0, atol=0)
    assert graph.widths == {"0": 7}
    assert graph.groups["0"].growable


def test_a_single_logit_is_an_output():
    graph = units(nn.Sequential(nn.Linear(5, 7), nn.ReLU(), nn.Linear(7, 1)), torch.randn(2, 5))
    assert graph.fixed["2.weight", 0] == graph.fixed["2.bias", 0] == "output"
