"""The compiled pass from text to word hashes, shingles and minima. Import it at the first batch, not before.

All integer arithmetic is on uint64 and uint32 and wraps: numba makes a float of an int64 with a uint64, so every
constant is typed.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from groundup.stages.curate.duplicates import normal
from groundup.stages.curate.duplicates.compiled import kernel

_FNV: Final = np.uint64(0x100000001B3)
_START: Final = np.uint64(0xCBF29CE484222325)
_ZERO: Final = np.uint64(ord("0"))
_SHINGLE: Final = np.uint64(0x9E3779B97F4A7C15)
_MIX_1: Final = np.uint64(0xBF58476D1CE4E5B9)
_MIX_2: Final = np.uint64(0x94D049BB133111EB)
_S27, _S30, _S31, _S32 = np.uint64(27), np.uint64(30), np.uint64(31), np.uint64(32)
_NOTHING: Final = np.uint32(0xFFFFFFFF)
_DROPPED, _DIGIT, _DECIMAL = normal.DROPPED, normal.DIGIT, normal.DECIMAL
_MANY, _ALONE, _VALUE = normal.MANY, normal.ALONE, normal.VALUE
_LANES: Final = 64


@kernel
def mix(value: np.uint64) -> np.uint64:
    """The finaliser of splitmix64 (Steele, Lea and Flood 2014): each input bit moves every output bit."""
    value = (value ^ (value >> _S30)) * _MIX_1
    value = (value ^ (value >> _S27)) * _MIX_2
    return value ^ (value >> _S31)


@kernel
def decode(data: NDArray[np.uint8], at: int, stop: int) -> tuple[int, int]:
    """The code point that starts with the byte at ``at`` (0x80 or above), and where the next one starts.

    A stray byte counts as U+FFFD by itself, so no input reads beyond ``stop`` or ends the loop.
    """
    point: Any
    first = np.int64(data[at])
    if first >= 0xF0:
        size, point = 4, first & 7
    elif first >= 0xE0:
        size, point = 3, first & 15
    elif first >= 0xC0:
        size, point = 2, first & 31
    else:
        return 0xFFFD, at + 1
    if at + size > stop:
        return 0xFFFD, at + 1
    for place in range(at + 1, at + size):
        point = (point << 6) | (np.int64(data[place]) & 63)
    return (point if point < 0x110000 else 0xFFFD), at + size


@kernel
def _is_digit_at(data: NDArray[np.uint8], at: int, stop: int, codes: NDArray[np.uint32]) -> bool:
    if at >= stop:
        return False
    point: Any = np.int64(data[at])
    if point >= 0x80:
        point, at = decode(data, at, stop)
    return bool(codes[point] == _DIGIT)


@kernel
def words(
    data: NDArray[np.uint8],
    start: int,
    stop: int,
    codes: NDArray[np.uint32],
    expansions: NDArray[np.uint32],
    out: NDArray[np.uint64],
) -> int:
    """Write the hash of each word of ``data[start:stop]`` to ``out``; return how many. Room: bytes // 2 + 1.

    A word's hash is FNV-1a over the code points of its normal form, mixed.
    """
    found = 0
    at = start
    word = _START
    inside = False
    number = 0  # 1 in the whole part of a number, 2 in its decimal part
    while at < stop:
        point: Any = np.int64(data[at])
        if point < 0x80:
            at += 1
        else:
            point, at = decode(data, at, stop)
        code = np.int64(codes[point])
        if code > _DECIMAL and code < _ALONE:
            word = (word ^ np.uint64(code & _VALUE)) * _FNV
            inside = True
            number = 0
        elif code == _DIGIT:
            if number == 0:
                word = (word ^ _ZERO) * _FNV
                inside = True
                number = 1
        elif code == _DROPPED:
            continue
        elif code > _DECIMAL:  # more than one letter, or a word by itself, or both
            number = 0
            if code & _ALONE and inside:
                out[found] = mix(word)
                found += 1
                word = _START
                inside = False
            if code & _MANY:
                place = code & _VALUE
                for each in range(np.int64(expansions[place])):
                    word = (word ^ np.uint64(expansions[place + 1 + each])) * _FNV
            else:
                word = (word ^ np.uint64(code & _VALUE)) * _FNV
            inside = True
            if code & _ALONE:
                out[found] = mix(word)
                found += 1
                word = _START
                inside = False
        else:
            if code == _DECIMAL and number == 1 and _is_digit_at(data, at, stop, codes):
                number = 2
                continue
            number = 0
            if inside:
                out[found] = mix(word)
                found += 1
                word = _START
                inside = False
    if inside:
        out[found] = mix(word)
        found += 1
    return found


@kernel
def shingle(hashes: NDArray[np.uint64], count: int, size: int) -> int:
    """Turn the first ``count`` word hashes into shingle hashes, in place; return how many there are.

    A shingle's hash is a polynomial in its words' hashes modulo 2^64, mixed. Fewer than ``size`` words are one shingle.
    """
    if count == 0:
        return 0
    length = max(1, count - size + 1)
    reach = min(size, count)
    for first in range(length):
        value = np.uint64(0)
        for each in range(first, first + reach):
            value = value * _SHINGLE + hashes[each]
        hashes[first] = mix(value)
    return length


@kernel
def shingles_of_rows(
    data: NDArray[np.uint8],
    offsets: NDArray[np.int64],
    codes: NDArray[np.uint32],
    expansions: NDArray[np.uint32],
    size: int,
    values: NDArray[np.uint64],
    bounds: NDArray[np.int64],
) -> None:
    """The shingle hashes of each row, as they come: row i is ``values[bounds[i]:bounds[i + 1]]``."""
    bounds[0] = 0
    for row in range(len(offsets) - 1):
        free = values[bounds[row] :]
        count = words(data, offsets[row], offsets[row + 1], codes, expansions, free)
        bounds[row + 1] = bounds[row] + shingle(free, count, size)


@kernel
def words_of_rows(
    data: NDArray[np.uint8],
    offsets: NDArray[np.int64],
    codes: NDArray[np.uint32],
    expansions: NDArray[np.uint32],
    values: NDArray[np.uint64],
    bounds: NDArray[np.int64],
) -> None:
    """The word hashes of each row: row i is ``values[bounds[i]:bounds[i + 1]]``."""
    bounds[0] = 0
    for row in range(len(offsets) - 1):
        free = values[bounds[row] :]
        bounds[row + 1] = bounds[row] + words(data, offsets[row], offsets[row + 1], codes, expansions, free)


@kernel
def keys_of_shingles(
    values: NDArray[np.uint64],
    short: NDArray[np.uint32],
    factors: NDArray[np.uint32],
    addends: NDArray[np.uint32],
    rows: int,
    keys: NDArray[np.uint64],
) -> None:
    """The band keys, (bands,), of one document's shingles (at least one), through ``short``: room for them plus 64.

    Minima are over 32-bit lanes: the upper half of a shingle's hash times an odd factor plus an addend, modulo 2^32, is
    a permutation of 2^32 values. The row is padded with its first shingle, which no minimum notices, so that the
    reduction runs in whole vectors.
    """
    count = len(values)
    padded = (count + _LANES - 1) // _LANES * _LANES
    for at in range(count):
        short[at] = np.uint32(values[at] >> _S32)
    for at in range(count, padded):
        short[at] = short[0]
    shorts = short[:padded]
    for band in range(len(keys)):
        key = np.uint64(band)
        for row in range(rows):
            factor, addend = factors[band * rows + row], addends[band * rows + row]
            least = _NOTHING
            for at in range(padded):
                least = min(least, np.uint32(np.uint32(factor * shorts[at]) + addend))
            key = mix(key * _SHINGLE + np.uint64(least))
        keys[band] = key


@kernel
def keys_of_rows(
    data: NDArray[np.uint8],
    offsets: NDArray[np.int64],
    codes: NDArray[np.uint32],
    expansions: NDArray[np.uint32],
    size: int,
    factors: NDArray[np.uint32],
    addends: NDArray[np.uint32],
    rows: int,
    keys: NDArray[np.uint64],
    filled: NDArray[np.bool_],
) -> None:
    """The band keys of each row, from its text in one pass: ``keys`` is (rows, bands); a text of no words has none."""
    longest = np.int64(0)
    for row in range(len(offsets) - 1):
        longest = max(longest, offsets[row + 1] - offsets[row])
    scratch = np.empty(longest // 2 + 1, np.uint64)
    short = np.empty(longest // 2 + 1 + _LANES, np.uint32)
    for row in range(len(offsets) - 1):
        count = words(data, offsets[row], offsets[row + 1], codes, expansions, scratch)
        count = shingle(scratch, count, size)
        filled[row] = count > 0
        if count > 0:
            keys_of_shingles(scratch[:count], short, factors, addends, rows, keys[row])
