"""Hashed words against a plain implementation, in one piece and as a stream."""

from __future__ import annotations

import random
import re
import unicodedata

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from groundup.base.errors import ArtifactError
from groundup.rights.fingerprint import SHINGLE, SPAN, WordStream, runs_of, shared, words
from groundup.rights.verbatim import Verbatim

TEXT = st.text(
    st.sampled_from("abAB .,é\u0301ﬁ①½猫かタ\u3099ค้ำ\u0345Σςßǰ\u1e9e\u00b4\ufb03가\u1100\u1161\n\u3000\u2028-'_"),
    max_size=60,
)
SINGLE = re.compile("[\u0e00-\u0eff\u3040-\u30ff\u31f0-\u31ff\u3400-\u9fff]")


def plain_words(text: str) -> list[str]:
    """The words by the definition, one character after the other."""
    folded = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text).casefold())
    found, word = [], ""
    for char in folded + " ":
        inside = char.isalnum() or unicodedata.category(char).startswith("M")
        if inside and not SINGLE.match(char):
            word += char
            continue
        if word:
            found.append(word)
        word = ""
        if inside:
            found.append(char)
    return found


def streamed(text: str, size: int, cuts: random.Random) -> list[int]:
    stream, found, said, place = WordStream(size), [], "", 0
    while place < len(text):
        end = place + cuts.randint(1, 5)
        for segment, hashes in stream.push(text[place:end]):
            said, found = said + segment, found + hashes
        place = end
    for segment, hashes in stream.finish():
        said, found = said + segment, found + hashes
    assert said == text
    return found


@given(st.lists(TEXT, min_size=1, max_size=4), st.integers(1, 6))
def test_runs_are_those_of_the_words_by_definition(texts: list[str], size: int) -> None:
    found = words(texts).runs(size)
    names: dict[int, tuple[str, ...]] = {}
    for number, text in enumerate(texts):
        plain = plain_words(text)
        want = [tuple(plain[place : place + size]) for place in range(len(plain) - size + 1)]
        got = found.hashes[found.offsets[number] : found.offsets[number + 1]].tolist()
        assert len(got) == len(want)
        for one, run in zip(got, want, strict=True):
            assert names.setdefault(one, run) == run  # equal hashes are equal runs, in all texts
    assert len(set(names.values())) == len(names)  # and equal runs have equal hashes


@given(TEXT, st.integers(1, 4), st.randoms(use_true_random=False))
def test_a_stream_gives_the_same_whatever_its_pieces(text: str, size: int, cuts: random.Random) -> None:
    assert streamed(text, size, cuts) == words([text]).runs(size).hashes.tolist()


def test_a_text_has_the_same_hashes_wherever_it_stands() -> None:
    text = "Das Haus am See, und 猫 und Straße; " * 20
    (alone,) = words([text]).shingles()
    for before in ("", "x", "y " * 70_000):
        *_, found = words([before, "z", text]).shingles()
        assert found.tolist() == alone.tolist()
    assert words([]).runs(3).hashes.tolist() == [] and words(["", " "]).shingles()[1].tolist() == []


def test_edited_texts_share_what_the_arithmetic_says() -> None:
    rng = np.random.default_rng(1)
    original = [f"w{number}" for number in range(4000)]
    for share in (0.05, 0.2, 0.5):
        changed = [f"x{place}" if rng.random() < share else word for place, word in enumerate(original)]
        a, b = words([" ".join(original), " ".join(changed)]).shingles()
        assert shared(a, b) / len(a) == pytest.approx((1 - share) ** SHINGLE, abs=0.04)


def test_short_texts_are_like_only_themselves() -> None:
    found = words(["thank you", "Thank  YOU!", "thank", "thank you so much indeed"]).shingles()
    assert found[0].tolist() == found[1].tolist() != found[2].tolist()
    assert shared(found[0], found[3]) == 0 and len(found[0]) == 1


def test_the_filter_is_whole_or_an_error(tmp_path) -> None:  # type: ignore[no-untyped-def]
    assert len(Verbatim.load(tmp_path)) == 0 and not Verbatim.load(tmp_path).any_of([1])
    text = "one two three four five six seven eight nine"
    made = Verbatim().beside(runs_of(text, SPAN)).beside(np.array([7, 2**64 - 1], np.uint64))
    (tmp_path / "register").mkdir()
    made.save(tmp_path)
    loaded = Verbatim.load(tmp_path)
    assert loaded.hashes.tolist() == made.hashes.tolist() and len(loaded) == 4
    for one in made.hashes.tolist():
        assert loaded.any_of([3, one])
    assert not loaded.any_of([8, 2**64 - 2, 0]) and not loaded.any_of([])
    assert text.encode() not in Verbatim.path(tmp_path).read_bytes()
    raw = Verbatim.path(tmp_path).read_bytes()
    for damaged in (raw[:-1], b"x" + raw[1:], raw[:9], b""):
        Verbatim.path(tmp_path).write_bytes(damaged)
        with pytest.raises(ArtifactError, match="damaged"):
            Verbatim.load(tmp_path)
