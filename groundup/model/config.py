"""The shape of a transformer, and the one dial that derives a sensible shape."""

from __future__ import annotations

from typing import Self

from pydantic import Field, model_validator

from groundup.base.config import Config


class ModelConfig(Config):
    """A Llama-shaped decoder (RMSNorm, rotary positions, grouped-query attention, SwiGLU); Qwen3 with ``qk_norm``."""

    vocab_size: int = Field(gt=0, description="entries of the embedding table")
    num_layers: int = Field(gt=0, description="transformer blocks")
    hidden_size: int = Field(gt=0, description="width of the residual stream")
    num_heads: int = Field(gt=0, description="query heads")
    num_kv_heads: int = Field(gt=0, description="key and value heads; divides num_heads")
    head_dim: int = Field(gt=0, multiple_of=2, description="width of one head")
    intermediate_size: int = Field(gt=0, description="width of the feed-forward layer")
    max_seq_len: int = Field(gt=1, description="longest sequence, in tokens")
    rope_theta: float = Field(10_000.0, gt=0, description="base of the rotary frequencies")
    norm_eps: float = Field(1e-5, gt=0, description="added to the mean square in RMSNorm")
    qk_norm: bool = Field(False, description="RMSNorm on queries and keys, head by head (Qwen3)")
    tie_embeddings: bool = Field(True, description="the output projection is the embedding table")

    @model_validator(mode="after")
    def _heads_divide(self) -> Self:
        if self.num_heads % self.num_kv_heads:
            raise ValueError(f"num_heads {self.num_heads} is not a multiple of num_kv_heads {self.num_kv_heads}")
        return self

    @classmethod
    def from_depth(cls, depth: int, vocab_size: int, max_seq_len: int) -> ModelConfig:
        """The default shape for a depth: 64 units of width a layer, heads of 64, a feed-forward of 8/3 the width.

        Width over depth of 64 follows nanochat's dial (scripts/base_train.py); 8/3 keeps SwiGLU's parameters at
        those of a plain feed-forward of 4 (Shazeer 2020, section 2), rounded up to a multiple of 64.
        """
        hidden_size = 64 * depth
        return cls(
            vocab_size=vocab_size,
            num_layers=depth,
            hidden_size=hidden_size,
            num_heads=depth,
            num_kv_heads=depth,
            head_dim=64,
            intermediate_size=-(-hidden_size * 8 // (3 * 64)) * 64,
            max_seq_len=max_seq_len,
        )
