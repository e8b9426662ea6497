"""The compiled parts of exact-substring search. Import it at the first use, not before."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from groundup.stages.curate.duplicates.compiled import kernel
from groundup.stages.curate.duplicates.word_kernels import mix

Bytes = NDArray[np.uint8]
Ints = NDArray[np.int64]
Keys = NDArray[np.uint64]

STRUCK: Final = np.uint8(1)
GUARDED: Final = np.uint8(2)

_P1: Final = np.uint64(2147483647)  # 2^31 - 1
_P2: Final = np.uint64(2147483629)  # the prime before it
_S32: Final = np.uint64(32)
_ONE: Final = np.uint64(1)


@kernel
def mark_repeats(
    suffixes: NDArray[np.int32], common: NDArray[np.int32], least: int, whole: Bytes, marks: Bytes
) -> None:
    """Mark the places whose next ``least`` bytes stand elsewhere too: the first such place GUARDED, others STRUCK.

    ``common[i]`` is the length that suffixes i and i + 1 have in common. ``whole`` says where ``least`` bytes do not
    run over the end of a text; the others take no part.
    """
    at = 0
    count = len(suffixes)
    while at < count:
        end = at
        while end + 1 < count and common[end] >= least:
            end += 1
        first, places = np.int64(-1), 0
        for each in range(at, end + 1):
            place = np.int64(suffixes[each])
            if whole[place]:
                places += 1
                if first < 0 or place < first:
                    first = place
        if places > 1:
            for each in range(at, end + 1):
                place = np.int64(suffixes[each])
                if whole[place]:
                    marks[place] = GUARDED if place == first else STRUCK
        at = end + 1


@kernel
def cover(
    data: Bytes, offsets: Ints, marks: Bytes, least: int, keep_first: bool, rows: Ints, starts: Ints, stops: Ints
) -> int:
    """The spans that marked windows cover, cut to whole UTF-8 characters: their number, and (row, start, stop) of each.

    With ``keep_first`` what a guarded window covers stays, even where a struck one laps over it. Positions are in
    ``data``; ``marks[0]`` is that of ``data[offsets[0]]``.
    """
    count = 0
    base = offsets[0]
    for row in range(len(offsets) - 1):
        struck_to: Any = np.int64(-1)
        guarded_to: Any = np.int64(-1)
        begin: Any = np.int64(-1)
        for at in range(offsets[row], offsets[row + 1] + 1):
            gone: Any = False
            if at < offsets[row + 1]:
                mark = marks[at - base]
                if mark == STRUCK or (mark == GUARDED and not keep_first):
                    struck_to = at + least
                elif mark == GUARDED:
                    guarded_to = at + least
                gone = at < struck_to and at >= guarded_to
            if gone and begin < 0:
                begin = at
            if not gone and begin >= 0:
                first, last = begin, at
                while first < last and data[first] & 0xC0 == 0x80:
                    first += 1
                if last < offsets[row + 1]:
                    while last > first and data[last] & 0xC0 == 0x80:
                        last -= 1
                if last > first:
                    rows[count], starts[count], stops[count] = row, first, last
                    count += 1
                begin = np.int64(-1)
    return count


@kernel
def window_hashes(
    data: Bytes, start: int, stop: int, size: int, base_1: np.uint64, base_2: np.uint64, out: Keys
) -> int:
    """The hash of each ``size`` bytes of ``data[start:stop]``, in order; return how many.

    Two polynomials modulo primes of 31 bits (Karp and Rabin 1987), put together and mixed. A polynomial modulo 2^64
    would be faster, and has known collisions (Thue-Morse strings).
    """
    count = stop - start - size + 1
    if count <= 0:
        return 0
    out_1, out_2 = _ONE, _ONE
    for _ in range(size - 1):
        out_1, out_2 = out_1 * base_1 % _P1, out_2 * base_2 % _P2
    hash_1, hash_2 = np.uint64(0), np.uint64(0)
    for at in range(start, start + size - 1):
        byte = np.uint64(data[at]) + _ONE
        hash_1, hash_2 = (hash_1 * base_1 + byte) % _P1, (hash_2 * base_2 + byte) % _P2
    for at in range(count):
        byte = np.uint64(data[start + at + size - 1]) + _ONE
        hash_1, hash_2 = (hash_1 * base_1 + byte) % _P1, (hash_2 * base_2 + byte) % _P2
        out[at] = mix((hash_1 << _S32) | hash_2)
        gone = np.uint64(data[start + at]) + _ONE
        hash_1 = (hash_1 + _P1 - gone * out_1 % _P1) % _P1
        hash_2 = (hash_2 + _P2 - gone * out_2 % _P2) % _P2
    return count


@kernel
def winnow(hashes: Keys, count: int, reach: int, chosen: Ints) -> int:
    """The place of the least of each ``reach`` hashes in a row, the last of equal ones: ``chosen[i]`` for window i.

    Winnowing (Schleimer, Wilkerson and Aiken 2003): equal windows choose the same place in them.
    """
    least: Any = np.int64(-1)
    for first in range(count - reach + 1):
        if least < first:
            least = first
            for at in range(first + 1, first + reach):
                if hashes[at] <= hashes[least]:
                    least = at
        elif hashes[first + reach - 1] <= hashes[least]:
            least = first + reach - 1
        chosen[first] = least
    return max(0, count - reach + 1)
