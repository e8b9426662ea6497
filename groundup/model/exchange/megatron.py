"""Handing over to Megatron-LM: weights to and from a Megatron-Core ``GPTModel``.

Megatron joins what its tensor parallelism splits together. ``linear_qkv`` holds, for each key-value head, the rows of
its query heads, then of the key, then of the value; ``linear_fc1`` of a gated feed-forward holds the gate, then up.
Layers come in two builds: the local one keeps norms as modules of their own, Transformer Engine's fuses them into the
linear layer behind them, under another name, and keeps all experts of a layer in one module. Rotary pairs are
(i, i + E/2) on both sides.

Source: Megatron-Core 0.19, ``models/gpt/gpt_layer_specs.py``, ``transformer/attention.py``, ``transformer/mlp.py``.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final, NamedTuple

import torch
from torch import Tensor

from groundup.base.errors import ArtifactError, RequestError
from groundup.model.config import ModelConfig
from groundup.model.transformer import Transformer

_TOP: Final = {
    "embed_tokens.weight": "embedding.word_embeddings.weight",
    "embed_positions.weight": "embedding.position_embeddings.weight",
    "norm.weight": "decoder.final_layernorm.weight",
    "norm.bias": "decoder.final_layernorm.bias",
    "lm_head.weight": "output_layer.weight",
}
_LAYER: Final = {
    "input_layernorm": "input_layernorm",
    "self_attn.o_proj": "self_attention.linear_proj",
    "self_attn.q_norm": "self_attention.q_layernorm",
    "self_attn.k_norm": "self_attention.k_layernorm",
    "post_attention_layernorm": "pre_mlp_layernorm",
    "mlp.down_proj": "mlp.linear_fc2",
    "mlp.router": "mlp.router",
}
_QKV: Final = ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj")
_FUSED_NORMS: Final = {
    "input_layernorm.": "self_attention.linear_qkv.layer_norm_",
    "pre_mlp_layernorm.": "mlp.linear_fc1.layer_norm_",
}


class _Join(NamedTuple):
    """A tensor of Megatron's, the parameters of ours that it is made of, and which expert of them."""

    outer: str
    names: tuple[str, ...]
    expert: int | None = None


def to_megatron(model: Transformer, *, transformer_engine: bool = False) -> dict[str, Tensor]:
    """The state dict of an unsharded GPTModel, in the types of the model, on its device.

    Load it with ``strict=False``: ``_extra_state`` entries, which hold FP8 statistics, are Megatron's own.
    RequestError if no GPTModel computes the model.
    """
    refuse_what_differs(model.config)
    state = {name: weight.detach() for name, weight in model.state_dict().items()}
    out: dict[str, Tensor] = {}
    for join in _joins(model.config, transformer_engine):
        parts = [state[name] if join.expert is None else state[name][join.expert] for name in join.names]
        if len(parts) == len(_QKV):
            out[join.outer] = _interleave(parts, model.config)
        else:
            out[join.outer] = torch.cat(parts) if len(parts) > 1 else parts[0].clone()
    return out


def from_megatron(state: Mapping[str, Tensor], config: ModelConfig) -> Transformer:
    """The model of an unsharded GPTModel's state dict, of either build, weights in fp32.

    A vocabulary that Megatron filled up is cut to ``config.vocab_size``. ArtifactError if tensors are missing, left
    over, or of another shape; RequestError if no GPTModel computes the configuration.
    """
    refuse_what_differs(config)
    left = {name.removeprefix("module."): tensor for name, tensor in state.items() if "_extra_state" not in name}
    transformer_engine = "decoder.layers.0.self_attention.linear_qkv.layer_norm_weight" in left
    with torch.device("meta"):
        model = Transformer(config)
    found: dict[str, list[Tensor]] = {}
    for join in _joins(config, transformer_engine):
        whole = left.pop(join.outer, None)
        if whole is None:
            raise ArtifactError(f"the Megatron weights lack {join.outer}")
        for name, part in zip(join.names, _parts(whole.float(), join, config), strict=True):
            found.setdefault(name, []).append(part.contiguous())
    if left:
        raise ArtifactError(f"the Megatron weights hold {min(left)}, which this configuration has no place for")
    experts = {name for name in found if ".experts." in name}
    weights = {name: torch.stack(parts) if name in experts else parts[0] for name, parts in found.items()}
    try:
        model.load_state_dict(weights, assign=True)
    except RuntimeError as error:
        reason = str(error).splitlines()[-1].strip()
        raise ArtifactError(f"the Megatron weights don't fit the configuration: {reason}") from error
    model.fill_tables()
    return model


def _joins(config: ModelConfig, transformer_engine: bool) -> Iterator[_Join]:
    with torch.device("meta"):
        names = list(Transformer(config).state_dict())
    for name in names:
        if name in _TOP:
            yield _Join(_TOP[name], (name,))
            continue
        _, layer, rest = name.split(".", 2)
        if rest.startswith("mlp.experts."):
            yield from _expert_joins(config, rest, int(layer), transformer_engine)
            continue
        part, kind = rest.rsplit(".", 1)
        prefix = f"decoder.layers.{layer}."
        if part == _QKV[0]:
            yield _Join(
                f"{prefix}self_attention.linear_qkv.{kind}", tuple(f"layers.{layer}.{each}.{kind}" for each in _QKV)
            )
        elif part == "mlp.up_proj":
            both = ("mlp.gate_proj", "mlp.up_proj") if config.gated else ("mlp.up_proj",)
            yield _Join(f"{prefix}mlp.linear_fc1.{kind}", tuple(f"layers.{layer}.{each}.{kind}" for each in both))
        elif part in _LAYER:
            outer = f"{_LAYER[part]}.{kind}"
            if transformer_engine and not (config.num_experts and outer.startswith("pre_mlp")):
                for plain, fused in _FUSED_NORMS.items():
                    outer = outer.replace(plain, fused)
            yield _Join(prefix + outer, (name,))


def _expert_joins(config: ModelConfig, rest: str, layer: int, transformer_engine: bool) -> Iterator[_Join]:
    """The two matrices of each expert; our stacked ``up_proj`` stands for gate and up."""
    kind = rest.removeprefix("mlp.experts.")
    if kind == "gate_proj":
        return
    linear = "linear_fc1" if kind == "up_proj" else "linear_fc2"
    stem = f"layers.{layer}.mlp.experts."
    names = (f"{stem}gate_proj", f"{stem}up_proj") if kind == "up_proj" else (f"{stem}down_proj",)
    for expert in range(config.num_experts):
        place = f"{linear}.weight{expert}" if transformer_engine else f"local_experts.{expert}.{linear}.weight"
        yield _Join(f"decoder.layers.{layer}.mlp.experts.{place}", names, expert)


def _interleave(parts: list[Tensor], config: ModelConfig) -> Tensor:
    """Queries, keys and values (rows, ...) as Megatron's linear_qkv: a group of query heads, its key, its value."""
    groups = [part.reshape(config.num_kv_heads, -1, *part.shape[1:]) for part in parts]
    return torch.cat(groups, dim=1).flatten(0, 1)


def _parts(whole: Tensor, join: _Join, config: ModelConfig) -> list[Tensor]:
    """The inverse of joining; ArtifactError if the rows can't be divided."""
    if len(join.names) == len(_QKV):
        queries = config.num_heads // config.num_kv_heads * config.head_dim
        sizes = [queries, config.head_dim, config.head_dim]
        if len(whole) != config.num_kv_heads * sum(sizes):
            raise ArtifactError(f"{join.outer} has {len(whole)} rows, not {config.num_kv_heads * sum(sizes)}")
        groups = whole.reshape(config.num_kv_heads, sum(sizes), *whole.shape[1:])
        return [part.flatten(0, 1) for part in torch.split(groups, sizes, dim=1)]
    if len(join.names) == 2:
        return list(whole.chunk(2))
    if join.names[0] in {"embed_tokens.weight", "lm_head.weight"}:
        return [whole[: config.vocab_size]]
    return [whole]


def refuse_what_differs(config: ModelConfig) -> None:
    """RequestError for mathematics that a GPTModel doesn't have."""
    biases = (config.qkv_bias, config.output_bias, config.mlp_bias)
    reason = None
    if config.parallel_residual:
        reason = "attention and feed-forward in parallel"
    elif biases not in {(False, False, False), (True, False, False), (True, True, True)}:
        reason = "biases on only some of attention's and the feed-forward's matrices"
    elif config.qk_norm and config.norm != "rms":
        reason = "RMSNorm on queries and keys beside LayerNorm"
    elif config.full_layers:
        reason = "a window on only some of the layers"
    elif (config.activation, config.gated) not in {("silu", True), ("gelu", False), ("gelu_tanh", False)}:
        reason = f"a {'gated' if config.gated else 'plain'} feed-forward with {config.activation}"
    elif config.activation == "gelu_tanh" and not config.mlp_bias:
        reason = "tanh-GELU without biases"
    if reason is not None:
        raise RequestError(f"Megatron-Core's GPTModel has no {reason}")
