"""Shingles and MinHash band keys (Broder 1997, "On the resemblance and containment of documents").

A document is the set of its runs of five words in normal form (:mod:`.normal`). Two sets agree in one random minimum
with probability equal to their Jaccard similarity s, so they agree in at least one of b bands of r minima with
probability 1 - (1 - s^r)^b. Tests hold the recall of what is here to that formula.

Minima are of a multiply-add modulo 2^32 with an odd factor, of 32 bits of a mixed hash: a permutation, and eight or
sixteen lanes of a vector. datatrove multiplies modulo 2^61 - 1 in 64 bits (:mod:`.datatrove`, for equal signatures).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property, lru_cache
from itertools import pairwise
from typing import Final

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from groundup.base.errors import RequestError
from groundup.base.seeds import derive
from groundup.stages.curate.duplicates import normal
from groundup.stages.curate.engine.columns import Lists, Texts, list_array, texts
from groundup.stages.curate.engine.operator import Spec, with_column

Hashes = NDArray[np.uint64]

BANDS: Final = "bands"
MOST_MINIMA: Final = 1 << 16


@dataclass(frozen=True)
class MinHash:
    """Tags each row with its band keys: column ``bands``, large_list<uint64>, ``bands`` keys or none without words.

    Rows with an equal key agree in that band (keys of different bands differ). ``seed`` draws the permutations.
    """

    shingle_words: int = 5
    bands: int = 14
    rows: int = 8
    seed: int = 1
    column: str = "text"

    def __post_init__(self) -> None:
        if min(self.shingle_words, self.bands, self.rows) < 1 or self.bands * self.rows > MOST_MINIMA:
            raise RequestError(
                f"MinHash needs at least one word, band and row, and at most {MOST_MINIMA} minima; "
                f"got {self.shingle_words}, {self.bands} and {self.rows}"
            )

    @cached_property
    def spec(self) -> Spec:
        """What defines the keys."""
        parameters = {
            "shingle_words": self.shingle_words,
            "bands": self.bands,
            "rows": self.rows,
            "seed": self.seed,
            "unicode": normal.UNICODE,
        }
        return Spec("minhash", 1, "tag", (self.column,), (BANDS,), parameters)

    def __call__(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        """The batch with the column ``bands``."""
        keys, filled = band_keys(texts(batch, self.column), self.shingle_words, self.bands, self.rows, self.seed)
        offsets = np.concatenate([[0], np.cumsum(filled * self.bands)]).astype(np.int64)
        return with_column(batch, BANDS, list_array(keys[filled].reshape(-1), offsets))


def band_keys(
    rows: Texts, shingle_words: int, bands: int, rows_per_band: int, seed: int = 1
) -> tuple[Hashes, NDArray[np.bool_]]:
    """The band keys of texts, (rows, bands) uint64, and which rows have words at all, (rows,) bool."""
    from groundup.stages.curate.duplicates import word_kernels
    from groundup.stages.curate.duplicates.compiled import read_only

    count = len(rows.offsets) - 1
    keys = np.zeros((count, bands), np.uint64)
    filled = np.zeros(count, np.bool_)
    factors, addends = permutations(bands * rows_per_band, seed)
    data, offsets = read_only(*rows)
    word_kernels.keys_of_rows(
        data, offsets, *normal.table(), shingle_words, factors, addends, rows_per_band, keys, filled
    )
    return keys, filled


def band_keys_of_shingles(shingles: Lists, bands: int, rows_per_band: int, seed: int = 1) -> Hashes:
    """The band keys, (rows, bands) uint64, of sets of 64-bit hashes; zeros for an empty set."""
    from groundup.stages.curate.duplicates import word_kernels
    from groundup.stages.curate.duplicates.compiled import read_only

    factors, addends = permutations(bands * rows_per_band, seed)
    keys = np.zeros((len(shingles.offsets) - 1, bands), np.uint64)
    (values,) = read_only(shingles.values)
    short = np.empty(int(np.diff(shingles.offsets).max(initial=0)) + 64, np.uint32)
    for row, (start, stop) in enumerate(pairwise(shingles.offsets.tolist())):
        if stop > start:
            word_kernels.keys_of_shingles(values[start:stop], short, factors, addends, rows_per_band, keys[row])
    return keys


def shingle_sets(rows: Texts, shingle_words: int) -> Lists:
    """The distinct shingle hashes of each text, ascending, uint64; a text of fewer words is one shingle."""
    from groundup.stages.curate.duplicates import word_kernels
    from groundup.stages.curate.duplicates.compiled import read_only

    room = int(np.sum(np.diff(rows.offsets) // 2 + 1))
    values = np.empty(room + 1, np.uint64)
    bounds = np.empty(len(rows.offsets), np.int64)
    data, offsets = read_only(*rows)
    word_kernels.shingles_of_rows(data, offsets, *normal.table(), shingle_words, values, bounds)
    parts = [distinct(values[start:stop]) for start, stop in pairwise(bounds.tolist())]
    offsets = np.concatenate([[0], np.cumsum([len(part) for part in parts])]).astype(np.int64)
    return Lists(np.concatenate([np.empty(0, np.uint64), *parts]), offsets)


def distinct(values: Hashes) -> Hashes:
    """The distinct values, ascending. (np.unique does the same; it hashes first, which is slower here.)"""
    ordered = np.sort(values)
    if len(ordered) < 2:
        return ordered
    fresh: Hashes = ordered[np.concatenate([[True], ordered[1:] != ordered[:-1]])]
    return fresh


def mixed(values: Hashes) -> Hashes:
    """The finaliser of splitmix64, as the kernels have it, for whole arrays."""
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return values ^ (values >> np.uint64(31))


def catch_probability(similarity: float, bands: int, rows: int) -> float:
    """P(a pair of this Jaccard similarity becomes a candidate) = 1 - (1 - s^r)^b.

    >>> round(catch_probability(0.8, 14, 8), 3)
    0.924
    """
    return float(1 - (1 - similarity**rows) ** bands)


@lru_cache(maxsize=8)
def permutations(count: int, seed: int) -> tuple[NDArray[np.uint32], NDArray[np.uint32]]:
    """The factors, odd, and the addends of ``count`` permutations of 32 bits: two (count,) uint32."""
    draw = np.array([[derive(seed, "minhash", kind, n) >> 16 for n in range(count)] for kind in "ab"], dtype=np.uint64)
    low = (draw & np.uint64(0xFFFFFFFF)).astype(np.uint32)
    return low[0] | np.uint32(1), low[1]
