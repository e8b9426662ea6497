"""The shape and the mathematics of a transformer, and the one dial that derives a sensible shape.

Every field is one switch, independent of the others where the mathematics is; no field names a model family. Which
family a combination belongs to is a matter of exchange (``groundup/model/exchange``).
"""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from groundup.base.config import Config
from groundup.base.errors import RequestError

GGUF_ROW = 256
"""Numbers in a block of GGUF's K-quants: the rows of a matrix must divide into such blocks to be quantised so."""


class LinearScaling(Config):
    """Rotary positions divided by ``factor`` (Chen et al. 2023, position interpolation)."""

    kind: Literal["linear"] = "linear"
    factor: float = Field(gt=0, description="how many times longer the context became")


class DynamicScaling(Config):
    """Nothing within ``max_seq_len``; beyond it other programs stretch the base with the length (NTK-aware)."""

    kind: Literal["dynamic"] = "dynamic"
    factor: float = Field(gt=0, description="how many times longer the context became")


class Llama3Scaling(Config):
    """Slow frequencies divided by ``factor``, fast ones kept, those between blended (Llama 3.1)."""

    kind: Literal["llama3"] = "llama3"
    factor: float = Field(gt=0, description="how many times longer the context became")
    low_freq_factor: float = Field(gt=0, description="wavelengths above original length / this are fully scaled")
    high_freq_factor: float = Field(gt=0, description="wavelengths below original length / this are kept")
    original_max_seq_len: int = Field(gt=0, description="context of the first training, in tokens")

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.high_freq_factor <= self.low_freq_factor:
            raise ValueError(
                f"high_freq_factor {self.high_freq_factor} must be above low_freq_factor {self.low_freq_factor}"
            )
        return self


class YarnScaling(Config):
    """Interpolation of slow frequencies only, with hotter attention (Peng et al. 2023, YaRN, sections 3.2 to 3.4)."""

    kind: Literal["yarn"] = "yarn"
    factor: float = Field(gt=0, description="how many times longer the context became")
    original_max_seq_len: int = Field(gt=0, description="context of the first training, in tokens")
    beta_fast: float = Field(32.0, gt=0, description="turns within the original context above which a pair is kept")
    beta_slow: float = Field(1.0, gt=0, description="turns below which a pair is fully interpolated")
    attention_factor: float = Field(gt=0, description="cosines and sines are multiplied by this")
    truncate: bool = Field(True, description="whether the ramp's ends are rounded outwards to whole pairs")


RopeScaling = Annotated[
    LinearScaling | DynamicScaling | Llama3Scaling | YarnScaling,
    Field(discriminator="kind"),
]


class ModelConfig(Config):
    """A decoder. The defaults are Llama's mathematics: RMSNorm, rotary positions, grouped-query attention, SwiGLU."""

    vocab_size: int = Field(gt=0, description="entries of the embedding table")
    num_layers: int = Field(gt=0, description="transformer blocks")
    hidden_size: int = Field(gt=0, description="width of the residual stream")
    num_heads: int = Field(gt=0, description="query heads")
    num_kv_heads: int = Field(gt=0, description="key and value heads; divides num_heads")
    head_dim: int = Field(gt=0, multiple_of=2, description="width of one head")
    intermediate_size: int = Field(gt=0, description="width of the feed-forward layer, of each expert if there are any")
    max_seq_len: int = Field(gt=1, description="longest sequence, in tokens")

    positions: Literal["rotary", "learned"] = Field("rotary", description="how a token knows where it stands")
    rope_theta: float = Field(10_000.0, gt=0, description="base of the rotary frequencies")
    rope_scaling: RopeScaling | None = Field(None, description="rotary frequencies changed for a longer context")
    sliding_window: int | None = Field(
        None, gt=0, description="positions that one may see, itself included; all if none"
    )
    full_layers: tuple[int, ...] = Field((), description="layers, from 0, that see all in spite of sliding_window")

    norm: Literal["rms", "layer"] = Field("rms", description="RMSNorm, or LayerNorm with a bias")
    norm_eps: float = Field(1e-5, gt=0, description="added to the mean square (or variance) in a norm")
    qk_norm: bool = Field(False, description="RMSNorm on queries and keys, head by head")
    parallel_residual: bool = Field(False, description="attention and feed-forward both read the block's input")
    shared_norm: bool = Field(False, description="one norm for both branches; needs parallel_residual")

    activation: Literal["silu", "gelu", "gelu_tanh"] = Field("silu", description="the feed-forward's nonlinearity")
    gated: bool = Field(True, description="the feed-forward is down(act(gate(x)) * up(x)), else down(act(up(x)))")
    qkv_bias: bool = Field(False, description="queries, keys and values have a bias")
    output_bias: bool = Field(False, description="attention's output projection has a bias")
    mlp_bias: bool = Field(False, description="the feed-forward's matrices have a bias")

    num_experts: int = Field(0, ge=0, description="feed-forward experts a layer; 0 for one plain feed-forward")
    num_experts_per_token: int = Field(0, ge=0, description="experts that each token is sent to")

    tie_embeddings: bool = Field(True, description="the output projection is the embedding table")

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if self.num_heads % self.num_kv_heads:
            raise ValueError(f"num_heads {self.num_heads} is not a multiple of num_kv_heads {self.num_kv_heads}")
        if self.shared_norm and not self.parallel_residual:
            raise ValueError("shared_norm needs parallel_residual: in sequence each branch has a norm of its own")
        if self.positions == "learned" and self.rope_scaling is not None:
            raise ValueError("rope_scaling needs rotary positions")
        if self.full_layers and (self.sliding_window is None or max(self.full_layers) >= self.num_layers):
            raise ValueError(
                f"full_layers {self.full_layers} need a sliding_window and {max(self.full_layers) + 1} layers"
            )
        return self

    @model_validator(mode="after")
    def _experts_fit(self) -> Self:
        chosen, available = self.num_experts_per_token, self.num_experts
        if bool(chosen) != bool(available) or chosen > available:
            raise ValueError(f"num_experts_per_token {chosen} must be 1 to num_experts {available}, or both 0")
        if available and (self.mlp_bias or not self.gated):
            raise ValueError("experts are gated and have no biases")
        return self

    def window(self, layer: int) -> int | None:
        """How many positions a position of this layer may see, itself included; None for all before it."""
        return None if layer in self.full_layers else self.sliding_window

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
        **others: Any,
    ) -> ModelConfig:
        """The default shape for a depth; whatever is given by hand replaces what would be derived.

        64 units of width a layer (nanochat's dial, scripts/base_train.py), from depth 4 on rounded to the nearest
        multiple of 256; heads of 64; a feed-forward of 8/3 the width, which keeps SwiGLU's parameters at those of a
        plain feed-forward of 4 (Shazeer 2020, section 2), rounded up to a multiple of 256 where the width is one
        and of 64 elsewhere. So every matrix of a default shape of depth 4 and more has rows that GGUF's K-quants
        can hold. ``others`` are further fields. RequestError if the parts don't fit together.
        """
        hidden_size = hidden_size or _width(depth)
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
            "intermediate_size": intermediate_size or _feed_forward(hidden_size),
            "max_seq_len": max_seq_len,
            "qk_norm": qk_norm,
            **others,
        }
        return cls.parse(fields, "model shape")


def _width(depth: int) -> int:
    return 64 * depth if depth < 4 else (depth + 2) // 4 * GGUF_ROW


def _feed_forward(hidden_size: int) -> int:
    multiple = GGUF_ROW if hidden_size % GGUF_ROW == 0 else 64
    return -(-hidden_size * 8 // (3 * multiple)) * multiple
