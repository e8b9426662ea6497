"""What GGUF calls the parts of a transformer: architectures, tensor names and the order of their rows.

The mathematics that llama.cpp computes is named by ``general.architecture``. Mistral and Mixtral are ``llama``.
Three things differ from our layout:

- ``llama`` turns adjacent pairs (2i, 2i + 1) of a head by the rotary angle, we and the others pairs (i, i + E/2), so
  the rows of its query and key projections stand in another order;
- ``falcon`` and ``gpt2`` keep queries, keys and values in one matrix, one after the other;
- ``falcon``'s ``attn_norm`` is the feed-forward's norm where there are two, and ``attn_norm_2`` attention's.

Source: gguf-py, ``constants.py`` and ``tensor_mapping.py``; llama.cpp, ``docs/development/HOWTO-add-model.md``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Final

import torch
from torch import Tensor

from groundup.base.errors import RequestError
from groundup.model.config import ModelConfig
from groundup.model.transformer import Transformer


@dataclass(frozen=True)
class Architecture:
    """The fields of ModelConfig that an architecture leaves no choice in, and how it stores attention's rows."""

    name: str
    fixed: Mapping[str, Any]
    fused_qkv: bool = False
    adjacent_pairs: bool = False

    def computes(self, config: ModelConfig) -> bool:
        """Whether a configuration is one of this architecture's."""
        return all(getattr(config, field) == value for field, value in self.fixed.items())


_LLAMA: Final = {
    "positions": "rotary",
    "norm": "rms",
    "parallel_residual": False,
    "activation": "silu",
    "gated": True,
    "full_layers": (),
}
_NO_BIAS: Final = {"qkv_bias": False, "output_bias": False, "mlp_bias": False}
_PLAIN: Final = {"gated": False, "qk_norm": False, "num_experts": 0, "sliding_window": None}
_FALCON: Final = {
    "positions": "rotary",
    "norm": "layer",
    "parallel_residual": True,
    "activation": "gelu",
    **_NO_BIAS,
    **_PLAIN,
}
_GPT2: Final = {
    "positions": "learned",
    "norm": "layer",
    "parallel_residual": False,
    "activation": "gelu_tanh",
    "qkv_bias": True,
    "output_bias": True,
    "mlp_bias": True,
    **_PLAIN,
}
_QWEN2: Final = {**_LLAMA, **_NO_BIAS, "qkv_bias": True, "qk_norm": False, "num_experts": 0}

ARCHITECTURES: Final = MappingProxyType(
    {
        known.name: known
        for known in (
            Architecture("qwen3", {**_LLAMA, **_NO_BIAS, "qk_norm": True, "num_experts": 0}),
            Architecture("qwen3moe", {**_LLAMA, **_NO_BIAS, "qk_norm": True}),
            Architecture("qwen2", _QWEN2),
            Architecture("llama", {**_LLAMA, "qk_norm": False}, adjacent_pairs=True),
            Architecture("falcon", _FALCON, fused_qkv=True),
            Architecture("gpt2", _GPT2, fused_qkv=True),
        )
    }
)
"""Those that are read and written, the narrower before the wider."""

FULL_LENGTH: Final = "attention.sliding_window_context_length"
"""A key of our own, for models whose context is longer than their window."""

_TOP: Final = {
    "embed_tokens.weight": "token_embd.weight",
    "embed_positions.weight": "position_embd.weight",
    "norm.weight": "output_norm.weight",
    "norm.bias": "output_norm.bias",
    "lm_head.weight": "output.weight",
}
_LAYER: Final = {
    "input_layernorm": "attn_norm",
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.q_norm": "attn_q_norm",
    "self_attn.k_norm": "attn_k_norm",
    "self_attn.o_proj": "attn_output",
    "post_attention_layernorm": "ffn_norm",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
    "mlp.router": "ffn_gate_inp",
    "mlp.experts.gate_proj": "ffn_gate_exps",
    "mlp.experts.up_proj": "ffn_up_exps",
    "mlp.experts.down_proj": "ffn_down_exps",
}
_FALCON_TWO_NORMS: Final = {"input_layernorm": "attn_norm_2", "post_attention_layernorm": "attn_norm"}
_QKV: Final = ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj")


def architecture_of(config: ModelConfig) -> Architecture:
    """The architecture that computes a configuration; RequestError if GGUF has none."""
    for known in ARCHITECTURES.values():
        if known.computes(config):
            return known
    raise RequestError(
        f"no GGUF architecture computes this model; there are {', '.join(ARCHITECTURES)}, each with its own mathematics"
    )


def empty_model(config: ModelConfig) -> Transformer:
    """The model without memory for its weights."""
    with torch.device("meta"):
        return Transformer(config)


def rows_of(config: ModelConfig, known: Architecture) -> dict[str, tuple[str, ...]]:
    """Each GGUF tensor, and the parameters of ours whose rows it holds one after the other."""
    rows: dict[str, tuple[str, ...]] = {}
    for name in empty_model(config).state_dict():
        outer = _outer_name(name, config, known)
        rows[outer] = (*rows.get(outer, ()), name)
    return rows


def _outer_name(name: str, config: ModelConfig, known: Architecture) -> str:
    if name in _TOP:
        return _TOP[name]
    _, layer, rest = name.split(".", 2)
    kind = "bias" if rest.endswith(".bias") else "weight"
    part = rest.removesuffix(f".{kind}")
    if known.fused_qkv and part in _QKV:
        return f"blk.{layer}.attn_qkv.{kind}"
    names = {**_LAYER, **_FALCON_TWO_NORMS} if known.name == "falcon" and not config.shared_norm else _LAYER
    return f"blk.{layer}.{names[part]}.{kind}"


def turns(name: str, known: Architecture) -> bool:
    """Whether a parameter's rows are pairs that the architecture keeps side by side."""
    return known.adjacent_pairs and (".self_attn.q_proj." in name or ".self_attn.k_proj." in name)


def to_adjacent(rows: Tensor, head_dim: int) -> Tensor:
    """Reorder rows (heads * E, ...) so that the pair (i, i + E/2) of each head becomes (2i, 2i + 1)."""
    return rows.reshape(-1, 2, head_dim // 2, *rows.shape[1:]).transpose(1, 2).reshape(rows.shape)


def from_adjacent(rows: Tensor, head_dim: int) -> Tensor:
    """The inverse of ``to_adjacent``."""
    return rows.reshape(-1, head_dim // 2, 2, *rows.shape[1:]).transpose(1, 2).reshape(rows.shape)
