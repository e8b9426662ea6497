"""Exact and near duplicates: recall against theory, no false pair, no chains, no order."""

from __future__ import annotations

import random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from groundup.stages.curate.dedup import Fingerprint, exact_key, exact_twins, near_twins
from groundup.stages.curate.minhash import Hashes, band_keys, catch_probability, jaccard, shingles

NONE = np.zeros(0, np.uint64)


def _word(number: int) -> str:
    """A word without digits, which the normal form would make 0."""
    return "".join(chr(97 + int(digit)) for digit in str(number))


def _print(name: str, text: str, bands: int = 14, rows: int = 8) -> Fingerprint:
    runs = shingles(text.split(), 5)
    return Fingerprint(name, len(text), exact_key(text), band_keys(runs, bands, rows), runs)


def _pair(similarity: float, size: int, draw: random.Random) -> tuple[Hashes, Hashes]:
    """Two sets of about ``size`` random hashes with just this Jaccard similarity."""
    shared = round(2 * size * similarity / (1 + similarity))
    total = shared + 2 * (size - shared)
    values = np.array([draw.getrandbits(64) for _ in range(total)], np.uint64)
    a, b = np.sort(values[:size]), np.sort(np.concatenate([values[:shared], values[size:]]))
    assert abs(jaccard(a, b) - similarity) < 0.01
    return a, b


# The table of published curves: FineWeb's 14 bands of 8 rows.
@pytest.mark.parametrize(("similarity", "published"), [(0.7, 0.565), (0.75, 0.772), (0.8, 0.924), (0.85, 0.988)])
def test_recall_is_what_theory_says(similarity: float, published: float) -> None:
    assert catch_probability(similarity, 14, 8) == pytest.approx(published, abs=0.001)
    draw = random.Random(round(similarity * 100))
    trials = 400
    caught = sum(
        bool((band_keys(a, 14, 8) == band_keys(b, 14, 8)).any())
        for a, b in (_pair(similarity, 200, draw) for _ in range(trials))
    )
    error = 4 * np.sqrt(published * (1 - published) / trials) + 0.01
    assert caught / trials == pytest.approx(published, abs=error)


def test_unlike_sets_are_no_candidates() -> None:
    draw = random.Random(0)
    pairs = [_pair(0.2, 100, draw) for _ in range(300)]
    assert not any((band_keys(a, 14, 8) == band_keys(b, 14, 8)).any() for a, b in pairs)


@given(st.sets(st.integers(0, 50)), st.sets(st.integers(0, 50)))
def test_jaccard_is_that_of_sets(a: set[int], b: set[int]) -> None:
    expected = len(a & b) / len(a | b) if a | b else 1.0
    assert jaccard(np.array(sorted(a), np.uint64), np.array(sorted(b), np.uint64)) == pytest.approx(expected)


def test_shingles_follow_the_normal_form() -> None:
    one = shingles(["The", "CAFÉ", "—", "opened,", "in", "1999", "!"], 5)
    assert np.array_equal(one, shingles(["the", "cafe\u0301", "opened", "in", "2"], 5))
    assert len(one) == 1
    assert len(shingles([f"w{chr(97 + n)}" for n in range(20)], 5)) == 16
    assert len(shingles(["a", "b"], 5)) == 1
    assert len(shingles(["—", "!"], 5)) == 0
    assert not np.array_equal(shingles(["a", "b", "c"], 5), shingles(["a", "c", "b"], 5))


def _families(draw: random.Random) -> tuple[list[str], list[int]]:
    """Texts, and the family of each: members differ from their first in a few words."""
    texts, family = [], []
    for number in range(12):
        base = [f"f{_word(number)}w{_word(draw.randint(0, 500))}" for _ in range(120)]
        for _ in range(draw.randint(1, 4)):
            changed = list(base)
            for _ in range(draw.randint(0, 3)):
                changed[draw.randrange(len(changed))] = f"edit{_word(draw.getrandbits(40))}"
            texts.append(" ".join(changed))
            family.append(number)
    return texts, family


def test_planted_families_without_a_false_pair() -> None:
    texts, family = _families(random.Random(5))
    prints = [_print(f"{number:03d}", text) for number, text in enumerate(texts)]
    twins = near_twins(prints, 0.75)
    dropped = {twin.dropped for twin in twins}
    for twin in twins:
        assert family[twin.dropped] == family[twin.kept]
        assert twin.kept not in dropped
        assert twin.jaccard == jaccard(prints[twin.dropped].shingles, prints[twin.kept].shingles) >= 0.75
    # Brute force over all pairs: what stays has no verified twin that LSH should have found with near certainty.
    left = [number for number in range(len(texts)) if number not in dropped]
    missed = [(a, b) for a in left for b in left if a < b and jaccard(prints[a].shingles, prints[b].shingles) >= 0.9]
    assert missed == []
    assert len(dropped) > 5


def test_chains_are_not_followed() -> None:
    # b is like a, and c like b, but c is unlike a: c must stay once b is gone.
    words = [f"w{_word(number)}" for number in range(200)]
    a, b, c = (" ".join(words[start : start + 140]) for start in (0, 14, 28))
    prints = [_print("a", a, 40, 2), _print("b", b + " x", 40, 2), _print("c", c, 40, 2)]
    assert jaccard(prints[0].shingles, prints[1].shingles) > 0.75
    assert jaccard(prints[1].shingles, prints[2].shingles) > 0.75
    assert jaccard(prints[0].shingles, prints[2].shingles) < 0.75

    def twins(*chars: int) -> set[tuple[int, int]]:
        sized = [Fingerprint(p.id, size, p.exact, p.bands, p.shingles) for p, size in zip(prints, chars, strict=True)]
        return {(twin.dropped, twin.kept) for twin in near_twins(sized, 0.75)}

    assert twins(3, 2, 1) == {(1, 0)}  # a stays, b goes, and c has no twin left
    assert twins(2, 3, 1) == {(0, 1), (2, 1)}  # b stays, being longest; both others are like it


@settings(max_examples=20, deadline=None)
@given(st.randoms(use_true_random=False))
def test_order_does_not_matter(draw: random.Random) -> None:
    texts, _ = _families(random.Random(7))
    texts += texts[:5]
    prints = [_print(f"{number:03d}", text) for number, text in enumerate(texts)]
    shuffled = prints.copy()
    draw.shuffle(shuffled)

    def named(some: list[Fingerprint]) -> set[tuple[str, str]]:
        twins = [*exact_twins(some), *near_twins(some, 0.75)]
        return {(some[twin.dropped].id, some[twin.kept].id) for twin in twins}

    assert named(prints) == named(shuffled)


def test_exact_duplicates_differ_in_case_and_space_at_most() -> None:
    assert exact_key("The  Moon\nrose") == exact_key(" the moon ROSE ")
    assert exact_key("The moon rose.") != exact_key("The moon rose")
    prints = [Fingerprint(name, chars, key, NONE, NONE) for name, chars, key in
              [("b", 5, b"x"), ("a", 5, b"x"), ("c", 6, b"x"), ("d", 9, b"y")]]  # fmt: skip
    assert {(twin.dropped, twin.kept) for twin in exact_twins(prints)} == {(0, 2), (1, 2)}
    assert near_twins(prints, 0.75) == []  # without MinHash keys nothing is a near duplicate
