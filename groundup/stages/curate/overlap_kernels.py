"""Which texts may share a run of words with a benchmark item: a sieve that lets no sharer through its holes.

:class:`groundup.text.overlap.OverlapIndex` is exact and slow. This compares coarse words: ASCII letters lower-cased,
apostrophes left out, and every word with another letter in it the same. Texts that share a run of words share the
coarse run, so those that share none need no second look. The few characters whose lower case is ASCII or more than one
character would break that, so a text that holds one is always looked at.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from groundup.stages.curate.duplicates.compiled import kernel, read_only
from groundup.stages.curate.engine.columns import Texts
from groundup.stages.curate.words import classes
from groundup.stages.curate.words.kernels import decode
from groundup.text.overlap import NGRAM_WORDS

Hashes = NDArray[np.uint64]

_OFFSET: Final = np.uint64(0xCBF29CE484222325)
_PRIME: Final = np.uint64(0x100000001B3)
_FACTOR: Final = np.uint64(0x9E3779B97F4A7C15)
_WILD: Final = np.uint64(0xA5A5A5A5DEADBEEF)
_APOSTROPHE: Final = 0x27
_CURLY: Final = 0x2019
_MODIFIER: Final = 0x02BC
_DOTTED_I: Final = 0x130
_KELVIN: Final = 0x212A
_MOST_LENGTHS: Final = 16


class Sieve:
    """The coarse runs of benchmark items, by length."""

    def __init__(self, items: Texts) -> None:
        lengths, runs = [], []
        for row in range(len(items.offsets) - 1):
            words = _words_of(items, row)
            length = min(len(words), NGRAM_WORDS)
            if length:
                lengths.append(length)
                runs.append(_runs(words, length))
        self._lengths = np.array(sorted(set(lengths)), np.int64)
        self._slots = _table(np.unique(np.concatenate([np.zeros(0, np.uint64), *runs])))

    def may_share(self, rows: Texts) -> NDArray[np.bool_]:
        """Which texts may share a run with an item: (rows,) bool."""
        found = np.zeros(len(rows.offsets) - 1, bool)
        if len(self._lengths):
            data, offsets, table, lengths, slots = read_only(
                rows.data, rows.offsets, classes.table(), self._lengths, self._slots
            )
            longest = int(np.diff(rows.offsets).max(initial=0)) // 2 + 2
            _sieve(data, offsets, table, lengths, slots, np.zeros(longest + 1, np.uint64), found)
        return found


def _words_of(items: Texts, row: int) -> Hashes:
    size = int(items.offsets[row + 1] - items.offsets[row])
    out = np.zeros(size // 2 + 2, np.uint64)
    start, stop = int(items.offsets[row]), int(items.offsets[row + 1])
    data, table = read_only(items.data, classes.table())
    count = _coarse_words(data, start, stop, table, out)
    return out[: abs(count)]


def _runs(words: Hashes, length: int) -> Hashes:
    rolling = np.zeros(len(words) - length + 1, np.uint64)
    for offset in range(length):
        rolling = rolling * _FACTOR + words[offset : offset + len(rolling)]
    return rolling + np.uint64(length)


def _table(values: Hashes) -> Hashes:
    """An open hash table of a power of two of slots, at most a quarter full; 0 is an empty slot."""
    size = 1 << max(4, (4 * len(values)).bit_length())
    slots = np.zeros(size, np.uint64)
    for value in values.tolist():
        at = (value ^ (value >> 32)) & (size - 1)
        while slots[at]:
            at = (at + 1) & (size - 1)
        slots[at] = value or 1
    return slots


@kernel
def _coarse_words(data: Any, start: int, stop: int, table: Any, out: Any) -> int:
    """The hashes of the coarse words of one text into ``out``; their number, negative if it must be looked at."""
    count, at, inside, wild, always = 0, start, False, False, False
    value = _OFFSET
    while at < stop:
        code, size = decode(data, at, stop)
        at += size
        if code in (_APOSTROPHE, _CURLY, _MODIFIER):
            continue
        if code in (_DOTTED_I, _KELVIN):
            always = True
        if table[code] & classes.ALNUM:
            inside = True
            if code < 0x80:
                if 0x41 <= code <= 0x5A:
                    code += 0x20
                value = (value ^ np.uint64(code)) * _PRIME
            else:
                wild = True
        elif inside:
            out[count] = _WILD if wild else value
            count += 1
            inside, wild, value = False, False, _OFFSET
    if inside:
        out[count] = _WILD if wild else value
        count += 1
    return -count if always else count


@kernel
def _sieve(data: Any, offsets: Any, table: Any, lengths: Any, slots: Any, sums: Any, found: Any) -> None:
    mask = np.uint64(len(slots) - 1)
    powers = np.zeros(_MOST_LENGTHS, np.uint64)
    for number in range(len(lengths)):
        power = np.uint64(1)
        for _ in range(lengths[number]):
            power *= _FACTOR
        powers[number] = power
    words = np.zeros(len(sums), np.uint64)
    for row in range(len(offsets) - 1):
        count = _coarse_words(data, offsets[row], offsets[row + 1], table, words)
        if count < 0:
            found[row] = True
            continue
        sums[0] = np.uint64(0)
        for at in range(count):
            sums[at + 1] = sums[at] * _FACTOR + words[at]
        for number in range(len(lengths)):
            length = lengths[number]
            power = powers[number]
            for end in range(length, count + 1):
                value = sums[end] - sums[end - length] * power + np.uint64(length)
                if value == np.uint64(0):
                    value = np.uint64(1)
                slot = (value ^ (value >> np.uint64(32))) & mask
                while slots[slot] != np.uint64(0) and slots[slot] != value:
                    slot = (slot + np.uint64(1)) & mask
                if slots[slot] == value:
                    found[row] = True
                    break
            if found[row]:
                break
