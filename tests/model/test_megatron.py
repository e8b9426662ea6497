"""Weights to and from Megatron-Core: round trips, and equal logits in a real GPTModel where one can be run."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest
import torch

from groundup.base.errors import ArtifactError, RequestError
from groundup.model.config import LinearScaling, Llama3Scaling, ModelConfig
from groundup.model.exchange.megatron import from_megatron, to_megatron
from groundup.model.exchange.megatron_launch import MegatronRun, megatron_arguments, shares
from groundup.model.init import initialise
from groundup.model.transformer import Transformer

SIZES = {
    "vocab_size": 97, "num_layers": 2, "hidden_size": 48, "num_heads": 6, "num_kv_heads": 2, "head_dim": 8,
    "intermediate_size": 80, "max_seq_len": 40,
}  # fmt: skip
LLAMA3 = Llama3Scaling(factor=8.0, low_freq_factor=1.0, high_freq_factor=4.0, original_max_seq_len=8192)
GPT2 = {
    "num_kv_heads": 6, "positions": "learned", "norm": "layer", "activation": "gelu_tanh", "gated": False,
    "qkv_bias": True, "output_bias": True, "mlp_bias": True,
}  # fmt: skip
SHAPES = {
    "llama": ModelConfig(**SIZES),
    "llama 3, untied": ModelConfig(**SIZES, rope_theta=500_000.0, rope_scaling=LLAMA3, tie_embeddings=False),
    "llama, stretched": ModelConfig(**SIZES, rope_scaling=LinearScaling(factor=2.0)),
    "qwen2": ModelConfig(**SIZES, qkv_bias=True, norm_eps=1e-3),
    "qwen3": ModelConfig(**{**SIZES, "head_dim": 16}, qk_norm=True),
    "mixtral": ModelConfig(**SIZES, num_experts=4, num_experts_per_token=2, tie_embeddings=False),
    "gpt2": ModelConfig(**{**SIZES, **GPT2}),
}
RUN = MegatronRun(
    tokens=(Path("tokens"),), weights=(1.0,), tokenizer=Path("tokenizer"), build="local", seq_len=32, gpus=4,
    micro_batch=2, global_batch=8, steps=100,
    warmup_steps=5, schedule="warmup_stable_decay", decay_steps=20, learning_rate=3e-4, final_factor=0.1,
    weight_decay=0.1, beta1=0.9, beta2=0.95, gradient_clip=1.0, seed=1,
)  # fmt: skip


def lively(config: ModelConfig) -> Transformer:
    """A random model whose every weight, norms and biases included, matters."""
    model = Transformer(config)
    initialise(model, 0)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for weight in model.parameters():
            weight.add_(torch.randn(weight.shape, generator=generator) * 0.1)
    return model


@pytest.mark.parametrize("transformer_engine", [False, True])
@pytest.mark.parametrize("name", SHAPES)
def test_weights_come_back_bit_by_bit(name: str, transformer_engine: bool) -> None:
    model = lively(SHAPES[name])
    state = to_megatron(model, transformer_engine=transformer_engine)
    state = {f"module.{key}": value for key, value in state.items()} | {"module.x._extra_state": torch.zeros(1)}
    again = from_megatron(state, model.config).state_dict()
    for key, weight in model.state_dict().items():
        assert torch.equal(weight, again[key]), key


def test_each_build_has_its_own_names() -> None:
    local, fused = (to_megatron(lively(SHAPES["llama"]), transformer_engine=engine) for engine in (False, True))
    norms = {key for key in local if "layernorm" in key and "final" not in key}
    assert norms == {
        f"decoder.layers.{i}.{norm}.weight" for i in (0, 1) for norm in ("input_layernorm", "pre_mlp_layernorm")
    }
    assert {key for key in fused if "layer_norm" in key} == {
        f"decoder.layers.{i}.{norm}.layer_norm_weight"
        for i in (0, 1)
        for norm in ("self_attention.linear_qkv", "mlp.linear_fc1")
    }
    assert local.keys() - norms == {key for key in fused if "layer_norm" not in key}
    experts = to_megatron(lively(SHAPES["mixtral"]), transformer_engine=True)
    assert "decoder.layers.1.mlp.experts.linear_fc1.weight3" in experts
    assert "decoder.layers.1.pre_mlp_layernorm.weight" in experts  # Transformer Engine has nothing to fuse it into


def test_queries_keys_and_values_stand_group_by_group() -> None:
    model = lively(SHAPES["llama"])
    attention = model.layers[1].self_attn
    fused = to_megatron(model)["decoder.layers.1.self_attention.linear_qkv.weight"]
    assert torch.equal(fused[:24], attention.q_proj.weight[:24])
    assert torch.equal(fused[24:32], attention.k_proj.weight[:8])
    assert torch.equal(fused[32:40], attention.v_proj.weight[:8])
    assert torch.equal(fused[40:64], attention.q_proj.weight[24:])


def test_a_filled_up_vocabulary_is_cut() -> None:
    model = lively(SHAPES["llama 3, untied"])
    state = to_megatron(model)
    for key in ("embedding.word_embeddings.weight", "output_layer.weight"):
        state[key] = torch.cat([state[key], torch.ones(31, 48)])
    again = from_megatron(state, model.config)
    assert torch.equal(again.output_weight, model.output_weight)


def test_weights_of_another_shape_are_refused() -> None:
    state = to_megatron(lively(SHAPES["llama"]))
    with pytest.raises(ArtifactError, match="lack decoder"):
        from_megatron({key: value for key, value in state.items() if "linear_fc2" not in key}, SHAPES["llama"])
    with pytest.raises(ArtifactError, match=r"output_layer\.weight"):
        from_megatron({**state, "output_layer.weight": torch.zeros(97, 48)}, SHAPES["llama"])
    for change in ({"num_kv_heads": 3}, {"intermediate_size": 64}, {"vocab_size": 98}, {"num_layers": 1}):
        with pytest.raises(ArtifactError):
            from_megatron(state, SHAPES["llama"].model_copy(update=change))


@pytest.mark.parametrize(
    "change",
    [
        {"parallel_residual": True},
        {"output_bias": True},
        {"norm": "layer", "qk_norm": True},
        {"gated": False},
        {"activation": "gelu_tanh", "gated": False},
        {"sliding_window": 8, "full_layers": (0,)},
    ],
)
def test_mathematics_that_megatron_lacks_is_refused(change: dict[str, object]) -> None:
    config = ModelConfig(**{**SIZES, **change})
    with pytest.raises(RequestError, match="GPTModel has no"):
        to_megatron(Transformer(config))
    with pytest.raises(RequestError, match="GPTModel has no"):
        megatron_arguments(config, RUN)


@pytest.mark.parametrize(
    "change",
    [
        {"rope_theta": 10_000.5},
        {"rope_scaling": LLAMA3.model_copy(update={"original_max_seq_len": 4096})},
        {"rope_scaling": LinearScaling(factor=2.5)},
    ],
)
def test_rotary_positions_that_no_argument_can_say_are_refused(change: dict[str, object]) -> None:
    with pytest.raises(RequestError, match="Megatron-LM"):
        megatron_arguments(ModelConfig(**SIZES, **change), RUN)


def value_after(arguments: list[str], name: str) -> str:
    assert arguments.count(name) == 1
    return arguments[arguments.index(name) + 1]


def test_arguments_say_the_data_and_the_optimizer() -> None:
    arguments = megatron_arguments(SHAPES["qwen3"].model_copy(update={"sliding_window": 16}), RUN)
    expected = {
        "--train-data-path": "tokens/train", "--seq-length": "32", "--train-iters": "100", "--lr": "0.0003",
        "--lr-decay-style": "WSD", "--lr-wsd-decay-iters": "20", "--global-batch-size": "8", "--window-size": "(15,0)",
    }  # fmt: skip
    for name, value in expected.items():
        assert value_after(arguments, name) == value
    assert float(value_after(arguments, "--min-lr")) == pytest.approx(3e-5)


def test_a_step_divides_by_what_the_launch_says() -> None:
    for rows in range(1, 100):
        for limit in (0, 1, 3, 16):
            gpus, micro_batch = shares(rows, 8, limit)
            assert rows % (gpus * micro_batch) == 0
            assert micro_batch <= max(1, limit)
    assert shares(8, 8, 8) == (8, 1)
    with pytest.raises(ValueError, match="must divide"):
        MegatronRun.model_validate({**RUN.model_dump(), "gpus": 3})


def test_several_stores_are_blended_by_their_weights() -> None:
    arguments = megatron_arguments(
        SHAPES["llama"],
        MegatronRun.model_validate({**RUN.model_dump(), "tokens": (Path("a"), Path("b")), "weights": (0.7, 0.3)}),
    )
    place = arguments.index("--train-data-path")
    assert arguments[place + 1 : place + 6] == ["0.7", "a/train", "0.3", "b/train", "--tokenizer-type"]


def test_documents_are_kept_apart_where_megatron_can() -> None:
    masked = MegatronRun.model_validate({**RUN.model_dump(), "build": "transformer_engine", "mask_documents": True})
    arguments = megatron_arguments(SHAPES["llama"], masked)
    assert "--dataloader-inter-document-masking" in arguments
    assert value_after(arguments, "--transformer-impl") == "transformer_engine"
    with pytest.raises(RequestError, match="rotary positions"):
        megatron_arguments(SHAPES["gpt2"], masked)
    with pytest.raises(RequestError, match="Transformer Engine"):
        megatron_arguments(SHAPES["llama"], masked.model_copy(update={"build": "local"}))
    assert "--moe-grouped-gemm" in megatron_arguments(
        SHAPES["mixtral"], masked
    )  # experts in one module, as we name them


# -- the real thing ----------------------------------------------------------------------------------------------

MEGATRON = os.environ.get("GROUNDUP_MEGATRON_PYTHON")
needs_megatron = pytest.mark.skipif(
    MEGATRON is None,
    reason="set GROUNDUP_MEGATRON_PYTHON to a Python with torch, triton, einops and megatron-core 0.19 to compare",
)


def run_peer(script: str, folder: Path) -> None:
    assert MEGATRON is not None
    command = [MEGATRON, str(Path(__file__).with_name(script)), str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr[-3000:]


@needs_megatron
def test_megatron_builds_the_same_model_from_our_arguments(tmp_path: Path) -> None:
    models = {name: lively(config) for name, config in SHAPES.items()}
    ids = torch.randint(97, (2, 33), generator=torch.Generator().manual_seed(1))
    request = [
        {"arguments": megatron_arguments(model.config, RUN), "weights": to_megatron(model), "ids": ids}
        for model in models.values()
    ]
    torch.save(request, tmp_path / "request.pt")
    run_peer("peer_megatron.py", tmp_path)
    answers = torch.load(tmp_path / "answer.pt", weights_only=True)
    for (name, model), answer in zip(models.items(), answers, strict=True):
        assert answer["wrong"] == [], name
        with torch.no_grad():
            ours = model.logits(model(ids))
        assert ours.std() > 0.1
        torch.testing.assert_close(
            ours, answer["logits"], atol=1e-4, rtol=1e-4, msg=lambda text, name=name: f"{name}: {text}"
        )
        again = from_megatron(answer["weights"], model.config)
        for key, weight in model.state_dict().items():
            assert torch.equal(weight, again.state_dict()[key]), (name, key)
