"""Columns, surrogates and bytes: whatever goes in, ids are those of the library, and bytes come back."""

from __future__ import annotations

import json
import sys
from functools import cache
from typing import Any

import pyarrow as pa
import pytest
import tiktoken
import tokenizers
from hypothesis import example, given
from hypothesis import strategies as st
from tiny import SENTENCES, tiny_tokenizer
from tokenizers import decoders, models, normalizers, pre_tokenizers

from groundup.base.errors import DataError, missing_extra
from groundup.text import column_encoder
from groundup.text.column_encoder import ColumnEncoder
from groundup.text.spelling import Spelling
from groundup.text.tokenizer import Tokenizer
from groundup.text.well_formed import well_formed

TOKENIZER = tiny_tokenizer()
ANY = st.text(st.characters(codec="utf-8") | st.sampled_from("\ud83d\ude00\udbff\udc00\ud800"), max_size=12)
BROKEN = st.lists(st.binary(max_size=6) | st.text(max_size=4).map(str.encode), max_size=6).map(b"".join)


@given(ANY)
@example("\ud83d\ude00 \ud83d. \ude00\ud83d")
@example("\ud800\ud800\udc00\udc00")
def test_surrogates_become_what_tiktoken_makes_of_them(text: str) -> None:
    ranks = {bytes([byte]): byte for byte in range(256)}
    theirs = tiktoken.Encoding("bytes", pat_str=r"[\s\S]+", mergeable_ranks=ranks, special_tokens={})
    assert bytes(theirs.encode(text, disallowed_special=())) == well_formed(text).encode()


@given(st.lists(ANY, max_size=5))
@example(["\ud83d", "Once upon a time", "\ud83d\ude00"])
def test_a_batch_and_a_column_have_the_ids_of_each_text(texts: list[str]) -> None:
    ids = [TOKENIZER.encode(text) for text in texts]
    assert TOKENIZER.encode_batch(texts) == ids
    assert TOKENIZER.encode_column(pa.array([well_formed(text) for text in texts], pa.string())).lists() == ids


@given(ANY)
@example("a\ud83d b")
def test_spans_are_of_the_text_as_it_is_encoded(text: str) -> None:
    spans = TOKENIZER.encode_spans(text)
    assert [token for token, _, _ in spans] == TOKENIZER.encode(text)
    covered = [place for _, start, end in spans for place in range(start, end)]
    assert set(covered) == set(range(len(well_formed(text))))


def test_a_template_that_writes_half_a_surrogate_pair_is_refused_in_one_line() -> None:
    template = r"{% for one in messages %}{{ one['role'] + '\udfff' + one['content'] }}{% endfor %}"
    messages = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]
    with pytest.raises(DataError, match="chat template writes a lone surrogate"):
        Tokenizer(TOKENIZER.backend, template).encode_chat(messages)
    messages[0]["content"] = "\ud800"
    with pytest.raises(DataError, match="a turn is not valid Unicode"):
        TOKENIZER.encode_chat(messages)


def test_a_large_batch_goes_the_fast_way_with_the_same_ids(monkeypatch: pytest.MonkeyPatch) -> None:
    columns = ColumnEncoder(TOKENIZER.backend)
    texts = [*SENTENCES, "naïve 猫 <|im_end|>", "", "\ud83d"]
    by_library = columns.batch(texts)
    assert "fast" not in columns.__dict__
    monkeypatch.setattr(column_encoder, "_WORTH_BUILDING", 100)
    assert columns.batch(texts) == by_library
    assert columns.__dict__["fast"] is not None


@cache
def _normalising() -> Any:
    described = TOKENIZER.describe()
    described["normalizer"] = {"type": "NFC"}
    described["added_tokens"].append(
        {"id": 5000, "content": "<tool>", "special": False, "normalized": True}
        | dict.fromkeys(("single_word", "lstrip", "rstrip"), False)
    )
    backend = tokenizers.Tokenizer.from_str(json.dumps(described))
    backend.encode_special_tokens = True
    return backend


def test_rows_that_only_the_library_can_do_stand_in_their_places() -> None:
    backend = _normalising()
    columns = ColumnEncoder(backend)
    texts = ["plain", "e\u0301", None, "a <tool> b", "é", "a\u0301\u0323", "end"]
    wanted = [backend.encode(text or "", add_special_tokens=False).ids for text in texts]
    assert columns.fast is not None
    for column in (pa.array(texts), pa.chunked_array([texts[:2], texts[2:]]), pa.array(["x", *texts])[1:]):
        assert columns.column(column).lists() == wanted
    assert columns.column(pa.array(texts[1:2])).lists() == wanted[1:2]


def _word_level() -> Any:
    backend = tokenizers.Tokenizer(models.WordLevel({"a": 0, "b": 1, "?": 2}, unk_token="?"))
    backend.pre_tokenizer = pre_tokenizers.Whitespace()
    return backend


def test_without_a_compiled_encoder_the_library_does_it(monkeypatch: pytest.MonkeyPatch) -> None:
    columns = ColumnEncoder(_word_level())
    assert columns.fast is None
    texts = ["a b", None, "b c a"] * 200
    assert columns.column(pa.array(texts)).lists() == [[0, 1], [], [1, 2, 0]] * 200
    monkeypatch.setitem(sys.modules, "groundup.text.bpe.fast", _Missing("fast"))
    assert ColumnEncoder(_normalising()).fast is None


class _Missing(type(sys)):  # type: ignore[misc]
    """A module that can't be imported, as all kernels without numba."""

    def __getattr__(self, name: str) -> Any:
        raise missing_extra("numba", "tokenize")


@given(BROKEN)
@example(bytes(range(256)))
@example(b"a\xff\xe7\x8c" + "猫".encode() + b"\xed\xa0\x80<|im_end|>")
def test_any_bytes_come_back(data: bytes) -> None:
    ids = TOKENIZER.encode_bytes(data)
    assert TOKENIZER.decode_bytes(ids) == data
    assert not set(ids) & set(TOKENIZER.special_tokens.values())
    assert TOKENIZER.decode(ids) == data.decode("utf-8", "replace")


@given(st.text(max_size=30))
def test_of_utf8_the_ids_are_those_of_the_text(text: str) -> None:
    assert TOKENIZER.encode_bytes(text.encode()) == TOKENIZER.encode(text)


def test_a_megabyte_of_nonsense_takes_a_moment() -> None:
    data = b"\xff" * 500_000 + b"a\xfe" * 20_000
    assert TOKENIZER.decode_bytes(TOKENIZER.encode_bytes(data)) == data


@cache
def _falling_back(dummy: bool) -> Any:
    tokens = ["<unk>", *(f"<0x{byte:02X}>" for byte in range(256)), "▁", *"abcd", "ab", "▁ab", "▁a", "cd"]
    merges = [("a", "b"), ("▁", "ab"), ("▁", "a"), ("c", "d")]
    vocab = {token: index for index, token in enumerate(tokens)}
    backend = tokenizers.Tokenizer(models.BPE(vocab, merges, unk_token="<unk>", byte_fallback=True, fuse_unk=True))
    blank = normalizers.Replace(" ", "▁")
    backend.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), blank] if dummy else [blank])
    steps = [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()]
    backend.decoder = decoders.Sequence([*steps, decoders.Strip(" ", 1, 0)] if dummy else steps)
    return backend


@given(BROKEN | st.lists(st.sampled_from([b" ", b"ab", b"cd", b"\xff", b"\xc3"]), max_size=9).map(b"".join))
@example(b" \xff ab")
@example(b"\xff ab")
@example(b"ab\xff  \xc3ab")
def test_any_bytes_come_back_from_tokenizers_that_fall_back_to_bytes(data: bytes) -> None:
    for dummy in (False, True):
        backend = _falling_back(dummy)
        spelling = Spelling.parse(json.loads(backend.to_str()))

        def encode(text: str, backend: Any = backend) -> list[int]:
            ids: list[int] = backend.encode(text, add_special_tokens=False).ids
            return ids

        ids = spelling.encode(data, encode)
        if "▁".encode() not in data:  # which these tokenizers take for a blank
            assert spelling.decode(ids) == data
        try:
            text = data.decode()
        except UnicodeDecodeError:
            continue
        assert ids == encode(text)
        assert spelling.decode(ids).decode() == backend.decode(ids)


def test_special_tokens_are_no_bytes_and_unknown_ids_are_refused() -> None:
    ids = [TOKENIZER.eos_id, *TOKENIZER.encode("Hi"), TOKENIZER.pad_id]
    assert TOKENIZER.decode_bytes(ids) == b"Hi"
    with pytest.raises(DataError, match="no token 999999"):
        TOKENIZER.decode_bytes([999999])


def _described(**changes: Any) -> dict[str, Any]:
    return {**json.loads(_falling_back(True).to_str()), **changes}


@pytest.mark.parametrize(
    ("described", "why"),
    [
        (json.loads(_word_level().to_str()), "spelled in bytes"),
        (_described(decoder={"type": "WordPiece", "prefix": "##", "cleanup": True}), "spelled in bytes"),
        (_described(decoder={"type": "ByteLevel"}), "all 256 bytes"),
        (
            _described(
                decoder={
                    "type": "Sequence",
                    "decoders": [
                        {"type": "ByteFallback"},
                        {"type": "Replace", "pattern": {"Regex": "x+"}, "content": " "},
                    ],
                }
            ),
            "by a pattern",
        ),
        (
            _described(
                decoder={
                    "type": "Sequence",
                    "decoders": [{"type": "ByteFallback"}, {"type": "Strip", "content": "x", "start": 1, "stop": 0}],
                }
            ),
            "more than blanks",
        ),
    ],
)
def test_tokenizers_that_are_not_spelled_in_bytes_say_so(described: dict[str, Any], why: str) -> None:
    with pytest.raises(DataError, match=why):
        Spelling.parse(described)


def test_a_tokenizer_of_words_refuses_bytes_in_one_line() -> None:
    backend = _word_level()
    backend.add_special_tokens(["<|endoftext|>", "<|pad|>", "<|im_start|>", "<|im_end|>"])
    with pytest.raises(DataError, match="spelled in bytes"):
        Tokenizer(backend).decode_bytes([0])
