"""Llama and the families that differ from it in a switch or two: Mistral, Qwen2, Qwen3, Mixtral, Qwen3-MoE.

Parameter names are ours with the prefix ``model.``; rotary pairs are in the half-split order on both sides. Dropout
and the routers' jitter act in training only and are not part of the function, so they are not looked at.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from groundup.model.config import ModelConfig
from groundup.model.exchange.families.family import (
    ACTIVATION_NAMES,
    Entry,
    Json,
    activation,
    given,
    only,
    stack,
    unstack,
)
from groundup.model.exchange.families.rope import read_rope, write_rope

_SIZES: Final = {
    "vocab_size": "vocab_size",
    "num_layers": "num_hidden_layers",
    "hidden_size": "hidden_size",
    "num_heads": "num_attention_heads",
    "intermediate_size": "intermediate_size",
    "max_seq_len": "max_position_embeddings",
    "norm_eps": "rms_norm_eps",
}


@dataclass(frozen=True)
class Llama:
    """``LlamaForCausalLM``: attention and feed-forward may have biases, each all or none."""

    model_type: str = "llama"
    architecture: str = "LlamaForCausalLM"
    prefix: str = "model."
    default_theta: float = 10_000.0

    def read(self, data: Json) -> ModelConfig:
        heads, width = data["num_attention_heads"], data["hidden_size"]
        fields = {
            **{inner: data[outer] for inner, outer in _SIZES.items()},
            "num_kv_heads": given(data, "num_key_value_heads", heads),
            "head_dim": self._head_dim(data) or _divided(width, heads),
            "activation": activation(data, "hidden_act", "silu"),
            "tie_embeddings": given(data, "tie_word_embeddings", False),
            **read_rope(data, self.default_theta),
            **self._switches(data),
        }
        return ModelConfig.parse(fields, "config.json")

    def write(self, config: ModelConfig) -> dict[str, Any]:
        return {
            **{outer: getattr(config, inner) for inner, outer in _SIZES.items()},
            "num_key_value_heads": config.num_kv_heads,
            "head_dim": config.head_dim,
            "hidden_act": ACTIVATION_NAMES[config.activation],
            "tie_word_embeddings": config.tie_embeddings,
            **write_rope(config),
            **self._outer_switches(config),
        }

    def entry(self, name: str, config: ModelConfig) -> Entry | None:
        return Entry((name,), (name if name.startswith("lm_head.") else self.prefix + name,))

    def _head_dim(self, data: Json) -> int | None:
        head_dim: int | None = data.get("head_dim")
        return head_dim

    def _switches(self, data: Json) -> dict[str, Any]:
        attention, mlp = given(data, "attention_bias", False), given(data, "mlp_bias", False)
        return {"qkv_bias": attention, "output_bias": attention, "mlp_bias": mlp}

    def _outer_switches(self, config: ModelConfig) -> dict[str, Any]:
        if config.hidden_size % config.num_heads:
            raise ValueError("transformers wants Llama's hidden_size to be a multiple of its heads")
        return {"attention_bias": config.qkv_bias, "mlp_bias": config.mlp_bias}


@dataclass(frozen=True)
class Mistral(Llama):
    """``MistralForCausalLM``: every layer may have a sliding window."""

    model_type: str = "mistral"
    architecture: str = "MistralForCausalLM"
    default_window: int | None = 4096

    def _switches(self, data: Json) -> dict[str, Any]:
        if len(set(data.get("layer_types") or ())) > 1:
            raise ValueError("layer_types of several kinds are not supported for this model_type")
        return {"sliding_window": data.get("sliding_window", self.default_window)}

    def _outer_switches(self, config: ModelConfig) -> dict[str, Any]:
        return {"sliding_window": config.sliding_window}


@dataclass(frozen=True)
class Mixtral(Mistral):
    """``MixtralForCausalLM``: the feed-forward is a mixture of experts, w1 the gate, w2 down and w3 up."""

    model_type: str = "mixtral"
    architecture: str = "MixtralForCausalLM"
    default_theta: float = 1_000_000.0
    default_window: int | None = None

    def entry(self, name: str, config: ModelConfig) -> Entry | None:
        layer, _, part = name.partition(".mlp.")
        if part == "router.weight":
            return Entry((name,), (f"{self.prefix}{layer}.block_sparse_moe.gate.weight",))
        matrix = {"experts.gate_proj": "w1", "experts.down_proj": "w2", "experts.up_proj": "w3"}.get(part)
        if matrix is None:
            return super().entry(name, config)
        of_expert = f"{self.prefix}{layer}.block_sparse_moe.experts.{{}}.{matrix}.weight"
        return Entry((name,), tuple(of_expert.format(expert) for expert in range(config.num_experts)), stack, unstack)

    def _switches(self, data: Json) -> dict[str, Any]:
        experts = {"num_experts": data["num_local_experts"], "num_experts_per_token": data["num_experts_per_tok"]}
        return {**super()._switches(data), **experts}

    def _outer_switches(self, config: ModelConfig) -> dict[str, Any]:
        experts = {"num_local_experts": config.num_experts, "num_experts_per_tok": config.num_experts_per_token}
        return {**super()._outer_switches(config), **experts}


@dataclass(frozen=True)
class Qwen2(Llama):
    """``Qwen2ForCausalLM``: queries, keys and values have biases; some layers may have a sliding window."""

    model_type: str = "qwen2"
    architecture: str = "Qwen2ForCausalLM"

    def _switches(self, data: Json) -> dict[str, Any]:
        return {"qkv_bias": True, **_layered_window(data)}

    def _outer_switches(self, config: ModelConfig) -> dict[str, Any]:
        return _outer_layered_window(config)


@dataclass(frozen=True)
class Qwen3(Llama):
    """``Qwen3ForCausalLM``: queries and keys are normalised."""

    model_type: str = "qwen3"
    architecture: str = "Qwen3ForCausalLM"

    def _head_dim(self, data: Json) -> int | None:
        return int(given(data, "head_dim", 128))

    def _switches(self, data: Json) -> dict[str, Any]:
        bias = given(data, "attention_bias", False)
        return {"qk_norm": True, "qkv_bias": bias, "output_bias": bias, **_layered_window(data)}

    def _outer_switches(self, config: ModelConfig) -> dict[str, Any]:
        return {"attention_bias": config.qkv_bias, **_outer_layered_window(config)}


@dataclass(frozen=True)
class Qwen3Moe(Llama):
    """``Qwen3MoeForCausalLM``: Qwen3 with a mixture of experts in every layer, their odds scaled to sum to one."""

    model_type: str = "qwen3_moe"
    architecture: str = "Qwen3MoeForCausalLM"

    def entry(self, name: str, config: ModelConfig) -> Entry | None:
        layer, _, part = name.partition(".mlp.")
        if part == "router.weight":
            return Entry((name,), (f"{self.prefix}{layer}.mlp.gate.weight",))
        if not part.startswith("experts."):
            return super().entry(name, config)
        of_expert = f"{self.prefix}{layer}.mlp.experts.{{}}.{part.removeprefix('experts.')}.weight"
        return Entry((name,), tuple(of_expert.format(expert) for expert in range(config.num_experts)), stack, unstack)

    def _switches(self, data: Json) -> dict[str, Any]:
        only(data, "decoder_sparse_step", 1)
        only(data, "mlp_only_layers", [], None)
        if not given(data, "norm_topk_prob", False):
            raise ValueError("norm_topk_prob false is not supported, only true")
        bias = given(data, "attention_bias", False)
        return {
            "qk_norm": True,
            "qkv_bias": bias,
            "output_bias": bias,
            "intermediate_size": data["moe_intermediate_size"],
            "num_experts": data["num_experts"] if "num_experts" in data else data["num_local_experts"],
            "num_experts_per_token": data["num_experts_per_tok"],
            "sliding_window": data.get("sliding_window") if given(data, "use_sliding_window", False) else None,
        }

    def _outer_switches(self, config: ModelConfig) -> dict[str, Any]:
        return {
            "attention_bias": config.qkv_bias,
            "moe_intermediate_size": config.intermediate_size,
            "num_experts": config.num_experts,
            "num_experts_per_tok": config.num_experts_per_token,
            "norm_topk_prob": True,
            "decoder_sparse_step": 1,
            "mlp_only_layers": [],
            "use_sliding_window": config.sliding_window is not None,
            "sliding_window": config.sliding_window,
        }


def _divided(width: int, heads: int) -> int:
    if not isinstance(width, int) or not isinstance(heads, int) or heads < 1 or width % heads:
        raise ValueError(f"hidden_size {width!r} is not a multiple of num_attention_heads {heads!r}")
    return width // heads


def _layered_window(data: Json) -> dict[str, Any]:
    """A window for the layers named in ``layer_types``, or else for those from ``max_window_layers`` on."""
    window = data.get("sliding_window", 4096) if given(data, "use_sliding_window", False) else None
    depth = data["num_hidden_layers"]
    kinds = data.get("layer_types")
    if kinds is None:
        full = range(min(given(data, "max_window_layers", 28), depth)) if window is not None else range(depth)
        kinds = ["full_attention" if layer in full else "sliding_attention" for layer in range(depth)]
    unknown = sorted(set(kinds) - {"full_attention", "sliding_attention"})
    if unknown or len(kinds) != depth:
        raise ValueError(f"layer_types are not supported: {', '.join(unknown) or f'{len(kinds)} for {depth} layers'}")
    if "sliding_attention" not in kinds:
        return {}
    if window is None:
        raise ValueError("layer_types name sliding_attention, but there is no sliding_window in use")
    full_layers = [layer for layer, kind in enumerate(kinds) if kind == "full_attention"]
    return {"sliding_window": window, "full_layers": full_layers}


def _outer_layered_window(config: ModelConfig) -> dict[str, Any]:
    windows = [config.window(layer) for layer in range(config.num_layers)]
    first = next((layer for layer, window in enumerate(windows) if window is not None), config.num_layers)
    return {
        "use_sliding_window": config.sliding_window is not None,
        "sliding_window": config.sliding_window,
        "max_window_layers": first,
        "layer_types": ["full_attention" if window is None else "sliding_attention" for window in windows],
    }
