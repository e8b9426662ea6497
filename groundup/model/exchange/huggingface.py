"""Hugging Face folders: ``config.json``, ``generation_config.json`` and ``model.safetensors``.

Plain shapes are written as ``LlamaForCausalLM``, those with QK-norm as ``Qwen3ForCausalLM``. Parameter names are
the same on both sides but for the prefix ``model.``; rotary pairs are in the half-split order on both sides too.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any, Final

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from groundup.base.errors import ArtifactError
from groundup.base.files import read_json, write_atomic, write_json
from groundup.model.config import ModelConfig
from groundup.model.transformer import Transformer

WEIGHTS: Final = "model.safetensors"
_FIELDS: Final = {
    "vocab_size": "vocab_size",
    "num_layers": "num_hidden_layers",
    "hidden_size": "hidden_size",
    "num_heads": "num_attention_heads",
    "num_kv_heads": "num_key_value_heads",
    "head_dim": "head_dim",
    "intermediate_size": "intermediate_size",
    "max_seq_len": "max_position_embeddings",
    "norm_eps": "rms_norm_eps",
    "tie_embeddings": "tie_word_embeddings",
}
# What this transformer has one way of doing.
_FIXED: Final = {"hidden_act": "silu", "attention_bias": False, "mlp_bias": False, "use_sliding_window": False}


def save(model: Transformer, folder: Path, *, bos_id: int, pad_id: int, stop_ids: Iterable[int]) -> None:
    """Write the model, weights in fp32. ``stop_ids`` end a generation."""
    folder.mkdir(parents=True, exist_ok=True)
    tensors = {_outer_name(name): tensor.detach().contiguous() for name, tensor in model.state_dict().items()}
    write_atomic(folder / WEIGHTS, lambda beside: save_file(tensors, beside, metadata={"format": "pt"}))
    stops = sorted(stop_ids)
    ids = {"bos_token_id": bos_id, "eos_token_id": stops, "pad_token_id": pad_id}
    write_json(folder / "config.json", {**_outer_config(model.config), **ids})
    write_json(folder / "generation_config.json", {**ids, "do_sample": True, "temperature": 0.8, "top_p": 0.95})


def load(folder: Path) -> Transformer:
    """Read a model; ArtifactError if the folder holds none or its tensors don't fit its configuration."""
    try:
        config = _inner_config(read_json(folder / "config.json"))
        tensors = load_file(folder / WEIGHTS)
    except (OSError, ValueError, KeyError, SafetensorError) as error:
        raise ArtifactError(f"no readable model in {folder}: {error}") from error
    with torch.device("meta"):
        model = Transformer(config)
    state = {_inner_name(name): tensor.float() for name, tensor in tensors.items()}
    try:
        model.load_state_dict(state, assign=True)
    except RuntimeError as error:
        reason = str(error).splitlines()[-1].strip()
        raise ArtifactError(f"the weights in {folder} don't fit its config.json: {reason}") from error
    fresh = Transformer(config.model_copy(update={"num_layers": 1}))
    model.cos, model.sin = fresh.cos, fresh.sin
    return model


def _outer_config(config: ModelConfig) -> dict[str, Any]:
    kind = "qwen3" if config.qk_norm else "llama"
    return {
        "architectures": ["Qwen3ForCausalLM" if config.qk_norm else "LlamaForCausalLM"],
        "model_type": kind,
        **{outer: getattr(config, inner) for inner, outer in _FIELDS.items()},
        "rope_theta": config.rope_theta,
        "rope_parameters": {"rope_type": "default", "rope_theta": config.rope_theta},
        "hidden_act": "silu",
        "attention_bias": False,
        "mlp_bias": False,
        "attention_dropout": 0.0,
        "initializer_range": 0.02,
        "torch_dtype": "float32",
        "use_cache": True,
    }


def _inner_config(data: Any) -> ModelConfig:
    """The shape that a ``config.json`` describes; ValueError for what this transformer doesn't compute."""
    kind = data.get("model_type") if isinstance(data, dict) else None
    if kind not in {"llama", "qwen3"}:
        raise ValueError(f"model_type {kind!r} is not one of llama, qwen3")
    for name, only in _FIXED.items():
        if data.get(name, only) != only:
            raise ValueError(f"{name} {data[name]!r} is not supported, only {only!r}")
    # transformers 5 keeps the base of the frequencies in rope_parameters, earlier ones beside rope_scaling.
    rope = data.get("rope_parameters") or data.get("rope_scaling") or {}
    scaling = rope.get("rope_type", rope.get("type", "default"))
    if scaling != "default":
        raise ValueError(f"rotary positions of type {scaling!r} are not supported, only 'default'")
    theta = rope.get("rope_theta", data.get("rope_theta", 10_000.0))
    fields = {inner: data[outer] for inner, outer in _FIELDS.items()}
    return ModelConfig(**fields, rope_theta=theta, qk_norm=kind == "qwen3")


def _outer_name(name: str) -> str:
    return name if name.startswith("lm_head.") else f"model.{name}"


def _inner_name(name: str) -> str:
    return name.removeprefix("model.")
