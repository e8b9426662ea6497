"""Rotary positions (Su et al. 2021), and the ways in which trained models stretched them to longer contexts.

Computed in fp32 and in the order of transformers' ``modeling_rope_utils``, so that tables agree to the last digits
at large positions, where an error of one unit in a frequency is multiplied by the position.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from groundup.model.config import LinearScaling, Llama3Scaling, ModelConfig, YarnScaling


def rotary_table(config: ModelConfig, device: torch.device | None = None) -> tuple[Tensor, Tensor]:
    """Cosines and sines, fp32 (max_seq_len, E): pair (i, i + E/2) turns by position * frequency i."""
    frequencies, magnitude = frequencies_of(config)
    angles = torch.outer(torch.arange(config.max_seq_len, dtype=torch.float32, device="cpu"), frequencies)
    angles = torch.cat([angles, angles], dim=-1)
    return (angles.cos() * magnitude).to(device), (angles.sin() * magnitude).to(device)


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Turn the pairs of x (..., T, E) by their positions' angles."""
    low, high = x.chunk(2, dim=-1)
    return x * cos + torch.cat([-high, low], dim=-1) * sin


def frequencies_of(config: ModelConfig) -> tuple[Tensor, float]:
    """Radians a position for each pair, fp32 (E/2,), and what cosines and sines are multiplied by."""
    exponents = torch.arange(0, config.head_dim, 2, dtype=torch.float32, device="cpu") / config.head_dim
    plain = 1.0 / (config.rope_theta**exponents)
    scaling = config.rope_scaling
    if isinstance(scaling, LinearScaling):
        return plain / scaling.factor, 1.0
    if isinstance(scaling, Llama3Scaling):
        return _llama3(plain, scaling), 1.0
    if isinstance(scaling, YarnScaling):
        return _yarn(config, scaling), scaling.attention_factor
    return plain, 1.0  # dynamic scaling changes nothing within max_seq_len


def yarn_attention_factor(factor: float, scale: float = 1.0) -> float:
    """YaRN's recommended temperature, 0.1 * scale * ln(factor) + 1 (equation 22, where scale is 1)."""
    return 1.0 if factor <= 1 else 0.1 * scale * math.log(factor) + 1.0


def _llama3(plain: Tensor, scaling: Llama3Scaling) -> Tensor:
    """By wavelength against the original context: kept, divided, or a blend linear in the number of turns."""
    low, high = scaling.low_freq_factor, scaling.high_freq_factor
    turns = scaling.original_max_seq_len / (2 * math.pi / plain)
    kept = (turns - low) / (high - low)
    blend = (1 - kept) * plain / scaling.factor + kept * plain
    return torch.where(turns < low, plain / scaling.factor, torch.where(turns > high, plain, blend))


def _yarn(config: ModelConfig, scaling: YarnScaling) -> Tensor:
    """A ramp over the pairs, from those kept (fast) to those interpolated (slow)."""
    dim = config.head_dim

    def pair_of(turns: float) -> float:
        return dim * math.log(scaling.original_max_seq_len / (turns * 2 * math.pi)) / (2 * math.log(config.rope_theta))

    first, last = pair_of(scaling.beta_fast), pair_of(scaling.beta_slow)
    if scaling.truncate:
        first, last = math.floor(first), math.ceil(last)
    first, last = max(first, 0), min(last, dim - 1)
    width = last - first or 0.001
    ramp = ((torch.arange(dim // 2, dtype=torch.float32, device="cpu") - first) / width).clamp(0, 1)
    periods = config.rope_theta ** (torch.arange(0, dim, 2, dtype=torch.float32, device="cpu") / dim)
    kept = 1 - ramp
    return 1.0 / (scaling.factor * periods) * (1 - kept) + 1.0 / periods * kept
