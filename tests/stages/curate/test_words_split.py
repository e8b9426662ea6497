"""Words: against regular expressions, against spaCy, and whatever the batch."""

from __future__ import annotations

import pickle
import random
import re
from functools import cache
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from curate_filter_texts import batch_of, example_texts
from hypothesis import given, settings
from hypothesis import strategies as st

from groundup.base.errors import RequestError
from groundup.stages.curate.words.kernels import (
    AFTER_SPACE_TOKEN,
    ALL_UPPER,
    BASE,
    COUNTS,
    ENDS_SENTENCE,
    HAS_ALNUM,
    HAS_LETTER,
    IS_PUNCTUATION,
    STARTS_ALNUM,
)
from groundup.stages.curate.words.split import Split
from groundup.stages.curate.words.words import Lines, Words

# The regular expression that the splitter replaced; it cut combining marks from their letters.
WORD = re.compile(r"\w+(?:['’]\w+)*|[^\w\s]+")
PLAIN = st.text(st.characters(codec="utf-8", exclude_categories=("M", "Lo", "Cs")), max_size=60)
ANY = st.text(st.characters(codec="utf-8"), max_size=60)


def words_of(batch: pa.RecordBatch) -> list[list[str]]:
    words = Words.of(batch)
    texts = [text.encode() for text in batch.column("text").to_pylist()]
    return [
        [text[words.starts[at] : words.ends[at]].decode() for at in range(words.bounds[row], words.bounds[row + 1])]
        for row, text in enumerate(texts)
    ]


def split(splitter: str, texts: list[str]) -> list[list[str]]:
    return words_of(Split(splitter)(batch_of(texts)))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", []),
        (" \n\t ", []),
        ('"Don\'t!" she said...', ['"', "Don't", '!"', "she", "said", "..."]),
        ("rock ’n’ roll", ["rock", "’", "n", "’", "roll"]),
        ("O’Neill's dogs'", ["O’Neill's", "dogs", "'"]),
        ("snake_case 3.14", ["snake_case", "3", ".", "14"]),
        ("漢字かなカナ", ["漢", "字", "か", "な", "カナ"]),
        ("ไทย", ["ไ", "ท", "ย"]),
        ("กำลัง", ["ก", "ำ", "ลั", "ง"]),
        ("हिन्दी भाषा", ["हिन्दी", "भाषा"]),
        ("cafe\u0301 ok", ["cafe\u0301", "ok"]),
        ("a\u200db", ["a\u200db"]),
        ("a\x00b", ["a", "\x00", "b"]),
        ("x" * 5000, ["x" * 5000]),
        ("👍🏽!", ["👍🏽!"]),
    ],
)
def test_unicode_words(text: str, words: list[str]) -> None:
    assert split("unicode", [text]) == [words]


@given(st.lists(PLAIN, max_size=4))
@settings(max_examples=100, deadline=None)
def test_unicode_words_are_the_regular_expressions(texts: list[str]) -> None:
    assert split("unicode", texts) == [WORD.findall(text) for text in texts]


@given(st.lists(ANY, max_size=4))
@settings(max_examples=100, deadline=None)
def test_no_character_is_lost(texts: list[str]) -> None:
    found = split("unicode", texts)
    assert ["".join(words) for words in found] == ["".join(text.split()) for text in texts]
    assert split("whitespace", texts) == [text.split() for text in texts]


@given(ANY)
@settings(max_examples=100, deadline=None)
def test_words_and_lines_are_measured(text: str) -> None:
    batch = Split("whitespace")(batch_of(["before", text, "after"]))
    words, lines = Words.of(batch), Lines.of(batch)
    at = slice(words.bounds[1], words.bounds[2])
    assert words.chars[at].tolist() == [len(word) for word in text.split()]
    assert words.hashes[at].tolist() == [hash_of(word) for word in text.split()]
    at = slice(lines.bounds[1], lines.bounds[2])
    assert lines.chars[at].tolist() == [len(line) for line in text.split("\n")]
    assert lines.hashes[at].tolist() == [hash_of(line) for line in text.split("\n")]


def hash_of(word: str) -> int:
    value = 0
    for byte in word.encode():
        value = (value * BASE + byte + 1) % 2**64
    return value


@pytest.mark.parametrize(
    ("word", "flags"),
    [
        ("word", HAS_LETTER | HAS_ALNUM | COUNTS | STARTS_ALNUM),
        ("USA", HAS_LETTER | HAS_ALNUM | COUNTS | STARTS_ALNUM | ALL_UPPER),
        ("42", HAS_ALNUM | COUNTS | STARTS_ALNUM),
        ("½", HAS_ALNUM | COUNTS | STARTS_ALNUM),
        (".", IS_PUNCTUATION | ENDS_SENTENCE),
        ("...", IS_PUNCTUATION),
        ("…", IS_PUNCTUATION),
        ("$", 0),
        ("+", 0),
        ("€", COUNTS),
        ("。", IS_PUNCTUATION | ENDS_SENTENCE),
        ("-a", HAS_LETTER | HAS_ALNUM | COUNTS),
        ("१", HAS_ALNUM | COUNTS | STARTS_ALNUM),
    ],
)
def test_flags(word: str, flags: int) -> None:
    assert Words.of(Split("whitespace")(batch_of([word]))).flags.tolist() == [flags]


@pytest.mark.parametrize("splitter", ["unicode", "whitespace", "spacy-en"])
def test_batches_may_be_cut_sliced_and_permuted(splitter: str) -> None:
    if splitter == "spacy-en":
        pytest.importorskip("spacy")
    texts = ["", *example_texts()[-60:], ""]
    whole = split(splitter, texts)
    sliced = batch_of([*texts, "tail"]).slice(0, len(texts)).slice(7, 20)
    assert words_of(Split(splitter)(sliced)) == whole[7:27]
    assert [words for text in texts for words in split(splitter, [text])] == whole
    assert split(splitter, texts[::-1]) == whole[::-1]


def test_dropped_rows_get_no_words_and_nulls_are_empty() -> None:
    batch = pa.record_batch(
        {
            "text": pa.array(["one two", "three", None], pa.large_string()),
            "step": pa.array([None, "dedup", None], pa.string()),
        }
    )
    for splitter in ("unicode", "whitespace"):
        words, lines = Words.of(Split(splitter)(batch)), Lines.of(Split(splitter)(batch))
        assert np.diff(words.bounds).tolist() == [2, 0, 0]
        assert np.diff(lines.bounds).tolist() == [1, 0, 1]


def test_an_empty_batch() -> None:
    assert words_of(Split()(batch_of([]))) == []


def test_unknown_splitters_are_refused() -> None:
    with pytest.raises(RequestError, match="did you mean 'unicode'"):
        Split("unicod")


def test_operators_pickle_and_have_equal_digests() -> None:
    again = pickle.loads(pickle.dumps(Split("whitespace")))
    assert again.spec.digest == Split("whitespace").spec.digest != Split("unicode").spec.digest


# Chunks that spaCy's rules treat in their own ways, special cases that reach across white space among them.
MARKED = [
    "{}",
    "{}.",
    "{},",
    "{}:",
    "{};",
    "{}!",
    "{}?",
    "{})",
    '{}"',
    "{}”",
    "{}'s",
    "{}’s",
    "({}",
    '"{}',
    "“{}",
    "{}'",
]
ODD = [
    *(mark.format(word) for word in ("dog", "DOG", "X", "2012", "8", "dont", "its", "id", "US") for mark in MARKED),
    "x:)",
    ")",
    "abc:)",
    ":)",
    "(",
    "(:",
    "o",
    ")",
    "8",
    "8)",
    "8-)",
    "Mr.",
    '"Mr.',
    "(Mr.",
    "x-Mr.",
    "_",
    "._.",
    "it's",
    "x-it's",
    "(it's)",
    "dont",
    "dont.",
    "(dont,",
    "cannot!",
    "n't",
    "'tis",
    "word,",
    "word;",
    "word!",
    "word?",
    "word.",
    "Word.",
    "WORD.",
    "W.",
    "w.",
    "etc.",
    "i.e.",
    "10km",
    "10a.m.",
    "5°",
    "3°C.",
    "US$5",
    "C$",
    "a/b",
    "and/or",
    "http://x.yz/a?b=c",
    "me@x.org",
    "well-known",
    "a--b",
    "a…b",
    "……",
    "..",
    "...",
    "''",
    '"',
    "“a”",
    "‘s",
    "’s",
    "’",
    "é.",
    "Ünï,",
    "漢字。",
    "x\u200b",
    "👍🏽",
    "IS_ALPHA",
    "<space>",
    "\xad",
    "$",
    "%",
]


@cache
def blank() -> Any:
    return pytest.importorskip("spacy").blank("en")


def spacy_words(texts: list[str]) -> list[list[str]]:
    nlp = blank()
    return [[token.text for token in nlp.tokenizer(text) if token.text.strip()] for text in texts]


def test_spacy_words_of_real_text() -> None:
    texts = example_texts()
    assert split("spacy-en", texts) == spacy_words(texts)


def test_spacy_words_of_awkward_chunks() -> None:
    draw = random.Random(5)
    texts = ["x:) )", "x:) ) and x:) (", ":( :", "a._. Mr. _"]
    gaps = [" ", " ", " ", "  ", "\n", "\t ", "\xa0", ""]
    texts += ["".join(word + draw.choice(gaps) for word in draw.choices(ODD, k=12)) for _ in range(3000)]
    assert split("spacy-en", texts) == spacy_words(texts)


@given(st.lists(st.text(st.sampled_from(":;.,'’\"()[]-_=/<>8oxDPaA1$…!? \n"), max_size=25), max_size=6))
@settings(max_examples=150, deadline=None)
def test_spacy_words_of_emoticons_and_marks(texts: list[str]) -> None:
    assert split("spacy-en", texts) == spacy_words(texts)


def test_spacy_tokens_of_white_space_are_remembered() -> None:
    pytest.importorskip("spacy")
    batch = Split("spacy-en")(batch_of([" a b  c\td\n e f"]))
    gaps = (Words.of(batch).flags & AFTER_SPACE_TOKEN) != 0
    assert gaps.tolist() == [True, False, True, True, True, False]


@pytest.mark.parametrize("chunk", ["x" * 30_000, "(" * 19_000, "_" * 1500, "a" + "=" * 3000])
def test_chunks_that_take_spacy_too_long_are_one_word(chunk: str) -> None:
    pytest.importorskip("spacy")
    assert split("spacy-en", [f"{chunk} a, b"]) == [[chunk, "a", ",", "b"]]


def test_long_chunks_are_cut_as_spacy_does() -> None:
    texts = ["well-known," * 900, "漢字。" * 2000, "http://" + "a.b/" * 2000, "(" * 300 + "a" * 3000, "=" * 900]
    assert split("spacy-en", texts) == spacy_words(texts)
