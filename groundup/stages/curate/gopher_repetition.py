"""Does a page repeat itself? Rae et al. 2021 (Gopher), table A1, with the readings of datatrove's
GopherRepetitionFilter:

- lines are split on ``\\n+`` and paragraphs on ``\\n{2,}``; a repeat is any copy after the first (DCLM and Dolma
  count all copies);
- shares of characters are of the whole text, spaces included;
- the most frequent n-gram is joined with spaces, ties go to the one seen first; repeated n-grams are joined without,
  and the scan jumps past each that it counts, so that none counts twice.

The n-grams are found with numpy: ranks for the most frequent, a polynomial hash over the characters for repeats. Only
n-grams whose hash occurs twice are compared as text, so the result is exact.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from groundup.stages.curate.config import GopherRepetition
from groundup.stages.curate.split import Split
from groundup.stages.curate.verdict import Refusal, above

_LINES: Final = re.compile(r"\n+")
_PARAGRAPHS: Final = re.compile(r"\n{2,}")
_BASE: Final = 0x5851F42D4C957F2D  # odd, so that it has an inverse modulo 2**64
_INVERSE: Final = pow(_BASE, -1, 2**64)

Ints = NDArray[np.int64]
Hashes = NDArray[np.uint64]


def gopher_repetition(document: Split, spec: GopherRepetition) -> Refusal | None:
    """The first rule that the document breaks, in the published order; None if it is well."""
    if not document.words:
        return None
    return next((refusal for refusal in _rules(document, spec) if refusal is not None), None)


def _rules(document: Split, spec: GopherRepetition) -> Iterator[Refusal | None]:
    size = len(document.text)
    paragraphs = _PARAGRAPHS.split(document.text.strip())
    count, chars = repeats(paragraphs)
    yield above("dup_para_frac", count / len(paragraphs), spec.dup_para_frac)
    yield above("dup_para_char_frac", chars / size, spec.dup_para_char_frac)
    lines = _LINES.split(document.text)
    count, chars = repeats(lines)
    yield above("dup_line_frac", count / len(lines), spec.dup_line_frac)
    yield above("dup_line_char_frac", chars / size, spec.dup_line_char_frac)
    ranks = WordRanks(document.words)
    for n, share in spec.top_n_grams:
        yield above(f"top_{n}_gram", ranks.top_ngram_chars(n) / size, share)
    hashes = WordHashes(document.words)
    for n, share in spec.dup_n_grams:
        yield above(f"duplicated_{n}_n_grams", hashes.repeated_chars(n) / size, share)


def repeats(parts: Sequence[str]) -> tuple[int, int]:
    """(number, characters) of the parts that repeat an earlier one.

    >>> repeats(["a", "bc", "bc", "bc"])
    (2, 4)
    """
    seen: set[str] = set()
    count = chars = 0
    for part in parts:
        if part in seen:
            count += 1
            chars += len(part)
        else:
            seen.add(part)
    return count, chars


class WordRanks:
    """The words of a text as numbers, and for each length n the runs of n words as numbers (prefix doubling by one)."""

    def __init__(self, words: Sequence[str]) -> None:
        self._words = words
        known: dict[str, int] = {}
        self._codes: Ints = np.array([known.setdefault(word, len(known)) for word in words], dtype=np.int64)
        self._distinct = len(known)
        self._ranks = {1: self._codes}

    def top_ngram_chars(self, n: int) -> int:
        """Characters of the most frequent run of ``n`` words, joined by spaces, times how often it occurs.

        >>> WordRanks("a b c a b".split()).top_ngram_chars(2)
        6
        """
        if len(self._words) < n:
            return 0
        ranks = self._runs(n)
        counts = np.bincount(ranks)
        most = int(counts.max())
        first = int(np.argmax(counts[ranks] == most))
        return most * len(" ".join(self._words[first : first + n]))

    def _runs(self, n: int) -> Ints:
        if n not in self._ranks:
            pairs = self._runs(n - 1)[:-1] * self._distinct + self._codes[n - 1 :]
            self._ranks[n] = np.unique(pairs, return_inverse=True)[1]
        return self._ranks[n]


class WordHashes:
    """Hashes of any run of words, glued together, from one pass over the characters (Rabin and Karp's polynomial)."""

    def __init__(self, words: Sequence[str]) -> None:
        self._words = words
        characters = np.frombuffer("".join(words).encode("utf-32-le"), dtype="<u4").astype(np.uint64)
        powers = _powers(_BASE, len(characters))
        zero = np.zeros(1, np.uint64)
        self._sums: Hashes = np.concatenate([zero, np.cumsum(characters * powers, dtype=np.uint64)])
        self._inverse = _powers(_INVERSE, len(characters))
        ends = np.cumsum(np.fromiter(map(len, words), np.int64, len(words)))
        self._bounds: Ints = np.concatenate([np.zeros(1, np.int64), ends])

    def repeated_chars(self, n: int) -> int:
        """Characters in runs of ``n`` words that occurred before, each run beginning after the last one counted."""
        words = self._words
        if len(words) < n:
            return 0
        starts, ends = self._bounds[: len(words) - n + 1], self._bounds[n:]
        hashes = (self._sums[ends] - self._sums[starts]) * self._inverse[starts]
        order = np.argsort(hashes, kind="stable")
        same = hashes[order][1:] == hashes[order][:-1]
        if not same.any():
            return 0
        twice = np.zeros(len(hashes), bool)
        twice[order[1:][same]] = True
        twice[order[:-1][same]] = True
        seen: set[str] = set()
        chars = free = 0
        for at in np.flatnonzero(twice).tolist():
            if at < free:
                continue
            run = "".join(words[at : at + n])
            if run in seen:
                chars += len(run)
                free = at + n
            else:
                seen.add(run)
        return chars


def _powers(base: int, count: int) -> Hashes:
    """``base`` to the powers 0 to ``count`` - 1, modulo 2**64."""
    factors = np.full(count, base, np.uint64)
    factors[:1] = 1
    return np.cumprod(factors, dtype=np.uint64)
