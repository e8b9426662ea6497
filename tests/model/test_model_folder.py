"""Hugging Face folders: several files, stored types, older styles, and everything that must be refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from model_peers import OURS, lively, random_ids, their_model
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, FalconConfig, GPT2Config, LlamaConfig, MixtralConfig, Qwen2Config

from groundup.base.errors import ArtifactError, RequestError
from groundup.model.config import DynamicScaling, LinearScaling, ModelConfig
from groundup.model.exchange import huggingface
from groundup.model.exchange.families.registry import FAMILIES, family_of
from groundup.model.exchange.folder import INDEX, WEIGHTS
from groundup.model.transformer import Transformer


def save(model: Transformer, folder: Path, **options: Any) -> None:
    huggingface.save(model, folder, bos_id=0, pad_id=1, stop_ids={0, 3}, **options)


def edit(folder: Path, **changes: object) -> None:
    """Change fields of a folder's config.json; ``...`` removes one."""
    path = folder / "config.json"
    data = {**json.loads(path.read_text()), **changes}
    path.write_text(json.dumps({key: value for key, value in data.items() if value is not ...}))


def same_weights(left: Transformer, right: Transformer) -> bool:
    pairs = zip(left.state_dict().items(), right.state_dict().items(), strict=True)
    return all(name == other and torch.equal(a, b) for (name, a), (other, b) in pairs)


# -- several files -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["llama", "mixtral", "gpt2", "falcon 40b"])
def test_several_files_hold_the_same_model(name: str, tmp_path: Path) -> None:
    model = lively(OURS[name][1])
    save(model, tmp_path, max_shard_bytes=50_000)
    files = sorted(path.name for path in tmp_path.glob("*.safetensors"))
    assert len(files) > 2
    assert files[0] == f"model-00001-of-{len(files):05d}.safetensors"
    sizes = [sum(tensor.nbytes for tensor in load_file(tmp_path / file).values()) for file in files]
    index = json.loads((tmp_path / INDEX).read_text())
    assert index["metadata"]["total_size"] == sum(sizes)
    assert set(index["weight_map"].values()) == set(files)
    assert max(sizes) <= 50_000
    assert same_weights(model, huggingface.load(tmp_path))
    ids = random_ids(model.config.vocab_size, 1, 20)
    with torch.no_grad():
        theirs = AutoModelForCausalLM.from_pretrained(tmp_path, dtype=torch.float32)(input_ids=ids).logits
        torch.testing.assert_close(model.logits(model(ids)), theirs, atol=1e-4, rtol=1e-4)

    save(model, tmp_path)  # in one file again: the others would be read instead of it
    assert [path.name for path in tmp_path.glob("model*")] == [WEIGHTS]
    assert same_weights(model, huggingface.load(tmp_path))


def test_we_read_files_that_transformers_split(tmp_path: Path) -> None:
    config = LlamaConfig(
        vocab_size=61, hidden_size=32, intermediate_size=48, num_hidden_layers=3, num_attention_heads=4,
        max_position_embeddings=24,
    )  # fmt: skip
    peer = their_model(config, 1)
    peer.save_pretrained(tmp_path, max_shard_size="20KB")
    assert (tmp_path / INDEX).exists()
    ids = random_ids(61, 2, 24)
    model = huggingface.load(tmp_path)
    with torch.no_grad():
        torch.testing.assert_close(model.logits(model(ids)), peer(input_ids=ids).logits, atol=1e-4, rtol=1e-4)


def test_a_missing_or_misnamed_part_is_refused(tmp_path: Path) -> None:
    model = lively(OURS["llama"][1])
    save(model, tmp_path, max_shard_bytes=20_000)
    index = json.loads((tmp_path / INDEX).read_text())
    part = tmp_path / index["weight_map"]["model.norm.weight"]
    whole = part.read_bytes()
    part.unlink()
    with pytest.raises(ArtifactError, match=part.name):
        huggingface.load(tmp_path)
    part.write_bytes(whole[:-1])
    with pytest.raises(ArtifactError, match=part.name):
        huggingface.load(tmp_path)
    part.write_bytes(whole)
    for damaged in ("{}", "[]", "not json", json.dumps({"weight_map": {"model.norm.weight": "../elsewhere"}})):
        (tmp_path / INDEX).write_text(damaged)
        with pytest.raises(ArtifactError, match=str(tmp_path)):
            huggingface.load(tmp_path)


# -- stored types ------------------------------------------------------------------------------------------------


def test_bf16_halves_the_file_and_rounds_once(tmp_path: Path) -> None:
    model = lively(OURS["qwen3"][1])
    save(model, tmp_path / "fp32")
    save(model, tmp_path / "bf16", dtype=torch.bfloat16)
    sizes = [(tmp_path / kind / WEIGHTS).stat().st_size for kind in ("fp32", "bf16")]
    assert sizes[1] < 0.6 * sizes[0]
    again = huggingface.load(tmp_path / "bf16")
    for left, right in zip(model.parameters(), again.parameters(), strict=True):
        assert right.dtype == torch.float32
        assert torch.equal(left.bfloat16().float(), right)
    peer = AutoModelForCausalLM.from_pretrained(tmp_path / "bf16")
    assert peer.dtype == torch.bfloat16


def test_weights_are_our_own_once_loaded(tmp_path: Path) -> None:
    """A file that changes under a running model must not change or end it."""
    model = lively(OURS["llama"][1])
    save(model, tmp_path)
    again = huggingface.load(tmp_path)
    (tmp_path / WEIGHTS).write_bytes(b"")
    assert same_weights(model, again)


def test_whole_numbers_are_refused(tmp_path: Path) -> None:
    save(lively(OURS["llama"][1]), tmp_path)
    tensors = load_file(tmp_path / WEIGHTS)
    save_file({**tensors, "model.norm.weight": tensors["model.norm.weight"].to(torch.int8)}, tmp_path / WEIGHTS)
    with pytest.raises(ArtifactError, match=r"model\.norm\.weight is of type I8"):
        huggingface.load(tmp_path)


# -- older styles ------------------------------------------------------------------------------------------------


def test_configurations_of_transformers_4_are_read(tmp_path: Path) -> None:
    save(lively(OURS["llama 3.1"][1]), tmp_path)
    new = json.loads((tmp_path / "config.json").read_text())
    rope = {key: value for key, value in new["rope_parameters"].items() if key != "rope_theta"}
    edit(tmp_path, rope_parameters=..., rope_theta=10_000.0, rope_scaling=rope)
    assert huggingface.load_config(tmp_path) == OURS["llama 3.1"][1]
    edit(tmp_path, rope_scaling={"type": "linear", "factor": 2})
    assert huggingface.load_config(tmp_path).rope_scaling == LinearScaling(factor=2.0)
    edit(tmp_path, rope_scaling={"type": "dynamic", "factor": 2})
    assert huggingface.load_config(tmp_path).rope_scaling == DynamicScaling(factor=2.0)
    edit(tmp_path, rope_scaling=None)
    assert huggingface.load_config(tmp_path).rope_scaling is None
    # The first Llama had neither of these.
    edit(tmp_path, num_key_value_heads=..., head_dim=..., rope_theta=..., tie_word_embeddings=...)
    config = huggingface.load_config(tmp_path)
    assert (config.num_kv_heads, config.head_dim, config.rope_theta, config.tie_embeddings) == (4, 12, 10_000.0, False)


def test_a_mistral_without_a_window_is_a_llama(tmp_path: Path) -> None:
    save(lively(OURS["mistral"][1]), tmp_path)
    edit(tmp_path, sliding_window=None)
    model = huggingface.load(tmp_path)
    save(model, tmp_path / "again")
    assert json.loads((tmp_path / "again" / "config.json").read_text())["model_type"] == "llama"
    edit(tmp_path, sliding_window=...)
    assert huggingface.load_config(tmp_path).sliding_window == 4096  # what transformers takes for an absent field


def test_the_first_gpt2_had_no_prefix_and_stored_its_masks(tmp_path: Path) -> None:
    model = lively(OURS["gpt2"][1])
    save(model, tmp_path)
    tensors = {name.removeprefix("transformer."): t for name, t in load_file(tmp_path / WEIGHTS).items()}
    masks = {f"h.{layer}.attn.bias": torch.ones(1, 1, 37, 37).tril() for layer in range(2)}
    save_file({**tensors, **masks}, tmp_path / WEIGHTS)
    assert same_weights(model, huggingface.load(tmp_path))


def test_a_stored_copy_of_a_tied_output_is_read_and_another_is_refused(tmp_path: Path) -> None:
    model = lively(OURS["llama"][1])
    save(model, tmp_path)
    tensors = load_file(tmp_path / WEIGHTS)
    table = tensors["model.embed_tokens.weight"]
    save_file({**tensors, "lm_head.weight": table.clone()}, tmp_path / WEIGHTS)
    assert same_weights(model, huggingface.load(tmp_path))
    save_file({**tensors, "lm_head.weight": table + 1}, tmp_path / WEIGHTS)
    with pytest.raises(ArtifactError, match="ties the two"):
        huggingface.load(tmp_path)


# -- what can't be used ------------------------------------------------------------------------------------------

_ROPE = {"rope_theta": 10_000.0}
REFUSED: list[tuple[str, dict[str, object], str]] = [
    ("llama", {"hidden_size": 64}, "shape"),
    ("llama", {"num_hidden_layers": 3}, r"missing model\.layers\.2"),
    ("llama", {"num_hidden_layers": 1}, r"unexpected model\.layers\.1"),
    ("llama", {"tie_word_embeddings": False}, r"missing lm_head\.weight"),
    ("llama", {"vocab_size": 98}, r"embed_tokens\.weight has shape \(97, 48\) and not \(98, 48\)"),
    ("llama", {"attention_bias": True}, r"missing .*q_proj\.bias"),
    ("llama", {"mlp_bias": True}, r"missing .*gate_proj\.bias"),
    ("llama", {"model_type": "qwen3"}, r"q_norm\.weight"),
    ("llama", {"model_type": "gpt2"}, "no 'vocab_size'|no 'n_"),
    ("llama", {"model_type": "bert"}, "model_type 'bert' is not one of llama"),
    ("llama", {"model_type": ...}, "model_type None"),
    ("llama", {"num_key_value_heads": 3}, "num_kv_heads 3"),
    ("llama", {"num_attention_heads": "four"}, "num_heads"),
    ("llama", {"hidden_size": ...}, "no 'hidden_size'"),
    ("llama", {"hidden_act": "relu"}, "hidden_act 'relu'"),
    ("llama", {"quantization_config": {"quant_method": "awq"}}, "quantization_config"),
    ("llama", {"rope_parameters": {"rope_type": "longrope", **_ROPE}}, "'longrope'"),
    ("llama", {"rope_parameters": {"rope_type": "llama3", **_ROPE}}, "no 'factor'"),
    ("llama", {"rope_parameters": {"rope_type": "default", "partial_rotary_factor": 0.5, **_ROPE}}, "partial_rotary"),
    ("llama", {"rope_parameters": {"full_attention": {"rope_type": "default"}}}, "between layers"),
    ("mistral", {"layer_types": ["full_attention", "sliding_attention"]}, "layer_types"),
    ("qwen2", {"layer_types": ["full_attention", "chunked_attention"]}, "chunked_attention"),
    ("qwen2", {"layer_types": ["full_attention", "sliding_attention"]}, "no sliding_window"),
    ("qwen3_moe", {"norm_topk_prob": False}, "norm_topk_prob"),
    ("qwen3_moe", {"mlp_only_layers": [0]}, "mlp_only_layers"),
    ("qwen3_moe", {"decoder_sparse_step": 2}, "decoder_sparse_step"),
    ("mixtral", {"num_local_experts": 5}, r"missing .*experts\.4"),
    ("mixtral", {"num_experts_per_tok": 5}, "num_experts_per_token 5"),
    ("falcon 7b", {"alibi": True}, "alibi"),
    ("falcon 7b", {"multi_query": False}, "num_kv_heads 1"),
    ("falcon 7b", {"num_ln_in_parallel_attn": 2}, "num_ln_in_parallel_attn"),
    ("falcon 40b", {"parallel_attn": False}, "parallel_attn"),
    ("gpt2", {"scale_attn_by_inverse_layer_idx": True}, "scale_attn_by_inverse_layer_idx"),
    ("gpt2", {"scale_attn_weights": False}, "scale_attn_weights"),
    ("gpt2", {"n_head": 5}, "n_head 5"),
]


@pytest.mark.parametrize(("name", "changes", "reason"), REFUSED)
def test_a_configuration_that_does_not_fit_is_refused(
    name: str, changes: dict[str, object], reason: str, tmp_path: Path
) -> None:
    save(lively(OURS[name][1]), tmp_path)
    edit(tmp_path, **changes)
    with pytest.raises(ArtifactError, match=reason) as caught:
        huggingface.load(tmp_path)
    assert str(tmp_path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_weights_that_are_damaged_or_of_another_model_are_refused(tmp_path: Path) -> None:
    save(lively(OURS["llama"][1]), tmp_path)
    weights = tmp_path / WEIGHTS
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
        (name,) = change
        with pytest.raises(ArtifactError, match=f"(missing|unexpected) {name}"):
            huggingface.load(tmp_path)
    weights.unlink()
    with pytest.raises(ArtifactError):
        huggingface.load(tmp_path)
    (tmp_path / "config.json").write_text("[]")
    for folder in (tmp_path, tmp_path / "nowhere"):
        with pytest.raises(ArtifactError):
            huggingface.load(folder)


def test_pickled_weights_are_refused_with_the_way_out(tmp_path: Path) -> None:
    save(lively(OURS["llama"][1]), tmp_path)
    (tmp_path / WEIGHTS).rename(tmp_path / "pytorch_model.bin")
    with pytest.raises(ArtifactError, match=r"pytorch_model\.bin.*transformers"):
        huggingface.load(tmp_path)


def test_a_shape_that_no_family_computes_is_refused_by_name(tmp_path: Path) -> None:
    base = OURS["qwen3"][1]
    for update, lost in (({"norm": "layer"}, "norm"), ({"parallel_residual": True}, "parallel_residual")):
        config = ModelConfig(**{**base.model_dump(), **update})
        with pytest.raises(RequestError, match=lost):
            save(Transformer(config), tmp_path)


def test_every_family_is_chosen_for_what_it_alone_computes() -> None:
    assert {family_of(config)[0].model_type for _, config in OURS.values()} == {f.model_type for f in FAMILIES}
    for name, (family, config) in OURS.items():
        assert family_of(config)[0].model_type == family, name


@pytest.mark.parametrize("kind", [LlamaConfig, Qwen2Config, MixtralConfig, FalconConfig, GPT2Config])
def test_their_default_configuration_is_understood(kind: type, tmp_path: Path) -> None:
    """As transformers writes it when nothing is set: the shape of the first released model."""
    kind().save_pretrained(tmp_path)
    data = json.loads((tmp_path / "config.json").read_text())
    config = huggingface.load_config(tmp_path)
    assert config.vocab_size == data["vocab_size"]
    assert family_of(config)[1]["vocab_size"] == data["vocab_size"]
