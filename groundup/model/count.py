"""Parameters and arithmetic of a model, from its shape alone: no tensor is made.

A matrix of P weights costs 2P floating-point operations a token forward and 4P backward. Attention costs 4 * width a
token and position that it looks at, forward, and twice that backward. Positions are counted as PaLM does (Chowdhery et
al. 2022, appendix B): every position of the sequence, causal or not, so that figures compare with those of others; a
sliding window counts its width. Look-ups, norms, activations and the optimizer are left out.
"""

from __future__ import annotations

from dataclasses import dataclass

from groundup.model.config import ModelConfig


@dataclass(frozen=True)
class Parameters:
    """Trainable numbers by part, biases with the part that they belong to."""

    embeddings: int
    """The table of tokens, and that of positions where they are learned."""
    output: int
    """The output projection; 0 if it is the embedding table."""
    attention: int
    feed_forward: int
    router: int
    norms: int
    idle: int
    """Those of ``feed_forward`` that a token does not meet: the experts that it is not sent to."""

    @property
    def total(self) -> int:
        """All of them, each once."""
        return self.embeddings + self.output + self.attention + self.feed_forward + self.router + self.norms

    @property
    def active(self) -> int:
        """Those that one token meets."""
        return self.total - self.idle


def parameters_by_part(config: ModelConfig) -> Parameters:
    """Trainable numbers of a model, part by part."""
    D, L, V = config.hidden_size, config.num_layers, config.vocab_size
    width, kv_width = config.num_heads * config.head_dim, config.num_kv_heads * config.head_dim
    attention = _attention_matrices(config) + config.qkv_bias * (width + 2 * kv_width) + config.output_bias * D
    biases = config.mlp_bias * (D + (1 + config.gated) * config.intermediate_size)
    per_norm = D * (1 if config.norm == "rms" else 2)
    norms = (1 if config.shared_norm else 2) * per_norm + 2 * config.head_dim * config.qk_norm
    expert = _feed_forward_matrices(config)
    return Parameters(
        embeddings=V * D + (config.max_seq_len * D if config.positions == "learned" else 0),
        output=0 if config.tie_embeddings else V * D,
        attention=L * attention,
        feed_forward=L * (max(1, config.num_experts) * expert + biases),
        router=L * config.num_experts * D,
        norms=L * norms + per_norm,
        idle=L * (config.num_experts - config.num_experts_per_token) * expert,
    )


def parameters(config: ModelConfig) -> int:
    """All trainable numbers; a tied embedding counts once."""
    return parameters_by_part(config).total


def active_parameters(config: ModelConfig) -> int:
    """The trainable numbers that one token meets: all but the experts that it is not sent to."""
    return parameters_by_part(config).active


def matmul_parameters(config: ModelConfig) -> int:
    """Weights that take part in matrix products for each token, output projection in, embedding look-up out."""
    experts = max(1, config.num_experts_per_token) * _feed_forward_matrices(config)
    block = _attention_matrices(config) + experts + config.num_experts * config.hidden_size
    return config.num_layers * block + config.vocab_size * config.hidden_size


def attention_flops_per_token(config: ModelConfig, seq_len: int) -> int:
    """Forward only: scores and weighted sums, 4 * width for each position looked at, over all layers."""
    seen = sum(min(seq_len, config.window(layer) or seq_len) for layer in range(config.num_layers))
    return 4 * config.num_heads * config.head_dim * seen


def forward_flops_per_token(config: ModelConfig, seq_len: int) -> int:
    """One pass over a sequence of ``seq_len``, logits included: what scoring a text costs, a token."""
    return 2 * matmul_parameters(config) + attention_flops_per_token(config, seq_len)


def training_flops_per_token(config: ModelConfig, seq_len: int) -> int:
    """Forward and backward: 6 a matmul weight, 12 * layers * width * length for attention (PaLM, appendix B)."""
    return 3 * forward_flops_per_token(config, seq_len)


def _attention_matrices(config: ModelConfig) -> int:
    return config.hidden_size * config.head_dim * (2 * config.num_heads + 2 * config.num_kv_heads)


def _feed_forward_matrices(config: ModelConfig) -> int:
    """One feed-forward, or one expert."""
    return (2 + config.gated) * config.hidden_size * config.intermediate_size
