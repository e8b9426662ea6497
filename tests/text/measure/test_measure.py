"""Measuring: sums equal a plain recount, groups are right, fairness has its known values, probes see habits."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny import SENTENCES, tiny_tokenizer
from trained import train_bpe

from groundup.artifact.exhibit import Table
from groundup.stages.tokenize.exhibits import tokenizer_exhibits
from groundup.text.measure import probes
from groundup.text.measure.scripts import UNKNOWN, UNSPACED, count_words, script_of
from groundup.text.measure.tally import gini, measure
from groundup.text.measure.vocabulary import uses

TOKENIZER = tiny_tokenizer()
LABELS = ("eng_Latn", "fra_Latn", "jpn_Jpan", "rus_Cyrl", "", None)
ROWS = st.lists(
    st.fixed_dictionaries(
        {"text": st.text(max_size=30) | st.sampled_from(SENTENCES), "language": st.sampled_from(LABELS)},
        optional={"source": st.sampled_from(["a", "b"])},
    ),
    max_size=12,
)


@given(ROWS)
@settings(max_examples=100, deadline=None)
def test_one_pass_equals_a_plain_recount(rows: list[dict[str, Any]]) -> None:
    found = measure(TOKENIZER, rows)
    ids = [TOKENIZER.encode(row["text"]) for row in rows]
    assert found.all.documents == len(rows)
    assert found.all.tokens == sum(map(len, ids)) == found.uses.sum()
    assert found.all.bytes == sum(len(row["text"].encode()) for row in rows)
    counts = np.zeros(TOKENIZER.vocab_size, np.int64)
    for one in ids:
        for token in one:
            counts[token] += 1
    assert (found.uses == counts).all()
    for label in LABELS:
        mine = [n for n, row in enumerate(rows) if (row["language"] or "und") == (label or "und")]
        tally = found.by_language.get(label or "und")
        assert (tally.tokens if tally else 0) == sum(len(ids[n]) for n in mine)
        assert (tally.documents if tally else 0) == len(mine)
    for groups in (found.by_language, found.by_script, found.by_source):
        assert sum(one.bytes for one in groups.values()) == found.all.bytes
        assert sum(one.words for one in groups.values()) == found.all.words


def test_rows_are_read_once_and_only_a_batch_is_held() -> None:
    class Counting:
        vocab_size = TOKENIZER.vocab_size
        largest = 0

        def encode_batch(self, texts: Sequence[str]) -> list[list[int]]:
            self.largest = max(self.largest, sum(map(len, texts)))
            return [[1]] * len(texts)

    def rows() -> Iterator[dict[str, str]]:
        for _ in range(400):
            yield {"text": "word " * 2000, "source": "s"}

    counting = Counting()
    assert measure(counting, rows()).all.tokens == 400
    assert counting.largest < 2_000_000


@pytest.mark.parametrize(
    ("label", "text", "script"),
    [
        ("eng_Latn", "Привет", "Latn"),
        ("und", "Привет, hi", "Cyrl"),
        ("", "ἀρχή καὶ", "Grek"),
        ("zho", "你好，世界", "Hani"),
        ("", "東京へ行く", "Jpan"),
        ("", "カタカナ", "Jpan"),
        ("", "안녕하세요", "Hang"),
        ("", "שלום", "Hebr"),
        ("", "مرحبا", "Arab"),
        ("", "नमस्ते", "Deva"),
        ("", "สวัสดี", "Thai"),
        ("", "1234 !?", UNKNOWN),
        ("und_Zyyy", "où", "Latn"),
        ("", "", UNKNOWN),
    ],
)
def test_scripts(label: str, text: str, script: str) -> None:
    assert script_of(label, text) == script


def test_words_are_counted_by_white_space_or_by_characters() -> None:
    assert count_words("a  b\u00a0c\nd", "Latn") == 4
    assert count_words("你好 世界", "Hani") == 4
    found = measure(TOKENIZER, [{"text": "你好 世界", "language": "zho_Hans"}, {"text": "two words"}])
    assert not found.by_language["zho_Hans"].counts_words
    assert found.by_language["zho_Hans"].words == 4
    assert (found.spaced.words, found.spaced.documents) == (2, 1)
    assert {"Hans", "Hant", "Jpan", "Thai"} <= UNSPACED


def test_a_group_of_both_kinds_is_told_from_either_whatever_comes_first() -> None:
    rows = [{"text": "two words", "source": "s"}, {"text": "你好世界", "source": "s"}]
    for order in (rows, rows[::-1]):
        found = measure(TOKENIZER, order)
        one = found.by_source["s"]
        assert (one.words, one.signs, one.counts_words, one.counts_both) == (6, 4, False, True)
        assert not found.by_script["Hani"].counts_both
        assert (found.by_script["Latn"].counts_words, found.by_script["Latn"].counts_both) == (True, False)
    table = {
        row[0]: row[-1]
        for exhibit in tokenizer_exhibits(TOKENIZER, rows)[0]
        if isinstance(exhibit, Table) and exhibit.title.startswith("Compression")
        for row in exhibit.rows
    }
    assert table["s"] == "–"
    assert str(table["Hani"]).endswith(" c")
    assert isinstance(table["Latn"], float)


def test_parity_on_the_same_content_counts_only_what_all_have() -> None:
    rows = [
        {"text": "a" * 40, "language": "x", "content": "1"},
        {"text": "b" * 10, "language": "y", "content": "1"},
        {"text": "c" * 999, "language": "x", "content": "2"},
    ]

    class Letters:
        vocab_size = 128

        def encode_batch(self, texts: Sequence[str]) -> list[list[int]]:
            return [list(text.encode()) for text in texts]

    found = measure(Letters(), rows)
    assert found.is_parallel
    assert found.costs() == {"x": 40.0, "y": 10.0}
    assert found.premiums() == {"x": 4.0, "y": 1.0}
    apart = measure(Letters(), [{**row, "content": None} for row in rows])
    assert not apart.is_parallel
    assert apart.premiums() == {"x": 1.0, "y": 1.0}  # a token a byte in both
    assert measure(Letters(), []).premiums() == {}


@given(st.lists(st.floats(0, 100), min_size=1, max_size=9))
def test_gini_is_the_mean_difference_of_all_pairs(values: list[float]) -> None:
    mean = sum(values) / len(values)
    wanted = sum(abs(a - b) for a in values for b in values) / (2 * len(values) ** 2 * mean) if mean else 0.0
    assert gini(values) == pytest.approx(wanted, abs=1e-9)


def test_others_are_compared_on_the_same_bounded_text() -> None:
    other = train_bpe(SENTENCES * 2, 270)
    rows = [{"text": text} for text in SENTENCES * 400]
    found = measure(TOKENIZER, rows, {"other": other}, compare_bytes=20_000)
    assert set(found.others) == {"", "other"}
    assert found.others[""].bytes == found.others["other"].bytes
    assert 20_000 <= found.others[""].bytes < found.all.bytes
    assert found.others["other"].tokens > found.others[""].tokens


def test_uses_are_sorted_into_bands() -> None:
    counts = np.array([0, 0, 3, 10, 5000, 0], np.int64)
    names = ["<s>", "never", "few", "ten", "many", "\ufffd"]
    found = uses(counts, [0], lambda ids: names[ids[0]])
    assert (found.entries, found.tokens, found.never, found.rare) == (5, 5013, 2, 3)
    assert [band[1] for band in found.bands] == [2, 1, 1, 0, 1]
    assert sum(band[2] for band in found.bands) == 5013
    assert found.unused == ("never",)
    assert uses(np.zeros(3, np.int64), [], lambda ids: "x").top_share == 0.0


def test_probes_see_how_numbers_are_cut() -> None:
    text = " ".join(f"{number:03}" for number in range(1000)) * 4 + " ".join(map(str, range(100))) * 40
    threes = train_bpe([text, *SENTENCES], 1400)
    found = {one.length: one for one in probes.digits(threes)}
    assert {length: (found[length].cut, found[length].share) for length in (1, 2, 3)} == {
        1: ("1", 1.0),
        2: ("2", 1.0),
        3: ("3", 1.0),
    }
    assert found[4].cut == "3+1"
    assert found[6].cut == "3+3"
    assert found[6].tokens == 2.0
    # This one has two of the hundred pairs, so most numbers fall into digits.
    crumbs = {one.length: one for one in probes.digits(TOKENIZER)}
    assert crumbs[3].cut == "1+1+1"
    assert crumbs[3].cuts > 1
    assert 0.5 < crumbs[3].share < 1.0


def test_probes_come_back_or_say_that_they_do_not() -> None:
    assert all(one.same for one in (*probes.whitespace(TOKENIZER), *probes.code(TOKENIZER)))

    class Lossy:
        def encode(self, text: str) -> list[int]:
            return [1] * len(text.split())

        def encode_spans(self, text: str) -> list[tuple[int, int, int]]:
            return [(1, 0, len(text))]

        def decode(self, ids: list[int]) -> str:
            return "a b"

    assert [one.name for one in probes.whitespace(Lossy()) if one.same] == ["1 space"]
