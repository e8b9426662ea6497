"""Words of a tokenizer that splits every white-space-delimited chunk by itself, from a table of chunks seen before.

spaCy's rule-based tokenizers are such (Honnibal, ``spacy/tokenizer.pyx``): so a chunk has to be tokenized once, and
then costs a look-up. Two kernels: :func:`find_chunks` cuts rows into chunks and looks them up, :func:`emit_words`
writes the words of each. What is not in the table comes back to Python in between.
"""

from __future__ import annotations

from typing import Any, Final, NamedTuple

import numba
import numpy as np
from numpy.typing import NDArray

from groundup.stages.curate.words.classes import SPACE
from groundup.stages.curate.words.kernels import AFTER_SPACE_TOKEN, BASE, decode, measure_word

UNKNOWN: Final = -1
"""The number of pieces of a chunk that was not tokenized yet."""


class Known(NamedTuple):
    """The table: ``slots`` of a hash table lead to entries; entry e has key ``keys[e]`` and ``counts[e]`` pieces, from
    ``firsts[e]`` on."""

    slots: NDArray[np.int32]
    keys: NDArray[np.uint64]
    counts: NDArray[np.int32]
    firsts: NDArray[np.int64]


class Chunks(NamedTuple):
    """Row i has chunks ``bounds[i]`` to ``bounds[i + 1]``: the entry of each, its first byte and the one behind it, and
    whether spaCy has a token of white space before it."""

    entries: NDArray[np.int32]
    starts: NDArray[np.int64]
    ends: NDArray[np.int64]
    gaps: NDArray[np.bool_]
    bounds: NDArray[np.int64]


class Pieces(NamedTuple):
    """The tokens of all entries: bytes, characters, hash, flags."""

    sizes: NDArray[np.int32]
    chars: NDArray[np.int32]
    hashes: NDArray[np.uint64]
    flags: NDArray[np.uint8]


_BASE: Final = np.uint64(BASE)
_ONE: Final = np.uint64(1)
_MIX: Final = np.uint64(0x9E3779B97F4A7C15)


@numba.njit(cache=True, nogil=True, inline="always")
def _slot(slots: Any, keys: Any, key: np.uint64) -> int:
    """Where the table has ``key``, or the free slot where it belongs."""
    mask = len(slots) - 1
    at = np.int64((key * _MIX) >> np.uint64(20)) & mask
    while slots[at] >= 0 and keys[slots[at]] != key:
        at = (at + 1) & mask
    return int(at)


@numba.njit(cache=True, nogil=True)
def rebuild(slots: Any, keys: Any, entries: int) -> None:
    """Fill a new table with the first ``entries`` keys; those that are 0 stand for no chunk."""
    slots[:] = -1
    for entry in range(entries):
        if keys[entry] != 0:
            slots[_slot(slots, keys, keys[entry])] = entry


@numba.njit(cache=True, nogil=True)
def _is_special(data: Any, start: int, end: int, known: Any) -> bool:
    """Whether the table has these bytes as more than one token."""
    key = np.uint64(0)
    for at in range(start, end):
        key = key * _BASE + np.uint64(data[at]) + _ONE
    entry = known.slots[_slot(known.slots, known.keys, key)]
    return bool(entry >= 0 and known.counts[entry] != 1 and known.counts[entry] != -2 - (end - start))


@numba.njit(cache=True, nogil=True)
def _letters(data: Any, start: int, end: int) -> int:
    """Where the run of ASCII letters from ``start`` on ends, or of digits if one stands there."""
    at = start
    if at < end and 48 <= data[at] <= 57:
        while at < end and 48 <= data[at] <= 57:
            at += 1
        return at
    while at < end and 97 <= (data[at] | 32) <= 122:
        at += 1
    return at


@numba.njit(cache=True, nogil=True)
def _plain(data: Any, start: int, end: int, known: Any) -> int:
    """How many bytes of the chunk are one token, the rest of it being none or one more; or 0: not known.

    A chunk of ASCII letters, or of digits, matches no prefix, suffix or infix rule, so it is one token unless it is a
    special case, and those are in the table from the start. An opening mark before it is split off, and a mark or a
    possessive behind it, unless the whole is a special case; what is left must not be one either.
    """
    first = data[start]
    wide = end - start > 3 and first == 0xE2 and data[start + 1] == 0x80 and data[start + 2] == 0x9C  # “
    lead = 3 if wide else 1 if first == 34 or first == 40 else 0
    stop = _letters(data, start + lead, end)
    left = end - stop
    if stop == start + lead or (lead and left):
        return 0
    if lead == 0 and left == 0:
        return end - start
    before, after = data[stop - 1], data[min(stop, end - 1)]
    if left == 1:
        # A full stop is split off behind a lower-case letter or a digit only.
        split = after == 46 and (97 <= before <= 122 or before <= 57)
        split |= after == 44 or after == 59 or after == 58 or after == 33 or after == 63 or after == 41 or after == 34
    elif left == 2:
        split = before > 57 and after == 39 and data[stop + 1] == 115  # 's
    else:
        quote = after == 0xE2 and left >= 3 and data[stop + 1] == 0x80
        split = quote and left == 3 and data[stop + 2] == 0x9D  # ”
        split |= quote and left == 4 and before > 57 and data[stop + 2] == 0x99 and data[stop + 3] == 115  # ’s
    if (left and not split) or _is_special(data, start + lead, stop, known):
        return 0
    return lead if lead else stop - start


@numba.njit(cache=True, nogil=True)
def find_chunks(
    texts: Any, skip: Any, table: Any, at_row: int, entries: int, simple: bool, known: Any, chunks: Any
) -> tuple[int, int]:
    """Cut rows from ``at_row`` on into chunks until the table is full; returns (next row, entries).

    A chunk that is not in the table becomes a new entry with ``counts`` UNKNOWN and its place in ``firsts``; or, with
    ``simple``, with ``counts`` -2 - size where ``size`` bytes of it are known to be one token.
    """
    data, offsets = texts
    slots, keys, counts, firsts = known
    chunk_entry, chunk_start, chunk_end, chunk_gap, bounds = chunks
    rows = len(offsets) - 1
    row, count = at_row, bounds[at_row]
    room = min(len(keys), len(slots) // 2)
    while row < rows:
        begin, end = offsets[row], offsets[row + 1]
        if entries + (end - begin + 1) // 2 > room:
            return row, entries
        at = end if skip[row] else begin
        blank = at
        while at < end:
            code, size = decode(data, at, end)
            if table[code] & SPACE:
                at += size
                continue
            start = at
            key = np.uint64(0)
            while True:
                for _ in range(size):
                    key = key * _BASE + np.uint64(data[at]) + _ONE
                    at += 1
                if at >= end:
                    break
                byte = data[at]
                if byte < 0x80:
                    size = 1
                    if table[byte] & SPACE:
                        break
                else:
                    code, size = decode(data, at, end)
                    if table[code] & SPACE:
                        break
            if key == 0:
                key = _ONE
            slot = _slot(slots, keys, key)
            if slots[slot] < 0:
                slots[slot] = entries
                keys[entries] = key
                counts[entries] = UNKNOWN
                firsts[entries] = count
                if simple:
                    plain = _plain(data, start, at, known)
                    if plain > 0:
                        counts[entries] = -2 - plain
                entries += 1
            chunk_entry[count] = slots[slot]
            chunk_start[count] = start
            chunk_end[count] = at
            # spaCy leaves out one blank behind a chunk; any other white space is a token of its own.
            lone = blank > begin and start - blank == 1 and data[blank] == 32
            chunk_gap[count] = not (lone or start == blank)
            blank = at
            count += 1
        row += 1
        bounds[row] = count
    return row, entries


@numba.njit(cache=True, nogil=True)
def measure_pieces(data: Any, starts: Any, first: int, table: Any, pieces: Any) -> None:
    """Characters, hash and flags of the pieces from ``first`` on, which begin at ``starts`` in ``data``."""
    for i in range(len(starts)):
        at = first + i
        found = measure_word(data, starts[i], starts[i] + pieces.sizes[at], table)
        pieces.chars[at], pieces.hashes[at], pieces.flags[at] = found


@numba.njit(cache=True, nogil=True)
def emit_words(offsets: Any, chunks: Any, known: Any, pieces: Any, words: Any) -> None:
    """Write the words of every chunk; ``words`` has room for all of them."""
    chunk_entry, chunk_start, _, chunk_gap, bounds = chunks
    sizes, piece_chars, piece_hashes, piece_flags = pieces
    starts, ends, chars, hashes, flags, word_bounds = words
    first, counts = known.firsts, known.counts
    count = 0
    word_bounds[0] = 0
    for row in range(len(offsets) - 1):
        begin = offsets[row]
        for chunk in range(bounds[row], bounds[row + 1]):
            entry = chunk_entry[chunk]
            at = chunk_start[chunk] - begin
            gap = AFTER_SPACE_TOKEN if chunk_gap[chunk] else 0
            for piece in range(first[entry], first[entry] + counts[entry]):
                starts[count] = at
                at += sizes[piece]
                ends[count] = at
                chars[count] = piece_chars[piece]
                hashes[count] = piece_hashes[piece]
                flags[count] = piece_flags[piece] | gap
                gap = 0
                count += 1
        word_bounds[row + 1] = count
