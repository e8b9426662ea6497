"""Which stretches of a text stand in the documents of a store, letter by letter, and in which documents.

Every entry of the index that has a k-gram of the text is a candidate: from there text and document are compared both
ways, byte by byte, so a stretch is as long as it can be, into the middle of a word if need be. What is found is
therefore true; that all of 20 tokens is found is the index's promise (``spans.py``), for stretches that text and
document cut into the same tokens, and at both ends of the text however they are cut (``spans_text.py``).

Work is bounded where a text repeats a phrase that is everywhere. The k-grams of few entries are followed wholly, up to
2^20 entries; of the others, if no stretch that was found goes across them, entries are compared until one is true: so
there is a source for every stretch that has one, though not all of them, and ``complete`` says so.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

from groundup.text.store.megatron import Ids
from groundup.text.store.spans import Spans
from groundup.text.store.spans_kernels import Numbers, first_source, verify
from groundup.text.store.spans_text import Spelled, Text

_FOLLOWED: Final = 1 << 20
"""Entries that are all compared."""
_SCANNED: Final = 1 << 24
"""Entries of the k-grams that are everywhere, until a true one is found."""


@dataclass(frozen=True)
class Found:
    """The longest stretches of a text in each document that has any: rows (r,), by document and place in the text.

    Bytes of the text from ``starts`` to ``ends``; ``documents`` by number in the store; ``tokens`` whole ones, those of
    the document or of the text, whichever are more. ``complete`` says whether these are all there are.
    """

    starts: Numbers
    ends: Numbers
    documents: Numbers
    tokens: Numbers
    complete: bool


def search(spans: Spans, ids: Ids, offsets: Numbers, spelled: Spelled, text: Text, min_tokens: int) -> Found:
    """Find the stretches of ``min_tokens`` and more: ``ids`` (n,) and ``offsets`` are those that were indexed."""
    low, high = spans.look_up(text.grams.hashes)
    counts = high - low
    order = np.argsort(counts, kind="stable")
    order = order[counts[order] > 0]
    followed = np.cumsum(counts[order]) <= _FOLLOWED
    begins, ends = text.counts()
    against = (ids, offsets, spelled.data, spelled.at, text.data, begins, ends, min_tokens)

    places, bytes_ = _candidates(spans, text, order[followed], low, high)
    found = np.empty((len(places), 4), np.int64)
    found = found[: verify(places, bytes_, *against, found)]
    complete, scanned = True, 0
    for gram in order[~followed].tolist():
        byte, shift = int(text.grams.bytes[gram]), int(text.grams.shifts[gram])
        complete = False
        if scanned > _SCANNED or ((found[:, 0] <= byte) & (byte < found[:, 1])).any():
            continue
        row = np.zeros(4, np.int64)
        seen = first_source(int(low[gram]), int(high[gram]), spans.places, shift, byte, *against, row)
        scanned += abs(seen)
        if seen > 0:
            found = np.concatenate([found, row[None]])
    return _longest(found, len(text.data), complete)


def _candidates(spans: Spans, text: Text, grams: Numbers, low: Numbers, high: Numbers) -> tuple[Numbers, Numbers]:
    """Tokens of the store, ascending, and the byte of the text at which each should begin."""
    counts = (high - low)[grams]
    total = int(counts.sum())
    first = np.repeat(low[grams] - (np.cumsum(counts) - counts), counts)
    places = spans.places[first + np.arange(total)].astype(np.int64) + np.repeat(text.grams.shifts[grams], counts)
    bytes_ = np.repeat(text.grams.bytes[grams], counts)
    order = np.lexsort((bytes_, places))
    return places[order], bytes_[order]


def _longest(found: Numbers, size: int, complete: bool) -> Found:
    """Leave out what lies within another stretch of the same document."""
    found = found[np.lexsort((-found[:, 1], found[:, 0], found[:, 2]))]
    ends = found[:, 1] + found[:, 2] * (size + 1)  # ends of a later document are behind all those of an earlier one
    kept = np.ones(len(found), bool)
    if len(found) > 1:
        kept[1:] = ends[1:] > np.maximum.accumulate(ends)[:-1]
        # The first of a document is never within another.
        kept[1:] |= found[1:, 2] != found[:-1, 2]
    found = found[kept]
    return Found(found[:, 0], found[:, 1], found[:, 2], found[:, 3], complete)
