"""Compiled splits cut text where the library does."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import tokenizers
from hypothesis import example, given, settings
from hypothesis import strategies as st
from published import PATTERNS, POOL, SPLITS, hostile
from tokenizers import pre_tokenizers

from groundup.text.bpe.byte_level import ALPHABET, spell, unspell
from groundup.text.bpe.columns import chunks
from groundup.text.bpe.pattern import CannotCompileError
from groundup.text.bpe.split_kernels import split_rows
from groundup.text.bpe.splitter import Splitter

EVERY = "".join(chr(code) for code in range(0x110000) if not 0xD800 <= code < 0xE000)
TEXTS = st.lists(st.sampled_from(POOL) | st.characters(exclude_categories=("Cs",)), max_size=25).map("".join)


def described(split: Any) -> Any:
    return json.loads(split.__getstate__())


def theirs(split: Any, texts: list[str]) -> list[list[bytes]]:
    return [[unspell(piece) or b"" for piece, _ in split.pre_tokenize_str(text)] for text in texts]


def test_the_alphabet_is_the_librarys() -> None:
    assert set(ALPHABET) == set(pre_tokenizers.ByteLevel.alphabet())
    data = bytes(range(256))
    assert unspell(spell(data)) == data
    text = "naïve 猫\n"
    assert SPLITS["nothing"].pre_tokenize_str(text)[0][0] == spell(text.encode())
    assert unspell("a b") is None


@pytest.mark.parametrize("name", SPLITS)
def test_hostile_text_is_cut_as_the_library_cuts_it(name: str) -> None:
    texts = [*hostile(1, 2500), *hostile(2, 25, 800), "", " ", "a" * 70_000 + " " * 70_000 + "\n", "1" * 1000]
    ours = Splitter.parse(described(SPLITS[name])).pieces(pa.array(texts))
    for text, cut, wanted in zip(texts, ours, theirs(SPLITS[name], texts), strict=True):
        assert cut == wanted, text[:200]


@given(TEXTS, st.sampled_from(sorted(SPLITS)))
@example("a  \n b'LL'ſ", "cl100k")
@example("\u0301\u0301A\u0301b", "o200k")
@settings(max_examples=300)
def test_any_text_is_cut_as_the_library_cuts_it(text: str, name: str) -> None:
    assert Splitter.parse(described(SPLITS[name])).pieces(pa.array([text])) == theirs(SPLITS[name], [text])


def library_stops(pattern: str, text: str) -> Any:
    pieces = tokenizers.NormalizedString(text).split(tokenizers.Regex(pattern), "isolated")
    return np.cumsum([len(piece.normalized.encode()) for piece in pieces])


def our_stops(pattern: str, text: str) -> Any:
    parts = [pre_tokenizers.Split(tokenizers.Regex(pattern), "isolated"), SPLITS["nothing"]]
    splitter = Splitter.parse(described(pre_tokenizers.Sequence(parts)))
    column = next(chunks(pa.array([text])))
    starts, stops = (np.empty(len(column.data), np.int64) for _ in range(2))
    count = split_rows(column, splitter.split, splitter.chain(), starts, stops, np.zeros(2, np.int64))
    assert (starts[1:count] == stops[: count - 1]).all()
    return stops[:count]


@pytest.mark.parametrize("name", PATTERNS)
def test_every_code_point_once(name: str) -> None:
    assert np.array_equal(our_stops(PATTERNS[name], EVERY), library_stops(PATTERNS[name], EVERY))


@pytest.mark.parametrize("name", ["llama3", "o200k"])
def test_every_assigned_plane_between_letters(name: str) -> None:
    text = "".join(f"{character}a" for character in EVERY[:0x34000])
    assert np.array_equal(our_stops(PATTERNS[name], text), library_stops(PATTERNS[name], text))


@pytest.mark.parametrize("name", ["smollm", "marks"])
def test_digits_and_marks_are_those_of_the_library_in_every_plane(name: str) -> None:
    assert Splitter.parse(described(SPLITS[name])).pieces(pa.array([EVERY])) == theirs(SPLITS[name], [EVERY])


def test_chunks_slices_nulls_and_types_are_read_alike() -> None:
    texts = ["ab c", None, "", "défi 12", "x"]
    splitter = Splitter.parse(described(SPLITS["gpt2"]))
    wanted = theirs(SPLITS["gpt2"], [text or "" for text in texts])
    for column in (
        pa.array(texts),
        pa.array(texts, pa.large_string()),
        pa.array(texts).dictionary_encode(),
        pa.array(["no", *texts, "no"])[1:-1],
        pa.chunked_array([texts[:2], [], texts[2:]], pa.string()),
    ):
        assert splitter.pieces(column) == wanted
        with_space = Splitter.parse(described(SPLITS["a space first"])).pieces(column)
        assert with_space == theirs(SPLITS["a space first"], [text or "" for text in texts])
    assert splitter.pieces(pa.array([], pa.string())) == []
    with pytest.raises(TypeError, match="strings"):
        splitter.pieces(pa.array([1]))


@pytest.mark.parametrize(
    ("split", "why"),
    [
        (pre_tokenizers.Whitespace(), "ByteLevel"),
        (pre_tokenizers.Sequence([SPLITS["built in"], pre_tokenizers.Digits()]), "end with ByteLevel"),
        (pre_tokenizers.Sequence([SPLITS["built in"], SPLITS["built in"]]), "before other splits"),
        (pre_tokenizers.Sequence([pre_tokenizers.Digits(), SPLITS["a space first"]]), "space"),
        (pre_tokenizers.Sequence([pre_tokenizers.Metaspace(), SPLITS["nothing"]]), "Metaspace"),
        (pre_tokenizers.Sequence([pre_tokenizers.Split(" ", "merged_with_next"), SPLITS["nothing"]]), "behaviour"),
        (pre_tokenizers.Sequence([pre_tokenizers.Split("", "isolated"), SPLITS["nothing"]]), "empty"),
    ],
)
def test_other_splits_are_left_to_the_library(split: Any, why: str) -> None:
    with pytest.raises(CannotCompileError, match=why):
        Splitter.parse(described(split))


def test_no_split_at_all_is_left_to_the_library() -> None:
    with pytest.raises(CannotCompileError, match="ByteLevel"):
        Splitter.parse(None)
