"""Every published rule on both sides of its threshold, the readings where toolkits differ, and slow references."""

from __future__ import annotations

import random
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from groundup.stages.curate.config import FineWeb, GopherQuality, GopherRepetition
from groundup.stages.curate.fineweb import fineweb
from groundup.stages.curate.gopher_quality import gopher_quality
from groundup.stages.curate.gopher_repetition import WordHashes, WordRanks, gopher_repetition
from groundup.stages.curate.split import split


def _words(count: int, word: str = "moon", stops: str = "the of") -> str:
    """``count`` words: the stop words, then ``word``."""
    return " ".join([*stops.split(), *[word] * (count - len(stops.split()))])


def _distinct(count: int, start: int = 0) -> str:
    return " ".join(f"w{number:04d}" for number in range(start, start + count))


def _quality(text: str) -> str | None:
    refusal = gopher_quality(split(text), GopherQuality())
    return refusal.rule if refusal else None


def _repetition(text: str) -> str | None:
    refusal = gopher_repetition(split(text), GopherRepetition())
    return refusal.rule if refusal else None


def _fineweb(text: str) -> str | None:
    refusal = fineweb(split(text), FineWeb())
    return refusal.rule if refusal else None


# 94 words of four letters and the stop words "the", "of": mean length 3.97; each case changes one thing.
QUALITY = [
    (_words(50), None),
    (_words(49), "too_few_words"),
    (_words(49) + " - - - - -", "too_few_words"),  # punctuation is no word here ...
    (_words(100_000), None),
    (_words(100_001), "too_many_words"),
    (_words(96, "abc", "the and"), None),  # mean exactly 3
    (_words(96, "ab", "the and"), "words_too_short"),
    (_words(100, "a" * 10, "that have"), None),
    (_words(100, "a" * 11, ""), "words_too_long"),
    (_words(90) + " #" * 10, None),  # ... but counts in ratios: 10 of 100 words
    (_words(89) + " #" * 11, "too_many_hashes"),
    (_words(89) + " ..." * 5 + " …" * 5 + " moon", None),
    (_words(88) + " ..." * 6 + " …" * 5 + " moon", "too_many_ellipses"),
    ("\n".join([_words(60), *["- moon"] * 8, "• moon"]), None),  # 9 of 10 lines
    ("\n".join([_words(60), *["- moon"] * 9, "  • moon"]), "too_many_bullet_lines"),  # 10 of 11
    ("\n".join(["the of moon moon moon moon moon moon moon moon"] * 7 + ["moon moon moon moon..."] * 3), None),
    ("\n".join(["the of moon moon moon moon moon moon moon moon"] * 6 + ["moon moon moon moon…  "] * 4),
     "too_many_ellipsis_lines"),
    (_words(80) + " 1234" * 20, None),
    (_words(79) + " 1234" * 21, "too_few_words_with_letters"),
    (_words(79) + " ;" * 21, "too_few_words_with_letters"),  # marks count as words without letters
    (_words(100, stops="the"), "too_few_stop_words"),
    (_words(100, stops="the the the"), "too_few_stop_words"),  # once each (DCLM would count three)
    (_words(100, stops="The With"), "too_few_stop_words"),  # lower case only
    (_words(100, stops="that with"), None),
]  # fmt: skip


@pytest.mark.parametrize(("text", "rule"), QUALITY)
def test_gopher_quality(text: str, rule: str | None) -> None:
    assert _quality(text) == rule


def _with_share(repeated: int, fresh: int, n: int) -> str:
    """A run of ``n`` words ``repeated`` + 1 times, always after a fresh word, then ``fresh`` unlike words."""
    run = " ".join(f"r{number}" for number in range(n))
    parts = [f"{run} x{number:04d}" for number in range(repeated + 1)]
    return " ".join([*parts, _distinct(fresh)])


REPETITION = [
    (_distinct(200), None),
    # One pair in four lines: .25 when repeats are counted, .50 if all copies were (DCLM, Dolma).
    ("\n".join(["ab", "ab", _distinct(40), _distinct(40, 50)]), None),
    ("\n".join([*["ab"] * 3, _distinct(40), _distinct(40, 50)]), "dup_line_frac"),  # 2 of 5 = .4
    ("\n".join([*["ab"] * 4, *(_distinct(40, 50 * number) for number in range(6))]), None),  # 3 of 10 = .3
    # Blank lines are not lines: split on \n+.
    ("\n\n".join(["ab", _distinct(40), _distinct(40, 50)]), None),
    ("\n\n".join([*["ab"] * 3, _distinct(40), _distinct(40, 50)]), "dup_para_frac"),
    ("\n\n".join([_distinct(25), _distinct(25), _distinct(25, 50), _distinct(25, 100)]), "dup_para_char_frac"),  # .25
    ("\n\n".join([_distinct(20), _distinct(20), *(_distinct(20, 50 * n) for n in range(1, 5))]),
     "duplicated_9_n_grams"),  # .17 of the lines is well, and .13 in runs of 5 words, but not .12 in runs of 9
    ("\n".join([_distinct(25), _distinct(25), _distinct(25, 50), _distinct(25, 100)]), "dup_line_char_frac"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "rule"), REPETITION)
def test_gopher_repetition(text: str, rule: str | None) -> None:
    assert _repetition(text) == rule


@pytest.mark.parametrize(("n", "share"), GopherRepetition().top_n_grams)
def test_top_n_grams_on_both_sides(n: int, share: float) -> None:
    gram = " ".join(f"g{number}" for number in range(n))
    only = GopherRepetition(dup_n_grams=(), top_n_grams=((n, share),))

    def text(fresh: int) -> str:
        return " ".join(f"{gram} {_distinct(fresh, fresh * number)}" for number in range(20))

    verdicts = []
    for fresh in range(1, 12):
        measured = 20 * len(gram) / len(text(fresh))
        refusal = gopher_repetition(split(text(fresh)), only)
        assert (refusal.rule if refusal else None) == (f"top_{n}_gram" if measured > share else None)
        verdicts.append(refusal is None)
    assert set(verdicts) == {True, False}


@pytest.mark.parametrize(("n", "share"), GopherRepetition().dup_n_grams)
def test_duplicate_n_grams_on_both_sides(n: int, share: float) -> None:
    only = GopherRepetition(top_n_grams=(), dup_n_grams=((n, share),))
    glued = sum(len(f"r{number}") for number in range(n))  # joined without spaces
    verdicts = []
    for fresh in range(0, 150, 3):
        text = _with_share(5, fresh, n)
        refusal = gopher_repetition(split(text), only)
        expected = f"duplicated_{n}_n_grams" if 5 * glued / len(text) > share else None
        assert (refusal.rule if refusal else None) == expected
        verdicts.append(refusal is None)
    assert set(verdicts) == {True, False}


def _plain_repeated_chars(words: list[str], n: int) -> int:
    seen: set[str] = set()
    chars = at = 0
    while at <= len(words) - n:
        run = "".join(words[at : at + n])
        step = 1
        if run in seen:
            chars += len(run)
            step = n
        seen.add(run)
        at += step
    return chars


def _plain_top_chars(words: list[str], n: int) -> int:
    runs = Counter(" ".join(words[at : at + n]) for at in range(len(words) - n + 1))
    return len(runs.most_common(1)[0][0]) * runs.most_common(1)[0][1] if runs else 0


@settings(max_examples=80, deadline=None)
@given(st.randoms(use_true_random=False))
def test_fast_n_grams_equal_slow_ones(draw: random.Random) -> None:
    # "a" and "aa" make runs whose glued texts agree though their words differ; 😀 takes more than 16 bits.
    vocabulary = ["a", "aa", "b", "ab", "😀", "c"][: draw.randint(1, 6)]
    words = [draw.choice(vocabulary) for _ in range(draw.randint(1, 80))]
    ranks, hashes = WordRanks(words), WordHashes(words)
    for n in (2, 3, 4):
        assert ranks.top_ngram_chars(n) == _plain_top_chars(words, n)
    for n in (5, 6, 10):
        assert hashes.repeated_chars(n) == _plain_repeated_chars(words, n)


LONG = "The moon rose slowly over the quiet hills"  # 41 characters, no end mark

FINEWEB = [
    ("\n".join([*[f"{LONG} {n}" for n in range(22)], f"{LONG}.", f"{LONG}!", f"{LONG}?"]), None),  # 3 of 25 = .12
    ("\n".join([*[f"{LONG} {n}" for n in range(23)], f"{LONG}.", f"{LONG}!"]), "too_few_sentence_lines"),  # .08
    ("\n".join([f"{LONG} {n}" for n in range(5)] + [f"{LONG} {n}.”" for n in range(5)]), None),
    ("\n".join([f"Short line of {n} words here." for n in range(2)] + [f"{LONG}."]), None),  # 2 of 3 = .667
    ("\n".join([f"Short line of {n} words here." for n in range(7)] + [f"{LONG} {n}." for n in range(3)]),
     "too_many_short_lines"),
    ("\n".join(["x" * 27 + " a.", "y" * 27 + " a.", "z" * 27 + " a.", "w" * 28 + " a."]), "too_many_short_lines"),
    ("\n".join([c * 28 + " a." for c in "xyzw"]), None),  # 31 characters are not short
    ("\n".join([*[f"{LONG} {n:02d}." for n in range(60)], "One two three four.", "One two three four."]), None),  # .007
    ("\n".join([*[f"{LONG} {n:02d}." for n in range(30)], "One two three four.", "One two three four."]),
     "repeated_line_chars"),
    ("\n\n".join(f"{'a' * 40} {'b' * 40} {n} ok." for n in range(20)), "too_many_line_breaks"),  # 38 breaks, 100 words
    ("\n".join(f"{'a' * 40} {'b' * 40} {n} ok." for n in range(20)), None),  # 19 of 100
]  # fmt: skip


@pytest.mark.parametrize(("text", "rule"), FINEWEB)
def test_fineweb(text: str, rule: str | None) -> None:
    assert _fineweb(text) == rule


def test_words_and_lines() -> None:
    parts = split('He said: "don\'t—3.14…"\n\nÀ l’heure_x')
    assert parts.words == ("He", "said", ":", '"', "don't", "—", "3", ".", "14", '…"', "À", "l’heure_x")
    assert parts.lines == ('He said: "don\'t—3.14…"', "", "À l’heure_x")


@pytest.mark.parametrize("text", ["", "\n", "!!!", "…", "#", "\n\n-\n\n", "日本語", "a" * 5000])
def test_odd_texts_break_nothing(text: str) -> None:
    for verdict in (_quality, _repetition, _fineweb):
        verdict(text)
    assert _quality(text) == "too_few_words"
