"""Texts to words, compiled: from the bytes of a column to flat arrays, without an object a word.

A word's hash is a polynomial in its bytes modulo 2**64: H(w) = sum (byte + 1) * BASE**(bytes after it). So the hash of
words glued together follows from theirs, ``H(ab) = H(a) * BASE**len(b) + H(b)``, which repeated n-grams use. Two
different words share a hash with a chance of about 2**-64 a pair; that is not checked.
"""

from __future__ import annotations

from typing import Any, Final

import numba
import numpy as np
from numpy.typing import NDArray

from groundup.stages.curate.words.classes import (
    ALNUM,
    ALONE,
    ALPHA,
    COUNTED_OUT,
    EXTEND,
    PUNCTUATION,
    SENTENCE_END,
    SPACE,
    UPPER,
    WORD,
)

BASE: Final = 0x5851F42D4C957F2D
"""The multiplier of the hash: odd, from Knuth's MMIX generator."""

HAS_LETTER: Final = 1
"""A flag of a word: some character is a letter (``str.isalpha``)."""
HAS_ALNUM: Final = 2
"""Some character is a letter or a digit."""
COUNTS: Final = 4
"""Some character is not in datatrove's list of punctuation."""
IS_PUNCTUATION: Final = 8
"""All characters are of category P."""
ENDS_SENTENCE: Final = 16
"""The whole word is one mark after which spaCy's sentencizer begins a sentence."""
AFTER_SPACE_TOKEN: Final = 32
"""White space that is more than one blank stands before it: spaCy has a token there."""
ALL_UPPER: Final = 64
"""Every character is an upper-case letter."""
STARTS_ALNUM: Final = 128
"""The first character is a letter or a digit."""

_BASE: Final = np.uint64(BASE)
_ONE: Final = np.uint64(1)
_APOSTROPHES: Final = (0x27, 0x2019)

Any1 = NDArray[Any]


@numba.njit(cache=True, nogil=True, inline="always")
def decode(data: Any, at: int, end: int) -> Any:
    """(code point, bytes) of the character at ``at``; a broken sequence gives U+FFFD and one byte."""
    first = np.int64(data[at])
    if first < 0x80:
        return first, 1
    if first < 0xE0:
        if first < 0xC0 or at + 1 >= end:
            return 0xFFFD, 1
        return (first & 0x1F) << 6 | (np.int64(data[at + 1]) & 0x3F), 2
    if first < 0xF0:
        if at + 2 >= end:
            return 0xFFFD, 1
        return (first & 0x0F) << 12 | (np.int64(data[at + 1]) & 0x3F) << 6 | (np.int64(data[at + 2]) & 0x3F), 3
    if at + 3 >= end:
        return 0xFFFD, 1
    code = (
        (first & 0x07) << 18
        | (np.int64(data[at + 1]) & 0x3F) << 12
        | (np.int64(data[at + 2]) & 0x3F) << 6
        | (np.int64(data[at + 3]) & 0x3F)
    )
    return (code if code < 0x110000 else 0xFFFD), 4


@numba.njit(cache=True, nogil=True)
def measure_word(data: Any, start: int, end: int, table: Any) -> tuple[int, np.uint64, int]:
    """(characters, hash, flags) of the word ``data[start:end]``."""
    chars = 0
    code_hash = np.uint64(0)
    every: Any = 0xFFFF
    some: Any = 0
    some_not: Any = 0
    at = start
    first: Any = 0
    while at < end:
        code, size = decode(data, at, end)
        bits = np.int64(table[code])
        if at == start:
            first = bits
        every &= bits
        some |= bits
        some_not |= ~bits
        chars += 1
        for _ in range(size):
            code_hash = code_hash * _BASE + np.uint64(data[at]) + _ONE
            at += 1
    flags = 0
    if some & ALPHA:
        flags |= HAS_LETTER
    if some & ALNUM:
        flags |= HAS_ALNUM
    if some_not & COUNTED_OUT:
        flags |= COUNTS
    if every & PUNCTUATION:
        flags |= IS_PUNCTUATION
    if chars == 1 and every & SENTENCE_END:
        flags |= ENDS_SENTENCE
    if every & UPPER:
        flags |= ALL_UPPER
    if first & ALNUM:
        flags |= STARTS_ALNUM
    return chars, code_hash, flags


@numba.njit(cache=True, nogil=True, inline="always")
def _word_end(data: Any, at: int, end: int, table: Any, code: int, size: int) -> int:
    """Where the word that begins at ``at`` with character ``code`` ends: the rules of the ``unicode`` splitter."""
    bits = table[code]
    at += size
    if bits & WORD:
        alone = bits & ALONE
        while at < end:
            code, size = decode(data, at, end)
            bits = table[code]
            if bits & EXTEND:
                at += size
                continue
            if alone:
                break
            if bits & WORD:
                if bits & ALONE:
                    break
                at += size
                continue
            if code == 0x27 or code == 0x2019:  # an apostrophe between letters is part of the word
                after = at + size
                if after < end:
                    follower, width = decode(data, after, end)
                    bits = table[follower]
                    if bits & WORD and not bits & ALONE:
                        at = after + width
                        continue
            break
        return at
    while at < end:
        code, size = decode(data, at, end)
        if table[code] & (WORD | SPACE):
            break
        at += size
    return at


@numba.njit(cache=True, nogil=True)
def split_texts(texts: Any, skip: Any, table: Any, whitespace: bool, words: Any) -> int:
    """Fill ``words`` (:class:`~groundup.stages.curate.words.words.Words`) with those of all rows.

    ``skip``: (rows,) bool, rows that are taken as empty. Returns the number of words, -1 if there is no room for them.
    """
    data, offsets = texts
    starts, ends, chars, hashes, flags, bounds = words
    room = len(starts)
    count = 0
    bounds[0] = 0
    for row in range(len(offsets) - 1):
        begin, end = offsets[row], offsets[row + 1]
        at = end if skip[row] else begin
        while at < end:
            code, size = decode(data, at, end)
            if table[code] & SPACE:
                at += size
                continue
            start = at
            if whitespace:
                at += size
                while at < end:
                    code, size = decode(data, at, end)
                    if table[code] & SPACE:
                        break
                    at += size
            else:
                at = _word_end(data, at, end, table, code, size)
            if count == room:
                return -1
            starts[count] = start - begin
            ends[count] = at - begin
            chars[count], hashes[count], flags[count] = measure_word(data, start, at, table)
            count += 1
        bounds[row + 1] = count
    return count


@numba.njit(cache=True, nogil=True)
def split_lines(texts: Any, skip: Any, lines: Any) -> int:
    """Fill ``lines`` with what lies between ``\\n``, empty ones included (``str.split("\\n")``); -1 without room."""
    data, offsets = texts
    starts, ends, chars, hashes, bounds = lines
    room = len(starts)
    count = 0
    bounds[0] = 0
    for row in range(len(offsets) - 1):
        begin, end = offsets[row], offsets[row + 1]
        if skip[row]:
            bounds[row + 1] = count
            continue
        start = begin
        code_hash = np.uint64(0)
        size = 0
        for at in range(begin, end + 1):
            if at == end or data[at] == 10:
                if count == room:
                    return -1
                starts[count] = start - begin
                ends[count] = at - begin
                chars[count] = size
                hashes[count] = code_hash
                count += 1
                start = at + 1
                code_hash = np.uint64(0)
                size = 0
            else:
                byte = data[at]
                code_hash = code_hash * _BASE + np.uint64(byte) + _ONE
                size += (byte & 0xC0) != 0x80
        bounds[row + 1] = count
    return count
