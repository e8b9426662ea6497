"""Is a page prose, or a list? Penedo et al. 2024, "The FineWeb Datasets", section 3.6. Blank lines are left out, except
in the count of line feeds.

- ``end_marks``: what ends a line that is a sentence; ``terminal`` stands for datatrove's list (characters with
  Unicode's property Sentence_Terminal);
- ``short_line_length``: a line of at most so many characters is short.
"""

from __future__ import annotations

from typing import Any, Final

import numba
import numpy as np

from groundup.stages.curate.engine.columns import Texts
from groundup.stages.curate.filters.counting import Matrix, new_table, slot_of
from groundup.stages.curate.filters.cutting import ends_with, strings
from groundup.stages.curate.words.classes import SPACE, TERMINAL, table
from groundup.stages.curate.words.kernels import decode
from groundup.stages.curate.words.words import Lines, Skip, Words

STATISTICS: Final = ("lines", "line_punct_ratio", "short_line_ratio", "char_dup_ratio", "list_ratio")
READINGS: Final[dict[str, tuple[Any, ...]]] = {}
WORD_LISTS: Final = ("end_marks",)
NUMBERS: Final = ("short_line_length",)


def measure(texts: Texts, words: Words, lines: Lines, skip: Skip, readings: dict[str, Any]) -> Matrix:
    """(rows, statistics) float64; NaN in skipped rows, and where there is nothing to divide by."""
    out = np.full((len(skip), len(STATISTICS)), np.nan)
    longest = int(max(np.diff(lines.bounds, prepend=0).max(), 1))
    terminal = readings["end_marks"] == ["terminal"]
    _measure(
        texts, np.diff(words.bounds), lines, skip, table(), new_table(longest), terminal,
        strings(readings["end_marks"]), int(readings["short_line_length"]), out,
    )  # fmt: skip
    return out


@numba.njit(cache=True, nogil=True)
def _measure(
    texts: Any,
    words: Any,
    lines: Any,
    skip: Any,
    classes: Any,
    counts: Any,
    terminal: bool,
    marks: Any,
    short: int,
    out: Any,
) -> None:
    data, offsets = texts
    starts, ends, chars, hashes, bounds = lines
    rounds, keys, _ = counts
    mask = len(keys) - 1
    for row in range(len(offsets) - 1):
        if skip[row]:
            continue
        begin = offsets[row]
        number = ended = brief = repeated = total = 0
        for line in range(bounds[row], bounds[row + 1]):
            first, last = begin + starts[line], begin + ends[line]
            total += chars[line]
            at = first
            while at < last:
                code, size = decode(data, at, last)
                if not classes[code] & SPACE:
                    break
                at += size
            if at == last:
                continue
            number += 1
            brief += chars[line] <= short
            if terminal:
                at = last - 1
                while at > first and (data[at] & 0xC0) == 0x80:
                    at -= 1
                code, size = decode(data, at, last)
                ended += (classes[code] & TERMINAL) != 0
            else:
                ended += ends_with(data, first, last, marks[0], marks[1])
            at = slot_of(rounds, keys, mask, row + 1, hashes[line])
            if rounds[at] == row + 1:
                repeated += chars[line]
            else:
                rounds[at], keys[at] = row + 1, hashes[line]
        out[row, 0] = number
        if number:
            out[row, 1] = ended / number
            out[row, 2] = brief / number
            out[row, 3] = repeated / total
        if words[row]:
            out[row, 4] = (bounds[row + 1] - bounds[row] - 1) / words[row]
