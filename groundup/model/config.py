"""The shape of a transformer, and the one dial that derives a sensible shape."""

from __future__ import annotations

from typing import Self

from pydantic import Field, model_validator

from groundup.base.config import Config
from groundup.base.errors import RequestError


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
    def from_depth(
        cls,
        depth: int,
        vocab_size: int,
        max_seq_len: int,
        *,
        hidden_size: int | None = None,
        num_heads: int | None = None,
        num_kv_heads: int | None = None,
        intermediate_size: int | None = None,
        qk_norm: bool = True,
        tie_embeddings: bool = True,
    ) -> ModelConfig:
        """The default shape for a depth; whatever is given by hand replaces what would be derived.

        64 units of width a layer (nanochat's dial, scripts/base_train.py), heads of 64, and a feed-forward of 8/3 the
        width, which keeps SwiGLU's parameters at those of a plain feed-forward of 4 (Shazeer 2020, section 2), rounded
        up to a multiple of 64. RequestError if the parts don't fit together.
        """
        hidden_size = hidden_size or 64 * depth
        num_heads = num_heads or max(1, hidden_size // 64)
        if hidden_size % num_heads or hidden_size // num_heads % 2:
            raise RequestError(f"hidden_size {hidden_size} must divide into num_heads {num_heads} heads of even width")
        fields = {
            "vocab_size": vocab_size,
            "num_layers": depth,
            "hidden_size": hidden_size,
            "num_heads": num_heads,
            "num_kv_heads": num_kv_heads or num_heads,
            "head_dim": hidden_size // num_heads,
            "intermediate_size": intermediate_size or -(-hidden_size * 8 // (3 * 64)) * 64,
            "max_seq_len": max_seq_len,
            "qk_norm": qk_norm,
            "tie_embeddings": tie_embeddings,
        }
        return cls.parse(fields, "model shape")
