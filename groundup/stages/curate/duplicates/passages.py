"""Repeated passages across shards: windows' keys, made only where they can matter.

A key for every byte of a corpus would be forty times the corpus. Each window of ``min_bytes`` bytes is instead given
the least of the hashes of its 64-byte windows (winnowing, Schleimer, Wilkerson and Aiken 2003): equal windows have
equal fingerprints, and neighbours mostly share theirs, so there are about 2 for each 38 bytes. Then:

1. map: :func:`fingerprints` of each document, by hash;
2. reduce by hash: :func:`shared`, which fingerprints occur more than once;
3. map: :func:`window_keys`, a 128-bit key of each window whose fingerprint does;
4. reduce by key: :func:`first_and_others`, which windows are repeated, and which copy is the first;
5. reduce by document: :func:`marks_of`, then ``substring.spans_of``.

Keys are two hashes of 62 bits, by different polynomials: no bytes need be compared. :func:`repeats_across` runs all of
it in memory.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from groundup.base.errors import RequestError
from groundup.base.seeds import derive
from groundup.stages.curate.duplicates.substring import Ints, Keep, Marks, Spans, spans_of
from groundup.stages.curate.engine.columns import Texts

Keys = NDArray[np.uint64]

FINGERPRINT_BYTES: Final = 64


class Fingerprints(NamedTuple):
    """Chosen 64-byte windows: hash, row of the batch, place in the text, in the order of rows and places."""

    hashes: Keys
    rows: Ints
    places: Ints


class Windows(NamedTuple):
    """Windows of ``min_bytes``: key and check, row of the batch, place in the text, in the order of rows and places."""

    keys: Keys
    checks: Keys
    rows: Ints
    places: Ints


def fingerprints(rows: Texts, min_bytes: int = 100) -> Fingerprints:
    """The fingerprints of texts; one shorter than ``min_bytes`` has none."""
    found = []
    for row, hashes, chosen in _windows_of(rows, min_bytes):
        places = np.unique(chosen)
        found.append(Fingerprints(hashes[places], np.full(len(places), row, np.int64), places))
    return Fingerprints(*_columns(found, (np.uint64, np.int64, np.int64)))


def shared(hashes: Keys) -> NDArray[np.bool_]:
    """Which rows have a hash that another row has, too: (rows,) bool, for rows of whole hashes in any order."""
    order = np.argsort(hashes, kind="stable")
    same = hashes[order][1:] == hashes[order][:-1]
    both = np.zeros(len(hashes), bool)
    both[order] = np.concatenate([[False], same]) | np.concatenate([same, [False]])[: len(hashes)]
    return both


def window_keys(rows: Texts, hot_rows: Ints, hot_places: Ints, min_bytes: int = 100) -> Windows:
    """The keys of the windows whose fingerprint is at one of the places, of (row, place) in any order."""
    from groundup.stages.curate.duplicates import span_kernels
    from groundup.stages.curate.duplicates.compiled import read_only

    order = np.lexsort((hot_places, hot_rows))
    hot_rows, hot_places = hot_rows[order], hot_places[order]
    found = []
    for row, _, chosen in _windows_of(rows, min_bytes):
        low, high = np.searchsorted(hot_rows, [row, row + 1])
        if low == high:
            continue
        places = np.flatnonzero(np.isin(chosen, hot_places[low:high]))
        start, stop = int(rows.offsets[row]), int(rows.offsets[row + 1])
        (data,) = read_only(rows.data)
        pair = []
        for name in ("key", "check"):
            out = np.empty(stop - start, np.uint64)
            span_kernels.window_hashes(data, start, stop, min_bytes, *_bases(name), out)
            pair.append(out[places])
        found.append(Windows(pair[0], pair[1], np.full(len(places), row, np.int64), places.astype(np.int64)))
    return Windows(*_columns(found, (np.uint64, np.uint64, np.int64, np.int64)))


def first_and_others(
    keys: Keys, checks: Keys, documents: NDArray[np.generic], places: Ints
) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Of rows of whole keys in any order: which are the first copy of a repeated window, and which are later ones.

    ``documents`` order by right to stay. Two (rows,) bool.
    """
    order = np.lexsort((places, documents, checks, keys))
    same = (keys[order][1:] == keys[order][:-1]) & (checks[order][1:] == checks[order][:-1])
    later = np.zeros(len(keys), bool)
    later[order] = np.concatenate([[False], same])[: len(keys)]
    first = np.zeros(len(keys), bool)
    first[order] = np.concatenate([same, [False]])[: len(keys)]
    return first & ~later, later


def marks_of(rows: Texts, first: tuple[Ints, Ints], later: tuple[Ints, Ints]) -> Marks:
    """What ``substring.spans_of`` takes, from the (rows, places) of first and of later copies."""
    from groundup.stages.curate.duplicates import span_kernels

    marks = np.zeros(int(rows.offsets[-1] - rows.offsets[0]), np.uint8)
    for mark, (owners, places) in ((span_kernels.GUARDED, first), (span_kernels.STRUCK, later)):
        marks[rows.offsets[owners] - rows.offsets[0] + places] = mark
    return marks


def repeats_across(shards: Sequence[Texts], min_bytes: int = 100, keep: Keep = "first") -> list[Spans]:
    """The spans to strike from each shard; rows have the right to stay in their order, shard after shard."""
    base = np.concatenate([[0], np.cumsum([len(shard.offsets) - 1 for shard in shards])])
    prints = [fingerprints(shard, min_bytes) for shard in shards]
    hot = shared(np.concatenate([np.zeros(0, np.uint64), *(each.hashes for each in prints)]))
    edges = np.cumsum([len(each.hashes) for each in prints])[:-1]
    windows = [
        window_keys(shard, each.rows[chosen], each.places[chosen], min_bytes)
        for shard, each, chosen in zip(shards, prints, np.split(hot, edges), strict=True)
    ]
    documents = [each.rows + start for each, start in zip(windows, base[:-1], strict=True)]
    whole = Windows(*_columns(windows, (np.uint64, np.uint64, np.int64, np.int64)))
    first, later = first_and_others(
        whole.keys, whole.checks, np.concatenate([np.zeros(0, np.int64), *documents]), whole.places
    )
    edges = np.cumsum([len(each.keys) for each in windows])[:-1]
    spans = []
    for shard, each, ahead, behind in zip(shards, windows, np.split(first, edges), np.split(later, edges), strict=True):
        marks = marks_of(shard, (each.rows[ahead], each.places[ahead]), (each.rows[behind], each.places[behind]))
        spans.append(spans_of(shard, marks, min_bytes, keep))
    return spans


def _windows_of(rows: Texts, min_bytes: int) -> Iterator[tuple[int, Keys, Ints]]:
    """For each row of at least ``min_bytes`` bytes its 64-byte hashes, and which of them each window chooses."""
    from groundup.stages.curate.duplicates import span_kernels
    from groundup.stages.curate.duplicates.compiled import read_only

    if min_bytes < FINGERPRINT_BYTES:
        raise RequestError(f"passages across shards have at least {FINGERPRINT_BYTES} bytes; got {min_bytes}")
    (data,) = read_only(rows.data)
    for row, (start, stop) in enumerate(pairwise(rows.offsets.tolist())):
        if stop - start < min_bytes:
            continue
        hashes = np.empty(stop - start - FINGERPRINT_BYTES + 1, np.uint64)
        span_kernels.window_hashes(data, start, stop, FINGERPRINT_BYTES, *_bases("fingerprint"), hashes)
        chosen = np.empty(stop - start - min_bytes + 1, np.int64)
        span_kernels.winnow(hashes, len(hashes), min_bytes - FINGERPRINT_BYTES + 1, chosen)
        yield row, hashes, chosen


def _bases(name: str) -> tuple[np.uint64, np.uint64]:
    first, second = (np.uint64(2**20 + derive(1, "passages", name, n) % 2**30) for n in (1, 2))
    return first, second


def _columns(parts: Sequence[tuple[NDArray[Any], ...]], types: Sequence[type]) -> list[Any]:
    return [
        np.concatenate([np.zeros(0, kind), *(part[at] for part in parts)]).astype(kind, copy=False)
        for at, kind in enumerate(types)
    ]
