"""The laws on models of the `transformers` library, built from small configurations; nothing is downloaded."""

import pytest
import torch

from units.laws import Laws

transformers = pytest.importorskip("transformers", reason="the models of this file come from transformers")

TEXT = {"vocab_size": 23, "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 24}
SMALL = {**TEXT, "max_position_embeddings": 16}
IMAGE = {"image_size": 8, "patch_size": 4, "num_channels": 3, **{k: v for k, v in TEXT.items() if k != "vocab_size"}}
CAUSAL = {"use_cache": False}
FLOAT32_INSIDE = 1e-5
"""These models compute norms and angles in float32 whatever their weights are."""


def words(**more):
    random = torch.Generator().manual_seed(0)
    return {"input_ids": torch.randint(0, 23, (2, 7), generator=random), **more}


def images():
    return {"pixel_values": torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(0))}


def gpt2(T):
    config = T.GPT2Config(vocab_size=23, n_embd=16, n_layer=2, n_head=4, n_positions=16)
    return T.GPT2LMHeadModel(config), words(**CAUSAL)


def t5(T):
    config = T.T5Config(vocab_size=23, d_model=16, d_kv=4, d_ff=24, num_layers=1, num_heads=4, use_cache=False)
    return Logits(T.T5ForConditionalGeneration(config)), {**words(), "decoder_input_ids": words()["input_ids"][:, :3]}


class Logits(torch.nn.Module):
    """T5 gives the encoder's states too, which would have to stay in place."""

    def __init__(self, model):
        super().__init__()
        self.model = model

    def forward(self, **inputs):
        return self.model(**inputs).logits


MODELS = {
    "bert": lambda T: (T.BertForSequenceClassification(T.BertConfig(**SMALL)), words(attention_mask=torch.ones(2, 7))),
    "distilbert": lambda T: (
        T.DistilBertForMaskedLM(T.DistilBertConfig(vocab_size=23, dim=16, n_layers=2, n_heads=4, hidden_dim=24)),
        words(),
    ),
    "gpt2": gpt2,
    "llama": lambda T: (T.LlamaForCausalLM(T.LlamaConfig(**SMALL, num_key_value_heads=2)), words(**CAUSAL)),
    "qwen3": lambda T: (T.Qwen3ForCausalLM(T.Qwen3Config(**SMALL, num_key_value_heads=2, head_dim=4)), words(**CAUSAL)),
    "vit": lambda T: (T.ViTForImageClassification(T.ViTConfig(**IMAGE)), images()),
    "t5": t5,
    "swin": lambda T: (
        T.SwinForImageClassification(
            T.SwinConfig(image_size=16, patch_size=2, embed_dim=8, depths=[2, 1], num_heads=[2, 4], window_size=4)
        ),
        {"pixel_values": torch.randn(2, 3, 16, 16, generator=torch.Generator().manual_seed(0))},
    ),
    "resnet": lambda T: (
        T.ResNetForImageClassification(
            T.ResNetConfig(embedding_size=4, hidden_sizes=[4, 8], depths=[1, 2], layer_type="bottleneck")
        ),
        images(),
    ),
}
TOLERANCE = {"llama": FLOAT32_INSIDE, "qwen3": FLOAT32_INSIDE, "t5": FLOAT32_INSIDE}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", MODELS)
def test_laws_hold_for_transformers(name):
    model, inputs = MODELS[name](transformers)
    for parameter in model.parameters():
        if parameter.dim() > 1:
            torch.nn.init.normal_(parameter, std=0.3, generator=torch.Generator().manual_seed(0))
    graph = Laws(model.eval(), inputs, tolerance=TOLERANCE.get(name, 1e-10)).all()
    assert graph.coverage > 0.95
