"""The transformer: mathematics only. Sharding, precision and adapters are applied from outside.

Shapes in names: B batch, T new positions, S positions seen so far, D hidden_size, H query heads, K key-value heads,
E head_dim, F intermediate_size, V vocab_size, N = B*T. Parameter names are those of Hugging Face's Llama.

Sources: Llama (Touvron et al. 2023, section 2), RMSNorm (Zhang & Sennrich 2019), rotary positions (Su et al. 2021),
SwiGLU (Shazeer 2020), grouped queries (Ainslie et al. 2023), QK-norm (Dehghani et al. 2023; Qwen3).
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from groundup.model.cache import KVCache
from groundup.model.config import ModelConfig


class RMSNorm(nn.Module):
    """x / sqrt(mean(x²) + eps) * weight, over the last dimension; computed in the type of x."""

    def __init__(self, dim: int, eps: float) -> None:
        super().__init__()
        self.eps = eps
        self.weight = nn.Parameter(torch.ones(dim))

    def forward(self, x: Tensor) -> Tensor:
        return F.rms_norm(x, (x.size(-1),), self.weight.to(x.dtype), self.eps)


def rotary_table(config: ModelConfig) -> tuple[Tensor, Tensor]:
    """Cosines and sines, fp32 (max_seq_len, E): pair (i, i + E/2) turns by position * theta^(-2i/E)."""
    half = config.head_dim // 2
    frequencies = config.rope_theta ** (-torch.arange(half, dtype=torch.float32) / half)
    angles = torch.outer(torch.arange(config.max_seq_len, dtype=torch.float32), frequencies)
    angles = torch.cat([angles, angles], dim=-1)
    return angles.cos(), angles.sin()


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Turn the pairs of x (..., T, E) by their positions' angles."""
    low, high = x.chunk(2, dim=-1)
    return x * cos + torch.cat([-high, low], dim=-1) * sin


class Attention(nn.Module):
    """Causal grouped-query attention, with a cache when one is handed in."""

    def __init__(self, config: ModelConfig, layer: int) -> None:
        super().__init__()
        self.config, self.layer = config, layer
        width, kv_width = config.num_heads * config.head_dim, config.num_kv_heads * config.head_dim
        self.q_proj = nn.Linear(config.hidden_size, width, bias=False)
        self.k_proj = nn.Linear(config.hidden_size, kv_width, bias=False)
        self.v_proj = nn.Linear(config.hidden_size, kv_width, bias=False)
        self.o_proj = nn.Linear(width, config.hidden_size, bias=False)
        self.q_norm = RMSNorm(config.head_dim, config.norm_eps) if config.qk_norm else None
        self.k_norm = RMSNorm(config.head_dim, config.norm_eps) if config.qk_norm else None

    def forward(self, x_BTD: Tensor, cos: Tensor, sin: Tensor, cache: KVCache | None) -> Tensor:
        B, T, _ = x_BTD.shape
        E = self.config.head_dim
        q_BHTE = self.q_proj(x_BTD).view(B, T, -1, E).transpose(1, 2)
        k_BKTE = self.k_proj(x_BTD).view(B, T, -1, E).transpose(1, 2)
        v_BKTE = self.v_proj(x_BTD).view(B, T, -1, E).transpose(1, 2)
        if self.q_norm is not None and self.k_norm is not None:
            q_BHTE, k_BKTE = self.q_norm(q_BHTE), self.k_norm(k_BKTE)
        q_BHTE, k_BKTE = rotate(q_BHTE, cos, sin), rotate(k_BKTE, cos, sin)
        grouped = self.config.num_heads != self.config.num_kv_heads
        if cache is None:
            out = F.scaled_dot_product_attention(q_BHTE, k_BKTE, v_BKTE, is_causal=True, enable_gqa=grouped)
        else:
            k_BKSE, v_BKSE = cache.extend(self.layer, k_BKTE, v_BKTE)
            out = F.scaled_dot_product_attention(q_BHTE, k_BKSE, v_BKSE, attn_mask=cache.mask(T), enable_gqa=grouped)
        merged: Tensor = self.o_proj(out.transpose(1, 2).reshape(B, T, -1))
        return merged


class MLP(nn.Module):
    """SwiGLU: down(silu(gate(x)) * up(x))."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.gate_proj = nn.Linear(config.hidden_size, config.intermediate_size, bias=False)
        self.up_proj = nn.Linear(config.hidden_size, config.intermediate_size, bias=False)
        self.down_proj = nn.Linear(config.intermediate_size, config.hidden_size, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.down_proj(F.silu(self.gate_proj(x)) * self.up_proj(x))
        return out


class Block(nn.Module):
    """Attention, then feed-forward, each on a normalised copy and added to the residual stream."""

    def __init__(self, config: ModelConfig, layer: int) -> None:
        super().__init__()
        self.input_layernorm = RMSNorm(config.hidden_size, config.norm_eps)
        self.self_attn = Attention(config, layer)
        self.post_attention_layernorm = RMSNorm(config.hidden_size, config.norm_eps)
        self.mlp = MLP(config)

    def forward(self, x_BTD: Tensor, cos: Tensor, sin: Tensor, cache: KVCache | None) -> Tensor:
        x_BTD = x_BTD + self.self_attn(self.input_layernorm(x_BTD), cos, sin, cache)
        out: Tensor = x_BTD + self.mlp(self.post_attention_layernorm(x_BTD))
        return out


class Transformer(nn.Module):
    """Token ids in, hidden states out; ``logits`` or a fused loss turns these into predictions."""

    cos: Tensor
    sin: Tensor

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        self.embed_tokens = nn.Embedding(config.vocab_size, config.hidden_size)
        self.layers = nn.ModuleList(Block(config, layer) for layer in range(config.num_layers))
        self.norm = RMSNorm(config.hidden_size, config.norm_eps)
        self.lm_head = None if config.tie_embeddings else nn.Linear(config.hidden_size, config.vocab_size, bias=False)
        cos, sin = rotary_table(config)
        self.register_buffer("cos", cos, persistent=False)
        self.register_buffer("sin", sin, persistent=False)

    @property
    def output_weight(self) -> Tensor:
        """The output projection (V, D)."""
        return self.embed_tokens.weight if self.lm_head is None else self.lm_head.weight

    def forward(self, ids_BT: Tensor, cache: KVCache | None = None) -> Tensor:
        """Hidden states (B, T, D), normalised, ready for the output projection.

        ids_BT is int64. With a cache, the T ids of row b follow the ``cache.lengths[b]`` positions before them;
        the caller then calls ``cache.advance``. Under autocast the states are in the autocast type.
        """
        x_BTD = self.embed_tokens(ids_BT)
        if torch.is_autocast_enabled(x_BTD.device.type):
            x_BTD = x_BTD.to(torch.get_autocast_dtype(x_BTD.device.type))
        T = ids_BT.size(1)
        if cache is None:
            cos, sin = self.cos[:T], self.sin[:T]
        else:
            # Padding may lie beyond the table; its states are never used.
            positions_BT = cache.positions(T).clamp_max(self.config.max_seq_len - 1)
            cos, sin = self.cos[positions_BT][:, None], self.sin[positions_BT][:, None]
        cos, sin = cos.to(x_BTD.dtype), sin.to(x_BTD.dtype)
        for block in self.layers:
            x_BTD = block(x_BTD, cos, sin, cache)
        out: Tensor = self.norm(x_BTD)
        return out

    def logits(self, hidden: Tensor) -> Tensor:
        """Unnormalised log-probabilities (..., V), fp32."""
        return F.linear(hidden, self.output_weight.to(hidden.dtype)).float()


def initialise(model: Transformer, seed: int) -> None:
    """Normal weights of deviation 0.02; those that add to the residual stream scaled by 1/sqrt(2 * num_layers).

    The scaling keeps the variance of the stream independent of depth (GPT-2, Radford et al. 2019, section 2.3).
    """
    generator = torch.Generator().manual_seed(seed)
    scaled = 0.02 / math.sqrt(2 * model.config.num_layers)
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if weight.ndim == 2:
                deviation = scaled if name.endswith(("o_proj.weight", "down_proj.weight")) else 0.02
                weight.copy_(torch.randn(weight.shape, generator=generator) * deviation)
            else:
                weight.fill_(1.0)
