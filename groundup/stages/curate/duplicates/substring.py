"""Passages that stand in the corpus more than once, byte for byte (Lee et al. 2022, "Deduplicating Training Data Makes
Language Models Better", section 4.1: 50 tokens, which their code takes as 100 bytes).

A window of ``min_bytes`` bytes that occurs twice is repeated; what repeated windows cover is struck. Two deviations
from the paper's code, both asked for by its users: spans end at whole UTF-8 characters, and of the copies one may stay
(``keep="first"``, the default). What the first copy of a window covers is then never struck, so that every repeated
window of the corpus is still in it; the paper strikes all copies (``keep="none"``).

Within a shard by a suffix array (:func:`repeats_in`). Across shards by windows' keys, with winnowed fingerprints to
find the few places whose windows need one (:mod:`.passages`). Both give the same spans.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from groundup.base.errors import ResourceError, missing_extra
from groundup.stages.curate.engine.columns import Texts

Ints = NDArray[np.int64]
Marks = NDArray[np.uint8]
Keep = Literal["first", "none"]


class Spans(NamedTuple):
    """Spans of texts, in order: ``data[starts[i]:stops[i]]`` of row ``rows[i]``; no two touch."""

    rows: Ints
    starts: Ints
    stops: Ints


def repeats_in(rows: Texts, min_bytes: int = 100, keep: Keep = "first") -> Spans:
    """The spans to strike from texts so that no ``min_bytes`` bytes stand in them twice (or, by ``keep``, at all).

    The order of rows is their right to stay: the first copy is in the first row. About 10 bytes of memory a byte of
    text, at most 2 GiB of text.
    """
    return spans_of(rows, repeat_marks(rows, min_bytes), min_bytes, keep)


def repeat_marks(rows: Texts, min_bytes: int) -> Marks:
    """For each byte whether the window that begins there is repeated: (bytes,) uint8 of 0, STRUCK, GUARDED (first)."""
    from groundup.stages.curate.duplicates import span_kernels

    low, high = int(rows.offsets[0]), int(rows.offsets[-1])
    marks = np.zeros(high - low, np.uint8)
    if high - low < min_bytes + 1:
        return marks
    if high - low >= 2**31 - 1:
        raise ResourceError(f"a shard of {high - low} bytes is too large for a suffix array; give it at most 2 GiB")
    suffixes, common = _suffix_array(np.array(rows.data[low:high]))
    span_kernels.mark_repeats(suffixes, common, min_bytes, whole_windows(rows, min_bytes), marks)
    return marks


def spans_of(rows: Texts, marks: Marks, min_bytes: int, keep: Keep) -> Spans:
    """What the marked windows cover, cut to whole characters."""
    from groundup.stages.curate.duplicates import span_kernels
    from groundup.stages.curate.duplicates.compiled import read_only

    room = int(np.count_nonzero(marks)) + 1
    found = Spans(*(np.empty(room, np.int64) for _ in range(3)))
    data, offsets = read_only(*rows)
    count = span_kernels.cover(data, offsets, marks, min_bytes, keep == "first", *found)
    return Spans(*(column[:count] for column in found))


def whole_windows(rows: Texts, size: int) -> Marks:
    """Where ``size`` bytes do not run over the end of their text: (bytes,) uint8 of 0 and 1."""
    low, high = int(rows.offsets[0]), int(rows.offsets[-1])
    whole = np.ones(high - low, np.uint8)
    for start, stop in zip(rows.offsets[:-1].tolist(), rows.offsets[1:].tolist(), strict=True):
        whole[max(start, stop - size + 1) - low : stop - low] = 0
    return whole


def without_spans(rows: Texts, spans: Spans) -> Texts:
    """The texts without the spans."""
    low, high = int(rows.offsets[0]), int(rows.offsets[-1])
    edge = np.zeros(high - low + 1, np.int8)
    edge[spans.starts - low] += 1
    edge[spans.stops - low] -= 1
    keep = np.cumsum(edge[:-1], dtype=np.int8) == 0
    left = np.concatenate([[0], np.cumsum(keep)]).astype(np.int64)
    return Texts(rows.data[low:high][keep], left[rows.offsets - low])


def _suffix_array(data: NDArray[np.uint8]) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    try:
        import pydivsufsort  # type: ignore[import-untyped,unused-ignore]
    except ModuleNotFoundError:
        raise missing_extra("pydivsufsort", "curate") from None
    suffixes = pydivsufsort.divsufsort(data)
    return np.asarray(suffixes, np.int32), np.asarray(pydivsufsort.kasai(data, suffixes), np.int32)
