"""What spam shows in its characters and words, measured in one pass over a text's bytes; and letter trigrams."""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from groundup.stages.curate.judging.compiled import inlined, kernel
from groundup.stages.curate.judging.kernels import WORD, next_token

LETTERS: Final = 27
"""a to z, and one for all else between words."""
_LONG: Final = 4
"""Characters of a word that can be stuffed: shorter ones are mostly grammar."""


@inlined
def _letter(byte: int) -> int:
    """0 to 25 for a to z in either case, 26 for anything else."""
    small = byte | 32
    return small - 97 if 97 <= small <= 122 else 26


@inlined
def _code(data: Any, at: int, end: int) -> tuple[int, int]:
    """(code point, bytes) of the character at ``at``; broken sequences give 0xFFFD and one byte."""
    lead = int(data[at])
    code, size = 0xFFFD, 1
    if lead < 0x80:
        code = lead
    elif 0xC2 <= lead < 0xE0 and at + 1 < end:
        code, size = ((lead & 31) << 6) | int(data[at + 1] & 63), 2
    elif 0xE0 <= lead < 0xF0 and at + 2 < end:
        code, size = ((lead & 15) << 12) | (int(data[at + 1] & 63) << 6) | int(data[at + 2] & 63), 3
    elif 0xF0 <= lead < 0xF5 and at + 3 < end:
        code = ((lead & 7) << 18) | (int(data[at + 1] & 63) << 12)
        code |= (int(data[at + 2] & 63) << 6) | int(data[at + 3] & 63)
        size = 4
    return code, size


@inlined
def _hidden(code: int) -> bool:
    """Whether a character shows nothing and has no business in running text: zero width space, word joiners, invisible
    operators, directional overrides, Hangul fillers, tags. Joiners (U+200C, U+200D), marks of direction and the soft
    hyphen are part of honest writing, and so is a byte order mark at the start."""
    return (
        code == 0x200B
        or 0x2060 <= code <= 0x2064
        or 0x202A <= code <= 0x202E
        or code == 0x3164
        or code == 0xFFA0
        or 0xE0000 <= code <= 0xE007F
    )


@inlined
def _starts_link(data: Any, at: int, end: int) -> int:
    """The bytes of ``http://``, ``https://`` or ``www.`` at ``at``, else 0."""
    found = 0
    first = data[at] | 32
    if (
        first == 104
        and at + 7 < end
        and data[at + 1] | 32 == 116
        and data[at + 2] | 32 == 116
        and data[at + 3] | 32 == 112
    ):
        if data[at + 4] == 58 and data[at + 5] == 47 and data[at + 6] == 47:
            found = 7
        elif data[at + 4] | 32 == 115 and data[at + 5] == 58 and data[at + 6] == 47 and data[at + 7] == 47:
            found = 8
    elif first == 119 and at + 4 < end and data[at + 1] | 32 == 119 and data[at + 2] | 32 == 119 and data[at + 3] == 46:
        found = 4
    return found


@kernel
def count_trigrams(data: Any, counts: Any) -> None:
    """Add a text's letter trigrams to ``counts``, (27, 27, 27) int64. All but letters is one mark between words."""
    first = second = 26
    for at in range(len(data)):
        third = _letter(int(data[at]))
        if third == 26 and second == 26:
            continue
        counts[first, second, third] += 1
        first, second = second, third


@kernel
def characters(data: Any, offsets: Any, skip: Any, trigrams: Any, out: Any) -> None:
    """Fill ``out`` (rows, 6): words' letters' mean log probability, shares of hidden characters, of words of mixed
    alphabets, of bytes in links, links, commas. NaN for the first where fewer than half of the bytes are ASCII letters.

    ``trigrams``: (27, 27, 27) float32, log2 of the third letter's probability after two others.
    """
    for row in range(len(offsets) - 1):
        if skip[row]:
            continue
        at, end = offsets[row], offsets[row + 1]
        first = second = 26
        total = 0.0
        number = letters = chars = hidden = words = mixed = linked = links = commas = 0
        latin = other = False
        until = at
        while at < end:
            if at >= until and (at == offsets[row] or data[at - 1] <= 47 or data[at - 1] == 60):
                size = _starts_link(data, at, end)
                if size:
                    until = at
                    while until < end and data[until] > 32 and data[until] != 34 and data[until] != 60:
                        until += 1
                    links += 1
                    linked += until - at
            code, size = _code(data, at, end)
            chars += 1
            hidden += _hidden(code)
            commas += code == 44
            letter = _letter(code) if code < 0x80 else 26
            if at >= until and not (letter == 26 and second == 26):
                if code < 0x80:
                    total += trigrams[first, second, letter]
                    number += 1
                letters += letter != 26
                first, second = second, letter
            is_latin = letter != 26 or 0xC0 <= code <= 0x24F
            is_other = 0x370 <= code <= 0x52F
            if is_latin or is_other:
                latin |= is_latin
                other |= is_other
            else:
                words += latin or other
                mixed += latin and other
                latin = other = False
            at += size
        words += latin or other
        mixed += latin and other
        out[row, 0] = total / number if 2 * letters >= end - offsets[row] - linked and number else np.nan
        out[row, 1] = hidden / max(1, chars)
        out[row, 2] = mixed / max(1, words)
        out[row, 3] = linked / max(1, end - offsets[row])
        out[row, 4] = links
        out[row, 5] = commas


@kernel
def stuffing(data: Any, offsets: Any, skip: Any, places: Any, out: Any) -> None:
    """Fill ``out`` (rows, 2): words, and the share of the commonest word of four characters or more.

    ``places``: (2 ** n, 2) int64, zeros: a table that counts words by hash. Words that meet in it count together.
    """
    mask = np.uint64(len(places) - 1)
    for row in range(len(offsets) - 1):
        if skip[row]:
            continue
        at, end = offsets[row], offsets[row + 1]
        words = most = 0
        while True:
            start, at, code_hash, kind = next_token(data, at, end)
            if start >= end:
                break
            if kind != WORD:
                continue
            words += 1
            if at - start >= _LONG:
                place = code_hash & mask
                if places[place, 0] != row + 1:
                    places[place, 0] = row + 1
                    places[place, 1] = 0
                places[place, 1] += 1
                most = max(most, places[place, 1])
        out[row, 0] = words
        out[row, 1] = most / max(1, words)
