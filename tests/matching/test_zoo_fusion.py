"""Fusing models of every family: blocks on other axes than what they hold, blocks inside blocks, groups that wait."""

from dataclasses import replace

import pytest
import torch
from torch import nn

import fedma
from fedma.errors import PinnedWarning
from fedma.matching import MATCHERS, Matcher, fuse_weights, steps
from fedma.matching.features import incoming
from fedma.matching.whole_model.optimal_transport import couplings
from fedma.seeds import generator
from fedma.units import UnitGraph, rebuild, units, weights
from fedma.units.graph import Group
from fedma.units.inputs import Inputs, outputs
from fedma.units.layout import Factor
from fedma.units.verify import difference, in_double, shaken
from units.zoo_unusual import ZOO

IGNORED = ["ignore:LSTM with projections", "ignore:input's size at dim=1 does not match num_features"]
IGNORED += ["ignore:2 parameters are not used:fedma.errors.PinnedWarning"]
pytestmark = [pytest.mark.filterwarnings(each) for each in IGNORED]
EXACT = 1e-9
IMAGES = torch.randn(2, 2, 4, 4, generator=generator(0, "images"), dtype=torch.float64)


class Given:
    """A model in double precision, its inputs, its graph, and permuted copies of it."""

    def __init__(self, model: nn.Module, examples: object) -> None:
        self.model, self.inputs = model, in_double(Inputs.of(examples))
        self.examples = self.inputs.kwargs or self.inputs.args
        self.graph = units(self.model, self.examples)

    def copy(self, seed: int) -> nn.Module:
        return self.graph.permute(self.model, self.graph.random_orders(generator(seed, "copy")))

    def gap(self, model: nn.Module) -> float:
        return difference(outputs(self.model, self.inputs), outputs(model, self.inputs))


def of_zoo(name: str) -> Given:
    model, examples = ZOO[name]()
    return Given(shaken(model), examples)


@pytest.mark.parametrize("name", sorted(ZOO))
def test_models_of_the_zoo_fuse(name: str) -> None:
    own = of_zoo(name)
    one = fedma.fuse([own.model], own.examples, matcher="identity").model
    if name == "spectral_norm":  # shaken, its vectors are none of its weight; fused, they are
        own.model = one
    torch.testing.assert_close(weights(one), weights(own.model), rtol=1e-12, atol=1e-12)
    copies = [own.model, own.model, own.copy(1)]
    fusion = fedma.fuse(copies, own.examples, tries=1)
    assert own.gap(fusion.model) < EXACT
    assert all(own.gap(model) < EXACT for model in fedma.aligned(copies, fusion))


def chain(*layers: nn.Module, channels: int, width: int = 4) -> nn.Module:
    """Layers with a rectifier behind each, and an output layer."""
    rectified = [part for layer in layers for part in (layer, nn.ReLU())]
    return nn.Sequential(*rectified, nn.Conv2d(channels, width, 1), nn.Flatten(), nn.Linear(16 * width, 3))


def conv(i: int, o: int, groups: int = 1) -> nn.Module:
    return nn.Conv2d(i, o, 1, groups=groups)


NESTED = {
    "group norm, more groups": lambda: chain(conv(2, 8), nn.GroupNorm(2, 8), conv(8, 8, 4), channels=8),
    "group norm, fewer groups": lambda: chain(conv(2, 8), nn.GroupNorm(4, 8), conv(8, 8, 2), channels=8),
    "groups, more groups": lambda: chain(conv(2, 8), conv(8, 8, 2), conv(8, 4, 4), channels=4),
    "groups, fewer groups": lambda: chain(conv(2, 8), conv(8, 8, 4), conv(8, 4, 2), channels=4),
    "depthwise, group norm": lambda: chain(conv(2, 8), conv(8, 16, 8), nn.GroupNorm(2, 16), channels=16),
    "three deep": lambda: chain(conv(2, 16), nn.GroupNorm(2, 16), conv(16, 16, 4), conv(16, 16, 8), channels=16),
}
ELSEWHERE = {
    "transposed": lambda: chain(conv(2, 6), nn.ConvTranspose2d(6, 8, 1, groups=2), channels=8),
    "transposed, nested": lambda: chain(
        conv(2, 12), nn.GroupNorm(2, 12), nn.ConvTranspose2d(12, 12, 1, groups=6), channels=12
    ),
}


BLOCKS = {**NESTED, **ELSEWHERE}


@pytest.mark.parametrize("name", BLOCKS)
@pytest.mark.parametrize("matcher", [entry.name for entry in MATCHERS if entry.moves])
def test_permuted_copies_with_blocks_fuse_back(name: str, matcher: str) -> None:
    own = Given(shaken(BLOCKS[name]()), IMAGES)
    copies = [own.copy(seed) for seed in range(3)]
    assert own.gap(fedma.fuse(copies, own.examples, matcher=matcher, tries=1).model) < EXACT


@pytest.mark.parametrize("name", ["group norm, more groups", "transposed, nested"])
@pytest.mark.parametrize("matcher", [entry.name for entry in MATCHERS if entry.assigns])
def test_models_with_blocks_keep_their_function_when_aligned(name: str, matcher: str) -> None:
    own = [Given(shaken(BLOCKS[name]()), IMAGES) for _ in range(3)]
    models = [each.model for each in own]
    fusion = fedma.fuse(models, own[0].examples, matcher=matcher, tries=1)
    for each, model in zip(own, fedma.aligned(models, fusion), strict=True):
        assert each.gap(model) < EXACT


def test_a_group_that_another_reads_is_matched_first() -> None:
    own = of_zoo("PaddedShortcut")
    assert [step.groups for step in steps(own.graph)] == [("stem",), ("conv1", "conv2", "conv2.part2"), ()]
    narrow = own.graph.slice(own.model, {"conv1": torch.arange(6), "conv2": torch.tensor([0, 1])})
    fusion = fedma.fuse([own.copy(1), narrow, own.copy(2)], own.examples, grow=False)
    assert fusion.widths == own.graph.widths
    without = fedma.fuse([own.copy(1), own.copy(2)], own.examples)
    assert own.gap(without.model) < EXACT


def test_blocks_are_matched_before_what_they_hold() -> None:
    own = of_zoo("ResNeXt")
    groups = {name: own.graph.groups[name] for name in ("stem", "reduce", "grouped", "groups")}
    late = replace(own.graph, groups=groups)
    assert steps(late) == steps(own.graph)
    models = [weights(own.copy(seed)) for seed in range(3)]
    fused, _ = fuse_weights(models, late, widths=[own.graph.widths] * 3, shares=[1.0] * 3, matcher=Matcher())
    assert own.gap(rebuild(own.model, fused)) < EXACT


@pytest.mark.parametrize("name", ["AttentionAmongHeads", "EinsumAttention", "GroupedTransposed", "PaddedShortcut"])
def test_features_do_not_depend_on_the_order_of_units_that_are_matched_later(name: str) -> None:
    own = of_zoo(name)
    graph, orders = own.graph, own.graph.random_orders(generator(2, "later"))
    for step in steps(graph):
        for number, group in enumerate(step.groups):
            for later in (step.groups[number + 1 :], [other for other in graph.groups if other != group]):
                later = [other for other in later if other not in graph.groups[group].per]
                other = graph.gather(weights(own.model), {name: orders[name] for name in later})
                rows, same = (
                    incoming(client, graph, group, names=step.tensors, widths=graph.widths, later=later)
                    for client in (weights(own.model), other)
                )
                torch.testing.assert_close(same, rows, rtol=1e-6, atol=1e-6)


def test_transport_matches_what_only_second_moments_tell() -> None:
    own = of_zoo("AttentionAmongHeads")
    copies = [own.copy(seed) for seed in range(3)]
    assert own.gap(fedma.fuse(copies, own.examples, matcher="ot").model) < EXACT


def test_transport_warns_of_what_nothing_tells() -> None:
    axis = ((Factor(3, "loop"),),)
    graph = UnitGraph({"loop": Group("loop", 3)}, {"mean": (axis,), "var": (axis,)}, statistics=(("mean", "var"),))
    models = [{name: torch.rand(3, generator=generator(seed, "loop")) for name in ("mean", "var")} for seed in range(2)]
    with pytest.warns(PinnedWarning, match="'loop' is left in place"):
        found = couplings(*models, graph, widths=(graph.widths, graph.widths))
    torch.testing.assert_close(found["loop"], torch.eye(3, dtype=torch.float64))
