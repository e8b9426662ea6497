"""One cheap pass over the bytes that proves where nothing can be: most text holds nothing that looks like data.

A compiled kernel reads each byte once and notes *anchors*: an at sign, six or more digits close together, numbers with
three dots, hexadecimal groups with colons, long words of letters and digits, what
may be a postal code. Every pattern that starts from one of
these is then tried only in a window around such an anchor. What starts from words (``my name is``) is looked for by
plain search.
"""

from __future__ import annotations

from typing import Any, Final

import numba
import numpy as np
from numpy.typing import NDArray

from groundup.stages.curate.engine.columns import Bytes, Offsets

DIGITS: Final = 0
AT: Final = 1
DOTS: Final = 2
COLONS: Final = 3
TOKEN: Final = 4
POSTCODE: Final = 5

FEWEST_DIGITS: Final = 6
WIDEST_GAP: Final = 3
"""Digits this many characters apart or fewer are of one cluster (``(0) 30 / 123``)."""

SHORTEST_TOKEN: Final = 16

Windows = dict[int, list[tuple[int, int]]]
"""By anchor, the windows of a text in characters, in order and not overlapping."""

_REACH: Final = {
    DIGITS: (64, 32),
    AT: (160, 260),
    DOTS: (64, 16),
    COLONS: (48, 48),
    TOKEN: (64, 16),
    POSTCODE: (120, 48),
}
"""Characters before and after an anchor that a window takes in: the context that rules look at."""


def anchors(data: Bytes, offsets: Offsets) -> tuple[NDArray[np.int64], Offsets]:
    """The anchors of each text: (anchors, 3) int64 of kind, first byte and end in the text; and the rows' bounds."""
    found, counts = _anchors(data, offsets)
    return np.asarray(found), np.concatenate(([0], np.cumsum(counts))).astype(np.int64)


def windows(text: str, encoded: bytes, found: NDArray[np.int64]) -> Windows:
    """Windows around a text's anchors. ``encoded``: its UTF-8; ``found``: (anchors, 3) from :func:`anchors`."""
    made: Windows = {}
    if not len(found):
        return made
    places = found[:, 1:]
    if len(text) != len(encoded):
        # A character begins at each byte that doesn't continue another.
        begins = (np.frombuffer(encoded, np.uint8) & 0xC0) != 0x80
        places = np.concatenate(([0], np.cumsum(begins)))[places]
    for kind, (first, last) in zip(found[:, 0].tolist(), places.tolist(), strict=True):
        before, after = _REACH[kind]
        start, end = max(0, first - before), min(len(text), last + after)
        row = made.setdefault(kind, [])
        if row and start <= row[-1][1]:
            row[-1] = (row[-1][0], max(end, row[-1][1]))
        else:
            row.append((start, end))
    return made


@numba.njit(cache=True, nogil=True)
def _anchors(data: Any, offsets: Any) -> Any:
    rows = len(offsets) - 1
    counts = np.zeros(rows, np.int64)
    found = np.empty((256, 3), np.int64)
    total = 0
    for row in range(rows):
        begin, end = offsets[row], offsets[row + 1]
        # Cluster of digits; run of digits and dots; run of hexadecimal digits and colons; word of letters and digits.
        digits, cluster, last_digit = 0, 0, -10
        dots, dotted, run = 0, -1, 0
        colons, hexed = 0, -1
        letters, numbers, capitals, joints, word = 0, 0, 0, 0, -1
        for at in range(begin, end + 1):
            byte = int(data[at]) if at < end else 10
            digit = 48 <= byte <= 57
            letter = 97 <= (byte | 32) <= 122
            if total + 8 > len(found):
                grown = np.empty((2 * len(found), 3), np.int64)
                grown[:total] = found[:total]
                found = grown
            if digit:
                if digits == 0 or at - last_digit > WIDEST_GAP + 1:
                    if digits >= FEWEST_DIGITS:
                        found[total, 0], found[total, 1], found[total, 2] = (
                            DIGITS,
                            cluster - begin,
                            last_digit + 1 - begin,
                        )
                        total += 1
                    digits, cluster = 0, at
                digits += 1
                last_digit = at
            elif at == end and digits >= FEWEST_DIGITS:
                found[total, 0], found[total, 1], found[total, 2] = DIGITS, cluster - begin, last_digit + 1 - begin
                total += 1
            # Five digits (most countries), digit and two capitals (Britain), four digits and capitals (Netherlands).
            if not digit and run > 0:
                capital = 65 <= byte <= 90
                follows = (
                    at + 2 < end and 65 <= data[at + 1] <= 90 and (capital or (byte == 32 and 65 <= data[at + 2] <= 90))
                )
                if run == 5 or (run in (1, 4) and follows):
                    found[total, 0], found[total, 1], found[total, 2] = POSTCODE, at - run - begin, at - begin
                    total += 1
            run = run + 1 if digit else 0
            if byte == 64:
                found[total, 0], found[total, 1], found[total, 2] = AT, at - begin, at + 1 - begin
                total += 1
            if digit or byte == 46:
                if dotted < 0:
                    dotted, dots = at, 0
                dots += byte == 46
            elif dotted >= 0:
                if dots >= 3:
                    found[total, 0], found[total, 1], found[total, 2] = DOTS, dotted - begin, at - begin
                    total += 1
                dotted = -1
            if digit or byte == 58 or (97 <= (byte | 32) <= 102):
                if hexed < 0:
                    hexed, colons = at, 0
                colons += byte == 58
            elif hexed >= 0:
                if colons >= 2 and at - hexed >= 6:
                    found[total, 0], found[total, 1], found[total, 2] = COLONS, hexed - begin, at - begin
                    total += 1
                hexed = -1
            if digit or letter or byte == 95 or byte == 45 or byte == 43 or byte == 47:
                if word < 0:
                    word, letters, numbers, capitals, joints = at, 0, 0, 0, 0
                letters += letter
                numbers += digit
                capitals += 65 <= byte <= 90
                joints += byte == 95 or byte == 45
            elif word >= 0:
                if at - word >= SHORTEST_TOKEN and letters >= 3 and (numbers >= 1 or (capitals >= 2 and joints >= 1)):
                    found[total, 0], found[total, 1], found[total, 2] = TOKEN, word - begin, at - begin
                    total += 1
                word = -1
            counts[row] = total
    for row in range(rows - 1, 0, -1):
        counts[row] -= counts[row - 1]
    return found[:total], counts
