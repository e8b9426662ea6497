"""The transformer against transformers' Llama and Qwen3: logits, gradients, and folders in both directions."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch.nn import functional as F
from transformers import LlamaConfig, LlamaForCausalLM, Qwen3Config, Qwen3ForCausalLM

from groundup.base.errors import ArtifactError
from groundup.model import count
from groundup.model.config import ModelConfig
from groundup.model.exchange import huggingface
from groundup.model.loss import linear_cross_entropy
from groundup.model.transformer import Transformer, initialise

TOLERANCE = 1e-4
SHAPES = {
    "llama": ModelConfig(
        vocab_size=97, num_layers=2, hidden_size=48, num_heads=4, num_kv_heads=4, head_dim=12,
        intermediate_size=80, max_seq_len=40,
    ),
    "llama, grouped, untied, own head_dim": ModelConfig(
        vocab_size=97, num_layers=3, hidden_size=48, num_heads=6, num_kv_heads=2, head_dim=10,
        intermediate_size=56, max_seq_len=40, rope_theta=500.0, norm_eps=1e-4, tie_embeddings=False,
    ),
    "qwen3": ModelConfig(
        vocab_size=97, num_layers=2, hidden_size=48, num_heads=4, num_kv_heads=2, head_dim=16,
        intermediate_size=80, max_seq_len=40, qk_norm=True,
    ),
    "qwen3, untied": ModelConfig(
        vocab_size=97, num_layers=2, hidden_size=48, num_heads=4, num_kv_heads=1, head_dim=12,
        intermediate_size=80, max_seq_len=40, qk_norm=True, tie_embeddings=False, norm_eps=1e-6,
    ),
}  # fmt: skip


def lively(config: ModelConfig, seed: int = 0) -> Transformer:
    """A random model whose every weight, norms included, matters."""
    model = Transformer(config)
    initialise(model, seed)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for weight in model.parameters():
            weight.add_(torch.randn(weight.shape, generator=generator) * 0.1)
    return model


def save(model: Transformer, folder: Path) -> None:
    huggingface.save(model, folder, bos_id=0, pad_id=1, stop_ids={0, 3})


def peer_of(config: ModelConfig, folder: Path) -> LlamaForCausalLM | Qwen3ForCausalLM:
    kind = Qwen3ForCausalLM if config.qk_norm else LlamaForCausalLM
    peer = kind.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager")
    assert isinstance(peer, kind)
    return peer


@pytest.mark.parametrize("name", SHAPES)
def test_transformers_loads_our_folder_with_equal_logits_and_gradients(name: str, tmp_path: Path) -> None:
    config = SHAPES[name]
    model = lively(config)
    save(model, tmp_path)
    peer = peer_of(config, tmp_path)
    # Not the pad id: transformers gives its embedding no gradient.
    ids = torch.randint(2, config.vocab_size, (3, 33), generator=torch.Generator().manual_seed(1))
    hidden = model(ids[:, :-1])
    theirs = peer(input_ids=ids[:, :-1]).logits
    torch.testing.assert_close(model.logits(hidden), theirs, atol=TOLERANCE, rtol=TOLERANCE)
    assert theirs.std() > 0.1  # the comparison means something

    linear_cross_entropy(hidden.flatten(0, 1), model.output_weight, ids[:, 1:].flatten()).backward()
    F.cross_entropy(theirs.flatten(0, 1), ids[:, 1:].flatten(), reduction="sum").backward()
    their_gradients = {key.removeprefix("model."): weight.grad for key, weight in peer.named_parameters()}
    ours = dict(model.named_parameters())
    assert ours.keys() == their_gradients.keys()
    for key, weight in ours.items():
        assert weight.grad is not None
        scale = float(their_gradients[key].abs().max())
        torch.testing.assert_close(
            weight.grad / scale, their_gradients[key] / scale, atol=TOLERANCE, rtol=TOLERANCE, msg=key
        )


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("kind", ["llama", "qwen3"])
def test_we_load_a_folder_that_transformers_saved(kind: str, tied: bool, tmp_path: Path) -> None:
    torch.manual_seed(0)
    sizes = {
        "vocab_size": 61, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2,
        "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 8, "max_position_embeddings": 24,
        "tie_word_embeddings": tied, "rope_parameters": {"rope_type": "default", "rope_theta": 3000.0},
        "initializer_range": 0.2,
    }  # fmt: skip
    peer = LlamaForCausalLM(LlamaConfig(**sizes)) if kind == "llama" else Qwen3ForCausalLM(Qwen3Config(**sizes))
    peer.save_pretrained(tmp_path)
    model = huggingface.load(tmp_path)
    assert model.config.rope_theta == 3000.0
    assert model.config.tie_embeddings == tied
    ids = torch.randint(61, (2, 24))
    with torch.no_grad():
        torch.testing.assert_close(model.logits(model(ids)), peer(input_ids=ids).logits, atol=TOLERANCE, rtol=TOLERANCE)


@pytest.mark.parametrize("name", SHAPES)
def test_a_folder_comes_back_bit_by_bit(name: str, tmp_path: Path) -> None:
    model = lively(SHAPES[name])
    save(model, tmp_path)
    again = huggingface.load(tmp_path)
    assert again.config == model.config
    for (key, left), (other, right) in zip(model.state_dict().items(), again.state_dict().items(), strict=True):
        assert key == other
        assert torch.equal(left, right)
    ids = torch.arange(30)[None]
    assert torch.equal(model(ids), again(ids))
    second = tmp_path / "second"
    save(again, second)
    for path in second.iterdir():
        assert path.read_bytes() == (tmp_path / path.name).read_bytes()


def test_stop_ids_are_what_transformers_stops_at(tmp_path: Path) -> None:
    save(lively(SHAPES["llama"]), tmp_path)
    peer = peer_of(SHAPES["llama"], tmp_path)
    assert peer.generation_config.eos_token_id == [0, 3]
    assert (peer.generation_config.bos_token_id, peer.generation_config.pad_token_id) == (0, 1)


@pytest.mark.parametrize("name", SHAPES)
def test_counted_parameters_are_the_real_ones(name: str) -> None:
    config = SHAPES[name]
    model = Transformer(config)
    assert count.parameters(config) == sum(weight.numel() for weight in model.parameters())
    matrices = sum(
        weight.numel() for key, weight in model.named_parameters() if weight.ndim == 2 and "embed" not in key
    )
    output = 0 if model.lm_head is not None else config.vocab_size * config.hidden_size
    assert count.matmul_parameters(config) == matrices + output


def test_flops_are_those_that_torch_counts() -> None:
    from torch.utils.flop_counter import FlopCounterMode

    config = SHAPES["llama"]
    model = Transformer(config)
    ids = torch.zeros(1, 32, dtype=torch.long)
    with FlopCounterMode(display=False) as counter, torch.nn.attention.sdpa_kernel(torch.nn.attention.SDPBackend.MATH):
        model.logits(model(ids)).sum().backward()
    real = counter.get_total_flops() / 32
    assert count.training_flops_per_token(config, 32) == pytest.approx(real, rel=0.1)


def test_initial_weights_depend_on_the_seed_alone() -> None:
    config = SHAPES["llama, grouped, untied, own head_dim"]
    weights = []
    for seed in (1, 1, 2):
        torch.manual_seed(len(weights))
        model = Transformer(config)
        initialise(model, seed)
        weights.append(torch.cat([weight.flatten() for weight in model.parameters()]))
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])
    model = Transformer(ModelConfig.from_depth(2, 1024, 64))
    initialise(model, 1)
    assert model.layers[0].mlp.up_proj.weight.std().item() == pytest.approx(0.02, rel=0.05)
    assert model.layers[0].mlp.down_proj.weight.std().item() == pytest.approx(0.01, rel=0.05)


# -- folders that can't be used ----------------------------------------------------------------------------------


def edit(folder: Path, **changes: object) -> None:
    path = folder / "config.json"
    data = {**json.loads(path.read_text()), **changes}
    path.write_text(json.dumps({key: value for key, value in data.items() if value is not ...}))


@pytest.mark.parametrize(
    "changes",
    [
        {"hidden_size": 64},
        {"num_hidden_layers": 3},
        {"num_hidden_layers": 1},
        {"tie_word_embeddings": False},
        {"vocab_size": 98},
        {"model_type": "gpt2"},
        {"model_type": "qwen3"},
        {"num_key_value_heads": 3},
        {"num_attention_heads": "four"},
        {"hidden_size": ...},
        {"rope_parameters": {"rope_type": "llama3", "rope_theta": 10000.0, "factor": 8.0}},
        {"rope_parameters": ..., "rope_theta": 10000.0, "rope_scaling": {"type": "linear", "factor": 2.0}},
        {"attention_bias": True},
        {"mlp_bias": True},
        {"hidden_act": "gelu"},
        {"use_sliding_window": True},
    ],
)
def test_a_configuration_that_does_not_fit_is_refused(changes: dict[str, object], tmp_path: Path) -> None:
    save(lively(SHAPES["llama"]), tmp_path)
    edit(tmp_path, **changes)
    with pytest.raises(ArtifactError) as caught:
        huggingface.load(tmp_path)
    assert str(tmp_path) in str(caught.value)


def test_weights_that_are_damaged_or_of_another_model_are_refused(tmp_path: Path) -> None:
    save(lively(SHAPES["llama"]), tmp_path)
    weights = tmp_path / huggingface.WEIGHTS
    whole = weights.read_bytes()
    tensors = load_file(weights)
    damaged: list[bytes] = [b"", whole[:100], whole[:-1], b"\xff" * 64 + whole[64:]]
    for data in damaged:
        weights.write_bytes(data)
        with pytest.raises(ArtifactError):
            huggingface.load(tmp_path)
    for change in ({"model.norm.weight": None}, {"model.extra.weight": torch.zeros(3)}):
        changed = {key: value for key, value in {**tensors, **change}.items() if value is not None}
        save_file(changed, weights)
        with pytest.raises(ArtifactError, match="don't fit"):
            huggingface.load(tmp_path)
    weights.unlink()
    with pytest.raises(ArtifactError):
        huggingface.load(tmp_path)
    with pytest.raises(ArtifactError):
        huggingface.load(tmp_path / "nowhere")
