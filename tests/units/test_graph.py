"""What a unit graph says of known models, how it prints, and how a wrong one is found out."""

from dataclasses import replace

import pytest
import torch
from torch import nn

from fedma.errors import GraphError
from fedma.units import Factor, Group, Place, UnitGraph, units, weights
from units.zoo_unusual import ZOO


def found(name):
    return units(*ZOO[name]())


TABLE = """\
group  units  grows  tensor        axis  role  layout
─────  ─────  ─────  ────────────  ────  ────  ──────────
conv1  4      yes    conv1.weight  0     out
                     conv1.bias    0     out
                     conv2.weight  1     in
conv2  6      yes    conv2.weight  0     out
                     conv2.bias    0     out
                     fc1.weight    1     in    units × 16
fc1    10     yes    fc1.weight    0     out
                     fc1.bias      0     out
                     fc2.weight    1     in

3 groups; 99.8 % of the entries move"""


def test_prints_as_a_table():
    assert str(found("LeNet")) == TABLE


def test_prints_blocks_gates_and_offsets():
    assert "4 parts at 0, 6, 12, 18" in str(found("char_lstm"))
    assert "2 parts of heads × units at 0, 8" in str(found("ChunkedAttention"))
    assert "4 in each of heads" in str(found("ChunkedAttention"))
    assert "at 4" in str(found("DenseNet"))


HIDDEN = {
    "mlp": ["0", "2"],
    "LeNet": ["conv1", "conv2", "fc1"],
    "vgg9_bn": ["0", "3", "7", "10", "14", "17", "23", "25"],
    "ResNet": ["stem.0", "layer1.conv1", "layer2.0.conv1", "layer2.0.conv2", "layer2.1.conv1"],
    "char_lstm": ["embed", "rnn"],
    "lstm_bidirectional": ["embed", "rnn", "rnn.reverse", "rnn.l1", "rnn.l1.reverse"],
    "GruLastState": ["embed", "rnn", "rnn.l1"],
    "SdpaAttention": ["embed", "heads", "keys", "values"],
    "EinsumAttention": ["embed", "heads", "q", "v", "gated"],
    "VisionTransformer": [
        "patch",
        "block.self_attn.heads",
        "block.self_attn.keys",
        "block.self_attn.values",
        "block.linear1",
    ],
    "MiniLlama": ["embed", "heads", "queries", "values", "gate"],
    "Experts": [f"experts.{k}.{layer}" for k in range(3) for layer in (0, 2)],
}


@pytest.mark.parametrize("name", HIDDEN)
def test_groups_come_in_order_of_appearance_under_their_makers_names(name):
    assert list(found(name).groups) == HIDDEN[name]


LAST = {
    "mlp": ["4.weight", "4.bias"],
    "LeNet": ["fc2.weight", "fc2.bias"],
    "vgg9": [],
    "vgg9_bn": [],
    "ResNet": ["fc.weight", "fc.bias"],
    "char_lstm": ["fc.weight", "fc.bias"],
    "transformer_pre_norm": ["2.weight", "2.bias"],
    "UNet": ["out.weight", "out.bias"],
    "MiniLlama": [],
    "VisionTransformer": ["fc.weight", "fc.bias"],
}


@pytest.mark.parametrize("name", LAST)
def test_only_the_last_layer_is_marked_as_output(name):
    graph = found(name)
    last = LAST[name] or [t for t in graph.layouts if t.endswith(("27.weight", "21.weight", "27.bias", "21.bias"))]
    marked = [tensor for (tensor, axis), why in graph.fixed.items() if why == "output" and axis == 0]
    assert sorted(marked) == (sorted(last) if name != "MiniLlama" else [])
    assert not any(why == "output" and axis > 0 for (_, axis), why in graph.fixed.items())


def test_reasons_for_what_stays():
    fixed = found("LeNet").fixed
    assert fixed == {
        ("conv1.weight", 1): "input",
        ("conv1.weight", 2): "convolution kernel",
        ("conv1.weight", 3): "convolution kernel",
        ("conv2.weight", 2): "convolution kernel",
        ("conv2.weight", 3): "convolution kernel",
        ("fc1.weight", 1): "position",
        ("fc2.weight", 0): "output",
        ("fc2.bias", 0): "output",
    }
    assert found("MiniLlama").fixed["embed.weight", 0] == "vocabulary"


INCOMING = {
    "LeNet": {("conv1.weight", 1), ("conv2.weight", 1), ("fc1.weight", 1), ("fc2.weight", 1)},
    "char_lstm": {("rnn.weight_ih_l0", 1), ("rnn.weight_hh_l0", 1), ("fc.weight", 1)},
    "lstm_projected": {
        *((f"rnn.weight_{w}_l{k}", 1) for w in ("ih", "hh", "hr") for k in (0, 1)),
        ("fc.weight", 1),
    },
    "MatmulParameters": {("first", 0), ("second", 1)},
    "GroupedTransposed": {("stem.weight", 1), ("up.weight", 0), ("out.weight", 1)},
    "LowRank": {("first.weight", 1), ("down", 1), ("down", 0), ("second.weight", 1)},
    "weight_norm": {
        ("0.parametrizations.weight.original1", 1),
        ("2.parametrizations.weight.original1", 1),
        ("4.weight", 1),
    },
}


@pytest.mark.filterwarnings("ignore:LSTM with projections")
@pytest.mark.parametrize("name", INCOMING)
def test_which_axes_are_summed_over(name):
    assert found(name).incoming == INCOMING[name]


def test_places_of_a_recurrent_group():
    assert list(found("char_lstm").places("rnn")) == [
        Place("rnn.weight_ih_l0", 0, "out"),
        Place("rnn.weight_hh_l0", 0, "out"),
        Place("rnn.weight_hh_l0", 1, "in"),
        Place("rnn.bias_ih_l0", 0, "out"),
        Place("rnn.bias_hh_l0", 0, "out"),
        Place("fc.weight", 1, "in"),
    ]


def test_blocks_are_ordered_apart_only_where_they_never_meet():
    assert found("SdpaAttention").groups["keys"].per == ("heads",)
    assert found("AttentionAmongHeads").per == {}
    assert found("BatchedExperts").per == {"up.part2": ("up",)}


GROWS = {
    "transformer_pre_norm": 2,
    "VisionTransformer": 1,
    "InPlace": 0,
    "Cells": 0,
    "ShuffleNet": 2,
    "LeNetOfOneSize": 2,
}


@pytest.mark.parametrize("name", GROWS)
def test_which_groups_can_grow(name):
    graph = found(name)
    assert sum(group.growable for group in graph.groups.values()) == GROWS[name]


def test_why_groups_cannot_grow():
    assert "layer norm" in found("transformer_pre_norm").groups["0"].reason
    assert "size is fixed in the model (RuntimeError" in found("LeNetOfOneSize").groups["conv2"].reason
    assert "mean" in found("LearntNorm").groups["a"].reason


MODEL = nn.Sequential(nn.Linear(5, 7), nn.ReLU(), nn.Linear(7, 7), nn.ReLU(), nn.Linear(7, 3))
X = torch.randn(4, 5, generator=torch.Generator().manual_seed(0))
A, B = ((Factor(7, "a"),),), ((Factor(7, "b"),),)
BY_HAND = UnitGraph(
    groups={"a": Group("a", 7), "b": Group("b", 7)},
    layouts={
        "0.weight": (A, ((Factor(5),),)),
        "0.bias": (A,),
        "2.weight": (B, A),
        "2.bias": (B,),
        "4.weight": (((Factor(3),),), B),
        "4.bias": (((Factor(3),),),),
    },
)


def test_a_graph_by_hand_passes():
    BY_HAND.check(MODEL, X)


def test_a_wrong_graph_by_hand_is_refused_with_its_group():
    wrong = replace(BY_HAND, layouts={**BY_HAND.layouts, "2.weight": (A, A)})
    with pytest.raises(GraphError, match=r"group b is wrong: reordering it .*2.bias axis 0, 4.weight axis 1"):
        wrong.pin("a", "to see").check(MODEL, X)
    with pytest.raises(GraphError, match="group a is wrong"):
        wrong.check(MODEL, X)


def test_a_graph_of_another_model_is_refused():
    with pytest.raises(GraphError, match=r"tensor '0.weight' has shape \(8, 5\), its layout \(7, 5\)"):
        BY_HAND.check(nn.Sequential(nn.Linear(5, 8), nn.ReLU(), nn.Linear(8, 7), nn.ReLU(), nn.Linear(7, 3)), X)
    with pytest.raises(GraphError, match=r"tensor '4.bias': the graph has it, the model does not"):
        BY_HAND.check(nn.Sequential(*MODEL[:4], nn.Linear(7, 3, bias=False)), X)
    with pytest.raises(GraphError, match="a group 'b' that is not among the groups"):
        replace(BY_HAND, groups={"a": Group("a", 7)}).check(MODEL, X)


def test_widen_refuses_what_cannot_be():
    graph = found("transformer_pre_norm")
    model, _ = ZOO["transformer_pre_norm"]()
    with pytest.raises(GraphError, match="there is no group 'nose'"):
        graph.widen(model, {"nose": 3})
    with pytest.raises(GraphError, match="group 0 cannot grow: normalised over by a layer norm"):
        graph.widen(model, {"0": 10})
    with pytest.raises(GraphError, match="use `slice` to drop units"):
        graph.widen(model, {"1.layers.0.linear1": 3})


def test_slicing_keeps_the_chosen_units():
    model, _ = ZOO["LeNet"]()
    graph = found("LeNet")
    narrow = graph.slice(model, {"conv2": torch.tensor([4, 1])})
    torch.testing.assert_close(narrow.conv2.weight, model.conv2.weight[[4, 1]])
    torch.testing.assert_close(narrow.fc1.weight, model.fc1.weight.view(10, 6, 16)[:, [4, 1]].flatten(1))
    assert (narrow.conv2.out_channels, narrow.fc1.in_features) == (2, 32)


def test_widths_are_read_off_shapes():
    model, _ = ZOO["DenseNet"]()
    graph = found("DenseNet")
    grown = {name: size + 1 + k for k, (name, size) in enumerate(graph.widths.items())}
    assert graph.widths_in(weights(graph.widen(model, grown))) == grown


def test_widths_that_several_axes_tell_together():
    a, b = (Factor(2, "a"),), (Factor(3, "b"),)
    graph = UnitGraph({"a": Group("a", 2), "b": Group("b", 3)}, {"sum": ((a, b),), "more": ((a, b, b),)})
    assert graph.widths_in({"sum": torch.zeros(9), "more": torch.zeros(14)}) == {"a": 4, "b": 5}
    with pytest.raises(GraphError, match="do not tell the widths of groups a, b"):
        graph.widths_in({"sum": torch.zeros(9)})
    with pytest.raises(GraphError, match=r"'sum' has shape .* no widths of its groups give that"):
        replace(graph, layouts={"one": ((a,),), **graph.layouts}).widths_in(
            {"one": torch.zeros(3), "sum": torch.zeros(9), "more": torch.zeros(14)}
        )
