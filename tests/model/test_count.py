"""Parameters and FLOPs from the shape alone, beside the real model and torch's own counter, for every family."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from groundup.model import count
from groundup.model.config import ModelConfig
from groundup.model.loss import linear_cross_entropy
from groundup.model.transformer import Transformer

SHAPE: dict[str, Any] = {
    "vocab_size": 96,
    "num_layers": 3,
    "hidden_size": 32,
    "num_heads": 4,
    "num_kv_heads": 2,
    "head_dim": 16,  # heads together wider than the model: width must not be taken for hidden_size
    "intermediate_size": 48,
    "max_seq_len": 24,
}
FAMILIES: dict[str, dict[str, Any]] = {
    "llama": {},
    "llama untied": {"tie_embeddings": False},
    "qwen3": {"qk_norm": True},
    "qwen2": {"qkv_bias": True},
    "mistral": {"sliding_window": 8},
    "mixtral": {"num_experts": 4, "num_experts_per_token": 2, "tie_embeddings": False},
    "falcon": {
        "num_kv_heads": 1, "norm": "layer", "parallel_residual": True, "shared_norm": True, "activation": "gelu",
        "gated": False, "qkv_bias": True, "output_bias": True, "mlp_bias": True,
    },
    "gpt2": {
        "num_kv_heads": 4, "positions": "learned", "norm": "layer", "activation": "gelu_tanh", "gated": False,
        "qkv_bias": True, "output_bias": True, "mlp_bias": True,
    },
}  # fmt: skip


@pytest.fixture(params=FAMILIES, name="config")
def _config(request: pytest.FixtureRequest) -> ModelConfig:
    return ModelConfig(**(SHAPE | FAMILIES[request.param]))


def test_parameters_by_part_are_those_of_the_model(config: ModelConfig) -> None:
    with torch.device("meta"):
        real = {name: weight.numel() for name, weight in Transformer(config).named_parameters()}
    parts = count.parameters_by_part(config)
    assert parts.total == sum(real.values())
    assert parts.embeddings == sum(size for name, size in real.items() if name.startswith("embed_"))
    assert parts.output == real.get("lm_head.weight", 0)
    assert parts.norms == sum(size for name, size in real.items() if "norm" in name)
    assert parts.router == sum(size for name, size in real.items() if "router" in name)
    assert parts.attention == sum(
        size for name, size in real.items() if "self_attn" in name and "norm" not in name
    )  # fmt: skip
    experts = sum(size for name, size in real.items() if ".experts." in name)
    unused = experts * (config.num_experts - config.num_experts_per_token) // max(1, config.num_experts)
    assert parts.active == parts.total - unused


@pytest.mark.parametrize("rows", [1, 3])
def test_flops_are_those_that_torch_counts(config: ModelConfig, rows: int) -> None:
    """Forward and backward of real tensors. Windows are cut from the count by hand: the dense mask computes all."""
    torch.manual_seed(0)
    length = 16
    model = Transformer(config)
    for weight in model.parameters():
        torch.nn.init.normal_(weight, std=0.1)
    ids = torch.randint(config.vocab_size, (rows, length))
    with FlopCounterMode(display=False) as counter, sdpa_kernel(SDPBackend.MATH):
        hidden = model(ids).flatten(0, 1)
        linear_cross_entropy(hidden, model.output_weight, ids.flatten()).backward()
    skipped = 0
    if config.sliding_window is not None:
        width = config.num_heads * config.head_dim
        skipped = 3 * 4 * width * config.num_layers * (length - config.sliding_window)
    ours = count.training_flops_per_token(config, length)
    assert counter.get_total_flops() == rows * length * (ours + skipped)
    assert count.forward_flops_per_token(config, length) * 3 == ours


def test_a_published_model_has_its_published_size() -> None:
    """Llama 3 405B (Dubey et al. 2024, table 3): 405.85 billion parameters."""
    config = ModelConfig(
        vocab_size=128_256, num_layers=126, hidden_size=16_384, num_heads=128, num_kv_heads=8, head_dim=128,
        intermediate_size=53_248, max_seq_len=8192, tie_embeddings=False,
    )  # fmt: skip
    assert round(count.parameters(config) / 1e9, 2) == 405.85


def test_mixtral_has_its_published_size_and_active_size() -> None:
    """Mixtral 8x7B (Jiang et al. 2024, section 1): 47B parameters, of which a token meets 13B."""
    config = ModelConfig(
        vocab_size=32_000, num_layers=32, hidden_size=4096, num_heads=32, num_kv_heads=8, head_dim=128,
        intermediate_size=14_336, max_seq_len=32_768, num_experts=8, num_experts_per_token=2, tie_embeddings=False,
    )  # fmt: skip
    assert round(count.parameters(config) / 1e9) == 47
    assert round(count.active_parameters(config) / 1e9) == 13
