"""Does a page repeat itself? Rae et al. 2021, "Scaling Language Models: Methods, Analysis & Insights from Training
Gopher", table A1, in the readings of datatrove, Dolma and DCLM.

What they read differently, and the name of the switch:

- ``copies``: a repeat is any copy ``after_first``, or ``all`` copies of what occurs twice;
- ``segments``: ``runs`` (lines between runs of line feeds, paragraphs between two or more, of the stripped text; shares
  of the text's characters), ``every`` (each line, empty ones too, no paragraphs; shares of the words' characters) or
  ``stripped`` (stripped lines and paragraphs that are not empty; shares of their own characters; a page of a single one
  passes);
- ``top``: the most frequent n-gram is joined by ``spaces`` and of the text's characters, or ``words`` alone of the
  words' characters; among equally frequent ones the first counts, or with ``longest`` (words too) the longest, and only
  if it occurs twice;
- ``duplicates``: n-grams that occurred before, by a scan that ``jumps`` over each it counts (glued together, of the
  text's characters); words that any repeated n-gram ``covers``; or the share of ``occurrences``;
- ``only_words``: n-grams leave out words that do not begin with a letter or digit.
"""

from __future__ import annotations

from typing import Any, Final

import numba
import numpy as np

from groundup.stages.curate.engine.columns import Texts
from groundup.stages.curate.filters.counting import Matrix, joined, new_table, slot_of
from groundup.stages.curate.filters.cutting import trimmed
from groundup.stages.curate.words.classes import table
from groundup.stages.curate.words.kernels import BASE, STARTS_ALNUM
from groundup.stages.curate.words.words import Lines, Skip, Words

TOP: Final = (2, 3, 4)
DUPLICATED: Final = (5, 6, 7, 8, 9, 10)
STATISTICS: Final = (
    "chars",
    "dup_para_frac",
    "dup_para_char_frac",
    "dup_line_frac",
    "dup_line_char_frac",
    *(f"top_{n}_gram" for n in TOP),
    *(f"duplicated_{n}_n_grams" for n in DUPLICATED),
)
READINGS: Final = {
    "copies": ("after_first", "all"),
    "segments": ("runs", "every", "stripped"),
    "top": ("spaces", "words", "longest"),
    "duplicates": ("jumps", "covers", "occurrences"),
    "only_words": (False, True),
}

_BASE: Final = np.uint64(BASE)
_ONE: Final = np.uint64(1)
_POWERS: Final = 2048
_FIRST_TOP: Final = STATISTICS.index("top_2_gram")
_FIRST_DUPLICATED: Final = STATISTICS.index("duplicated_5_n_grams")


def measure(texts: Texts, words: Words, lines: Lines, skip: Skip, readings: dict[str, Any]) -> Matrix:
    """(rows, statistics) float64; NaN in skipped rows."""
    out = np.full((len(skip), len(STATISTICS)), np.nan)
    longest = int(max(np.diff(words.bounds, prepend=0).max(), np.diff(lines.bounds, prepend=0).max(), 1))
    choice = {name: choices.index(readings[name]) for name, choices in READINGS.items()}
    _measure(texts, words, lines, skip, table(), new_table(longest + 1), tuple(choice.values()), longest, out)
    return out


@numba.njit(cache=True, nogil=True)
def _repeats(hashes: Any, chars: Any, count: int, counts: Any, now: int, every: int) -> tuple[int, int]:
    """(segments, characters) that repeat: copies after the first, or all copies of what occurs twice."""
    rounds, keys, values = counts
    mask = len(keys) - 1
    found = length = 0
    for i in range(count):
        key = hashes[i]
        at = slot_of(rounds, keys, mask, now, key)
        if rounds[at] != now:
            rounds[at], keys[at], values[at] = now, key, 1
            continue
        values[at] += 1
        times = 2 if every and values[at] == 2 else 1
        found += times
        length += times * chars[i]
    return found, length


@numba.njit(cache=True, nogil=True)
def _segments(data: Any, begin: int, end: int, classes: Any, kind: int, gap: int, hashes: Any, chars: Any) -> int:
    """Cut ``data[begin:end]`` at ``gap`` or more line feeds (``kind`` 0) or at exactly ``gap``, stripped, the empty
    ones left out (``kind`` 2); writes hashes and characters, returns the number."""
    count = 0
    at = begin
    while True:
        stop = at
        after = end + 1
        while stop < end:
            if data[stop] == 10:
                feeds = 1
                while stop + feeds < end and data[stop + feeds] == 10 and (kind == 0 or feeds < gap):
                    feeds += 1
                if feeds >= gap:
                    after = stop + feeds
                    break
                stop += feeds
            else:
                stop += 1
        first, last = at, stop
        if kind == 2:
            first, last = trimmed(data, first, last, classes)
        code_hash = np.uint64(0)
        size = 0
        for i in range(first, last):
            code_hash = code_hash * _BASE + np.uint64(data[i]) + _ONE
            size += (data[i] & 0xC0) != 0x80
        if kind != 2 or last > first:
            hashes[count], chars[count] = code_hash, size
            count += 1
        if after > end:
            return count
        at = after


@numba.njit(cache=True, nogil=True)
def _top(n: int, count: int, ids: Any, sums: Any, counts: Any, firsts: Any, now: int, kind: int) -> int:
    """Characters of the most frequent n-gram times its number."""
    rounds, keys, values = counts
    mask = len(keys) - 1
    best = best_first = 0
    for i in range(count - n + 1):
        key = ids[i]
        for k in range(1, n):
            key = joined(key, ids[i + k])
        at = slot_of(rounds, keys, mask, now, key)
        if rounds[at] != now:
            rounds[at], keys[at], values[at], firsts[at] = now, key, 0, i
        values[at] += 1
        first = firsts[at]
        if values[at] > best:
            best, best_first = values[at], first
        elif values[at] == best:
            if kind == 2:
                if sums[first + n] - sums[first] > sums[best_first + n] - sums[best_first]:
                    best_first = first
            elif first < best_first:
                best_first = first
    if best == 0 or (kind == 2 and best == 1):
        return 0
    size: int = sums[best_first + n] - sums[best_first]
    return best * (size + (n - 1 if kind == 0 else 0))


@numba.njit(cache=True, nogil=True)
def _jumps(n: int, count: int, prefix: Any, sizes: Any, sums: Any, powers: Any, counts: Any, now: int) -> int:
    """Characters of n-grams, glued together, that occurred before; the scan goes on behind each."""
    rounds, keys, _ = counts
    mask = len(keys) - 1
    found = 0
    i = 0
    while i < count - n + 1:
        size = sizes[i + n] - sizes[i]
        power = powers[size] if size < _POWERS else _power(size)
        key = prefix[i + n] - prefix[i] * power
        at = slot_of(rounds, keys, mask, now, key)
        if rounds[at] == now:
            found += sums[i + n] - sums[i]
            i += n
        else:
            rounds[at], keys[at] = now, key
            i += 1
    return found


@numba.njit(cache=True, nogil=True)
def _power(exponent: Any) -> Any:
    """``BASE ** exponent`` modulo 2**64."""
    power, square = _ONE, _BASE
    while exponent:
        if exponent & 1:
            power = power * square
        square = square * square
        exponent >>= 1
    return power


@numba.njit(cache=True, nogil=True)
def _shared(n: int, count: int, ids: Any, sums: Any, counts: Any, now: int, kind: int) -> float:
    """The share of characters in n-grams that occur twice or more: of the words covered (1) or of occurrences (2)."""
    rounds, keys, values = counts
    mask = len(keys) - 1
    for again in range(2):
        found = total = covered = 0
        for i in range(count - n + 1):
            key = ids[i]
            for k in range(1, n):
                key = joined(key, ids[i + k])
            at = slot_of(rounds, keys, mask, now, key)
            if again == 0:
                if rounds[at] != now:
                    rounds[at], keys[at], values[at] = now, key, 0
                values[at] += 1
                continue
            size = sums[i + n] - sums[i]
            total += size
            if values[at] > 1:
                if kind == 1:
                    covered = max(covered, i)
                    found += sums[i + n] - sums[covered]
                    covered = i + n
                else:
                    found += size
    if kind == 1:
        total = sums[count]
    return found / max(total, 1)


@numba.njit(cache=True, nogil=True)
def _load_words(words: Any, row: int, only_words: int, powers: Any, scratch: Any) -> int:
    """Fill the row's hashes, and their sums over all words before: characters, bytes, and the hash of all glued
    together. Returns the number of words."""
    starts, ends, chars, hashes, flags, bounds = words
    ids, sums, sizes, prefix = scratch
    count = 0
    for word in range(bounds[row], bounds[row + 1]):
        if only_words and not flags[word] & STARTS_ALNUM:
            continue
        size: Any = np.int64(ends[word] - starts[word])
        ids[count] = hashes[word]
        sums[count + 1] = sums[count] + chars[word]
        sizes[count + 1] = sizes[count] + size
        power = powers[size] if size < _POWERS else _power(size)
        prefix[count + 1] = prefix[count] * power + hashes[word]
        count += 1
    return count


@numba.njit(cache=True, nogil=True)
def _load_segments(
    texts: Any, lines: Any, row: int, paragraphs: bool, kind: int, classes: Any, hashes: Any, chars: Any
) -> int:
    """Fill in the hashes and characters of the row's paragraphs or lines, as ``segments`` reads them; their number."""
    data, offsets = texts
    starts, ends, line_chars, line_hashes, bounds = lines
    begin, end = offsets[row], offsets[row + 1]
    first, last = bounds[row], bounds[row + 1]
    number = 0
    if kind == 2:
        return _segments(data, begin, end, classes, 2, 2 if paragraphs else 1, hashes, chars)
    if paragraphs:
        blank = False
        for line in range(first, last):
            blank |= ends[line] == starts[line]
        # Without a blank line there is one paragraph, which repeats nothing.
        if kind == 0 and blank:
            begin, end = trimmed(data, begin, end, classes)
            number = _segments(data, begin, end, classes, 0, 2, hashes, chars)
        return number
    for line in range(first, last):
        # A run of line feeds parts two lines; at the text's beginning or end it leaves an empty one.
        outer = last - first > 1 and (line == first or line == last - 1)
        if kind == 1 or ends[line] > starts[line] or outer:
            hashes[number], chars[number] = line_hashes[line], line_chars[line]
            number += 1
    return number


@numba.njit(cache=True, nogil=True)
def _measure(
    texts: Any,
    words: Any,
    lines: Any,
    skip: Any,
    classes: Any,
    counts: Any,
    readings: Any,
    longest: int,
    out: Any,
) -> None:
    copies, segments, top, duplicates, only_words = readings
    firsts = np.empty(len(counts[0]), np.int64)
    ids, prefix = np.empty(longest + 1, np.uint64), np.zeros(longest + 2, np.uint64)
    sums, sizes = np.zeros(longest + 2, np.int64), np.zeros(longest + 2, np.int64)
    hashes, chars = np.empty(longest + 2, np.uint64), np.empty(longest + 2, np.int64)
    powers = np.empty(_POWERS, np.uint64)
    powers[0] = _ONE
    for i in range(1, _POWERS):
        powers[i] = powers[i - 1] * _BASE
    now = 0
    for row in range(len(skip)):
        if skip[row]:
            continue
        text_chars = lines.bounds[row + 1] - lines.bounds[row] - 1
        for line in range(lines.bounds[row], lines.bounds[row + 1]):
            text_chars += lines.chars[line]
        count = _load_words(words, row, only_words, powers, (ids, sums, sizes, prefix))
        out[row, 0] = text_chars
        for part in range(2):
            number = _load_segments(texts, lines, row, part == 0, segments, classes, hashes, chars)
            whole = text_chars if segments == 0 else sums[count] if segments == 1 else chars[:number].sum()
            now += 1
            found, length = _repeats(hashes, chars, number, counts, now, copies)
            out[row, 1 + 2 * part] = found / max(number, 1)
            out[row, 2 + 2 * part] = length / max(whole, 1)
        whole = text_chars if top == 0 else sums[count]
        for n in range(2, 5):
            now += 1
            size = _top(n, count, ids, sums, counts, firsts, now, top)
            out[row, _FIRST_TOP + n - 2] = size / max(whole, 1)
        for n in range(5, 11):
            now += 1
            if duplicates == 0:
                size = _jumps(n, count, prefix, sizes, sums, powers, counts, now)
                out[row, _FIRST_DUPLICATED + n - 5] = size / max(text_chars, 1)
            else:
                out[row, _FIRST_DUPLICATED + n - 5] = _shared(n, count, ids, sums, counts, now, duplicates)
