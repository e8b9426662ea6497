"""Texts to pieces, compiled: automata run over UTF-8, one behind the other.

A split is a chain of automata: the first cuts the row, the next cuts each piece of the first, and so on. ``Split``
holds them side by side (:func:`.automaton.side_by_side`). ``ends`` (int64, automata + 1) is the state of the chain at a
position: ``ends[0]`` the end of the row, ``ends[k + 1]`` that of the piece which automaton k has cut; ``kept`` (bool,
automata) says of each of these pieces whether it is text to keep.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from groundup.text.bpe.jit import inlined, kernel
from groundup.text.bpe.members import NUM_CODES


class Split(NamedTuple):
    """``classes``: uint8 (n * 0x110000,); ``entries``: int32 (n * block,), twice the place of the next state or -2,
    plus 1 after a match; ``drops``: bool (n, 2), whether what automaton k leaves, and what it matches, is dropped;
    ``width``: entries a state, the last of them for the end of the text."""

    classes: NDArray[np.uint8]
    entries: NDArray[np.int32]
    drops: NDArray[np.bool_]
    block: int
    width: int


@inlined
def decode(data: Any, at: int, end: int) -> Any:
    """(code point, bytes) of the character at ``at``, which is not ASCII; a clipped sequence gives U+FFFD, one byte."""
    first = np.int64(data[at])
    if first >= 0xE0:
        if first < 0xF0:
            if at + 2 < end:
                code = (first & 0x0F) << 12 | (np.int64(data[at + 1]) & 0x3F) << 6 | (np.int64(data[at + 2]) & 0x3F)
                return code, 3
        elif at + 3 < end:
            code = (
                (first & 0x07) << 18
                | (np.int64(data[at + 1]) & 0x3F) << 12
                | (np.int64(data[at + 2]) & 0x3F) << 6
                | (np.int64(data[at + 3]) & 0x3F)
            )
            return (code if code < 0x110000 else 0xFFFD), 4
    elif at + 1 < end:
        return (first & 0x1F) << 6 | (np.int64(data[at + 1]) & 0x3F), 2
    return 0xFFFD, 1


@inlined
def match_end(data: Any, at: int, end: int, number: int, classes: Any, entries: Any, block: int, width: int) -> int:
    """Where the match of automaton ``number`` that begins at ``at`` ends; -1 without one."""
    every = np.uint64(number * NUM_CODES)
    state = np.uint64(number * block)
    matched = -1
    while at < end:
        byte = data[at]
        if byte < 0x80:
            entry = entries[state + np.uint64(classes[every + np.uint64(byte)])]
            size = 1
        else:
            code, size = decode(data, at, end)
            entry = entries[state + np.uint64(classes[every + np.uint64(code)])]
        if entry & 1:
            matched = at
        if entry < 0:
            return matched
        state = np.uint64(entry >> 1)
        at += size
    if entries[state + np.uint64(width - 1)] & 1:
        matched = end
    return matched


@kernel
def left_end(data: Any, at: int, end: int, number: int, classes: Any, entries: Any, block: int, width: int) -> int:
    """Where the text that no match begins in ends: the next match after ``at``, or ``end``."""
    while True:
        at += 1
        while at < end and data[at] & 0xC0 == 0x80:
            at += 1
        if at >= end or match_end(data, at, end, number, classes, entries, block, width) >= 0:
            return at


@inlined
def piece_end(
    data: Any, at: int, ends: Any, kept: Any, drops: Any, classes: Any, entries: Any, block: int, width: int
) -> int:
    """Where the piece that begins at ``at`` ends; updates ``ends`` and ``kept``. ``at`` is before ``ends[0]``."""
    for number in range(len(kept)):
        if ends[number + 1] <= at:
            stop = match_end(data, at, ends[number], number, classes, entries, block, width)
            matched = stop > at
            if not matched:
                stop = left_end(data, at, ends[number], number, classes, entries, block, width)
            ends[number + 1] = stop
            kept[number] = not drops[number, np.int64(matched)]
    return int(ends[len(kept)])


@inlined
def is_kept(kept: Any) -> bool:
    """Whether no automaton of the chain drops the piece."""
    every = True
    for number in range(len(kept)):
        every &= kept[number]
    return bool(every)


@kernel
def split_rows(texts: Any, split: Any, chain: Any, starts: Any, stops: Any, bounds: Any) -> int:
    """The kept pieces of all rows: starts and stops in ``data`` and, in ``bounds`` (rows + 1,), those of each row.

    ``chain``: ends and kept flags. Returns their number; there is room for as many as there are bytes.
    """
    data, offsets = texts
    classes, entries, drops, block, width = split
    ends, kept = chain
    count = 0
    for row in range(len(offsets) - 1):
        at = offsets[row]
        ends[:] = at
        ends[0] = offsets[row + 1]
        while at < ends[0]:
            stop = piece_end(data, at, ends, kept, drops, classes, entries, block, width)
            if is_kept(kept):
                starts[count] = at
                stops[count] = stop
                count += 1
            at = stop
        bounds[row + 1] = count
    return count


@kernel
def worst_of_rows(data: Any, offsets: Any, table: Any, worst: Any) -> None:
    """The greatest value that ``table`` (uint8, 0x110000) has for a character of each row; uint8 (rows,)."""
    for row in range(len(offsets) - 1):
        at, end = offsets[row], offsets[row + 1]
        most = table[0]
        while at < end:
            if data[at] < 0x80:
                at += 1
                continue
            code, size = decode(data, at, end)
            most = max(most, table[code])
            at += size
        worst[row] = most


@kernel
def bytes_of_rows(data: Any, offsets: Any, wanted: Any, found: Any) -> None:
    """Which rows hold a byte of ``wanted``, bool (256,); ``found``: bool (rows,)."""
    for row in range(len(offsets) - 1):
        there = False
        for at in range(offsets[row], offsets[row + 1]):
            there |= wanted[data[at]]
        found[row] = there
