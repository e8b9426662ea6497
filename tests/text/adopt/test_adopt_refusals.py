"""Files and requests that make no tokenizer are refused: one line, of the right kind."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from others import sentencepiece_model, tiktoken_lines

from groundup.base.errors import DataError, GroundupError
from groundup.text.adopt.adopt import Choices, adopt, read


def broken(name: str, content: bytes, message: str, **choices: Any) -> Any:
    return pytest.param(name, content, Choices(**choices), message, id=message[:30])


BYTES_ONLY = tiktoken_lines({bytes([byte]): byte for byte in range(256)})


@pytest.mark.parametrize(
    ("name", "content", "choices", "message"),
    [
        broken("t.tiktoken", BYTES_ONLY.encode(), "set 'split'"),
        broken("t.tiktoken", BYTES_ONLY.encode(), "no split is called 'cl100'", split="cl100"),
        broken("t.tiktoken", BYTES_ONLY.encode(), "is no regex", split="(["),
        broken("t.tiktoken", BYTES_ONLY.encode(), "which token ends a text", split="gpt2"),
        broken("t.tiktoken", BYTES_ONLY.encode() + b"YQ== 300\n", "line 257", split="gpt2"),
        broken("t.tiktoken", BYTES_ONLY.encode() + b"YWI= 7\n", "same rank", split="gpt2"),
        broken("t.tiktoken", BYTES_ONLY.encode()[: BYTES_ONLY.index("\n", 900) + 1], "the byte", split="gpt2"),
        broken("t.tiktoken", BYTES_ONLY.encode(), "can't be entry 7", split="gpt2", special_tokens={"<x>": 7}),
        broken("t.tiktoken", BYTES_ONLY.encode(), "exists already", split="gpt2", special_tokens=["a"]),
        broken("t.tiktoken", BYTES_ONLY.encode() + b"YWI= 9999999\n", "not a whole tokenizer", split="gpt2"),
        broken("t.model", b"\n\x05abc", "not a readable SentencePiece model"),
        broken("t.model", b"", "no tokenizer that is known"),
        broken("t.bin", bytes(range(200)), "no tokenizer that is known"),
        broken("tokenizer.json", b"{", "not readable JSON"),
        broken("tokenizer.json", b'{"a": 1.5}', "no tokenizer"),
        broken("tokenizer.json", b'{"model": {"type": "BPE"}}', "can't be read by the tokenizers library"),
        broken("tokenizer.json", b'{"model": {"vocab": {}}}', "no model with a type"),
        broken("tekken.json", b'{"config": {}, "vocab": []}', "not a readable tekken"),
        broken("tokenizer.json", b'{"model": {"type": "BPE", "vocab": {}, "merges": []}}', "has no entries"),
        broken("tokenizer.json", b'{"a":' * 100_000, "not readable JSON"),
        broken("encoder.json", b'{"a": 1}', "without its merges"),
    ],
)
def test_bad_files_are_refused_in_one_line(
    tmp_path: Path, name: str, content: bytes, choices: Choices, message: str
) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(GroundupError, match=message) as caught:
        read(tmp_path / name, choices)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "choices", "message"),
    [
        ("bpe.model", Choices(split="gpt2"), "leave 'split' out"),
        ("bpe.model", Choices(add_tokens=["</s>"]), "exists already"),
        ("bpe.model", Choices(add_tokens=["<x>", "<x>"]), "exists already"),
        ("bpe.model", Choices(add_tokens=[" "]), "not blank"),
        ("bpe.model", Choices(special_tokens=["<nope>"]), "has no token <nope>"),
        ("bpe.model", Choices(special_tokens={"<s>": 9}), "is entry 1, not 9"),
        ("bpe.model", Choices(eos="<nope>"), "has no token <nope>"),
        ("tekken.json", Choices(split="gpt2"), "leave 'split' out"),
        ("nowhere", Choices(), "can't be read"),
    ],
)
def test_bad_requests_are_refused_in_one_line(folder: Path, name: str, choices: Choices, message: str) -> None:
    with pytest.raises(GroundupError, match=message) as caught:
        read(folder / name, choices)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("encoder", "merges", "message"),
    [
        (b'{"a": 1}', b"\xff\xfe", "vocab.bpe is not UTF-8 text"),
        (b"[1]", b"a b\n", "must be a JSON object"),
        (b'{"a": "b"}', b"a b\n", "must be a JSON object"),
        (b'{"a": 1}', b"a b c\n", "two pieces with a blank"),
        (b'{"a": 1}', b"a b\n", "don't belong together"),
        (b'{"a": 1}', None, "vocab.bpe can't be read"),
    ],
)
def test_pairs_of_files_that_are_none(tmp_path: Path, encoder: bytes, merges: bytes | None, message: str) -> None:
    (tmp_path / "encoder.json").write_bytes(encoder)
    if merges is None:
        (tmp_path / "vocab.bpe").mkdir()
    else:
        (tmp_path / "vocab.bpe").write_bytes(merges)
    with pytest.raises(DataError, match=message):
        read([tmp_path / "encoder.json", tmp_path / "vocab.bpe"], Choices(split="gpt2"))


def test_a_template_that_is_no_text(tmp_path: Path, folder: Path) -> None:
    (tmp_path / "tokenizer.json").write_bytes((folder / "tokenizer.json").read_bytes())
    (tmp_path / "chat_template.jinja").write_bytes(b"\xff\xfe")
    with pytest.raises(DataError, match=r"chat_template\.jinja is not UTF-8 text"):
        adopt(tmp_path)


def test_a_split_that_the_original_library_cannot_read(tmp_path: Path, folder: Path) -> None:
    data = json.loads((folder / "tekken.json").read_text())
    data["config"]["pattern"] = "(["
    (tmp_path / "tekken.json").write_text(json.dumps(data))
    with pytest.raises(DataError, match="tiktoken can't split") as caught:
        adopt(tmp_path)
    assert "\n" not in str(caught.value)


def test_models_that_cannot_be_had_are_refused(tmp_path: Path) -> None:
    for options, message in (
        ({"model_type": "char"}, "kind char"),
        ({"model_type": "word", "vocab_size": 60}, "kind word"),
        ({"model_type": "bpe", "treat_whitespace_as_suffix": True}, "behind words"),
    ):
        (tmp_path / "t.model").write_bytes(sentencepiece_model(**options))
        with pytest.raises(DataError, match=message):
            adopt(tmp_path / "t.model")


@settings(max_examples=40)
@given(st.integers(0, 4000), st.binary(max_size=6))
def test_a_damaged_model_never_raises_anything_else(folder: Path, place: int, junk: bytes) -> None:
    whole = (folder / "bpe.model").read_bytes()
    damaged = folder / "damaged.model"
    damaged.write_bytes(whole[:place] + junk + whole[place + 3 :])
    try:
        read(damaged)
    except GroundupError as error:
        assert "\n" not in str(error)
