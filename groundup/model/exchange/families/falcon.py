"""Falcon (Almazrouei et al. 2023): LayerNorm, parallel branches, few key-value heads, queries, keys and values fused.

The fused rows are, for each key-value head, its query heads, then its key, then its value; multi-query is the case
of one key-value head, plain multi-head that of as many as queries.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import torch
from torch import Tensor

from groundup.model.config import ModelConfig
from groundup.model.exchange.families.family import ACTIVATION_NAMES, Entry, Json, activation, given
from groundup.model.exchange.families.rope import read_rope, write_rope

_FUSED: Final = ("q_proj", "k_proj", "v_proj")
_NAMES: Final = {
    "embed_tokens.weight": "word_embeddings.weight",
    "self_attn.o_proj": "self_attention.dense",
    "mlp.up_proj": "mlp.dense_h_to_4h",
    "mlp.down_proj": "mlp.dense_4h_to_h",
}


@dataclass(frozen=True)
class Falcon:
    """``FalconForCausalLM``, the first decoder (7B) and the new one (40B and later)."""

    model_type: str = "falcon"
    architecture: str = "FalconForCausalLM"
    prefix: str = "transformer."

    def read(self, data: Json) -> ModelConfig:
        if given(data, "alibi", False):
            raise ValueError("alibi True is not supported: Falcon rounds its biases to bfloat16 in every precision")
        heads, width = data["num_attention_heads"], data["hidden_size"]
        if width % heads:
            raise ValueError(f"hidden_size {width} is not a multiple of num_attention_heads {heads}")
        bias = given(data, "bias", False)
        length = given(data, "max_position_embeddings", 2048)
        fields = {
            "vocab_size": data["vocab_size"],
            "num_layers": data["num_hidden_layers"],
            "hidden_size": width,
            "num_heads": heads,
            "head_dim": width // heads,
            "intermediate_size": given(data, "ffn_hidden_size", 4 * width),
            "max_seq_len": length,
            "norm": "layer",
            "norm_eps": given(data, "layer_norm_epsilon", 1e-5),
            "activation": activation(data, "activation", "gelu"),
            "gated": False,
            "qkv_bias": bias,
            "output_bias": bias,
            "mlp_bias": bias,
            "tie_embeddings": given(data, "tie_word_embeddings", True),
            **read_rope({**data, "max_position_embeddings": length}),
            **_decoder(data, heads),
        }
        return ModelConfig.parse(fields, "config.json")

    def write(self, config: ModelConfig) -> dict[str, Any]:
        if config.head_dim * config.num_heads != config.hidden_size:
            raise ValueError("Falcon's heads share its hidden_size evenly")
        return {
            "vocab_size": config.vocab_size,
            "num_hidden_layers": config.num_layers,
            "hidden_size": config.hidden_size,
            "num_attention_heads": config.num_heads,
            "num_kv_heads": config.num_kv_heads,
            "ffn_hidden_size": config.intermediate_size,
            "max_position_embeddings": config.max_seq_len,
            "layer_norm_epsilon": config.norm_eps,
            "activation": ACTIVATION_NAMES[config.activation],
            "alibi": False,
            "bias": config.qkv_bias,
            "tie_word_embeddings": config.tie_embeddings,
            **write_rope(config),
            **_outer_decoder(config),
        }

    def entry(self, name: str, config: ModelConfig) -> Entry | None:
        if name.startswith("lm_head."):
            return Entry((name,), (name,))
        if name in _NAMES:
            return Entry((name,), (self.prefix + _NAMES[name],))
        if name.startswith("norm."):
            return Entry((name,), (f"{self.prefix}ln_f.{name.removeprefix('norm.')}",))
        _, layer, rest = name.split(".", 2)
        part, _, kind = rest.rpartition(".")
        block = f"{self.prefix}h.{layer}."
        if part == "self_attn.q_proj":
            ours = tuple(f"layers.{layer}.self_attn.{which}.{kind}" for which in _FUSED)
            theirs = (f"{block}self_attention.query_key_value.{kind}",)
            return Entry(ours, theirs, lambda fused: _split(fused[0], config), lambda parts: [_fuse(parts, config)])
        if part.removeprefix("self_attn.") in _FUSED:
            return None
        if config.parallel_residual and not config.shared_norm:
            part = {"input_layernorm": "ln_attn", "post_attention_layernorm": "ln_mlp"}.get(part, part)
        return Entry((name,), (f"{block}{_NAMES.get(part, part)}.{kind}",))


def _decoder(data: Json, heads: int) -> dict[str, Any]:
    """Key-value heads, and the order of the branches and their norms."""
    parallel, num_norms = given(data, "parallel_attn", True), data.get("num_ln_in_parallel_attn")
    if given(data, "new_decoder_architecture", False):
        if not parallel:
            raise ValueError("parallel_attn False does not go with new_decoder_architecture")
        shared = num_norms == 1
        return {
            "num_kv_heads": given(data, "num_kv_heads", heads),
            "parallel_residual": True,
            "shared_norm": shared,
        }
    if num_norms == 2 and parallel:
        raise ValueError("num_ln_in_parallel_attn 2 needs new_decoder_architecture")
    multi_query = given(data, "multi_query", True)
    if not multi_query and given(data, "num_kv_heads", heads) != heads:
        raise ValueError(f"num_kv_heads {data['num_kv_heads']} needs new_decoder_architecture")
    return {
        "num_kv_heads": 1 if multi_query else heads,
        "parallel_residual": parallel,
        "shared_norm": parallel,
    }


def _outer_decoder(config: ModelConfig) -> dict[str, Any]:
    old = {1: True, config.num_heads: False}  # key-value heads to multi_query
    plain = not config.parallel_residual or config.shared_norm
    if plain and config.num_kv_heads in old:
        return {
            "new_decoder_architecture": False,
            "multi_query": old[config.num_kv_heads],
            "parallel_attn": config.parallel_residual,
        }
    return {
        "new_decoder_architecture": True,
        "parallel_attn": True,
        "num_ln_in_parallel_attn": 1 if config.shared_norm else 2,
    }


def _split(fused: Tensor, config: ModelConfig) -> list[Tensor]:
    """Queries, keys and values from the fused rows; weights (rows, D) or biases (rows,)."""
    groups, rest = config.num_heads // config.num_kv_heads, fused.shape[1:]
    heads = fused.view(config.num_kv_heads, groups + 2, config.head_dim, *rest)
    return [part.reshape(-1, *rest) for part in (heads[:, :-2], heads[:, -2], heads[:, -1])]


def _fuse(parts: list[Tensor], config: ModelConfig) -> Tensor:
    shape = (config.num_kv_heads, -1, config.head_dim, *parts[0].shape[1:])
    return torch.cat([part.reshape(shape) for part in parts], dim=1).flatten(0, 2)
