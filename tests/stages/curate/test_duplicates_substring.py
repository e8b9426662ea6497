"""Repeated passages: the suffix array and the keyed windows, both against brute force."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from groundup.base.errors import RequestError
from groundup.stages.curate.duplicates.passages import (
    first_and_others,
    repeats_across,
)
from groundup.stages.curate.duplicates.substring import Spans, repeats_in, without_spans
from groundup.stages.curate.engine.columns import Texts

SIZE = 64
BASE = "".join(np.random.default_rng(9).choice(list("abcdefgh é漢"), 400))
PART = st.builds(lambda at, size: BASE[at : at + size], st.integers(0, 399), st.integers(0, 150)) | st.text("ab€")
TEXTS = st.lists(st.lists(PART, max_size=4).map("".join), min_size=1, max_size=5)


def texts_of(values: list[str], lead: bytes = b"?") -> Texts:
    """The column in a buffer that begins before it, as in a slice."""
    encoded = [value.encode() for value in values]
    offsets = np.cumsum([len(lead), *(len(each) for each in encoded)]).astype(np.int64)
    return Texts(np.frombuffer(lead + b"".join(encoded), np.uint8), offsets)


def relative(rows: Texts, spans: Spans) -> list[tuple[int, int, int]]:
    starts = rows.offsets[spans.rows]
    return list(
        zip(spans.rows.tolist(), (spans.starts - starts).tolist(), (spans.stops - starts).tolist(), strict=True)
    )


def brute_force(values: list[str], size: int, keep: str) -> list[tuple[int, int, int]]:
    data = [value.encode() for value in values]
    places: dict[bytes, list[tuple[int, int]]] = {}
    for row, text in enumerate(data):
        for at in range(len(text) - size + 1):
            places.setdefault(text[at : at + size], []).append((row, at))
    struck, guarded = set(), set()
    for found in places.values():
        if len(found) > 1:
            for number, (row, at) in enumerate(found):
                covered = guarded if keep == "first" and number == 0 else struck
                covered.update((row, byte) for byte in range(at, at + size))
    spans = []
    for row, text in enumerate(data):
        at = 0
        while at < len(text):
            stop = at
            while (row, stop) in struck and (row, stop) not in guarded:
                stop += 1
            first, last = at, stop
            while first < last and text[first] >> 6 == 2:
                first += 1
            while first < last < len(text) and text[last] >> 6 == 2:
                last -= 1
            if first < last:
                spans.append((row, first, last))
            at = stop + 1
    return spans


@given(TEXTS, st.sampled_from(["first", "none"]), st.integers(0, 5))
@settings(max_examples=120, deadline=None)
def test_both_ways_strike_what_brute_force_does(values, keep, cut) -> None:  # type: ignore[no-untyped-def]
    pytest.importorskip("pydivsufsort")
    expected = brute_force(values, SIZE, keep)
    rows = texts_of(values)
    spans = repeats_in(rows, SIZE, keep)
    assert relative(rows, spans) == expected
    cut = min(cut, len(values))
    shards = [texts_of(values[:cut]), texts_of(values[cut:], b"a longer lead")]
    across = [
        (row + base, start, stop)
        for shard, base, found in zip(shards, (0, cut), repeats_across(shards, SIZE, keep), strict=True)
        for row, start, stop in relative(shard, found)
    ]
    assert across == expected
    left = without_spans(rows, spans)
    remaining = [bytes(left.data[a:b]) for a, b in zip(left.offsets[:-1], left.offsets[1:], strict=True)]
    for text in remaining:
        text.decode()  # whole characters
    if keep == "first":  # what was repeated is still there
        data = [value.encode() for value in values]
        windows = [text[at : at + SIZE] for text in data for at in range(len(text) - SIZE + 1)]
        assert all(any(window in text for text in remaining) for window in windows if windows.count(window) > 1)


@given(st.lists(st.text("ab", max_size=30), min_size=1, max_size=4), st.integers(1, 6))
@settings(max_examples=100, deadline=None)
def test_short_windows_and_periodic_texts(values: list[str], size: int) -> None:
    pytest.importorskip("pydivsufsort")
    rows = texts_of(values)
    for keep in ("first", "none"):
        assert relative(rows, repeats_in(rows, size, keep)) == brute_force(values, size, keep)  # type: ignore[arg-type]


def test_a_passage_does_not_run_over_the_end_of_a_text() -> None:
    pytest.importorskip("pydivsufsort")
    half = BASE[:20]
    rows = texts_of([half, half, "x", half + half])
    assert len(repeats_in(rows, len((half + half).encode())).rows) == 0


def test_a_hundred_kilobytes_with_planted_copies() -> None:
    pytest.importorskip("pydivsufsort")
    chance = np.random.default_rng(4)
    values = ["".join(map(chr, chance.integers(97, 123, 900))) for _ in range(110)]
    planted = "".join(map(chr, chance.integers(97, 123, 300)))
    for row in (3, 50, 90):  # between other characters each time, so that no copy is longer by chance
        values[row] = values[row][:399] + chr(row) + planted + chr(row + 1) + values[row][400:]
    rows = texts_of(values)
    spans = relative(rows, repeats_in(rows, 100))
    assert [(row, stop - start) for row, start, stop in spans] == [(50, 300), (90, 300)]
    assert relative(rows, repeats_across([rows], 100)[0]) == spans
    everywhere = relative(rows, repeats_in(rows, 100, "none"))
    assert everywhere == [(3, 400, 700), (50, 400, 700), (90, 400, 700)]


def test_keys_that_differ_in_their_check_are_different_windows() -> None:
    keys, checks = np.array([5, 5, 5], np.uint64), np.array([1, 2, 1], np.uint64)
    first, later = first_and_others(keys, checks, np.array([2, 0, 1]), np.zeros(3, np.int64))
    assert (first.tolist(), later.tolist()) == ([False, False, True], [True, False, False])


def test_passages_shorter_than_a_fingerprint_are_refused() -> None:
    with pytest.raises(RequestError, match="at least 64 bytes"):
        repeats_across([texts_of(["a"])], 50)
