"""Parameters, arithmetic and memory of a model, from its shape alone: no tensor is made."""

from __future__ import annotations

from groundup.model.config import ModelConfig


def matmul_parameters(config: ModelConfig) -> int:
    """Weights that take part in matrix products for each token, output projection in, embedding look-up out."""
    return config.num_layers * _block_matrices(config) + config.vocab_size * config.hidden_size


def parameters(config: ModelConfig) -> int:
    """All trainable numbers; a tied embedding counts once."""
    norms = config.num_layers * (2 * config.hidden_size + 2 * config.head_dim * config.qk_norm) + config.hidden_size
    embeddings = config.vocab_size * config.hidden_size * (1 if config.tie_embeddings else 2)
    return config.num_layers * _block_matrices(config) + norms + embeddings


def training_flops_per_token(config: ModelConfig, seq_len: int) -> int:
    """Forward and backward: 6 a matmul weight, 12 * layers * width * length for attention (PaLM, appendix B)."""
    attention = 12 * config.num_layers * config.num_heads * config.head_dim * seq_len
    return 6 * matmul_parameters(config) + attention


def training_memory(config: ModelConfig, batch_tokens: int) -> int:
    """An estimate of the peak bytes of training: state, and what the backward pass of one micro-batch keeps.

    State: fp32 weight, gradient and two AdamW moments, 16 bytes a parameter. Activations a token and layer, at two
    bytes in bf16: the residual twice, two norms, q, k, v and their rotated copies, the attention output, three
    feed-forward tensors; plus one chunk of logits in fp32.
    """
    width = config.num_heads * config.head_dim
    kv_width = config.num_kv_heads * config.head_dim
    per_token = 4 * config.hidden_size + 4 * width + 4 * kv_width + 4 * config.intermediate_size
    activations = batch_tokens * config.num_layers * per_token * 2 + batch_tokens * config.hidden_size * 12
    return 16 * parameters(config) + 2 * activations + 3 * 1024 * config.vocab_size * 4


def _block_matrices(config: ModelConfig) -> int:
    attention = config.hidden_size * config.head_dim * (2 * config.num_heads + 2 * config.num_kv_heads)
    return attention + 3 * config.hidden_size * config.intermediate_size
