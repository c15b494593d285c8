"""Models of transformers by small configurations; nothing is downloaded."""

import torch

from fedma.seeds import generator

WORDS, LENGTH, SIZE = 32, 16, 32
SMALL = {
    "vocab_size": WORDS, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2, "use_cache": False,
    "hidden_size": 16, "d_model": 16, "n_embd": 16, "dim": 16, "embed_dim": 16, "emb_dim": 16, "embedding_size": 16,
    "num_hidden_layers": 2, "n_layer": 2, "n_layers": 2, "num_layers": 2, "encoder_layers": 2, "decoder_layers": 2,
    "num_attention_heads": 4, "n_head": 4, "n_heads": 4, "num_heads": 4, "num_key_value_heads": 2,
    "encoder_attention_heads": 4, "decoder_attention_heads": 4, "head_dim": 4, "d_kv": 4,
    "intermediate_size": 24, "hidden_dim": 24, "d_ff": 24, "encoder_ffn_dim": 24, "decoder_ffn_dim": 24, "ffn_dim": 24,
    "n_inner": 24, "dim_ff": 24, "d_inner": 24, "moe_intermediate_size": 24,
    "max_position_embeddings": 32, "n_positions": 32, "n_ctx": 32, "type_vocab_size": 2,
    "num_local_experts": 4, "num_experts": 4, "num_experts_per_tok": 2, "n_routed_experts": 4, "num_decoder_layers": 2,
}  # fmt: skip
"""Sizes by every name that some configuration gives them."""
PICTURE = {"image_size": SIZE, "patch_size": 8, "num_channels": 3}

TEXT = """
Albert:ForMaskedLM Bert:ForMaskedLM BertGeneration:Decoder BigBird:ForPreTraining Camembert:ForMaskedLM
Canine:ForTokenClassification
ConvBert:ForMaskedLM Data2VecText:ForMaskedLM Deberta:ForMaskedLM DebertaV2:ForMaskedLM DistilBert:ForMaskedLM
Electra:ForMaskedLM Ernie:ForMaskedLM Esm:ForMaskedLM FNet:ForPreTraining Funnel:ForMaskedLM
LayoutLM:ForMaskedLM MegatronBert:ForMaskedLM MobileBert:ForMaskedLM ModernBert:ForMaskedLM MPNet:ForMaskedLM
Nystromformer:ForMaskedLM RemBert:ForMaskedLM Roberta:ForMaskedLM RoFormer:ForMaskedLM
SqueezeBert:ForSequenceClassification XLMRoberta:ForMaskedLM XLNet:LMHeadModel Yoso:ForMaskedLM Xmod:ForMaskedLM
Arcee:ForCausalLM BioGpt:ForCausalLM Bloom:ForCausalLM CodeGen:ForCausalLM Cohere:ForCausalLM CTRL:LMHeadModel
DeepseekV3:ForCausalLM Falcon:ForCausalLM FalconMamba:ForCausalLM Gemma:ForCausalLM Gemma2:ForCausalLM
Gemma3:ForCausalLM GPT2:LMHeadModel GPTBigCode:ForCausalLM GPTNeo:ForCausalLM GPTNeoX:ForCausalLM GPTJ:ForCausalLM
Glm:ForCausalLM Granite:ForCausalLM GraniteMoe:ForCausalLM Llama:ForCausalLM Mamba:ForCausalLM Mamba2:ForCausalLM
Mistral:ForCausalLM Mixtral:ForCausalLM Mpt:ForCausalLM Nemotron:ForCausalLM OLMo:ForCausalLM Olmo2:ForCausalLM
OlmoE:ForCausalLM OpenAIGPT:LMHeadModel OPT:ForCausalLM Persimmon:ForCausalLM Phi:ForCausalLM Phi3:ForCausalLM
Qwen2:ForCausalLM Qwen2Moe:ForCausalLM Qwen3:ForCausalLM Qwen3Moe:ForCausalLM Rwkv:ForCausalLM
SmolLM3:ForCausalLM StableLm:ForCausalLM Starcoder2:ForCausalLM XGLM:ForCausalLM
Bart:ForConditionalGeneration Blenderbot:ForConditionalGeneration LED:ForConditionalGeneration
M2M100:ForConditionalGeneration Marian:MTModel MBart:ForConditionalGeneration MT5:ForConditionalGeneration
Pegasus:ForConditionalGeneration PLBart:ForConditionalGeneration T5:ForConditionalGeneration
UMT5:ForConditionalGeneration ProphetNet:ForConditionalGeneration SwitchTransformers:ForConditionalGeneration
LongT5:ForConditionalGeneration
""".split()
"""Configuration and model class, the parts of their names."""
IMAGES = """
Beit BiT ConvNext ConvNextV2 Data2VecVision Deit Dinov2 Focalnet MobileNetV1 MobileNetV2 MobileViT PoolFormer RegNet
ResNet Swiftformer Swin Swinv2 Vit VitMsn
""".split()
MORE = {
    "BertGeneration": {"is_decoder": True},
    "Canine": {"num_hash_buckets": 16},
    "BigBird": {"attention_type": "original_full"},
    "DeepseekV3": {"q_lora_rank": 8, "kv_lora_rank": 8, "qk_rope_head_dim": 4, "qk_nope_head_dim": 4, "v_head_dim": 4,
                   "num_key_value_heads": 4, "n_group": 1, "topk_group": 1, "first_k_dense_replace": 1},
    "Electra": {"embedding_size": 16}, "CTRL": {"dff": 24}, "CodeGen": {"rotary_dim": 4}, "GPTJ": {"rotary_dim": 4},
    "GPTNeo": {"attention_types": [[["global", "local"], 1]], "window_size": 4},
    "Gemma3": {"layer_types": ["sliding_attention", "full_attention"]},
    "LED": {"attention_window": 4, "max_encoder_position_embeddings": 32, "max_decoder_position_embeddings": 32},
    "Mamba": {"state_size": 4}, "FalconMamba": {"state_size": 4},
    "Mamba2": {"num_heads": 8, "head_dim": 4, "state_size": 4, "n_groups": 2, "expand": 2},
    "MobileBert": {"intra_bottleneck_size": 8, "true_hidden_size": 8, "embedding_size": 16},
    "ModernBert": {"layer_types": ["full_attention", "sliding_attention"]},
    "Funnel": {"block_sizes": [1, 1], "d_head": 4, "num_decoder_layers": 1},
    "Rwkv": {"attention_hidden_size": 16, "context_length": 16},
    "Xmod": {"languages": ["en"], "default_language": "en"}, "XLNet": {"d_head": 4},
    "FNet": {"tpu_short_seq_length": LENGTH},
    "Nystromformer": {"num_landmarks": LENGTH, "segment_means_seq_len": LENGTH},
    "Yoso": {"use_expectation": True}, "Falcon": {"new_decoder_architecture": False},
    "Deberta": {"relative_attention": True, "pos_att_type": ["c2p", "p2c"], "max_relative_positions": 8},
    "DebertaV2": {"relative_attention": True, "pos_att_type": ["c2p", "p2c"], "max_relative_positions": 8},
    "Phi3": {"rope_scaling": None}, "Phi": {"partial_rotary_factor": 1.0},
    "RemBert": {"input_embedding_size": 16, "output_embedding_size": 16},
    "SwitchTransformers": {"num_sparse_encoder_layers": 1, "num_sparse_decoder_layers": 1},
    "ConvNext": {"hidden_sizes": [8, 12], "depths": [1, 1], "num_stages": 2},
    "ConvNextV2": {"hidden_sizes": [8, 12], "depths": [1, 1], "num_stages": 2},
    "ResNet": {"embedding_size": 8, "hidden_sizes": [8, 12], "depths": [1, 2], "layer_type": "bottleneck"},
    "RegNet": {"embedding_size": 8, "hidden_sizes": [8, 12], "depths": [1, 2], "groups_width": 4},
    "BiT": {"embedding_size": 8, "hidden_sizes": [32, 64], "depths": [1, 1], "num_groups": 4},
    "Swin": {"embed_dim": 8, "depths": [1, 1], "num_heads": [2, 4], "window_size": 4, "patch_size": 4},
    "Swinv2": {"embed_dim": 8, "depths": [1, 1], "num_heads": [2, 4], "window_size": 4, "patch_size": 4},
    "Focalnet": {"embed_dim": 8, "depths": [1, 1], "focal_levels": [1, 1], "focal_windows": [3, 3], "patch_size": 4},
    "PoolFormer": {"hidden_sizes": [8, 12], "depths": [1, 1], "num_encoder_blocks": 2, "patch_sizes": [7, 3],
                   "strides": [4, 2], "padding": [2, 1], "mlp_ratio": 2.0},
    "MobileViT": {"hidden_sizes": [16, 20, 24], "neck_hidden_sizes": [8, 8, 16, 16, 20, 24, 32], "patch_size": 2},
}  # fmt: skip


def build(name):
    """A model by name, and arguments for it."""
    import transformers

    start, _, end = name.partition(":")
    picture = not end
    model = _class(transformers, f"{start}{end or 'ForImageClassification'}")
    settings = {**SMALL, **(PICTURE if picture else {}), **MORE.get(start, {})}
    known = vars(model.config_class()).keys() | set(MORE.get(start, {}))
    config = model.config_class(**{key: value for key, value in settings.items() if key in known})
    random = generator(0, "zoo", name)
    if picture:
        inputs = {"pixel_values": torch.randn(2, 3, SIZE, SIZE, generator=random)}
    else:
        inputs = {"input_ids": torch.randint(3, WORDS, (2, LENGTH), generator=random)}
        if config.is_encoder_decoder:
            inputs["decoder_input_ids"] = torch.randint(3, WORDS, (2, 3), generator=random)
    return Answer(model(config)), inputs


def _class(transformers, name):
    return next(getattr(transformers, other) for other in dir(transformers) if other.lower() == name.lower())


class Answer(torch.nn.Module):
    """The logits, or the last hidden states; the states inside would have to stay in place."""

    def __init__(self, model):
        super().__init__()
        self.model = model

    def forward(self, **inputs):
        result = self.model(**inputs)
        logits = [value for name, value in result.items() if name.endswith("logits")]
        return logits or result.last_hidden_state


NAMES = [*TEXT, *IMAGES]
