"""Normal form, shingles and band keys: against plain Python, theory, and datatrove's recorded signatures."""

from __future__ import annotations

import hashlib
import json
import unicodedata
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from groundup.base.errors import RequestError
from groundup.stages.curate.duplicates import datatrove, normal
from groundup.stages.curate.duplicates.exact import ExactKey, key_of
from groundup.stages.curate.duplicates.minhash import (
    MinHash,
    band_keys,
    band_keys_of_shingles,
    catch_probability,
    permutations,
    shingle_sets,
)
from groundup.stages.curate.engine.columns import Lists, Texts, lists, texts

RECORDED = json.loads((Path(__file__).parent / "duplicates_datatrove.json").read_text(encoding="utf-8"))["cases"]
MASK = (1 << 64) - 1
TEXT = st.text(
    st.characters(exclude_categories=["Cs"]) | st.sampled_from("aB1 .,'\n漢字ไทย٣٫٥İßΣς\u00ad\u0301한"), max_size=60
)


def rows_of(*values: str) -> Texts:
    return texts(pa.record_batch({"text": pa.array(values, pa.large_string())}))


def mix(value: int) -> int:
    value = (value ^ (value >> 30)) * 0xBF58476D1CE4E5B9 & MASK
    value = (value ^ (value >> 27)) * 0x94D049BB133111EB & MASK
    return value ^ (value >> 31)


def plain_words(text: str) -> list[str]:
    """The normal form, written from its definition, without the table."""
    words, word, number = [], "", 0

    def end() -> None:
        nonlocal word
        if word:
            words.append(word)
        word = ""

    for at, character in enumerate(text):
        category = unicodedata.category(character)
        if category in ("Mn", "Me", "Cf"):
            continue
        if category == "Nd":
            word, number = word + ("0" if number == 0 else ""), number or 1
            continue
        following = unicodedata.category(text[at + 1]) if at + 1 < len(text) else ""
        if character in normal.DECIMAL_MARKS and number == 1 and following == "Nd":
            number = 2
            continue
        number = 0
        if category[0] not in "LMN":
            end()
            continue
        letters = unicodedata.normalize("NFD", character.lower()).replace("ς", "σ")
        letters = "".join(each for each in letters if unicodedata.category(each) not in ("Mn", "Me"))
        if any(first <= ord(character) <= last for first, last in normal._NO_SPACES):
            end()
            word = letters
            end()
        else:
            word += letters
    end()
    return words


def plain_shingles(text: str, size: int) -> list[int]:
    hashes = []
    for word in plain_words(text):
        value = 0xCBF29CE484222325
        for character in word:
            value = (value ^ ord(character)) * 0x100000001B3 & MASK
        hashes.append(mix(value))
    runs = [hashes[at : at + size] for at in range(max(1, len(hashes) - size + 1))] if hashes else []
    found = []
    for run in runs:
        value = 0
        for each in run:
            value = (value * 0x9E3779B97F4A7C15 + each) & MASK
        found.append(mix(value))
    return sorted(set(found))


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("The Cat, sat.", "the cat sat"),
        ("naïve café", "NAIVE CAFE"),
        ("it costs 3.14 or 1999", "it costs 7 or 12"),
        ("cafe\u0301", "café"),
        ("soft\u00adhyphen", "softhyphen"),
        ("ΟΔΟΣ", "οδος"),
        ("한국어", unicodedata.normalize("NFD", "한국어")),
        ("٣٫٥ كتاب", "12 كتاب"),
        ("• item — one", "item one"),
    ],
)
def test_texts_that_count_as_the_same(one: str, other: str) -> None:
    sets = shingle_sets(rows_of(one, other), 1)
    assert sets.values[: sets.offsets[1]].tolist() == sets.values[sets.offsets[1] :].tolist() != []


@pytest.mark.parametrize(
    ("text", "count"), [("", 0), ("... !?", 0), ("one", 1), ("1.2.3", 1), ("我们是学生", 5), ("don't", 2), ("x2y", 1)]
)
def test_the_number_of_distinct_words(text: str, count: int) -> None:
    assert len(shingle_sets(rows_of(text), 1).values) == count


@given(st.lists(TEXT, min_size=1, max_size=4), st.integers(1, 6))
@settings(max_examples=150, deadline=None)
def test_shingles_are_those_of_plain_python(values: list[str], size: int) -> None:
    sets = shingle_sets(rows_of(*values), size)
    for row, value in enumerate(values):
        assert sets.values[sets.offsets[row] : sets.offsets[row + 1]].tolist() == plain_shingles(value, size)


def test_every_character_has_the_normal_form_of_its_definition() -> None:
    every = [chr(point) for point in range(0x110000) if not 0xD800 <= point < 0xE000]
    chunks = ["".join(f"{a}a{a} " for a in every[at : at + 97]) for at in range(0, len(every), 97)]
    chosen = chunks[:1000] + chunks[1000::37]  # each of the Basic Multilingual Plane, a sample beyond
    sets = shingle_sets(rows_of(*chosen), 3)
    for row, chunk in enumerate(chosen):
        assert sets.values[sets.offsets[row] : sets.offsets[row + 1]].tolist() == plain_shingles(chunk, 3)


def test_broken_utf8_is_read_to_its_end_and_no_further() -> None:
    data = np.frombuffer(b"abc \xf0\x9f" + b"\xff\xc3 ok \xe2" + b"secret", np.uint8)
    stop = len(data) - len(b"secret")
    cut = shingle_sets(Texts(data, np.array([0, 6, stop])), 1)
    other = np.concatenate([data[:stop], np.frombuffer(b"differ", np.uint8)])
    assert cut.values.tolist() == shingle_sets(Texts(other, np.array([0, 6, stop])), 1).values.tolist()
    assert len(cut.values) == 2


def test_band_keys_are_those_of_numpy() -> None:
    text = "in the beginning was a corpus of many words and of some more words than that"
    bands, rows = 3, 4
    keys, filled = band_keys(rows_of(text, "", "!"), 5, bands, rows)
    assert filled.tolist() == [True, False, False]
    factors, addends = permutations(bands * rows, 1)
    short = np.array([value >> 32 for value in plain_shingles(text, 5)], np.uint64)
    minima = ((short[:, None] * factors.astype(np.uint64) + addends.astype(np.uint64)) & np.uint64(0xFFFFFFFF)).min(0)
    expected = []
    for band in range(bands):
        key = band
        for least in minima.reshape(bands, rows)[band].tolist():
            key = mix((key * 0x9E3779B97F4A7C15 + least) & MASK)
        expected.append(key)
    assert keys[0].tolist() == expected


def test_the_operator_adds_keys_whatever_the_slice_or_the_batch() -> None:
    values = ["one two three four five six", "", "other words are here to be read", "one two three four five SIX!"]
    batch = pa.record_batch({"text": pa.array(values, pa.large_string())})
    operator = MinHash()
    tagged = lists(operator(batch), "bands")
    assert np.diff(tagged.offsets).tolist() == [14, 0, 14, 14]
    assert len(set(tagged.values[:14].tolist())) == 14
    assert tagged.values[:14].tolist() == tagged.values[28:].tolist()
    assert operator(batch).column("bands").type == pa.large_list(pa.uint64())
    for row in range(len(values)):
        assert operator(batch.slice(row, 1)).column("bands").to_pylist() == [
            operator(batch).column("bands")[row].as_py()
        ]
    assert operator(batch.slice(0, 0)).num_rows == 0
    assert MinHash().spec.digest != MinHash(rows=9).spec.digest


@pytest.mark.parametrize("wrong", [{"bands": 0}, {"rows": 0}, {"shingle_words": 0}, {"bands": 10**6}])
def test_nonsense_is_refused_in_one_line(wrong: dict[str, int]) -> None:
    with pytest.raises(RequestError, match="MinHash needs"):
        MinHash(**wrong)


@pytest.mark.parametrize("similarity", [0.5, 0.6, 0.7, 0.75, 0.8, 0.85, 0.9, 0.95])
def test_recall_is_that_of_theory(similarity: float) -> None:
    """10,000 planted pairs: the standard error is half a point at most, the tolerance two points."""
    pairs, size = 10_000, 60
    shared = round(2 * size * similarity / (1 + similarity))
    true_jaccard = shared / (2 * size - shared)
    values = np.random.default_rng(7).integers(0, 2**64, (pairs, 2 * size - shared), dtype=np.uint64)
    offsets = np.arange(pairs + 1) * size
    left, right = (
        band_keys_of_shingles(Lists(np.ascontiguousarray(part).reshape(-1), offsets), 14, 8)
        for part in (values[:, :size], values[:, size - shared :])
    )
    recall = (left == right).any(axis=1).mean()
    assert abs(recall - catch_probability(true_jaccard, 14, 8)) < 0.02


@pytest.mark.parametrize(
    ("similarity", "bands", "rows", "published"),
    [(0.8, 14, 8, 0.924), (0.7, 14, 8, 0.565), (0.8, 450, 20, 0.995), (0.8, 20, 13, 0.677), (0.8, 9, 13, 0.399)],
)
def test_probabilities_of_published_settings(similarity: float, bands: int, rows: int, published: float) -> None:
    assert catch_probability(similarity, bands, rows) == pytest.approx(published, abs=6e-4)


@pytest.mark.parametrize("case", RECORDED, ids=lambda case: f"{case['hash']}-{case['precision']}-{case['text'][:12]}")
def test_signatures_equal_datatroves(case: dict[str, object]) -> None:
    pytest.importorskip("xxhash")
    words, precision = case["words"], case["precision"]
    assert datatrove.simplify(case["text"]) == case["simple"]  # type: ignore[arg-type]
    hashes = datatrove.shingle_hashes(words, 5, case["hash"], precision)  # type: ignore[arg-type]
    assert hashes[:3].tolist() == case["shingles"]
    minima = datatrove.signature(hashes, precision=precision)  # type: ignore[arg-type]
    if minima is None:
        assert case["signature"] == []
        return
    flat = minima.reshape(-1)
    assert flat.shape == (112,)
    assert [*flat[:3].tolist(), *flat[-3:].tolist()] == case["signature"]
    assert int(np.bitwise_xor.reduce(flat)) == case["xor"]


@given(st.lists(TEXT, min_size=1, max_size=4))
@settings(max_examples=100, deadline=None)
def test_exact_keys_are_those_of_plain_python(values: list[str]) -> None:
    batch = pa.record_batch({"text": pa.array(values, pa.large_string())})
    assert ExactKey()(batch).column("exact").to_pylist() == [key_of(value) for value in values]


def test_exact_keys_of_all_characters() -> None:
    every = "".join(chr(point) for point in range(0x110000) if not 0xD800 <= point < 0xE000)
    batch = pa.record_batch({"text": pa.array([every, f" {every}\n", "", "\n"], pa.large_string())})
    first, second, empty, blank = ExactKey()(batch).column("exact").to_pylist()
    assert first == second == key_of(every)
    assert empty == blank == hashlib.sha256(b"").digest()[:16]
    assert ExactKey()(batch.slice(1, 2)).column("exact").to_pylist() == [first, empty]
