"""The compiled encoder gives the library's ids, whatever it has seen before; what it can't do it leaves out."""

from __future__ import annotations

import json
import time
import unicodedata
from collections.abc import Callable
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import tokenizers
from hypothesis import given, settings
from hypothesis import strategies as st
from published import POOL, SPLITS, hostile, trained
from tokenizers import AddedToken, decoders, models, pre_tokenizers, trainers

from groundup.base.errors import DataError
from groundup.text.bpe import fast
from groundup.text.bpe.byte_level import spell
from groundup.text.bpe.encoded import Encoded
from groundup.text.bpe.fast import FastEncoder
from groundup.text.bpe.pattern import CannotCompileError

TEXTS = st.lists(st.sampled_from(POOL) | st.characters(exclude_categories=("Cs",)), max_size=25).map("".join)


def describe(backend: tokenizers.Tokenizer) -> dict[str, Any]:
    described: dict[str, Any] = json.loads(backend.to_str())
    return described


def theirs(backend: tokenizers.Tokenizer, texts: list[str]) -> list[list[int]]:
    return [encoding.ids for encoding in backend.encode_batch_fast(texts, add_special_tokens=False)]


@pytest.mark.parametrize("ignore_merges", [False, True])
@pytest.mark.parametrize("name", SPLITS)
def test_hostile_text_has_the_librarys_ids(name: str, ignore_merges: bool) -> None:
    backend = trained(name, ignore_merges=ignore_merges)
    encoder = FastEncoder.parse(describe(backend))
    texts = [*hostile(3, 900), *hostile(4, 12, 1500), "", "<|end|>", " <|end|>", "x" * 5000, " " * 3000 + "y"]
    wanted = theirs(backend, texts)
    for _ in range(2):  # cold, then with every piece remembered
        for text, ours, ids in zip(texts, encoder.encode(pa.array(texts)).lists(), wanted, strict=True):
            assert ours == ids, text[:200]


@given(TEXTS, st.sampled_from(["gpt2", "llama3", "cl100k", "o200k", "qwen2", "smollm"]))
@settings(max_examples=200)
def test_any_text_has_the_librarys_ids(text: str, name: str) -> None:
    backend = trained(name)
    assert FastEncoder.parse(describe(backend)).encode(pa.array([text])).lists() == theirs(backend, [text])


def _merges_at_odds() -> tokenizers.Tokenizer:
    """Merges in an order that no training gives: later ones make the pieces of earlier ones."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokens = ["abc", "ab", "bc", "aa", "aaa", "aaaa", "abab", "cab"]
    merges = [("a", "bc"), ("aa", "a"), ("ab", "c"), ("ab", "ab"), ("c", "ab"), ("aa", "aa"), ("b", "c"), ("a", "a")]
    vocab = {token: index for index, token in enumerate([*alphabet, *tokens])}
    backend = tokenizers.Tokenizer(models.BPE(vocab, [*merges, ("a", "b")]))
    backend.pre_tokenizer = SPLITS["nothing"]
    return backend


@given(st.text("abc", max_size=150))
@settings(max_examples=300)
def test_merges_of_any_order_go_as_in_the_library(text: str) -> None:
    backend = _merges_at_odds()
    encoder = FastEncoder.parse(describe(backend))
    texts = [text, text * 3]  # short pieces are merged in another way than long ones
    assert encoder.encode(pa.array(texts)).lists() == theirs(backend, texts)


@pytest.mark.parametrize(
    "make",
    [
        lambda: "ab" * 500_000,
        lambda: "a" * 1_000_000,
        lambda: "".join(np.random.default_rng(1).choice(list("helowrdxyz"), 1_000_000)),
        lambda: "中文字漢かな" * 60_000,
    ],
)
def test_a_word_of_a_megabyte_takes_a_moment(make: Callable[[], str]) -> None:
    backend = trained("llama3")
    encoder = FastEncoder.parse(describe(backend))
    encoder.encode(pa.array(["compiled by now"]))
    word = make()
    start = time.thread_time()
    encoded = encoder.encode(pa.array([word, "x", word]))
    assert time.thread_time() - start < 10  # a second on a quiet machine; by rights of the square it would be hours
    assert encoded.lists() == theirs(backend, [word, "x", word])


def test_ids_never_depend_on_what_is_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    backend = trained("llama3")
    chance = np.random.default_rng(5)
    words = ["".join(chance.choice(list("abcdefghij"), chance.integers(1, 40))) for _ in range(30_000)]
    texts = [" ".join(words[at : at + 100]) for at in range(0, len(words), 100)] + hostile(6, 200)
    encoder = FastEncoder.parse(describe(backend))
    whole = encoder.encode(pa.array(texts))
    assert whole.lists() == theirs(backend, texts)
    assert encoder.nbytes > 2 * FastEncoder.parse(describe(backend)).nbytes  # it did grow
    order = chance.permutation(len(texts))
    shuffled = encoder.encode(pa.array([texts[place] for place in order]))
    assert [shuffled.row(i).tolist() for i in np.argsort(order)] == whole.lists()
    again = FastEncoder.parse(describe(backend))
    parts = [again.encode(pa.array(texts[at : at + 7])) for at in range(0, len(texts), 7)]
    assert [row for part in parts for row in part.lists()] == whole.lists()
    monkeypatch.setattr(fast, "MEMORY_LIMIT", 3 * 2**20)
    small = FastEncoder.parse(describe(backend))
    most = 0
    for _ in range(3):
        assert small.encode(pa.array(texts)).lists() == whole.lists()
        most = max(most, small.nbytes)
    assert most <= 3 * 2**20 < encoder.nbytes


def test_chunks_slices_nulls_and_rows_to_skip() -> None:
    backend = trained("gpt2")
    encoder = FastEncoder.parse(describe(backend))
    texts = ["ab c", None, "", "défi 12", "x"]
    wanted = theirs(backend, [text or "" for text in texts])
    for column in (
        pa.array(texts),
        pa.array(texts, pa.large_string()),
        pa.array(["no", *texts, "no"])[1:-1],
        pa.chunked_array([texts[:2], [], texts[2:]], pa.string()),
    ):
        encoded = encoder.encode(column)
        assert encoded.lists() == wanted
        assert (encoded.ids.dtype, encoded.bounds.dtype, encoded.num_rows) == (np.uint32, np.int64, 5)
    skipped = encoder.encode(pa.array(texts), np.array([True, False, False, True, False]))
    assert skipped.lists() == [[], *wanted[1:3], [], wanted[4]]
    assert encoder.encode(pa.array([], pa.string())).lists() == []
    places = np.array([0, 3])
    assert skipped.with_rows(places, Encoded.of([wanted[0], wanted[3]])).lists() == wanted


def test_rows_that_nfc_would_change_are_left_out_and_only_those() -> None:
    backend = trained("qwen2", nfc=True)
    encoder = FastEncoder.parse(describe(backend))
    every = [f"a{chr(code)}b" for code in range(0x20000) if not 0xD800 <= code < 0xE000]
    texts = [*hostile(8, 1500), *every, "e\u0301", "\u1100\u1161", "\u0344", "\u0915\u093c", "\u2126", "क्ष", "é"]
    left_out = encoder.leaves_out(pa.array(texts))
    known = [text for text, left in zip(texts, left_out, strict=True) if not left]
    assert encoder.encode(pa.array(known)).lists() == theirs(backend, known)
    for text, left in zip(texts, left_out, strict=True):
        changes = unicodedata.normalize("NFC", text) != text
        unknown = any(unicodedata.category(character) == "Cn" for character in text)
        assert left == (changes or unknown), ascii(text)
    with pytest.raises(DataError, match="only be encoded by the library"):
        encoder.encode(pa.array(texts))


def test_rows_with_added_tokens_are_left_out_but_special_ones_are_only_text() -> None:
    backend = tokenizers.Tokenizer.from_str(trained("llama3").to_str())
    backend.add_tokens(["<tool>", AddedToken("  two", normalized=False)])
    backend.add_special_tokens(["<|more|>"])
    backend.encode_special_tokens = True
    encoder = FastEncoder.parse(describe(backend))
    texts = ["a <tool> b", "<tool", "<|more|>", "x  two", None, "<tool><tool>"]
    assert encoder.leaves_out(pa.array(texts)).tolist() == [True, False, False, True, False, True]
    assert encoder.leaves_out(pa.chunked_array([texts])).sum() == 3
    known = ["<tool", "<|more|>", "<|end|>"]
    assert encoder.encode(pa.array(known)).lists() == theirs(backend, known)


def test_rows_with_bytes_that_the_vocabulary_lacks_are_left_out() -> None:
    described = describe(trained("llama3"))
    for character in (spell(b"\x04"), spell(b"\xf1"), spell(b"\xff")):
        del described["model"]["vocab"][character]
    encoder = FastEncoder.parse(described)
    texts = ["a\x04b", "ab", "\U00040000", "\U00010000", "ÿ", *hostile(10, 300)]
    left_out = encoder.leaves_out(pa.array(texts))
    assert left_out[:5].tolist() == [True, False, True, False, False]
    assert encoder.leaves_out(pa.chunked_array([texts[:2], [], texts[2:]])).tolist() == left_out.tolist()
    known = [text for text, left in zip(texts, left_out, strict=True) if not left]
    backend = tokenizers.Tokenizer.from_str(json.dumps(described))
    assert encoder.encode(pa.array(known)).lists() == theirs(backend, known)


def _with(**changes: Any) -> dict[str, Any]:
    described = describe(trained("llama3"))
    for name, value in changes.items():
        if name in described["model"]:
            described["model"][name] = value
        else:
            described[name] = value
    return described


def _many() -> list[dict[str, Any]]:
    words = [f"{first}{second}" for first in "abcdefghijklmnopqrst" for second in "abcdefghijklmnopqrst"]
    return [{"id": 1000 + at, "content": word, "special": False} for at, word in enumerate(words)]


@pytest.mark.parametrize(
    ("described", "why"),
    [
        (_with(dropout=0.1), "plain BPE"),
        (_with(unk_token="<|end|>"), "plain BPE"),
        (_with(continuing_subword_prefix="##"), "plain BPE"),
        (_with(end_of_word_suffix="</w>"), "plain BPE"),
        (_with(type="Unigram"), "plain BPE"),
        (_with(normalizer={"type": "NFKC"}), "NFKC"),
        (_with(normalizer={"type": "Sequence", "normalizers": [{"type": "NFC"}, {"type": "Lowercase"}]}), "Sequence"),
        (_with(pre_tokenizer=None), "ByteLevel"),
        (_with(truncation={"max_length": 3}), "truncation"),
        (_with(padding={"strategy": "BatchLongest"}), "padding"),
        (_with(vocab={"a": 0, "b": 0}), "one id"),
        (_with(merges=[["a", "\x00"]]), "not in the vocabulary"),
        (_with(added_tokens=_many()), "too many added tokens"),
    ],
)
def test_what_only_the_library_can_do_is_refused(described: dict[str, Any], why: str) -> None:
    assert FastEncoder.of(described) is None
    with pytest.raises(CannotCompileError, match=why):
        FastEncoder.parse(described)


def test_merges_as_lines_and_repeated_ones_are_read_as_the_library_reads_them() -> None:
    described = describe(trained("llama3"))
    described["model"]["merges"] = [" ".join(pair) for pair in described["model"]["merges"]]
    described["model"]["merges"] += described["model"]["merges"][:40]
    backend = tokenizers.Tokenizer.from_str(json.dumps(described))
    texts = hostile(9, 500)
    assert FastEncoder.parse(described).encode(pa.array(texts)).lists() == theirs(backend, texts)


def test_a_whole_piece_of_the_vocabulary_that_no_merges_lead_to() -> None:
    backend = tokenizers.Tokenizer(models.BPE(ignore_merges=True))
    backend.pre_tokenizer = SPLITS["gpt2"]
    backend.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=300, initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()), show_progress=False
    )
    backend.train_from_iterator(hostile(7, 50), trainer)
    described = describe(backend)
    described["model"]["vocab"] |= {"Ġunreachable": 5000, "Ġinternationalisation": 5001}
    backend = tokenizers.Tokenizer.from_str(json.dumps(described))
    texts = ["an unreachable internationalisation", "unreachable", "internationalisations"]
    wanted = theirs(backend, texts)
    assert 5000 in wanted[0] and 5001 in wanted[0]
    encoder = FastEncoder.parse(described)
    for _ in range(2):
        assert encoder.encode(pa.array(texts)).lists() == wanted
