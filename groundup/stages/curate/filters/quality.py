"""Does a page look like running text? Rae et al. 2021 (Gopher), appendix A.1.1, in the readings of datatrove, Dolma and
DCLM.

- ``counted``: words are counted and their length taken over those with a character ``outside_list`` (not in
  datatrove's list of punctuation), with a letter or digit (``alnum``), that begin with one (``starts_alnum``), or
  ``all``;
- ``length``: ``mean`` or ``median`` word length;
- ``symbols``: ``#`` and ellipses a word, ``separate`` from each other; their ``sum``; or the share of ``words`` that
  contain ``#`` or ``…``;
- ``lines``: between all ``breaks`` that ``str.splitlines`` knows, between line ``feeds``, or ``stripped`` and not
  empty;
- ``bullets`` and ``ellipses``: how a line begins and ends; with ``trim`` white space before and behind is not looked
  at;
- ``stop_words``: the words; ``stop_count``: ``distinct`` ones, ``repeats`` too, or repeats with case ``folded``.
"""

from __future__ import annotations

from typing import Any, Final

import numba
import numpy as np

from groundup.stages.curate.engine.columns import Texts
from groundup.stages.curate.filters.counting import Matrix, hash_text
from groundup.stages.curate.filters.cutting import ends_with, line_stop, starts_with, strings, trimmed
from groundup.stages.curate.words.classes import table
from groundup.stages.curate.words.kernels import BASE, COUNTS, HAS_ALNUM, HAS_LETTER, STARTS_ALNUM
from groundup.stages.curate.words.words import Lines, Skip, Words

STATISTICS: Final = (
    "words",
    "word_length",
    "hash_ratio",
    "ellipsis_ratio",
    "symbol_ratio",
    "bullet_lines_ratio",
    "ellipsis_lines_ratio",
    "alpha_words_ratio",
    "stop_words",
)
READINGS: Final = {
    "counted": ("outside_list", "alnum", "starts_alnum", "all"),
    "length": ("mean", "median"),
    "symbols": ("separate", "sum", "words"),
    "lines": ("breaks", "feeds", "stripped"),
    "trim": (False, True),
    "stop_count": ("distinct", "repeats", "folded"),
}
WORD_LISTS: Final = ("bullets", "ellipses", "stop_words")
"""Readings that are lists of strings."""

_MASKS: Final = {"outside_list": COUNTS, "alnum": HAS_ALNUM, "starts_alnum": STARTS_ALNUM, "all": 0}
_BASE: Final = np.uint64(BASE)
_ONE: Final = np.uint64(1)


def measure(texts: Texts, words: Words, lines: Lines, skip: Skip, readings: dict[str, Any]) -> Matrix:
    """(rows, statistics) float64; NaN in skipped rows. ``lines`` are not used: these rules cut their own."""
    out = np.full((len(skip), len(STATISTICS)), np.nan)
    choice = {name: choices.index(readings[name]) for name, choices in READINGS.items()}
    stops = np.array([hash_text(word) for word in readings["stop_words"]], np.uint64)
    _measure(
        texts, words, skip, table(), _MASKS[readings["counted"]], tuple(choice.values()),
        strings(readings["bullets"]), strings(readings["ellipses"]), stops, out,
    )  # fmt: skip
    return out


@numba.njit(cache=True, nogil=True)
def _lines(
    data: Any, begin: int, end: int, classes: Any, kind: int, trim: int, bullets: Any, ellipses: Any
) -> tuple[int, int, int]:
    """(lines, lines that begin with a bullet, lines that end in an ellipsis)."""
    number = bulleted = trailing = 0
    at = begin
    more = True
    while more:
        stop, after = line_stop(data, at, end, classes, kind != 0)
        # A line feed at the end opens another, empty line, but not for splitlines.
        more = after < end or (kind != 0 and after > stop)
        if kind == 0 and at == end:
            break
        first, last = at, stop
        if trim or kind == 2:
            first, last = trimmed(data, first, last, classes)
        at = after
        if kind == 2 and first == last:
            continue
        number += 1
        bulleted += starts_with(data, first, last, bullets[0], bullets[1])
        trailing += ends_with(data, first, last, ellipses[0], ellipses[1])
    return number, bulleted, trailing


@numba.njit(cache=True, nogil=True)
def _symbols(data: Any, begin: int, end: int) -> tuple[int, int, int]:
    """(hashes, ``...`` and ``…``, ``. . .``) in the text, none counted twice."""
    hashes = dots = spaced = 0
    run = 0
    spread = 0  # how much of ". . ." stands before this byte
    for at in range(begin, end):
        byte = data[at]
        if byte == 35:
            hashes += 1
        elif byte == 46:
            run += 1
            if run == 3:
                dots += 1
                run = 0
            spread = spread + 1 if spread in (0, 2, 4) else 1
            if spread == 5:
                spaced += 1
                spread = 0
            continue
        elif byte == 0xE2 and at + 2 < end and data[at + 1] == 0x80 and data[at + 2] == 0xA6:
            dots += 1
        spread = spread + 1 if byte == 32 and spread in (1, 3) else 0
        run = 0
    return hashes, dots, spaced


@numba.njit(cache=True, nogil=True)
def _stop_words(data: Any, begin: int, words: Any, first: int, last: int, stops: Any, kind: int) -> int:
    """Stop words among the row's words: distinct ones (0), all (1), all in any case (2)."""
    number = 0
    seen = np.uint64(0)
    for word in range(first, last):
        key = words.hashes[word]
        if kind == 2 and words.ends[word] - words.starts[word] <= 32:
            key = np.uint64(0)
            for at in range(begin + words.starts[word], begin + words.ends[word]):
                byte = data[at] | 32 if 65 <= data[at] <= 90 else data[at]
                key = key * _BASE + np.uint64(byte) + _ONE
        for stop in range(len(stops)):
            if stops[stop] == key:
                number += 1
                seen |= _ONE << np.uint64(stop)
                break
    if kind == 0:
        number = 0
        while seen:
            seen &= seen - _ONE
            number += 1
    return number


@numba.njit(cache=True, nogil=True)
def _lengths(words: Any, first: int, last: int, counted: int, median: int) -> tuple[int, float]:
    """(words that count, their mean or median length in characters; NaN without any)."""
    number = total = 0
    for word in range(first, last):
        if counted == 0 or words.flags[word] & counted:
            number += 1
            total += words.chars[word]
    if number == 0 or not median:
        return number, total / number if number else np.nan
    sizes = np.empty(number, np.float64)
    at = 0
    for word in range(first, last):
        if counted == 0 or words.flags[word] & counted:
            sizes[at] = words.chars[word]
            at += 1
    return number, np.median(sizes)


@numba.njit(cache=True, nogil=True)
def _symbol_words(data: Any, begin: int, words: Any, first: int, last: int) -> int:
    """Words with ``#`` or ``…`` in them."""
    number = 0
    for word in range(first, last):
        for at in range(begin + words.starts[word], begin + words.ends[word]):
            wide = data[at] == 0xE2 and at + 2 < begin + words.ends[word]
            if data[at] == 35 or (wide and data[at + 1] == 0x80 and data[at + 2] == 0xA6):
                number += 1
                break
    return number


@numba.njit(cache=True, nogil=True)
def _measure(
    texts: Any,
    words: Any,
    skip: Any,
    classes: Any,
    counted: int,
    readings: Any,
    bullets: Any,
    ellipses: Any,
    stops: Any,
    out: Any,
) -> None:
    data, offsets = texts
    _, length, symbols, lines, trim, stop_count = readings
    for row in range(len(skip)):
        if skip[row]:
            continue
        begin, end = offsets[row], offsets[row + 1]
        first, last = words.bounds[row], words.bounds[row + 1]
        out[row, 0], out[row, 1] = _lengths(words, first, last, counted, length)
        every = last - first
        if every:
            hashes, dots, spaced = _symbols(data, begin, end)
            marked = _symbol_words(data, begin, words, first, last) if symbols == 2 else hashes + dots + spaced
            with_letter = 0
            for word in range(first, last):
                with_letter += (words.flags[word] & HAS_LETTER) != 0
            out[row, 2], out[row, 3], out[row, 4] = hashes / every, dots / every, marked / every
            out[row, 7] = with_letter / every
        number, bulleted, trailing = _lines(data, begin, end, classes, lines, trim, bullets, ellipses)
        out[row, 5], out[row, 6] = bulleted / max(number, 1), trailing / max(number, 1)
        out[row, 8] = _stop_words(data, begin, words, first, last, stops, stop_count)
