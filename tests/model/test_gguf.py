"""GGUF: bit-equal round trips, what other programs wrote, and llama.cpp as judge of what we write."""

from __future__ import annotations

import functools
import json
import os
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest
import torch
from tiny import tiny_tokenizer

from groundup.base.errors import ArtifactError, RequestError
from groundup.model.config import LinearScaling, Llama3Scaling, ModelConfig, YarnScaling
from groundup.model.exchange import gguf_read, gguf_write
from groundup.model.exchange.gguf_layout import from_adjacent, to_adjacent
from groundup.model.exchange.gguf_rope import frequency_divisors, read_scaling
from groundup.model.init import initialise
from groundup.model.rotary import yarn_attention_factor
from groundup.model.transformer import Transformer
from groundup.text import gguf_vocabulary

SIZES = {
    "vocab_size": 320, "num_layers": 2, "hidden_size": 64, "num_heads": 4, "num_kv_heads": 2, "head_dim": 16,
    "intermediate_size": 96, "max_seq_len": 128,
}  # fmt: skip
BIASED = {"qkv_bias": True, "output_bias": True, "mlp_bias": True}
EXPERTS = {"num_experts": 4, "num_experts_per_token": 2}
FALCON = {"norm": "layer", "parallel_residual": True, "activation": "gelu", "gated": False}
GPT2 = {
    "num_kv_heads": 4, "positions": "learned", "norm": "layer", "activation": "gelu_tanh", "gated": False, **BIASED,
}  # fmt: skip
LLAMA3 = Llama3Scaling(factor=8.0, low_freq_factor=1.0, high_freq_factor=4.0, original_max_seq_len=32)
YARN = YarnScaling(factor=4.0, original_max_seq_len=32, attention_factor=yarn_attention_factor(4.0))
SHAPES = {
    "llama": ModelConfig(**SIZES),
    "llama, untied, wide heads, odd numbers": ModelConfig(
        **{**SIZES, "head_dim": 24}, rope_theta=12_345.0, norm_eps=3e-6, tie_embeddings=False
    ),
    "llama 3": ModelConfig(**{**SIZES, "head_dim": 32}, rope_theta=500_000.0, rope_scaling=LLAMA3),
    "llama, biased": ModelConfig(**SIZES, **BIASED),
    "llama, stretched": ModelConfig(**SIZES, rope_scaling=LinearScaling(factor=2.0)),
    "llama, yarn": ModelConfig(**SIZES, rope_scaling=YARN),
    "mistral": ModelConfig(**SIZES, sliding_window=64, tie_embeddings=False),
    "mixtral": ModelConfig(**SIZES, **EXPERTS, tie_embeddings=False),
    "qwen2": ModelConfig(**SIZES, qkv_bias=True),
    "qwen3": ModelConfig(**SIZES, qk_norm=True),
    "qwen3, experts": ModelConfig(**SIZES, qk_norm=True, **EXPERTS),
    "falcon 7b": ModelConfig(**{**SIZES, "num_kv_heads": 1}, **FALCON, shared_norm=True),
    "falcon 40b": ModelConfig(**SIZES, **FALCON, tie_embeddings=False),
    "gpt2": ModelConfig(**{**SIZES, **GPT2}),
}
ARCHITECTURES = {
    "qwen2": "qwen2", "qwen3": "qwen3", "qwen3, experts": "qwen3moe", "falcon 7b": "falcon", "falcon 40b": "falcon",
    "gpt2": "gpt2",
}  # fmt: skip


def lively(config: ModelConfig) -> Transformer:
    """A random model whose every weight, norms and biases included, matters."""
    model = Transformer(config)
    initialise(model, 0)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for weight in model.parameters():
            weight.add_(torch.randn(weight.shape, generator=generator) * 0.15)
    return model


@functools.cache
def vocabulary() -> Mapping[str, Any]:
    return gguf_vocabulary.to_metadata(tiny_tokenizer())


def save(model: Transformer, path: Path, encoding: gguf_write.Encoding = "F32") -> Path:
    gguf_write.save(model, path, encoding=encoding, metadata=vocabulary())
    return path


def rewrite(
    source: Path, path: Path, keys: Mapping[str, Any] | None = None, tensors: Mapping[str, Any] | None = None
) -> Path:
    """The file again with other keys and tensors; ``None`` as value leaves one out, a list is an array."""
    reader = gguf.GGUFReader(source)
    architecture = reader.fields["general.architecture"].contents()
    found = {name: field for name, field in reader.fields.items() if not name.startswith(("GGUF.", "tokenizer."))}
    arrays = {tensor.name: (tensor.data, tensor.tensor_type) for tensor in reader.tensors}
    changed = dict(keys or {})
    writer = gguf.GGUFWriter(path, changed.pop("general.architecture", architecture))
    for name, field in found.items():
        if name not in changed and name != "general.architecture":
            writer.add_key_value(name, field.contents(), field.types[0])
    for name, value in changed.items():
        if value is not None:
            gguf_write._add(writer, name, value)
    for name, array in (tensors or {}).items():
        arrays[name] = (array, gguf.GGMLQuantizationType.F32)
    for name, (array, kind) in arrays.items():
        if array is not None:
            writer.add_tensor(name, np.ascontiguousarray(array), raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def assert_equal(one: Transformer, other: Transformer) -> None:
    assert one.config == other.config
    ours, theirs = one.state_dict(), other.state_dict()
    assert ours.keys() == theirs.keys()
    for key, weight in ours.items():
        assert torch.equal(weight, theirs[key]), key


# -- round trips -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", SHAPES)
def test_f32_comes_back_bit_by_bit(name: str, tmp_path: Path) -> None:
    model = lively(SHAPES[name])
    first = save(model, tmp_path / "first.gguf")
    again = gguf_read.load(first)
    assert_equal(model, again)
    ids = torch.arange(40)[None]
    assert torch.equal(model(ids), again(ids))  # the tables too
    assert save(again, tmp_path / "second.gguf").read_bytes() == first.read_bytes()
    assert gguf_read.metadata(first)["general.architecture"] == ARCHITECTURES.get(name, "llama")


@pytest.mark.parametrize(
    ("encoding", "error"),
    [
        ("F16", 0.001), ("BF16", 0.005), ("Q8_0", 0.01), ("Q5_1", 0.06), ("Q5_0", 0.08), ("Q4_1", 0.12), ("Q4_0", 0.16),
    ],
)  # fmt: skip
def test_encodings_lose_what_their_bits_say(encoding: gguf_write.Encoding, error: float, tmp_path: Path) -> None:
    model = lively(SHAPES["mixtral"])
    path = save(model, tmp_path / "model.gguf", encoding)
    again = gguf_read.load(path).state_dict()
    for key, weight in model.state_dict().items():
        if weight.ndim == 1 or "router" in key:
            assert torch.equal(weight, again[key]), key
            continue
        lost = float((weight - again[key]).norm() / weight.norm())
        allowed = min(error, 0.01) if key == "lm_head.weight" else error
        assert allowed / 50 < lost < allowed, (key, lost)
    types = {tensor.name: tensor.tensor_type.name for tensor in gguf.GGUFReader(path).tensors}
    assert types["blk.0.ffn_gate_exps.weight"] == encoding
    assert types["output.weight"] == ("Q8_0" if encoding.startswith(("Q4", "Q5")) else encoding)
    assert gguf_read.metadata(path)["general.file_type"] == gguf.LlamaFileType[f"MOSTLY_{encoding}"]


def test_rows_that_do_not_divide_into_blocks_are_f16(tmp_path: Path) -> None:
    config = ModelConfig(**{**SIZES, "intermediate_size": 90})
    path = save(lively(config), tmp_path / "model.gguf", "Q4_0")
    types = {tensor.name: tensor.tensor_type.name for tensor in gguf.GGUFReader(path).tensors}
    assert (types["blk.0.ffn_down.weight"], types["blk.0.ffn_up.weight"]) == ("F16", "Q4_0")


def test_pairs_of_a_head_come_to_stand_side_by_side() -> None:
    rows = torch.arange(12)[:, None].repeat(1, 3)
    assert to_adjacent(rows, 6)[:, 0].tolist() == [0, 3, 1, 4, 2, 5, 6, 9, 7, 10, 8, 11]
    assert torch.equal(from_adjacent(to_adjacent(rows, 6), 6), rows)
    assert to_adjacent(torch.arange(4), 4).tolist() == [0, 2, 1, 3]  # biases as well


def test_a_larger_table_than_vocabulary_is_filled_with_unused_tokens(tmp_path: Path) -> None:
    path = save(Transformer(ModelConfig(**{**SIZES, "vocab_size": 384})), tmp_path / "model.gguf")
    keys = gguf_read.metadata(path)
    assert len(keys["tokenizer.ggml.tokens"]) == len(set(keys["tokenizer.ggml.tokens"])) == 384
    assert keys["tokenizer.ggml.token_type"][320:] == [5] * 64
    assert gguf_vocabulary.from_metadata(keys).encode("hello") == tiny_tokenizer().encode("hello")
    with pytest.raises(RequestError, match="320 entries"):
        save(Transformer(ModelConfig(**{**SIZES, "vocab_size": 300})), tmp_path / "small.gguf")


def test_beyond_its_window_a_model_is_not_offered_to_llama_cpp(tmp_path: Path) -> None:
    """llama.cpp has no window in this architecture; up to its length both compute the same."""
    path = save(lively(SHAPES["mistral"]), tmp_path / "model.gguf")
    assert gguf_read.metadata(path)["llama.context_length"] == 64
    assert gguf_read.load(path).config.max_seq_len == 128


# -- what other programs write -------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [kind.name for kind in gguf.quants._type_traits])
def test_every_type_that_gguf_expands_is_read(kind: str, tmp_path: Path) -> None:
    """Random blocks of each type, in a model wide enough for blocks of 256."""
    config = ModelConfig(**{**SIZES, "hidden_size": 256, "num_layers": 1, "intermediate_size": 256})
    source = save(Transformer(config), tmp_path / "plain.gguf")
    chosen = gguf.GGMLQuantizationType[kind]
    shape = gguf.quants.quant_shape_to_byte_shape((256, 256), chosen)
    blocks = np.random.default_rng(0).integers(0, 60, shape, dtype=np.uint8)
    reader = gguf.GGUFReader(source)
    writer = gguf.GGUFWriter(tmp_path / "model.gguf", "llama")
    for name, field in reader.fields.items():
        if name.startswith("llama."):
            writer.add_key_value(name, field.contents(), field.types[0])
    for tensor in reader.tensors:
        if tensor.name == "blk.0.ffn_up.weight":
            writer.add_tensor(tensor.name, blocks, raw_dtype=chosen)
        else:
            writer.add_tensor(tensor.name, tensor.data, raw_dtype=tensor.tensor_type)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    weight = gguf_read.load(tmp_path / "model.gguf").state_dict()["layers.0.mlp.up_proj.weight"]
    expected = torch.from_numpy(gguf.dequantize(blocks, chosen))
    assert torch.equal(torch.nan_to_num(weight), torch.nan_to_num(expected))
    assert weight.dtype == torch.float32


def test_sparse_keys_are_enough(tmp_path: Path) -> None:
    """What the usual converters leave out: head widths, key-value heads where there are as many, a known base."""
    model = lively(ModelConfig(**{**SIZES, "num_kv_heads": 4}))
    source = save(model, tmp_path / "source.gguf")
    leave = ("key_length", "value_length", "head_count_kv", "vocab_size", "rope.dimension_count", "rope.freq_base")
    keys = {name: None for name in gguf_read.metadata(source) if name.endswith(leave)}
    assert len(keys) == len(leave)
    assert_equal(model, gguf_read.load(rewrite(source, tmp_path / "sparse.gguf", keys)))


def test_heads_given_layer_by_layer_must_agree(tmp_path: Path) -> None:
    model = lively(SHAPES["llama"])
    source = save(model, tmp_path / "source.gguf")
    same = rewrite(source, tmp_path / "same.gguf", {"llama.attention.head_count_kv": [2, 2]})
    assert_equal(model, gguf_read.load(same))
    differ = rewrite(source, tmp_path / "differ.gguf", {"llama.attention.head_count_kv": [2, 4]})
    with pytest.raises(ArtifactError, match="layer to layer"):
        gguf_read.load(differ)


def test_experts_one_by_one_are_stacked(tmp_path: Path) -> None:
    model = lively(SHAPES["mixtral"])
    source = save(model, tmp_path / "source.gguf")
    change: dict[str, Any] = {}
    for layer in (0, 1):
        for part in ("gate", "up", "down"):
            change[f"blk.{layer}.ffn_{part}_exps.weight"] = None
            stacked = model.state_dict()[f"layers.{layer}.mlp.experts.{part}_proj"]
            change |= {f"blk.{layer}.ffn_{part}.{expert}.weight": stacked[expert].numpy() for expert in range(4)}
    assert_equal(model, gguf_read.load(rewrite(source, tmp_path / "old.gguf", tensors=change)))


def test_gpt2_with_its_table_written_twice_is_tied(tmp_path: Path) -> None:
    model = lively(SHAPES["gpt2"])
    source = save(model, tmp_path / "source.gguf")
    table = model.embed_tokens.weight.detach().numpy()
    assert_equal(model, gguf_read.load(rewrite(source, tmp_path / "twice.gguf", tensors={"output.weight": table})))
    other = gguf_read.load(rewrite(source, tmp_path / "other.gguf", tensors={"output.weight": table * 2}))
    assert not other.config.tie_embeddings


@pytest.mark.parametrize(
    ("factor", "theta", "head_dim"), [(8.0, 500_000.0, 128), (32.0, 500_000.0, 64), (16.0, 500_000.0, 96)]
)
def test_llama_3_scaling_follows_from_its_divisors(factor: float, theta: float, head_dim: int) -> None:
    """Files of llama.cpp's converter hold nothing but the divisors."""
    plain = ModelConfig(**{**SIZES, "head_dim": head_dim}, rope_theta=theta)
    scaling = Llama3Scaling(factor=factor, low_freq_factor=1.0, high_freq_factor=4.0, original_max_seq_len=8192)
    divisors = frequency_divisors(plain.model_copy(update={"rope_scaling": scaling}))
    assert divisors is not None
    assert float(divisors.min()) == 1.0
    assert float(divisors.max()) == pytest.approx(factor)
    assert read_scaling({}, divisors, plain) == scaling
    with pytest.raises(ValueError, match="Llama 3's rule"):
        read_scaling({}, divisors.roll(1), plain)
    assert read_scaling({}, torch.ones(head_dim // 2), plain) is None


def test_linear_scaling_under_its_older_names(tmp_path: Path) -> None:
    model = lively(SHAPES["llama, stretched"])
    source = save(model, tmp_path / "source.gguf")
    typeless = rewrite(source, tmp_path / "typeless.gguf", {"llama.rope.scaling.type": None})
    assert gguf_read.load(typeless).config == model.config
    gone = {"llama.rope.scaling.type": None, "llama.rope.scaling.factor": None}
    oldest = rewrite(source, tmp_path / "oldest.gguf", {**gone, "llama.rope.scale_linear": 2.0})
    assert gguf_read.load(oldest).config == model.config


# -- what can't be used --------------------------------------------------------------------------------------------

OWN_YARN = {
    f"llama.rope.scaling.{key}": value for key, value in {"type": "yarn", "factor": 2.0, "yarn_beta_fast": 8.0}.items()
}


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"general.architecture": "gemma3"}, "gemma3"),
        ({"llama.block_count": None}, "block_count.* is missing"),
        ({"llama.block_count": 1}, r"blk\.1\..* no place"),
        ({"llama.block_count": 3}, r"blk\.2\..* is missing"),
        ({"llama.embedding_length": 96}, "token_embd.weight is"),
        ({"llama.attention.head_count": 8}, "attn_q.weight is"),
        ({"llama.attention.head_count_kv": 3}, "not a multiple"),
        ({"llama.rope.dimension_count": 8}, "rotary throughout"),
        ({"llama.attention.value_length": 8}, "as wide"),
        ({"llama.rope.scaling.type": "longrope"}, "longrope"),
        (OWN_YARN, "yarn_beta_fast"),
        ({"llama.attention.causal": False}, "attention.causal"),
        ({"llama.logit_scale": 2.0}, "logit_scale"),
        ({"split.count": 2}, "--merge"),
    ],
)  # fmt: skip
def test_files_that_mean_something_else_are_refused(keys: dict[str, Any], message: str, tmp_path: Path) -> None:
    source = save(lively(SHAPES["llama"]), tmp_path / "source.gguf")
    path = rewrite(source, tmp_path / "changed.gguf", keys)
    with pytest.raises(ArtifactError, match=message) as caught:
        gguf_read.load(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_missing_and_surplus_tensors_are_named(tmp_path: Path) -> None:
    source = save(lively(SHAPES["llama"]), tmp_path / "source.gguf")
    for tensors in ({"blk.1.ffn_up.weight": None}, {"blk.0.attn_post_norm.weight": np.zeros(64, dtype=np.float32)}):
        path = rewrite(source, tmp_path / "changed.gguf", tensors=tensors)
        with pytest.raises(ArtifactError, match=next(iter(tensors))):
            gguf_read.load(path)


def test_damaged_files_are_refused(tmp_path: Path) -> None:
    whole = save(lively(ModelConfig(**{**SIZES, "num_layers": 1})), tmp_path / "whole.gguf").read_bytes()
    path = tmp_path / "damaged.gguf"
    cuts = [whole[:size] for size in (0, 3, 4, 20, 100, 3000, len(whole) // 2, len(whole) - 40)]
    for data in (*cuts, b"PK" + whole[2:], whole[:8] + b"\xff" * 8 + whole[16:]):
        path.write_bytes(data)
        with pytest.raises(ArtifactError, match=r"damaged\.gguf"):
            gguf_read.load(path)
    with pytest.raises(ArtifactError, match="nowhere"):
        gguf_read.load(tmp_path / "nowhere.gguf")


@pytest.mark.parametrize(
    "change",
    [
        {"norm": "layer"},
        {"parallel_residual": True},
        {"activation": "gelu"},
        {"qk_norm": True, "qkv_bias": True},
        {"positions": "learned"},
        {"sliding_window": 16, "full_layers": (0,)},
    ],
)
def test_mathematics_that_no_architecture_computes_is_refused(change: dict[str, Any], tmp_path: Path) -> None:
    with pytest.raises(RequestError, match="no GGUF architecture"):
        save(Transformer(ModelConfig(**{**SIZES, **change})), tmp_path / "model.gguf")
    assert not list(tmp_path.iterdir())


def test_what_its_formats_can_not_hold_is_refused(tmp_path: Path) -> None:
    warm = YARN.model_copy(update={"attention_factor": 1.0})
    with pytest.raises(RequestError, match="YaRN"):
        save(Transformer(ModelConfig(**SIZES, rope_scaling=warm)), tmp_path / "model.gguf")
    model = lively(SHAPES["llama"])
    with torch.no_grad():
        model.layers[0].mlp.up_proj.weight[0, 0] = 1e6
    with pytest.raises(RequestError, match=r"ffn_up.*too large for F16"):
        save(model, tmp_path / "model.gguf", "F16")
    assert not list(tmp_path.iterdir())


# -- llama.cpp -----------------------------------------------------------------------------------------------------

LLAMACPP = Path(os.environ.get("PEERS_HOME", "nowhere")) / ".venvs" / "llamacpp" / "bin" / "python"
needs_llamacpp = pytest.mark.skipif(
    not LLAMACPP.is_file(), reason="set PEERS_HOME to a folder whose .venvs/llamacpp holds xllamacpp to compare"
)
PROMPTS = [[5, 9, 100, 200, 33, 44, 55, 66, 77, 88, 99], [17], list(range(20, 60))]
TEXTS = ["Hello wörld 123456  \n\n x", "don't  I'LL\t\ttry\r\n\r\n1,234.5 猫と犬 😀 <|im_end|>", " a\u00a0b  "]
CHAT = [{"role": "system", "content": "Be kind."}, {"role": "user", "content": "hi <|im_end|> there"}]


def ask_llamacpp(path: Path, **request: Any) -> Any:
    body = {"model": str(path), "context": 128, "prompts": [], "texts": [], "new_tokens": 16, **request}
    command = [str(LLAMACPP), str(Path(__file__).with_name("peer_llamacpp.py"))]
    done = subprocess.run(command, input=json.dumps(body), capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    return json.loads(done.stdout.splitlines()[-1])


@needs_llamacpp
@pytest.mark.parametrize("name", SHAPES)
def test_llama_cpp_computes_the_same(name: str, tmp_path: Path) -> None:
    model = lively(SHAPES[name])
    tokenizer = tiny_tokenizer()
    path = save(model, tmp_path / "model.gguf")
    common = {"vocab_size": 320, "plain_id": tokenizer.encode("a")[0]}
    answer = ask_llamacpp(path, prompts=PROMPTS, texts=TEXTS, chats=[CHAT], **common)
    # Its GELU looks values up in a table of half precision.
    tolerance = 5e-3 if model.config.activation.startswith("gelu") else 1e-4
    for prompt, greedy, told in zip(PROMPTS, answer["greedy"], answer["log_probs"], strict=True):
        with torch.no_grad():
            log_probs = model.logits(model(torch.tensor([prompt + greedy])))[0].log_softmax(-1)[len(prompt) - 1 : -1]
        theirs = torch.tensor([told[str(token)] for token in range(320)])
        assert theirs.std() > 0.1
        torch.testing.assert_close(log_probs[0], theirs, atol=tolerance, rtol=0)
        log_probs[:, sorted(tokenizer.stop_ids)] = -torch.inf  # llama.cpp was told not to end
        assert log_probs.argmax(-1).tolist() == greedy
    assert answer["tokens"] == [tokenizer.encode(text) for text in TEXTS]


@needs_llamacpp
def test_llama_cpp_renders_and_tokenizes_chats_alike(tmp_path: Path) -> None:
    path = save(lively(SHAPES["llama"]), tmp_path / "model.gguf")
    chat = [{**message, "content": message["content"].replace("<|im_end|>", "")} for message in CHAT]
    (started,) = ask_llamacpp(path, chats=[chat])["started"]
    assert started == tiny_tokenizer().encode_chat(chat, add_generation_prompt=True).ids


@needs_llamacpp
@pytest.mark.parametrize("encoding", ["F16", "BF16", "Q8_0", "Q4_0"])
def test_llama_cpp_expands_what_we_encode_as_we_do(encoding: gguf_write.Encoding, tmp_path: Path) -> None:
    path = save(lively(SHAPES["qwen3"]), tmp_path / "model.gguf", encoding)
    model = gguf_read.load(path)
    common = {"vocab_size": 320, "plain_id": tiny_tokenizer().encode("a")[0], "prompts": PROMPTS}
    for prompt, told in zip(PROMPTS, ask_llamacpp(path, **common)["log_probs"], strict=True):
        with torch.no_grad():
            log_probs = model.logits(model(torch.tensor([prompt])))[0, -1].log_softmax(-1)
        theirs = torch.tensor([told[str(token)] for token in range(320)])
        # Its matrix products round activations: to 8 bits beside quantised weights, to 16 beside BF16 and F16.
        assert float((log_probs - theirs).abs().max()) < (0.5 if encoding.startswith("Q") else 0.05)
