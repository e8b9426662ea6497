"""Which words are learned from, held against sorting them all; and how much each group counts."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from groundup.base.errors import DataError, RequestError
from groundup.stages.tokenize.choose import Limits, choose
from groundup.stages.tokenize.config import Balance
from groundup.stages.tokenize.weigh import factors

NO_LIMIT = 1 << 60
FILES = st.lists(st.lists(st.tuples(st.integers(1, 6), st.integers(1, 5)), max_size=12), min_size=1, max_size=5)


@given(FILES, st.integers(1, 30), st.integers(1, 120))
def test_choosing_equals_sorting_everything(files: list[list[tuple[int, int]]], most: int, room: int) -> None:
    """The most frequent words; of equals, those of earlier files, as long as there is room."""
    with tempfile.TemporaryDirectory() as folder:
        paths, everything = [], []
        for number, words in enumerate(files):
            named = [(count, f"{number}-{place}".ljust(size + 3, ".")) for place, (count, size) in enumerate(words)]
            rows = sorted(named, key=lambda row: (-row[0], row[1]))
            everything += [(-count, number, place, word) for place, (count, word) in enumerate(rows)]
            path = Path(folder) / f"{number}.parquet"
            columns = {
                "word": pa.array([word.encode() for _, word in rows], pa.large_binary()),
                "count": pa.array([count for count, _ in rows], pa.int64()),
                "size": pa.array([len(word) for _, word in rows], pa.int32()),
            }
            pq.write_table(pa.table(columns), path)
            paths.append(path)
        for limits in (Limits(most, NO_LIMIT, 1, 1), Limits(NO_LIMIT, room, 2, 3), Limits(most, room, 1, 1)):
            expected: list[tuple[str, int]] = []
            left = limits.room
            for count, _, _, word in sorted(everything):
                left -= limits.a_word + limits.a_byte * len(word)
                if left < 0 or len(expected) == limits.words:
                    break
                expected.append((word, -count))
            found = choose(paths, limits).to_pylist()
            assert sorted((row["word"].decode(), row["count"]) for row in found) == sorted(expected)


SIZES = {("books", "eng_Latn"): 6000, ("web", "eng_Latn"): 3000, ("web", "fra_Latn"): 900, ("web", "yor_Latn"): 100}


@pytest.mark.parametrize(
    ("weights", "balance", "shares"),
    [
        ({}, Balance(alpha=1), (0.6, 0.3, 0.09, 0.01)),
        ({}, Balance(alpha=0), (2 / 9, 1 / 9, 1 / 3, 1 / 3)),
        ({}, Balance(by="source", alpha=0), (0.5, 0.375, 0.1125, 0.0125)),
        ({}, Balance(alpha=0.5), (0.6 / 0.9 * 0.703, 0.3 / 0.9 * 0.703, 0.2223, 0.0741)),
        ({"yor_Latn": 10}, None, (6000 / 10900, 3000 / 10900, 900 / 10900, 1000 / 10900)),
        ({"books": 0, "fra_Latn": 2}, None, (0, 3000 / 4900, 1800 / 4900, 100 / 4900)),
        ({"books": 0}, Balance(alpha=0), (0, 1 / 3, 1 / 3, 1 / 3)),
    ],
)
def test_shares(weights: dict[str, float], balance: Balance | None, shares: tuple[float, ...]) -> None:
    found = factors(SIZES, weights, balance)
    assert [found[group] * size / 10_000 for group, size in SIZES.items()] == pytest.approx(shares, abs=1e-3)


def test_weights_of_what_is_not_there() -> None:
    with pytest.raises(RequestError, match=r"weights name 'fra_latn'.*did you mean 'fra_Latn'"):
        factors(SIZES, {"fra_latn": 2}, None)
    with pytest.raises(DataError, match="no training text with a weight above 0"):
        factors(SIZES, {"web": 0, "books": 0}, None)
