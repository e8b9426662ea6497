"""Keys that texts share when they differ in case and white space at most: 128 bits of SHA-256.

SHA-256 and not a faster hash: a page must not be able to push another out of the corpus by a forged key, and it runs at
a gigabyte a second on processors with its instructions.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cache, cached_property
from itertools import pairwise
from typing import Any, Final

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from groundup.stages.curate.duplicates import normal
from groundup.stages.curate.engine.columns import Texts, texts
from groundup.stages.curate.engine.operator import Spec, with_column

Ints = NDArray[np.int64]
Keys = NDArray[np.uint64]

EXACT: Final = "exact"
_BYTES: Final = 16


@dataclass(frozen=True)
class ExactKey:
    """Tags each row with the key of its text: column ``exact``, 16 bytes."""

    column: str = "text"

    @cached_property
    def spec(self) -> Spec:
        """What defines the keys."""
        return Spec("exact_key", 1, "tag", (self.column,), (EXACT,), {"unicode": normal.UNICODE})

    def __call__(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        """The batch with the column ``exact``."""
        rows = texts(batch, self.column)
        values = pa.array(_digests(folded(rows.data, rows.offsets[:-1], rows.offsets[1:])), pa.binary(_BYTES))
        return with_column(batch, EXACT, values)


def key_of(text: str) -> bytes:
    """The key of one text, by plain Python: what the compiled pass is tested against.

    >>> key_of("Some  Text\\n") == key_of("some text")
    True
    """
    return hashlib.sha256(" ".join(text.casefold().split()).encode()).digest()[:_BYTES]


def span_keys(data: NDArray[np.uint8], starts: Ints, stops: Ints) -> tuple[Keys, Ints]:
    """The keys of spans of text as two words, (spans, 2) uint64, and the folded length of each in bytes."""
    spans = folded(data, starts, stops)
    packed = b"".join(_digests(spans))
    return np.frombuffer(packed, ">u8").astype(np.uint64).reshape(-1, 2), np.diff(spans.offsets)


def folded(data: NDArray[np.uint8], starts: Ints, stops: Ints) -> Texts:
    """Spans of UTF-8 text with case folded and white space collapsed."""
    from groundup.stages.curate.duplicates import fold_kernels
    from groundup.stages.curate.duplicates.compiled import read_only

    out = np.empty(3 * int(np.sum(stops - starts)) + len(starts) + 1, np.uint8)
    bounds = np.empty(len(starts) + 1, np.int64)
    data, starts, stops = read_only(data, starts, stops)
    fold_kernels.fold(data, starts, stops, *fold_table(), out, bounds)
    return Texts(out[: bounds[-1]], bounds)


@cache
def fold_table() -> normal.Table:
    """What each code point becomes by ``str.casefold``; white space by ``str.isspace`` is a SEPARATOR."""
    codes = np.arange(0x110000, dtype=np.uint32) | np.uint32(normal.LETTER)
    expansions: list[int] = []
    for point in range(0x20000):
        character = chr(point)
        plain = character.casefold()
        if character.isspace():
            codes[point] = normal.SEPARATOR
        elif len(plain) > 1:
            codes[point] = len(expansions) | normal.MANY
            expansions += [len(plain), *map(ord, plain)]
        elif plain != character:
            codes[point] = ord(plain) | normal.LETTER
    return normal.Table(codes, np.array(expansions, np.uint32))


def _digests(spans: Texts) -> list[bytes]:
    content: Any = spans.data
    whole = memoryview(content)
    bounds = spans.offsets.tolist()
    return [hashlib.sha256(whole[start:stop]).digest()[:_BYTES] for start, stop in pairwise(bounds)]
