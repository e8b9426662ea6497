"""GPT-2 (Radford et al. 2019): learned positions, LayerNorm, GELU, biases; matrices stored input by output."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import torch
from torch import Tensor

from groundup.model.config import ModelConfig
from groundup.model.exchange.families.family import ACTIVATION_NAMES, Entry, Json, activation, given, only

_SIZES: Final = {
    "vocab_size": "vocab_size",
    "num_layers": "n_layer",
    "hidden_size": "n_embd",
    "num_heads": "n_head",
    "num_kv_heads": "n_head",
    "max_seq_len": "n_positions",
    "norm_eps": "layer_norm_epsilon",
}
_FUSED: Final = ("q_proj", "k_proj", "v_proj")
_NAMES: Final = {
    "input_layernorm": "ln_1",
    "post_attention_layernorm": "ln_2",
    "self_attn.o_proj": "attn.c_proj",
    "mlp.up_proj": "mlp.c_fc",
    "mlp.down_proj": "mlp.c_proj",
}


@dataclass(frozen=True)
class GPT2:
    """``GPT2LMHeadModel``."""

    model_type: str = "gpt2"
    architecture: str = "GPT2LMHeadModel"
    prefix: str = "transformer."

    def read(self, data: Json) -> ModelConfig:
        only(data, "scale_attn_weights", True)
        only(data, "scale_attn_by_inverse_layer_idx", False)
        only(data, "add_cross_attention", False)
        width, heads = data["n_embd"], data["n_head"]
        if width % heads:
            raise ValueError(f"n_embd {width} is not a multiple of n_head {heads}")
        fields = {
            **{inner: data[outer] for inner, outer in _SIZES.items()},
            "head_dim": width // heads,
            "intermediate_size": given(data, "n_inner", 4 * width),
            "positions": "learned",
            "norm": "layer",
            "activation": activation(data, "activation_function", "gelu_new"),
            "gated": False,
            "qkv_bias": True,
            "output_bias": True,
            "mlp_bias": True,
            "tie_embeddings": given(data, "tie_word_embeddings", True),
        }
        return ModelConfig.parse(fields, "config.json")

    def write(self, config: ModelConfig) -> dict[str, Any]:
        return {
            **{outer: getattr(config, inner) for inner, outer in _SIZES.items()},
            "n_inner": config.intermediate_size,
            "activation_function": ACTIVATION_NAMES[config.activation],
            "resid_pdrop": 0.0,
            "embd_pdrop": 0.0,
            "attn_pdrop": 0.0,
            "tie_word_embeddings": config.tie_embeddings,
        }

    def entry(self, name: str, config: ModelConfig) -> Entry | None:
        if name.startswith("lm_head."):
            return Entry((name,), (name,))
        if not name.startswith("layers."):
            outer = {"embed_tokens": "wte", "embed_positions": "wpe", "norm": "ln_f"}
            module, _, kind = name.partition(".")
            return Entry((name,), (f"{self.prefix}{outer[module]}.{kind}",))
        _, layer, rest = name.split(".", 2)
        part, _, kind = rest.rpartition(".")
        block = f"{self.prefix}h.{layer}."
        if part == "self_attn.q_proj":
            ours = tuple(f"layers.{layer}.self_attn.{which}.{kind}" for which in _FUSED)
            return Entry(ours, (f"{block}attn.c_attn.{kind}",), _split, _fuse)
        if part.removeprefix("self_attn.") in _FUSED:
            return None
        theirs = (f"{block}{_NAMES[part]}.{kind}",)
        return Entry((name,), theirs, _turned, _turned) if kind == "weight" else Entry((name,), theirs)


def _turned(tensors: list[Tensor]) -> list[Tensor]:
    """Matrices transposed, vectors as they are."""
    return [tensor.t() for tensor in tensors]


def _split(tensors: list[Tensor]) -> list[Tensor]:
    (fused,) = tensors
    return list(fused.t().chunk(3))


def _fuse(tensors: list[Tensor]) -> list[Tensor]:
    return [torch.cat(tensors).t()]
