"""Permuted twins: the default matcher gives the function back, whatever the architecture."""

import pytest
import torch

import fedma
from fedma.seeds import generator
from fedma.units import units
from fedma.units.inputs import Inputs, outputs
from fedma.units.verify import difference, in_double, shaken
from matching.twins import TWINS

transformers = pytest.importorskip("transformers", reason="some models of this file come from transformers")
from units.test_transformers import MODELS, SMALL, images, words  # noqa: E402 - skips without transformers

pytestmark = [pytest.mark.filterwarnings("ignore:LSTM with projections")]
EXACT = 1e-9
FLOAT32_INSIDE = 1e-5


class Pair:
    """A model in double precision with all its numbers shaken, its inputs, and a permuted twin."""

    def __init__(self, model, examples, seed=1):
        self.model, self.inputs = shaken(model), in_double(Inputs.of(examples))
        self.examples = self.inputs.kwargs or self.inputs.args
        self.graph = units(self.model, self.examples)
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
