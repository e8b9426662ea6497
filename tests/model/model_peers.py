"""Small random models of every family, ours and those of transformers."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import torch
from torch import nn
from transformers import (
    AutoModelForCausalLM,
    FalconConfig,
    GPT2Config,
    LlamaConfig,
    MistralConfig,
    MixtralConfig,
    PreTrainedConfig,
    PreTrainedModel,
    Qwen2Config,
    Qwen3Config,
    Qwen3MoeConfig,
)

from groundup.model.config import Llama3Scaling, ModelConfig, YarnScaling
from groundup.model.init import initialise
from groundup.model.transformer import Transformer

LENGTH = 37
"""Longest sequence of the models below."""


def stir(model: nn.Module, seed: int) -> None:
    """Move every weight, norms and biases included, so that each of them matters."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for weight in model.parameters():
            weight.add_(torch.randn(weight.shape, generator=generator) * 0.1)


def lively(config: ModelConfig, seed: int = 0) -> Transformer:
    """A random model of ours whose every weight matters."""
    model = Transformer(config)
    initialise(model, seed)
    stir(model, seed)
    return model


def random_ids(vocab_size: int, rows: int, length: int, seed: int = 0) -> torch.Tensor:
    """Ids int64 (rows, length), from 2 on: transformers gives a padding id's embedding no gradient."""
    return torch.randint(2, vocab_size, (rows, length), generator=torch.Generator().manual_seed(seed))


# -- theirs ------------------------------------------------------------------------------------------------------


def _common(rng: random.Random, tied: bool) -> dict[str, Any]:
    kv_heads = rng.choice([1, 2, 3])
    heads = kv_heads * rng.choice([1, 2, 3])
    return {
        "vocab_size": rng.randrange(40, 120),
        "hidden_size": heads * rng.choice([4, 8, 10]),
        "num_hidden_layers": rng.choice([1, 2, 3]),
        "num_attention_heads": heads,
        "num_key_value_heads": kv_heads,
        "intermediate_size": rng.randrange(20, 60),
        "max_position_embeddings": LENGTH,
        "rms_norm_eps": rng.choice([1e-6, 1e-4]),
        "tie_word_embeddings": tied,
        "bos_token_id": None,
        "eos_token_id": None,
    }


def _rope(rng: random.Random) -> dict[str, Any]:
    kind = rng.choice(["default", "linear", "dynamic", "llama3", "yarn"])
    rope: dict[str, Any] = {"rope_type": kind, "rope_theta": rng.choice([100.0, 10_000.0])}
    if kind != "default":
        rope["factor"] = rng.choice([2.0, 3.5])
    if kind == "llama3":
        rope |= {"low_freq_factor": 1.0, "high_freq_factor": 4.0, "original_max_position_embeddings": 16}
    if kind == "yarn":
        rope |= {"original_max_position_embeddings": 16, "beta_fast": rng.choice([4.0, 32.0])}
        rope |= rng.choice([{}, {"attention_factor": 1.3}, {"mscale": 0.7, "mscale_all_dim": 1.1}, {"truncate": False}])
    return {"rope_parameters": rope}


def _window(rng: random.Random, layers: int) -> dict[str, Any]:
    return rng.choice(
        [
            {"use_sliding_window": False},
            {"use_sliding_window": True, "sliding_window": 5, "max_window_layers": layers // 2},
            {
                "use_sliding_window": True,
                "sliding_window": 9,
                "layer_types": [rng.choice(["full_attention", "sliding_attention"]) for _ in range(layers)],
            },
        ]
    )


def llama(rng: random.Random, tied: bool) -> PreTrainedConfig:
    biases = {"attention_bias": rng.random() < 0.5, "mlp_bias": rng.random() < 0.5}
    common = _common(rng, tied)
    act = rng.choice(["silu", "gelu", "gelu_pytorch_tanh"])
    return LlamaConfig(**common, **_rope(rng), **biases, head_dim=rng.choice([None, 6, 16]), hidden_act=act)


def mistral(rng: random.Random, tied: bool) -> PreTrainedConfig:
    return MistralConfig(
        **_common(rng, tied), sliding_window=rng.choice([None, 1, 4, 30]), head_dim=rng.choice([8, 14])
    )


def mixtral(rng: random.Random, tied: bool) -> PreTrainedConfig:
    experts = rng.choice([2, 5])
    return MixtralConfig(
        **_common(rng, tied),
        num_local_experts=experts,
        num_experts_per_tok=rng.randrange(1, experts + 1),
        sliding_window=rng.choice([None, 6]),
    )


def qwen2(rng: random.Random, tied: bool) -> PreTrainedConfig:
    common = _common(rng, tied)
    return Qwen2Config(**common, **_window(rng, common["num_hidden_layers"]))


def qwen3(rng: random.Random, tied: bool) -> PreTrainedConfig:
    common = _common(rng, tied)
    return Qwen3Config(
        **common,
        **_window(rng, common["num_hidden_layers"]),
        head_dim=rng.choice([8, 12]),
        attention_bias=rng.random() < 0.5,
    )


def qwen3_moe(rng: random.Random, tied: bool) -> PreTrainedConfig:
    return Qwen3MoeConfig(
        **_common(rng, tied),
        head_dim=rng.choice([8, 12]),
        moe_intermediate_size=rng.randrange(10, 30),
        num_experts=4,
        num_experts_per_tok=rng.randrange(1, 4),
        norm_topk_prob=True,
    )


def falcon(rng: random.Random, tied: bool) -> PreTrainedConfig:
    kv_heads = rng.choice([1, 2])
    heads = kv_heads * rng.choice([2, 3])
    decoder = rng.choice(
        [
            {"multi_query": True, "parallel_attn": True},
            {"multi_query": True, "parallel_attn": False},
            {"multi_query": False, "parallel_attn": True},
            {"multi_query": False, "parallel_attn": False},
            {"new_decoder_architecture": True, "num_kv_heads": kv_heads},
            {"new_decoder_architecture": True, "num_kv_heads": kv_heads, "num_ln_in_parallel_attn": 1},
        ]
    )
    width = heads * rng.choice([8, 12])
    return FalconConfig(
        vocab_size=rng.randrange(40, 120),
        hidden_size=width,
        num_hidden_layers=rng.choice([1, 2]),
        num_attention_heads=heads,
        ffn_hidden_size=rng.choice([None, 2 * width]),
        max_position_embeddings=LENGTH,
        bias=rng.random() < 0.5,
        tie_word_embeddings=tied,
        bos_token_id=None,
        eos_token_id=None,
        **decoder,
    )


def gpt2(rng: random.Random, tied: bool) -> PreTrainedConfig:
    heads = rng.choice([1, 3, 4])
    return GPT2Config(
        vocab_size=rng.randrange(40, 120),
        n_embd=heads * rng.choice([8, 10]),
        n_head=heads,
        n_layer=rng.choice([1, 2]),
        n_inner=rng.choice([None, 30]),
        n_positions=LENGTH,
        activation_function=rng.choice(["gelu_new", "gelu"]),
        tie_word_embeddings=tied,
        bos_token_id=None,
        eos_token_id=None,
    )


THEIRS: dict[str, Callable[[random.Random, bool], PreTrainedConfig]] = {
    family.__name__: family for family in (llama, mistral, mixtral, qwen2, qwen3, qwen3_moe, falcon, gpt2)
}


def their_model(config: PreTrainedConfig, seed: int) -> PreTrainedModel:
    """A random model of transformers, every weight of which matters, without dropout."""
    torch.manual_seed(seed)
    # Their fused experts want rows of whole 16 bytes.
    experts = {"experts_implementation": "eager"} if hasattr(config, "num_experts_per_tok") else {}
    model = AutoModelForCausalLM.from_config(config, attn_implementation="eager", **experts).eval()
    stir(model, seed)
    return model


# -- ours --------------------------------------------------------------------------------------------------------

_BASE: dict[str, Any] = {
    "vocab_size": 97, "num_layers": 2, "hidden_size": 48, "num_heads": 4, "num_kv_heads": 2, "head_dim": 12,
    "intermediate_size": 56, "max_seq_len": LENGTH,
}  # fmt: skip
_LAYER_NORM: dict[str, Any] = {"norm": "layer", "activation": "gelu", "gated": False}
_BIASES: dict[str, Any] = {"qkv_bias": True, "output_bias": True, "mlp_bias": True}


def _ours(**fields: Any) -> ModelConfig:
    return ModelConfig(**{**_BASE, **fields})


OURS: dict[str, tuple[str, ModelConfig]] = {
    "llama": ("llama", _ours(num_kv_heads=4)),
    "llama, grouped, untied, own head_dim": (
        "llama",
        _ours(num_layers=3, num_heads=6, head_dim=10, rope_theta=500.0, norm_eps=1e-4, tie_embeddings=False),
    ),
    "llama 3.1": (
        "llama",
        _ours(
            rope_scaling=Llama3Scaling(factor=8.0, low_freq_factor=1.0, high_freq_factor=4.0, original_max_seq_len=16)
        ),
    ),
    "llama, all biases, yarn": (
        "llama",
        _ours(**_BIASES, rope_scaling=YarnScaling(factor=4.0, original_max_seq_len=9, attention_factor=1.2)),
    ),
    "mistral": ("mistral", _ours(sliding_window=5, tie_embeddings=False)),
    "mistral, heads wider than the stream": ("mistral", _ours(num_heads=5, num_kv_heads=5, head_dim=16)),
    "qwen2": ("qwen2", _ours(qkv_bias=True)),
    "qwen2, windows": ("qwen2", _ours(num_layers=4, qkv_bias=True, sliding_window=6, full_layers=(0, 2))),
    "qwen3": ("qwen3", _ours(qk_norm=True)),
    "qwen3, untied": ("qwen3", _ours(qk_norm=True, head_dim=16, tie_embeddings=False, norm_eps=1e-6)),
    "mixtral": ("mixtral", _ours(num_experts=4, num_experts_per_token=2, tie_embeddings=False)),
    "mixtral, window, tied": ("mixtral", _ours(num_experts=3, num_experts_per_token=3, sliding_window=4)),
    "qwen3_moe": ("qwen3_moe", _ours(num_experts=4, num_experts_per_token=2, qk_norm=True)),
    "gpt2": ("gpt2", _ours(**_LAYER_NORM, **_BIASES, positions="learned", num_kv_heads=4)),
    "gpt2, untied": (
        "gpt2",
        _ours(
            **{**_LAYER_NORM, **_BIASES, "activation": "gelu_tanh"},
            positions="learned",
            num_kv_heads=4,
            tie_embeddings=False,
        ),
    ),
    "falcon 7b": ("falcon", _ours(**_LAYER_NORM, num_kv_heads=1, parallel_residual=True, shared_norm=True)),
    "falcon 40b": ("falcon", _ours(**_LAYER_NORM, **_BIASES, parallel_residual=True, tie_embeddings=False)),
    "falcon, new, one norm": ("falcon", _ours(**_LAYER_NORM, parallel_residual=True, shared_norm=True)),
    "falcon, in sequence": ("falcon", _ours(**_LAYER_NORM, **_BIASES, num_kv_heads=4)),
}
