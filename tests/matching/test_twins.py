"""Permuted twins: the default matcher gives the function back, whatever the architecture."""

import pytest
import torch

import fedma
from fedma.matching import Matcher, match_step, original_order, slots, steps
from fedma.matching.joint import entangled
from fedma.matching.whole_model.weights import agreement
from fedma.seeds import generator
from fedma.units import rebuild, units, weights
from fedma.units.inputs import Inputs, outputs
from fedma.units.verify import difference, in_double, shaken
from matching.twins import TWINS
from units.zoo_unusual import ZOO

transformers = pytest.importorskip("transformers", reason="some models of this file come from transformers")
from units.test_transformers import MODELS, SMALL, images, words  # noqa: E402 - skips without transformers

pytestmark = [
    pytest.mark.filterwarnings("ignore:LSTM with projections"),
    pytest.mark.filterwarnings("ignore:.*not used in the forward pass"),
]
EXACT = 1e-9
FLOAT32_INSIDE = 1e-5


class Pair:
    """A model in double precision with all its numbers shaken, its inputs, and a permuted twin."""

    def __init__(self, model, examples, seed=1):
        self.model, self.inputs = shaken(model), in_double(Inputs.of(examples))
        self.examples = self.inputs.kwargs or self.inputs.args
        self.graph = units(self.model, self.examples)
        self.own = weights(self.model)
        self.twin = self.graph.permute(self.model, self.graph.random_orders(generator(seed, "twin")))

    def gap(self, model):
        return difference(outputs(self.model, self.inputs), outputs(model, self.inputs))


@pytest.mark.parametrize("name", sorted(TWINS))
def test_permuted_twins_fuse_back(name):
    pair = Pair(*TWINS[name]())
    assert pair.graph.groups
    assert pair.gap(fedma.fuse([pair.model, pair.twin], pair.examples, tries=1).model) < EXACT


def both(**more):
    return {**words(**more), "decoder_input_ids": words()["input_ids"][:, :3]}


def sounds():
    return {"input_values": torch.randn(1, 64, generator=generator(0, "sounds"))}


T5 = {"vocab_size": 23, "d_model": 16, "d_kv": 4, "d_ff": 24, "num_layers": 2, "num_heads": 8, "use_cache": False}
MAMBA = {"vocab_size": 23, "hidden_size": 12, "state_size": 4, "num_hidden_layers": 2, "time_step_rank": 3}
SOUND = {"conv_dim": [4, 4], "conv_kernel": [4, 2], "conv_stride": [4, 2], "num_conv_pos_embeddings": 4}
MORE = {
    "t5 with its states": lambda T: (T.T5Model(T.T5Config(**T5)), both()),
    "gated t5": lambda T: (T.T5EncoderModel(T.T5Config(**T5, feed_forward_proj="gated-gelu")), words()),
    "mamba": lambda T: (T.MambaForCausalLM(T.MambaConfig(**MAMBA, use_cache=False)), words(use_cache=False)),
    "mixtral": lambda T: (
        T.MixtralForCausalLM(
            T.MixtralConfig(**SMALL, num_key_value_heads=2, num_local_experts=3, experts_implementation="eager")
        ),
        words(use_cache=False),
    ),
    "convnext": lambda T: (
        T.ConvNextForImageClassification(T.ConvNextConfig(hidden_sizes=[4, 6], depths=[1, 1], num_stages=2)),
        {"pixel_values": torch.randn(1, 3, 16, 16, generator=generator(0, "images"))},
    ),
    "bart": lambda T: (
        T.BartForConditionalGeneration(
            T.BartConfig(
                vocab_size=23,
                d_model=16,
                encoder_layers=1,
                decoder_layers=1,
                encoder_attention_heads=4,
                decoder_attention_heads=4,
                encoder_ffn_dim=24,
                decoder_ffn_dim=24,
                max_position_embeddings=16,
            )
        ),
        both(use_cache=False),
    ),
    "rwkv": lambda T: (
        T.RwkvForCausalLM(T.RwkvConfig(vocab_size=23, hidden_size=12, num_hidden_layers=2, context_length=16)),
        words(use_cache=False),
    ),
    "conformer": lambda T: (
        T.Wav2Vec2ConformerForSequenceClassification(
            T.Wav2Vec2ConformerConfig(**SMALL, **SOUND, num_conv_pos_embedding_groups=2, classifier_proj_size=6)
        ),
        sounds(),
    ),
    "deberta": lambda T: (
        T.DebertaV2ForSequenceClassification(
            T.DebertaV2Config(**SMALL, relative_attention=True, pos_att_type=["p2c", "c2p"], position_buckets=4)
        ),
        words(),
    ),
    "electra": lambda T: (T.ElectraForMaskedLM(T.ElectraConfig(**SMALL, embedding_size=8)), words()),
    "segformer": lambda T: (
        T.SegformerForImageClassification(
            T.SegformerConfig(
                num_encoder_blocks=2,
                depths=[1, 1],
                sr_ratios=[2, 1],
                hidden_sizes=[4, 8],
                patch_sizes=[3, 3],
                strides=[2, 2],
                num_attention_heads=[1, 2],
                mlp_ratios=[2, 2],
            )
        ),
        images(),
    ),
}
LONG = ("conformer", "deberta", "segformer")


@pytest.mark.filterwarnings("ignore:::transformers", "ignore:.*not used in the forward pass")
@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[pytest.mark.slow] * (name in LONG)) for name in [*MODELS, *MORE]]
)
def test_permuted_twins_of_transformers_fuse_back(name):
    pair = Pair(*{**MODELS, **MORE}[name](transformers))
    assert pair.gap(fedma.fuse([pair.model, pair.twin], pair.examples, tries=1).model) < FLOAT32_INSIDE


JOINT = ["Perceiver", "Slots", "TwoAlone", "ThreeInACycle", "Tucker", "SingularValues", "FromConstant", "SplitProducts"]


@pytest.mark.parametrize("name", JOINT)
def test_a_little_noise_does_not_hide_a_twin(name):
    pair, random = Pair(*TWINS[name]()), generator(0, "noise", name)
    noisy = {key: own * (1 + 1e-2 * torch.randn(own.shape, generator=random).double()) for key, own in pair.own.items()}
    near = rebuild(pair.model, noisy)
    twin = pair.graph.permute(near, pair.graph.random_orders(generator(2, "twin")))
    fused = fedma.fuse([pair.model, twin], pair.examples, tries=1).model
    known = fedma.fuse([pair.model, near], pair.examples, matcher="identity").model
    assert pair.gap(fused) < 2 * pair.gap(known)


def models_apart(name, count):
    """Models of one family whose weights have nothing in common, and their graph."""
    pair = Pair(*TWINS[name]())
    random, variances = generator(1, "apart", name), {variance for _, variance in pair.graph.statistics}
    drawn = [
        {
            key: torch.rand(own.shape, generator=random, dtype=torch.float64) - (0 if key in variances else 0.5)
            for key, own in pair.own.items()
        }
        for _ in range(count)
    ]
    return pair, drawn


@pytest.mark.parametrize("name", ["Perceiver", "Slots", "ThreeInACycle", "SingularValues"])
def test_joint_matching_is_no_worse_than_leaving_units_in_place(name):
    pair, models = models_apart(name, 3)
    graph, widths = pair.graph, [pair.graph.widths] * 3
    joint = [step for step in steps(graph) if entangled(graph, step)]
    assert joint
    for step in joint:
        matched = match_step(models, graph, step, widths=widths, matcher=Matcher())
        wide = {**graph.widths, **{group: slots(own) for group, own in matched.items()}}
        orders = [original_order({group: own[j] for group, own in matched.items()}, graph) for j in range(3)]
        parts = [{name: model[name] for name in step.tensors} for model in models]
        placed = [graph.scatter(own, order, wide) for own, order in zip(parts, orders, strict=True)]
        assert agreement(placed) >= agreement(parts) - 1e-9


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[pytest.mark.slow] * (place % 3 > 0)) for place, name in enumerate(sorted(TWINS))]
)
def test_models_apart_keep_their_function_when_aligned(name):
    pair, drawn = models_apart(name, 2)
    models = [rebuild(pair.model, own) for own in drawn]
    fusion = fedma.fuse(models, pair.examples, tries=1)
    for model, moved in zip(models, fedma.aligned(models, fusion), strict=True):
        assert difference(outputs(model, pair.inputs), outputs(moved, pair.inputs)) < EXACT


def test_a_group_waits_for_a_tensor_that_tells_its_units_apart():
    graph = units(*TWINS["SplitProducts"]())
    assert [step.groups for step in steps(graph)] == [("a",), ("d", "d.part2"), ()]
    graph = units(*TWINS["ScaleFirst"]())
    assert [step.groups for step in steps(graph)] == [("a",), ("scale",), ()]
    assert steps(graph)[1].tensors == ("scale", "b.weight", "b.bias")


def test_weights_that_a_spectral_norm_reads_are_complete_with_their_units():
    graph = units(*ZOO["spectral_norm"]())
    assert [step.groups for step in steps(graph)] == [("0",), ("3",), ()]
    weight = "parametrizations.weight.original"
    assert [f"{group}.{weight}" in step.tensors for group, step in zip("03", steps(graph), strict=False)] == [True] * 2
