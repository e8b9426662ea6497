"""Rotary positions in ``config.json``, as transformers 5 writes them and as 4 did (``rope_scaling``)."""

from __future__ import annotations

from typing import Any, Final

from groundup.model.config import ModelConfig, YarnScaling
from groundup.model.exchange.families.family import Json, given
from groundup.model.rotary import yarn_attention_factor

_LLAMA3: Final = ("factor", "low_freq_factor", "high_freq_factor")
_ORIGINAL: Final = "original_max_position_embeddings"


def read_rope(data: Json, default_theta: float = 10_000.0) -> dict[str, Any]:
    """``rope_theta`` and ``rope_scaling`` of a ModelConfig; ValueError for a kind that this transformer lacks."""
    rope = given(data, "rope_scaling", None) or given(data, "rope_parameters", {})
    if any(isinstance(value, dict) for value in rope.values()):
        raise ValueError("rope_parameters that differ between layers are not supported")
    partial = rope.get("partial_rotary_factor", data.get("partial_rotary_factor"))
    if partial not in (None, 1.0):
        raise ValueError(f"partial_rotary_factor {partial!r} is not supported, only 1.0")
    theta = given(rope, "rope_theta", given(data, "rope_theta", default_theta))
    return {"rope_theta": theta, "rope_scaling": _scaling(rope, data["max_position_embeddings"])}


def _scaling(rope: Json, max_seq_len: int) -> dict[str, Any] | None:
    kind = rope.get("rope_type", rope.get("type", "default"))
    if kind == "default":
        return None
    if kind in {"linear", "dynamic"}:
        return {"kind": kind, "factor": rope["factor"]}
    original = given(rope, _ORIGINAL, max_seq_len)
    if kind == "llama3":
        return {"kind": kind, "original_max_seq_len": original, **{name: rope[name] for name in _LLAMA3}}
    if kind == "yarn":
        return _yarn(rope, original, max_seq_len)
    raise ValueError(
        f"rotary positions of type {kind!r} are not supported, only default, linear, dynamic, llama3, yarn"
    )


def _yarn(rope: Json, original: int, max_seq_len: int) -> dict[str, Any]:
    factor = given(rope, "factor", max_seq_len / original)
    magnitude = rope.get("attention_factor")
    if magnitude is None:
        up, down = rope.get("mscale"), rope.get("mscale_all_dim")
        magnitude = yarn_attention_factor(factor)
        if up and down:
            magnitude = yarn_attention_factor(factor, up) / yarn_attention_factor(factor, down)
    return {
        "kind": "yarn",
        "factor": factor,
        "original_max_seq_len": original,
        "beta_fast": rope.get("beta_fast") or 32.0,
        "beta_slow": rope.get("beta_slow") or 1.0,
        "attention_factor": magnitude,
        "truncate": given(rope, "truncate", True),
    }


def write_rope(config: ModelConfig) -> dict[str, Any]:
    """The fields that both versions of transformers read."""
    if config.positions != "rotary":
        raise ValueError("positions are not rotary")
    theta, scaling = config.rope_theta, config.rope_scaling
    if scaling is None:
        return {"rope_theta": theta, "rope_parameters": {"rope_type": "default", "rope_theta": theta}}
    rope = {"rope_type": scaling.kind, **scaling.model_dump(exclude={"kind", "original_max_seq_len"})}
    if scaling.kind == "llama3" or isinstance(scaling, YarnScaling):
        rope[_ORIGINAL] = scaling.original_max_seq_len
    return {"rope_theta": theta, "rope_scaling": rope, "rope_parameters": {**rope, "rope_theta": theta}}
