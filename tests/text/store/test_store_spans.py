"""The index of spans against brute force: what is kept, what is found, and what it is when damaged."""

from __future__ import annotations

import json
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from groundup.base.errors import ArtifactError
from groundup.text.store import spans, spans_search
from groundup.text.store.spans import GRAM, PROMISE, WINDOW, Spans, build, grams_of
from groundup.text.store.spans_kernels import sort_pairs
from groundup.text.store.spans_search import Found, search
from groundup.text.store.spans_text import Grams, Spelled, Text

DIGEST = "ab" * 32
STOP = 0


def alphabet(size: int) -> Spelled:
    """A vocabulary of two letters a token, no two tokens with a letter in common; id 0 is special."""
    pieces = [b""] + [bytes([2 * one, 2 * one + 1]) for one in range(1, size)]
    at = np.cumsum([0, *map(len, pieces)]).astype(np.int64)
    stops = np.array([not piece for piece in pieces])
    return Spelled(np.frombuffer(b"".join(pieces), np.uint8), at, stops, {}, True)


def as_text(ids: Sequence[int], spelled: Spelled) -> Text:
    """A text of these ids, looked up by its own k-grams alone."""
    numbers = np.array(ids, np.int64)
    begins = 2 * np.arange(len(ids) + 1)
    hashes = grams_of(numbers)
    grams = Grams(hashes, begins[: len(hashes)], np.zeros(len(hashes), np.int64))
    return Text(
        "", numbers, np.frombuffer(spelled.spell(ids), np.uint8), begins, np.stack([begins[:-1], begins[1:]]), grams
    )


def index(folder: Path, documents: Sequence[Sequence[int]], size: int, dtype: str = "u2") -> tuple[Any, Any, Spans]:
    ids = np.array([one for document in documents for one in document], dtype)
    offsets = np.cumsum([0, *map(len, documents)]).astype(np.int64)
    build(folder, ids, offsets, alphabet(size).stops, DIGEST)
    return ids, offsets, Spans.open(folder, DIGEST, len(ids))


def found_in(made: tuple[Any, Any, Spans], size: int, ids: Sequence[int], least: int = PROMISE) -> Found:
    tokens, offsets, opened = made
    spelled = alphabet(size)
    return search(opened, tokens, offsets, spelled, as_text(ids, spelled), least)


def by_hand(documents: Sequence[Sequence[int]], text: Sequence[int], least: int) -> set[tuple[int, int, int]]:
    """(document, start, end) of the longest common stretches without a stop, found by comparing everything."""
    result = set()
    for number, document in enumerate(documents):
        runs = set()
        before = [0] * (len(document) + 1)
        for at in range(len(text) + 1):
            now = [0] * (len(document) + 1)
            for place in range(len(document)) if at < len(text) else ():
                if document[place] == text[at] != STOP:
                    now[place + 1] = before[place] + 1
            for place, length in enumerate(before):
                goes_on = place < len(document) and at < len(text) and document[place] == text[at] != STOP
                if length >= least and not goes_on:
                    runs.add((at - length, at))
            before = now
        result |= {(number, a, b) for a, b in runs if not any(c <= a and b <= d and (a, b) != (c, d) for c, d in runs)}
    return result


def rows(found: Found) -> set[tuple[int, int, int]]:
    return {
        (document, start // 2, end // 2)
        for document, start, end in zip(
            found.documents.tolist(), found.starts.tolist(), found.ends.tolist(), strict=True
        )
    }


def winnowed(hashes: Sequence[int]) -> set[int]:
    """Robust winnowing as the paper's figure 5 has it: keep the last choice while it is a least one, else the right."""
    chosen: set[int] = set()
    last = -1
    if 0 < len(hashes) < WINDOW:
        return {max(at for at, one in enumerate(hashes) if one == min(hashes))}
    for start in range(len(hashes) - WINDOW + 1):
        window = hashes[start : start + WINDOW]
        if not (last >= start and hashes[last] == min(window)):
            last = start + max(at for at, one in enumerate(window) if one == min(window))
        chosen.add(last)
    return chosen


def draw(seed: int, size: int, count: int, most: int) -> list[list[int]]:
    rng = np.random.default_rng(seed)
    return [rng.integers(0 if rng.random() < 0.3 else 1, size, rng.integers(0, most)).tolist() for _ in range(count)]


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(seed=st.integers(0, 2**32), size=st.sampled_from([2, 3, 5, 100]))
def test_places_kept_are_those_of_the_paper(seed: int, size: int, tmp_path: Path) -> None:
    documents = draw(seed, size, 6, 120)
    ids, offsets, made = index(tmp_path / "i", documents, size)
    want: dict[int, int] = {}
    for document, first in zip(documents, offsets.tolist(), strict=False):
        cuts = [-1, *(at for at, one in enumerate(document) if one == STOP), len(document)]
        for left, right in pairwise(cuts):
            hashes = grams_of(np.array(document[left + 1 : right], np.int64)).tolist()
            want |= {first + left + 1 + at: hashes[at] for at in winnowed(hashes)}
    assert sorted(made.places.tolist()) == sorted(want)
    hashes = [want[place] for place in made.places.tolist()]
    bits = made.about.bits + 32
    assert [one >> (64 - bits) for one in hashes] == sorted(one >> (64 - bits) for one in hashes)
    assert made.counts.tolist() == np.bincount(ids, minlength=size).tolist()
    low, high = made.look_up(np.array(hashes, np.uint64))
    assert all(place in made.places[a:b] for place, a, b in zip(made.places, low, high, strict=True))


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(seed=st.integers(0, 2**32), size=st.sampled_from([3, 5, 100]), chunk=st.sampled_from([1, 7, 40, 10**6]))
def test_all_that_is_common_is_found_and_nothing_else(seed: int, size: int, chunk: int, tmp_path: Path) -> None:
    documents = draw(seed, size, 8, 150)
    rng, text = np.random.default_rng(seed + 1), []
    for _ in range(4):  # stretches of the documents at any place, of 20 tokens and around it, between others
        document = documents[rng.integers(len(documents))]
        start = int(rng.integers(len(document) + 1))
        text += document[start : start + int(rng.integers(15, 60))] + rng.integers(1, size, rng.integers(0, 9)).tolist()
    text = [one or 1 for one in text]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(spans, "_CHUNK", chunk)
        made = index(tmp_path / "i", documents, size)
    assert rows(found_in(made, size, text)) == by_hand(documents, text, PROMISE)


@pytest.mark.parametrize("dtype", ["u2", "i4"])
@pytest.mark.parametrize("length", [20, 21, 33, 64])
def test_planted_spans_are_found_at_every_alignment(length: int, dtype: str, tmp_path: Path) -> None:
    rng = np.random.default_rng(length)
    documents = [rng.integers(1, 100, 130).tolist() for _ in range(5)]
    made = index(tmp_path / "i", documents, 100, dtype)
    for number, document in enumerate(documents):
        for start in range(len(document) - length + 1):
            inside = document[start : start + length]
            text = [document[start - 1] % 99 + 1 if start else 1, *inside, 1]
            got = rows(found_in(made, 100, text))
            assert (number, 1, 1 + length) in got or any(
                one == number and a <= 1 and b >= 1 + length for one, a, b in got
            )


def test_shorter_spans_are_told_if_asked_and_only_true_ones(tmp_path: Path) -> None:
    rng = np.random.default_rng(3)
    documents = [rng.integers(1, 100, 200).tolist() for _ in range(10)]
    made = index(tmp_path / "i", documents, 100)
    text = [one for document in documents for one in [*document[50:62], 7]]
    assert rows(found_in(made, 100, text)) == set()
    got, want = rows(found_in(made, 100, text, GRAM)), by_hand(documents, text, GRAM)
    assert got <= want and len(got) >= 5
    short = [documents[3][:12]]  # a whole document of less than a window of k-grams is kept as well
    assert rows(found_in(index(tmp_path / "s", short, 100), 100, short[0], 12)) == {(0, 0, 12)}


@pytest.mark.parametrize("limit", [1, 50, 1000])
def test_sorting_in_parts_gives_the_same_bytes(limit: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    documents = [*draw(5, 50, 30, 400), [3] * 5000, [3, 4] * 2000]
    index(tmp_path / "whole", documents, 50)
    monkeypatch.setattr(spans, "_LIMIT", limit)
    index(tmp_path / "parts", documents, 50)
    names = sorted(path.name for path in (tmp_path / "whole").iterdir())
    assert names == sorted(path.name for path in (tmp_path / "parts").iterdir())
    for name in names:
        assert (tmp_path / "whole" / name).read_bytes() == (tmp_path / "parts" / name).read_bytes()


def test_a_run_of_one_token_stays_small_and_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spans, "_LIMIT", 1000)
    rng = np.random.default_rng(1)
    documents = [[5] * 200_000, [7] * 30 + rng.integers(1, 100, 100).tolist()]
    made = index(tmp_path / "i", documents, 100)
    assert made[2].about.entries < 200_130 / WINDOW + 40
    assert rows(found_in(made, 100, [9, *[5] * 300, 9])) == {(0, 1, 301)}
    assert rows(found_in(made, 100, [7] * 25)) == {(1, 0, 25)}


def test_phrases_that_are_everywhere_cost_bounded_work_and_keep_their_sources(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rng = np.random.default_rng(2)
    phrase = rng.integers(1, 100, 24).tolist()
    inner = phrase[6:16]
    documents = [rng.integers(1, 100, 5).tolist() + inner + rng.integers(1, 100, 5).tolist() for _ in range(400)]
    documents += [[one, *phrase, one + 1] for one in range(1, 60)]
    rare = rng.integers(1, 100, 40).tolist()
    documents[417] = [*rare]
    made = index(tmp_path / "i", documents, 100)
    text = [*phrase, *rare]
    whole = found_in(made, 100, text)
    want = by_hand(documents, text, PROMISE)
    assert whole.complete and rows(whole) == want and len(want) >= 59
    monkeypatch.setattr(spans_search, "_FOLLOWED", 20)
    bounded = found_in(made, 100, text)
    assert not bounded.complete and rows(bounded) <= want
    assert (417, 24, 64) in rows(bounded) and any(row[1:] == (0, 24) for row in rows(bounded))


@given(st.lists(st.tuples(st.integers(0, 2**64 - 1), st.integers(0, 2**32 - 1)), max_size=50))
def test_pairs_are_sorted_by_their_upper_bits_and_stay_in_order(pairs: list[tuple[int, int]]) -> None:
    keys, values = np.array([a for a, _ in pairs], np.uint64), np.array([b for _, b in pairs], np.uint32)
    order = np.argsort(keys >> np.uint64(20), kind="stable")
    want = keys[order], values[order]
    sort_pairs(keys, values, 20, 64)
    assert (keys == want[0]).all() and (values == want[1]).all()


@pytest.mark.parametrize("documents", [[], [[]], [[0, 0]], [[1] * 7], [[1, 0] * 30]])
def test_stores_without_any_gram_have_an_empty_index(documents: list[list[int]], tmp_path: Path) -> None:
    made = index(tmp_path / "i", documents, 100)
    assert made[2].about.entries == 0
    assert rows(found_in(made, 100, [1] * 40)) == set()


def test_it_is_whole_or_absent(tmp_path: Path) -> None:
    def stop(done: int, total: int) -> None:
        assert 0 < done <= total == 1000
        raise KeyboardInterrupt

    ids, offsets = np.full(1000, 3, np.uint16), np.array([0, 1000])
    with pytest.raises(KeyboardInterrupt):
        build(tmp_path / "i", ids, offsets, alphabet(100).stops, DIGEST, stop)
    assert list(tmp_path.iterdir()) == []
    build(tmp_path / "i", ids, offsets, alphabet(100).stops, DIGEST)
    assert [path.name for path in tmp_path.iterdir()] == ["i"]


def test_a_damaged_or_foreign_index_is_refused_in_one_line(tmp_path: Path) -> None:
    folder = tmp_path / "i"
    ids, _, made = index(folder, draw(1, 100, 9, 200), 100)
    count = len(ids)
    assert made.about.entries > 20
    for digest, tokens, words in (("cd" * 32, count, "is of the store abababababab"), (DIGEST, count + 1, "with")):
        with pytest.raises(ArtifactError, match=words):
            Spans.open(folder, digest, tokens)
    about = json.loads((folder / spans.ABOUT).read_text())
    cases: list[tuple[str, Any, str]] = [
        (name, lambda raw: raw[:-1], f"is clipped: {name}") for name in ("keys.bin", "places.bin", "starts.bin")
    ]
    cases += [
        ("counts.bin", lambda raw: b"", "is clipped: counts.bin"),
        ("starts.bin", lambda raw: raw[8:] + raw[:8], "buckets contradict"),
        (spans.ABOUT, lambda raw: raw[:-9], "damaged, or of another version"),
        (spans.ABOUT, lambda _: json.dumps({**about, "format": 2}).encode(), "damaged, or of another version"),
        (spans.ABOUT, lambda _: json.dumps({**about, "gram": 6}).encode(), "is of 6-grams"),
        (spans.ABOUT, lambda _: json.dumps({**about, "entries": 5}).encode(), "is clipped"),
    ]
    for name, harm, words in cases:
        kept = (folder / name).read_bytes()
        (folder / name).write_bytes(harm(kept))
        with pytest.raises(ArtifactError, match=words) as error:
            Spans.open(folder, DIGEST, count)
        assert "\n" not in str(error.value) and "made again at the next use" in str(error.value)
        (folder / name).write_bytes(kept)
    assert Spans.open(folder, DIGEST, count).about == made.about


def test_places_beyond_the_store_are_no_fault_of_memory(tmp_path: Path) -> None:
    documents = [np.random.default_rng(4).integers(1, 100, 60).tolist()]
    ids, offsets, made = index(tmp_path / "i", documents, 100)
    (tmp_path / "i" / "places.bin").write_bytes(b"\xff" * 4 * made.about.entries)
    damaged = Spans.open(tmp_path / "i", DIGEST, len(ids))
    assert rows(found_in((ids, offsets, damaged), 100, documents[0])) == set()
