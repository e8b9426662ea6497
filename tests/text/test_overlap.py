from __future__ import annotations

import random

from hypothesis import given, settings
from hypothesis import strategies as st

from groundup.text.overlap import NGRAM_WORDS, SHORTEST_ITEM_WORDS, Hit, OverlapIndex, evidence, words_of

WORDS = [f"w{number}" for number in range(30)]


def _brute_force(items: list[tuple[str, str, str]], text: str) -> dict[tuple[str, str], int]:
    """Distinct shared runs by comparing every run of words with every other."""
    words = words_of(text)
    shared: dict[tuple[str, str], set[tuple[str, ...]]] = {}
    for benchmark, item, item_text in items:
        other = words_of(item_text)
        length = min(len(other), NGRAM_WORDS)
        if length < SHORTEST_ITEM_WORDS:
            continue
        for start in range(len(other) - length + 1):
            run = other[start : start + length]
            if any(words[at : at + length] == run for at in range(len(words) - length + 1)):
                shared.setdefault((benchmark, item), set()).add(tuple(run))
    return {key: len(runs) for key, runs in shared.items()}


@settings(max_examples=60, deadline=None)
@given(st.randoms(use_true_random=False))
def test_find_equals_brute_force(draw: random.Random) -> None:
    # Few words make runs repeat; slices of items are planted with new punctuation and case.
    items = []
    for number in range(draw.randint(1, 6)):
        words = [draw.choice(WORDS[: draw.choice([2, 30])]) for _ in range(draw.randint(1, 30))]
        items.append((draw.choice("ab"), str(number % 4), " ".join(words)))
    text = [draw.choice(WORDS) for _ in range(draw.randint(0, 40))]
    for _, _, item in items:
        words = item.split()
        start = draw.randint(0, len(words) - 1)
        text += [word.upper() + draw.choice(["", ",", " —"]) for word in words[start : start + draw.randint(1, 20)]]
        text += [draw.choice(WORDS)]
    found = OverlapIndex.build(items).find(" ".join(text))
    assert {(hit.benchmark, hit.item_id): hit.ngrams for hit in found} == _brute_force(items, " ".join(text))
    assert [hit.ngrams for hit in found] == sorted((hit.ngrams for hit in found), reverse=True)


def test_thresholds_of_length() -> None:
    long = " ".join(f"a{n}" for n in range(20))
    items = [("b", "long", long), ("b", "five", "one two three four five"), ("b", "four", "six seven eight nine")]
    index = OverlapIndex.build(items)
    assert index.too_short == 1
    first_13, first_12 = (" ".join(long.split()[:count]) for count in (13, 12))
    assert [(hit.item_id, hit.ngrams, hit.whole) for hit in index.find(f"x {first_13} y")] == [("long", 1, False)]
    assert index.find(f"x {first_12} y") == []
    assert [(hit.item_id, hit.whole) for hit in index.find("x one TWO, three four five.")] == [("five", True)]
    assert index.find("one two three four") == []
    assert index.find("six seven eight nine") == []
    assert [(hit.ngrams, hit.whole) for hit in index.find(long)] == [(8, True)]
    assert OverlapIndex.build([]).find(long) == []


def test_normalisation() -> None:
    assert words_of("Don’t DON'T, x_y—1.5\nÀÉ") == ["dont", "dont", "x", "y", "1", "5", "àé"]


def test_set_phrases_are_no_evidence_but_whole_items_are() -> None:
    # From the paper: a 13-gram in more than 10 documents is ignored.
    phrase = " ".join(f"p{n}" for n in range(13))
    index = OverlapIndex.build([("b", "1", f"{phrase} and then a dragon came")])
    hits = index.find(f"{phrase} but nothing came")
    assert evidence([hits] * 10) == [hits[0]] * 10
    assert evidence([hits] * 11) == [None] * 11
    whole = index.find(f"{phrase} and then a dragon came by")
    assert evidence([whole] * 11)[0] == whole[0]
    # A rare run beside the phrase is evidence for its document alone.
    rare = index.find(f"{phrase} and nothing")
    assert evidence([*([hits] * 11), rare])[-1] == rare[0]
    assert evidence([*([hits] * 11), rare])[:11] == [None] * 11
    assert evidence([[], []]) == [None, None]


def test_a_later_hit_can_be_the_evidence() -> None:
    common = Hit("b", "common", 3, False, frozenset({1, 2, 3}))
    rare = Hit("b", "rare", 1, False, frozenset({9}))
    assert evidence([[common]] * 11 + [[common, rare]])[-1] == rare
