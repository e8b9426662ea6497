"""Which near duplicates stay: against the rule applied one by one, on families, chains and giant buckets."""

from __future__ import annotations

import time

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from groundup.stages.curate.duplicates import survivors as survivors_module
from groundup.stages.curate.duplicates.minhash import band_keys, catch_probability, shingle_sets
from groundup.stages.curate.duplicates.similarity import Ints, ShingleTable, TextTable, verify_pairs
from groundup.stages.curate.duplicates.survivors import Buckets, buckets_of, by_right_to_stay, joined, survivors
from groundup.stages.curate.engine.columns import Lists, texts

Sets = list[set[int]]


def store_of(sets: Sets) -> ShingleTable:
    offsets = np.concatenate([[0], np.cumsum([len(each) for each in sets])]).astype(np.int64)
    return ShingleTable(Lists(np.array([value for each in sets for value in sorted(each)], np.uint64), offsets))


def jaccard(a: set[int], b: set[int]) -> float:
    return len(a & b) / len(a | b) if a | b else 1.0


def one_by_one(buckets: Buckets, sets: Sets, threshold: float, most: int) -> dict[int, tuple[int, float]]:
    """The rule as it is written, in order of right to stay."""
    where: dict[int, list[int]] = {}
    for bucket, (start, stop) in enumerate(zip(buckets.offsets[:-1], buckets.offsets[1:], strict=True)):
        for member in buckets.members[start:stop].tolist():
            where.setdefault(member, []).append(bucket)
    kept: dict[int, list[int]] = {}
    gone = {}
    for document in sorted(where):
        candidates = {other for bucket in where[document] for other in kept.get(bucket, [])[:most]}
        best, survivor = max(((jaccard(sets[document], sets[n]), -n) for n in candidates), default=(0.0, 1))
        if candidates and best >= threshold:
            gone[document] = (-survivor, best)
        else:
            for bucket in where[document]:
                kept.setdefault(bucket, []).append(document)
    return gone


@given(
    st.lists(st.sets(st.integers(0, 11), min_size=0, max_size=9), min_size=2, max_size=30),
    st.lists(st.tuples(st.integers(0, 9), st.integers(0, 29)), max_size=90),
    st.sampled_from([0.3, 0.5, 0.7, 1.0]),
    st.integers(1, 4),
    st.integers(1, 50),
    st.randoms(use_true_random=False),
)
@settings(max_examples=150, deadline=None)
def test_rounds_decide_as_one_by_one(sets, rows, threshold, most, budget, chance) -> None:  # type: ignore[no-untyped-def]
    rows = [(key, document) for key, document in rows if document < len(sets)]
    results = []
    for _ in range(2):  # in any order, in one part or two
        chance.shuffle(rows)
        keys, documents = np.array([r[0] for r in rows], np.uint64), np.array([r[1] for r in rows], np.int64)
        low = keys < chance.randint(0, 10)
        parts = [buckets_of(keys[part], documents[part]) for part in (low, ~low)]
        buckets = joined(parts)
        twins = survivors(buckets, store_of(sets), threshold, most, budget)
        results.append(
            {d: (s, j) for d, s, j in zip(twins.dropped.tolist(), twins.survivor.tolist(), twins.jaccard.tolist())}  # noqa: B905
        )
        assert results[-1] == one_by_one(buckets, sets, threshold, most)
    assert results[0] == results[1]
    assert not set(results[0]) & {survivor for survivor, _ in results[0].values()}


@given(
    st.lists(st.sets(st.integers(0, 11), min_size=0, max_size=9), min_size=2, max_size=20),
    st.lists(st.sets(st.integers(0, 19), min_size=2, max_size=8), min_size=1, max_size=12),
    st.lists(st.integers(0, 11), max_size=12),
    st.integers(1, 4),
    st.booleans(),
)
@settings(max_examples=100, deadline=None)
def test_equal_buckets_change_nothing(sets, buckets, again, most, wide) -> None:  # type: ignore[no-untyped-def]
    """Neither their number nor the width of the integers that the search counts with."""
    buckets = [sorted(member % len(sets) for member in bucket) for bucket in buckets]
    buckets = [sorted(set(bucket)) for bucket in buckets if len(set(bucket)) > 1]
    several = [*buckets, *(buckets[at] for at in again if at < len(buckets))]
    members = np.array([member for bucket in several for member in bucket], np.int32 if wide else np.int64)
    every = Buckets(members, np.concatenate([[0], np.cumsum([len(bucket) for bucket in several])]).astype(np.int64))
    once = joined([every])
    assert len(once) == len({tuple(bucket) for bucket in buckets})
    with pytest.MonkeyPatch.context() as patch:
        if wide:
            patch.setattr(survivors_module, "_INT32", 0)
        patch.setattr(survivors_module, "_VERIFIED_AT_ONCE", 3)
        with_all = survivors(every, store_of(sets), 0.5, most)
    without = survivors(once, store_of(sets), 0.5, most)
    for one, other in zip(vars(with_all).values(), vars(without).values(), strict=True):
        assert one.tolist() == other.tolist()
    found = zip(without.dropped.tolist(), without.survivor.tolist(), without.jaccard.tolist(), strict=True)
    assert {d: (s, j) for d, s, j in found} == one_by_one(every, sets, 0.5, most)


def test_a_chain_does_not_pull_in_what_is_unlike_the_survivor() -> None:
    a, b, c = set(range(100)), set(range(12, 112)), set(range(24, 124))
    assert jaccard(a, b) == jaccard(b, c) > 0.75 > jaccard(a, c)
    everyone = Buckets(np.array([0, 1, 2]), np.array([0, 3]))
    twins = survivors(everyone, store_of([a, b, c]), 0.75)
    assert (twins.dropped.tolist(), twins.survivor.tolist()) == ([1], [0])
    twins = survivors(everyone, store_of([b, a, c]), 0.75)  # the middle one has most right: both are like it
    assert (twins.dropped.tolist(), twins.survivor.tolist()) == ([1, 2], [0, 0])


def test_the_longest_stays_and_of_equals_the_lower_id() -> None:
    assert by_right_to_stay(np.array([5, 9, 9, 1]), ["a", "d", "c", "b"]).tolist() == [2, 1, 0, 3]
    ids = np.array([[1, 0], [2, 0], [1, 2**64 - 1], [0, 0]], np.uint64)
    assert by_right_to_stay(np.array([9, 9, 9, 1]), ids).tolist() == [0, 2, 1, 3]


@pytest.mark.parametrize("alike", [True, False])
def test_a_giant_bucket_takes_linear_time(alike: bool) -> None:
    chance = np.random.default_rng(3)
    seconds = []
    for count in (1_000, 10_000):
        values = chance.integers(0, 2**64, (count, 40), dtype=np.uint64)
        sets = Lists(
            np.sort(values[:1].repeat(count, 0) if alike else values, axis=1).reshape(-1), np.arange(count + 1) * 40
        )
        keys, documents = np.tile(np.arange(14, dtype=np.uint64), count), np.repeat(np.arange(count), 14)
        survivors(buckets_of(keys[:28], documents[:28]), ShingleTable(sets), 0.8)  # compiled
        start = time.process_time()
        buckets = buckets_of(keys, documents)
        twins = survivors(buckets, ShingleTable(sets), 0.8)
        seconds.append(time.process_time() - start)
        assert len(joined([buckets])) == 1
        assert twins.dropped.tolist() == (list(range(1, count)) if alike else [])
        assert set(twins.survivor.tolist()) == ({0} if alike else set())
    assert seconds[1] < 40 * max(seconds[0], 0.02)  # quadratic: 100


def test_verification_is_exact_whatever_fits_in_memory() -> None:
    chance = np.random.default_rng(0)
    sets: Sets = [set(chance.integers(0, 60, chance.integers(0, 50)).tolist()) for _ in range(40)]
    pairs: Ints = chance.integers(0, 40, (400, 2))
    expected = [jaccard(sets[a], sets[b]) for a, b in pairs.tolist()]
    for budget in (1, 100, 10**6):
        assert verify_pairs(pairs, store_of(sets), 0.0, budget).tolist() == expected
    cut = verify_pairs(pairs, store_of(sets), 0.4)
    assert cut.tolist() == [value if value >= 0.4 else 0.0 for value in expected]


def word(number: int) -> str:
    """A word of letters alone (digits are all one in the normal form), another for each number."""
    return "".join(chr(97 + int(digit)) for digit in str(number))


def families(count: int, seed: int) -> list[tuple[str, str]]:
    """Pairs of texts of 150 words; a word of the second is another with a chance that gives Jaccards from 0.4 to 1."""
    chance = np.random.default_rng(seed)
    pairs = []
    for _ in range(count):
        words = chance.integers(0, 50_000, 150)
        edited = np.where(chance.random(150) < chance.uniform(0, 0.12), chance.integers(50_000, 10**6, 150), words)
        pairs.append((" ".join(map(word, words.tolist())), " ".join(map(word, edited.tolist()))))
    return pairs


def test_planted_families_are_found_at_the_rate_of_theory_and_no_other_pair() -> None:
    pairs = families(4_000, 1)
    rows = texts(pa.record_batch({"text": pa.array([text for pair in pairs for text in pair], pa.large_string())}))
    keys, _ = band_keys(rows, 5, 14, 8)
    shingles = []
    for pair in pairs:
        for text in pair:
            words = text.split()
            shingles.append({tuple(words[at : at + 5]) for at in range(len(words) - 4)})
    true = np.array([len(a & b) / len(a | b) for a, b in zip(shingles[::2], shingles[1::2], strict=True)])
    buckets = buckets_of(keys.reshape(-1), np.repeat(np.arange(len(rows.offsets) - 1), 14))
    twins = survivors(buckets, TextTable(rows, 5), 0.5)
    found = dict(zip(twins.dropped.tolist(), twins.jaccard.tolist(), strict=True))
    assert (twins.dropped == twins.survivor + 1).all() and (twins.survivor % 2 == 0).all()  # no false pair
    for document, value in found.items():
        assert value == pytest.approx(true[document // 2])
    caught = np.array([2 * pair + 1 in found for pair in range(len(pairs))])
    for low, high in ((0.5, 0.7), (0.7, 0.85), (0.85, 1.0)):
        inside = (true >= low) & (true < high)
        theory = np.mean([catch_probability(value, 14, 8) for value in true[inside].tolist()])
        assert inside.sum() > 400
        error = np.sqrt(theory * (1 - theory) / inside.sum())
        assert abs(caught[inside].mean() - theory) < 0.02 + error
    above = true >= 0.5
    theory = np.mean([catch_probability(value, 14, 8) for value in true[above].tolist()])
    assert abs(caught[above].mean() - theory) < 0.02


def test_a_store_of_texts_is_a_store_of_sets() -> None:
    rows = texts(pa.record_batch({"text": pa.array(["a b c d e f", "", "g h", "a b c d e g"], pa.large_string())}))
    made, stored = TextTable(rows, 5), ShingleTable(shingle_sets(rows, 5))
    asked = np.array([3, 0, 2, 1, 3])
    for one, other in zip(made.load(asked), stored.load(asked), strict=True):
        assert one.tolist() == other.tolist()
    assert (made.sizes(asked) >= stored.sizes(asked)).all()


def test_nothing_in_nothing_out() -> None:
    empty = buckets_of(np.zeros(0, np.uint64), np.zeros(0, np.int64))
    assert len(joined([])) == len(joined([empty])) == len(empty) == 0
    assert len(survivors(empty, store_of([]), 0.8).dropped) == 0
    assert len(buckets_of(np.array([1, 2, 1], np.uint64), np.array([5, 6, 5]))) == 0
