"""Shapes: the dial, what doesn't fit together, rotary tables against transformers', and weights from seeds."""

from __future__ import annotations

import random

import pytest
import torch
from model_peers import OURS, THEIRS
from transformers.models.llama.modeling_llama import LlamaRotaryEmbedding

from groundup.base.errors import RequestError
from groundup.model.config import GGUF_ROW, Llama3Scaling, ModelConfig
from groundup.model.exchange.families.registry import family_named
from groundup.model.init import initial_weight, initialise
from groundup.model.rotary import rotary_table
from groundup.model.transformer import Transformer


@pytest.mark.parametrize("depth", range(1, 49))
def test_rows_of_default_shapes_fit_gguf_blocks(depth: int) -> None:
    config = ModelConfig.from_depth(depth, 4096, 512)
    rows = (config.hidden_size, config.intermediate_size, config.num_heads * config.head_dim)
    assert depth < 4 or all(row % GGUF_ROW == 0 for row in rows)
    assert abs(config.hidden_size - 64 * depth) <= GGUF_ROW / 2
    assert config.intermediate_size * 3 >= config.hidden_size * 8
    if depth > 1:
        shallower = ModelConfig.from_depth(depth - 1, 4096, 512)
        assert shallower.hidden_size <= config.hidden_size


def test_what_is_given_by_hand_replaces_what_is_derived() -> None:
    config = ModelConfig.from_depth(
        4, 64, 64, hidden_size=192, num_kv_heads=1, num_experts=4, num_experts_per_token=2, rope_theta=5e5
    )
    assert (config.hidden_size, config.intermediate_size, config.num_heads, config.num_kv_heads) == (192, 512, 3, 1)
    assert (config.num_experts, config.rope_theta) == (4, 5e5)
    with pytest.raises(RequestError, match="did you mean 'num_experts'"):
        ModelConfig.from_depth(4, 64, 64, num_expert=4)
    with pytest.raises(RequestError, match="hidden_size 100 must divide"):
        ModelConfig.from_depth(4, 64, 64, hidden_size=100, num_heads=3)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"num_kv_heads": 3}, "num_kv_heads 3"),
        ({"head_dim": 7}, "head_dim"),
        ({"shared_norm": True}, "parallel_residual"),
        ({"positions": "learned", "rope_scaling": {"kind": "linear", "factor": 2}}, "rotary"),
        ({"full_layers": (0,)}, "sliding_window"),
        ({"sliding_window": 4, "full_layers": (2,)}, "3 layers"),
        ({"num_experts": 2}, "num_experts_per_token 0"),
        ({"num_experts_per_token": 2}, "num_experts_per_token 2"),
        ({"num_experts": 2, "num_experts_per_token": 1, "mlp_bias": True}, "biases"),
        ({"rope_scaling": {"kind": "su", "factor": 2}}, "'su'"),
        (
            {"rope_scaling": Llama3Scaling.model_construct(
                kind="llama3", factor=2.0, low_freq_factor=4.0, high_freq_factor=4.0, original_max_seq_len=9
            ).model_dump()},
            "high_freq_factor 4.0",
        ),
    ],
)  # fmt: skip
def test_parts_that_do_not_fit_together_are_refused(changes: dict[str, object], reason: str) -> None:
    with pytest.raises(RequestError, match=reason):
        ModelConfig.parse({**OURS["llama"][1].model_dump(), **changes}, "model")


@pytest.mark.parametrize("seed", range(20))
def test_rotary_tables_are_those_of_transformers_at_large_positions(seed: int) -> None:
    """Bit for bit in nearly all places: one unit in a frequency shows after thousands of positions."""
    rng = random.Random(seed)
    theirs = THEIRS["llama"](rng, True)
    rope = theirs.rope_parameters
    theirs.max_position_embeddings = rng.choice([100, 20_000])
    if "original_max_position_embeddings" in rope:
        rope["original_max_position_embeddings"] = 64
    theirs.head_dim = rng.choice([8, 64, 128])
    config = family_named("llama").read(theirs.to_dict())
    cos, sin = rotary_table(config)
    their_cos, their_sin = LlamaRotaryEmbedding(theirs)(cos, torch.arange(config.max_seq_len)[None])
    torch.testing.assert_close(cos, their_cos[0], atol=1e-6, rtol=0)
    torch.testing.assert_close(sin, their_sin[0], atol=1e-6, rtol=0)


def test_initial_weights_depend_on_seed_and_name_alone() -> None:
    config = OURS["mixtral"][1]
    weights = []
    for seed in (1, 1, 2):
        torch.manual_seed(len(weights))
        model = Transformer(config)
        initialise(model, seed)
        weights.append(torch.cat([weight.flatten() for weight in model.parameters()]))
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])
    # A process that holds a later layer only draws the same: nothing depends on what was drawn before.
    name = "layers.1.mlp.experts.down_proj"
    weight = model.get_parameter(name)
    assert torch.equal(initial_weight(name, tuple(weight.shape), config, 2), weight)
    assert not torch.equal(model.get_parameter("layers.0.mlp.experts.down_proj"), weight)


def test_initial_deviations_keep_the_stream_level() -> None:
    model = Transformer(ModelConfig.from_depth(2, 1024, 64))
    initialise(model, 1)
    block = model.layers[0]
    assert block.mlp.up_proj.weight.std().item() == pytest.approx(0.02, rel=0.05)
    assert block.mlp.down_proj.weight.std().item() == pytest.approx(0.01, rel=0.05)
    assert block.self_attn.o_proj.weight.std().item() == pytest.approx(0.01, rel=0.05)
    assert torch.equal(block.input_layernorm.weight, torch.ones(model.config.hidden_size))
    gpt2 = Transformer(OURS["gpt2"][1])
    initialise(gpt2, 1)
    assert gpt2.layers[0].self_attn.q_proj.bias.abs().max() == 0
    assert gpt2.norm.bias.abs().max() == 0
