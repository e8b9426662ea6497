"""Counted words are the pieces that the library cuts, each as often as it is there."""

from __future__ import annotations

import json
from collections import Counter

import numpy as np
import pyarrow as pa
import pytest
from published import SPLITS, hostile

from groundup.base.errors import ResourceError
from groundup.text.bpe import words
from groundup.text.bpe.byte_level import unspell
from groundup.text.bpe.splitter import Splitter
from groundup.text.bpe.words import WORDS, WordCounter


def counter(name: str) -> WordCounter:
    return WordCounter(Splitter.parse(json.loads(SPLITS[name].__getstate__())))


def theirs(name: str, texts: list[str]) -> Counter[bytes]:
    pieces = (piece for text in texts for piece, _ in SPLITS[name].pre_tokenize_str(text))
    return Counter(unspell(piece) or b"" for piece in pieces)


def counts(found: WordCounter) -> dict[bytes, int]:
    table = found.table()
    return dict(zip(table["word"].to_pylist(), table["count"].to_pylist(), strict=True))


@pytest.mark.parametrize("name", SPLITS)
def test_words_are_counted_as_the_library_cuts_them(name: str) -> None:
    found = counter(name)
    first, second = hostile(11, 800), [*hostile(12, 20, 900), "y" * 70_000, "", "y" * 70_000]
    found.add(pa.array(first))
    found.add(pa.chunked_array([second[:5], [], second[5:]], pa.large_string()), weight=3)
    wanted = theirs(name, first)
    for word, count in theirs(name, second).items():
        wanted[word] += 3 * count
    assert counts(found) == dict(wanted)
    table = found.table()
    assert table.schema == WORDS
    assert table["word"].to_pylist() == sorted(wanted)
    assert len(found) == len(wanted)


def test_counts_go_beyond_31_bits_and_the_table_grows_and_is_cleared() -> None:
    found = counter("gpt2")
    start = found.nbytes
    chance = np.random.default_rng(3)
    texts = [" ".join("".join(chance.choice(list("abcdef"), 20)) for _ in range(50)) for _ in range(800)]
    for _ in range(3):
        found.add(pa.array([*texts, None]), weight=2**31)
    wanted = theirs("gpt2", texts)
    assert counts(found) == {word: 3 * 2**31 * count for word, count in wanted.items()}
    assert found.nbytes > 4 * start
    found.clear()
    assert (len(found), found.nbytes, found.table().num_rows) == (0, start, 0)
    found.add(pa.array(["a a"]))
    assert counts(found) == {b"a": 1, b" a": 1}


def test_more_words_than_a_table_holds_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    found = counter("gpt2")
    found.add(pa.array(["ab cd"]))
    monkeypatch.setattr(words, "_MOST_BYTES", 4)
    with pytest.raises(ResourceError, match="less text"):
        found.table()
