"""Stretched rotary positions in GGUF: two kinds are named by keys, Llama 3's is a tensor of divisors.

``rope_freqs.weight`` (E/2,) divides the plain frequencies. Our own files also say, in keys that nobody else reads,
which four numbers it was made from. Elsewhere these follow from it: with F the largest divisor, a pair that is
blended keeps the share s = (1/divisor - 1/F) / (1 - 1/F), and s is linear in its plain frequency f,

    s = f * original / (2 pi (high - low)) - low / (high - low).

Any two blended pairs give the line. It is the same for (low, high, original) and its multiples, which compute the
same, so low is taken as 1, as in every Llama 3 published.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Final

import torch
from torch import Tensor

from groundup.base.errors import RequestError
from groundup.model.config import LinearScaling, Llama3Scaling, ModelConfig, RopeScaling, YarnScaling
from groundup.model.rotary import frequencies_of, yarn_attention_factor

FREQUENCY_DIVISORS: Final = "rope_freqs.weight"
_BETAS: Final = (32.0, 1.0)
_CLOSE: Final = 1e-3


def scaling_keys(config: ModelConfig) -> dict[str, Any]:
    """The keys below ``{arch}.rope.scaling.``; RequestError for what no key can say.

    Dynamic scaling changes nothing within ``max_seq_len`` and has no key, so it is left out.
    """
    scaling = config.rope_scaling
    if isinstance(scaling, LinearScaling):
        return {"type": "linear", "factor": scaling.factor}
    if isinstance(scaling, YarnScaling):
        usual = math.isclose(scaling.attention_factor, yarn_attention_factor(scaling.factor), rel_tol=1e-6)
        if not usual or not scaling.truncate or (scaling.beta_fast, scaling.beta_slow) != _BETAS:
            raise RequestError("GGUF holds YaRN only with its published betas and attention factor")
        return {
            "type": "yarn",
            "factor": scaling.factor,
            "original_context_length": scaling.original_max_seq_len,
        }
    if isinstance(scaling, Llama3Scaling):
        return {
            "original_context_length": scaling.original_max_seq_len,
            "llama3.factor": scaling.factor,  # plain "factor" would divide all frequencies once more
            "llama3.low_freq_factor": scaling.low_freq_factor,
            "llama3.high_freq_factor": scaling.high_freq_factor,
        }
    return {}


def frequency_divisors(config: ModelConfig) -> Tensor | None:
    """What Llama 3's scaling divides the plain frequencies by, fp32 (E/2,); None for the other kinds."""
    if not isinstance(config.rope_scaling, Llama3Scaling):
        return None
    plain = frequencies_of(config.model_copy(update={"rope_scaling": None}))[0]
    return plain / frequencies_of(config)[0]


def read_scaling(keys: Mapping[str, Any], divisors: Tensor | None, config: ModelConfig) -> RopeScaling | None:
    """The scaling that keys (without ``{arch}.rope.scaling.``) and divisors (E/2,) say, for an unscaled ``config``.

    ValueError if it is none of ours.
    """
    kind = keys.get("type", "linear" if "factor" in keys else "none")
    if divisors is not None:
        if kind != "none":
            raise ValueError(f"rotary frequencies are scaled twice, by {FREQUENCY_DIVISORS} and by type {kind!r}")
        return _llama3(keys, divisors, config)
    if kind == "none":
        return None
    if kind == "linear":
        return LinearScaling(factor=keys["factor"])
    if kind == "yarn":
        unusual = [key for key in keys if key not in {"type", "factor", "original_context_length", "finetuned"}]
        if unusual:
            raise ValueError(f"YaRN with its own {unusual[0]} is not supported")
        factor = keys["factor"]
        original = keys.get("original_context_length", round(config.max_seq_len / factor))
        return YarnScaling(factor=factor, original_max_seq_len=original, attention_factor=yarn_attention_factor(factor))
    raise ValueError(f"rotary positions scaled by {kind!r} are not supported, only linear, yarn and Llama 3's")


def _llama3(keys: Mapping[str, Any], divisors: Tensor, config: ModelConfig) -> Llama3Scaling | None:
    if divisors.shape != (config.head_dim // 2,) or not bool((divisors >= 1 - _CLOSE).all()):
        raise ValueError(f"{FREQUENCY_DIVISORS} holds no divisors of {config.head_dim // 2} frequencies")
    if float(divisors.max()) < 1 + _CLOSE:
        return None
    if "llama3.factor" in keys:
        scaling = Llama3Scaling(
            factor=keys["llama3.factor"],
            low_freq_factor=keys["llama3.low_freq_factor"],
            high_freq_factor=keys["llama3.high_freq_factor"],
            original_max_seq_len=keys["original_context_length"],
        )
    else:
        scaling = _fitted(divisors.double(), frequencies_of(config)[0].double())
    again = frequency_divisors(config.model_copy(update={"rope_scaling": scaling}))
    if again is None or not torch.allclose(again, divisors, rtol=_CLOSE):
        raise ValueError(f"{FREQUENCY_DIVISORS} was not made by Llama 3's rule")
    return scaling


def _fitted(divisors: Tensor, plain: Tensor) -> Llama3Scaling:
    factor = float(divisors.max())
    kept = (1 / divisors - 1 / factor) / (1 - 1 / factor)
    blended = (kept > _CLOSE) & (kept < 1 - _CLOSE)
    if int(blended.sum()) < 2:
        raise ValueError(f"{FREQUENCY_DIVISORS} has too few blended pairs to tell how it was made")
    design = torch.stack([plain[blended], torch.ones_like(plain[blended])], dim=1)
    slope, offset = torch.linalg.lstsq(design, kept[blended]).solution.tolist()
    if offset >= 0 or slope <= 0:
        raise ValueError(f"{FREQUENCY_DIVISORS} was not made by Llama 3's rule")
    high = 1 - 1 / offset
    return Llama3Scaling(
        factor=_tidy(factor),
        low_freq_factor=1.0,
        high_freq_factor=_tidy(high),
        original_max_seq_len=round(2 * math.pi * slope * (high - 1)),
    )


def _tidy(value: float) -> float:
    """The round number that fp32 arithmetic blurred, if there is one near."""
    rounded = round(value, 2)
    return rounded if math.isclose(value, rounded, rel_tol=1e-4) else value
