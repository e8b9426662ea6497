"""Fingerprints of texts: hashed words and hashed runs of words, by which copies are found without keeping any text.

A text is normalised (Unicode's NFKC, then case folding) and cut into words: runs of letters, digits and marks. Scripts
that write no spaces (Han, kana, Thai, Lao, Khmer, Burmese) give a word for each character. A word is hashed as a
polynomial modulo 2^64 over scrambled code points, and a run of n words over the words' hashes (Broder 1997, "On the
resemblance and containment of documents": shingles). With 64 bits two among a thousand million different runs are
mistaken for each other with a chance of about one in forty; near-duplicates are decided by many runs, never by one.

Sets of hashes are compared exactly. A sketch such as MinHash would be smaller, but it estimates Jaccard's index only,
and a withdrawn page inside a long one has a small index and a containment of 1. Everything is done for many texts at
once by numpy (hashes are taken from differences of prefix sums); :class:`WordStream` does the same for text as it
comes, with equal results.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

import numpy as np
import numpy.typing as npt

Hashes = npt.NDArray[np.uint64]
Numbers = npt.NDArray[np.int64]

SHINGLE: Final = 5
"""Words of a shingle, by which near-duplicates are found."""
SPAN: Final = 8
"""Words of a run that counts as verbatim."""

_SEGMENTS: Final = re.compile(r"\s+|\S+")
_MASK: Final = 2**64 - 1
_BASE: Final = 0x9E3779B97F4A7C15  # odd, so that it has an inverse modulo 2^64
_INVERSE: Final = pow(_BASE, -1, 2**64)
_STEP: Final = 0xD1342543DE82EF95
_SEPARATOR, _LETTER, _SINGLE, _UNKNOWN = 0, 1, 2, 255
_SINGLES: Final = (
    (0x0E00, 0x0EFF), (0x1000, 0x109F), (0x1780, 0x17FF), (0x3040, 0x30FF), (0x31F0, 0x31FF), (0x3400, 0x9FFF),
    (0xF900, 0xFAFF), (0x20000, 0x3FFFF),
)  # fmt: skip


@dataclass(frozen=True)
class Words:
    """The words of several texts: their hashes one text after the other, (W,); text i has ``offsets[i:i + 2]``."""

    hashes: Hashes
    offsets: Numbers

    def runs(self, size: int) -> Words:
        """The hashes of all runs of ``size`` words; a text of fewer has none."""
        counts = np.maximum(np.diff(self.offsets) - size + 1, 0)
        offsets = np.concatenate([np.zeros(1, np.int64), np.cumsum(counts, dtype=np.int64)])
        if not offsets[-1]:
            return Words(np.zeros(0, np.uint64), offsets)
        whole = len(self.hashes) - size + 1
        sums = np.zeros(whole, np.uint64)
        for place in range(size):
            sums += self.hashes[place : place + whole] * np.uint64(pow(_STEP, size - place, 2**64))
        starts = np.repeat(self.offsets[:-1] - offsets[:-1], counts) + np.arange(offsets[-1])
        return Words(_mixed(sums[starts]), offsets)

    def shingles(self) -> list[Hashes]:
        """For each text the distinct hashes of its runs of SHINGLE words, ascending; of all its words if it has
        fewer."""
        runs = self.runs(SHINGLE)
        found = []
        for text in range(len(self.offsets) - 1):
            first, end = self.offsets[text : text + 2].tolist()
            if 0 < end - first < SHINGLE:
                short = Words(self.hashes[first:end], np.array([0, end - first]))
                found.append(short.runs(end - first).hashes)
            else:
                found.append(np.unique(runs.hashes[runs.offsets[text] : runs.offsets[text + 1]]))
        return found


def words(texts: Sequence[str]) -> Words:
    """The words of texts.

    >>> a, b = words(["The dog ran.", "the DOG  ran"]).shingles()
    >>> bool((a == b).all())
    True
    """
    folded = [_folded(text) for text in texts]
    codes = np.frombuffer("\n".join(folded).encode("utf-32-le", "replace"), "<u4")
    if not len(codes):
        return Words(np.zeros(0, np.uint64), np.zeros(len(texts) + 1, np.int64))
    kinds = _kinds(codes)
    inside = kinds != _SEPARATOR
    apart = (kinds[1:] == _SINGLE) | (kinds[:-1] == _SINGLE)
    starts = np.flatnonzero(inside & np.concatenate([[True], ~inside[:-1] | apart]))
    ends = np.flatnonzero(inside & np.concatenate([~inside[1:] | apart, [True]])) + 1
    powers, inverses = _powers(1 << (len(codes) - 1).bit_length())
    sums = np.zeros(len(codes) + 1, np.uint64)
    np.cumsum(_scrambled()[codes] * powers[: len(codes)], out=sums[1:])
    hashes = _mixed((sums[ends] - sums[starts]) * inverses[starts])
    places = np.cumsum([0, *(len(text) + 1 for text in folded)])
    return Words(hashes, np.searchsorted(starts, places).astype(np.int64))


def runs_of(text: str, size: int) -> Hashes:
    """The distinct hashes of a text's runs of ``size`` words, ascending."""
    return np.unique(words([text]).runs(size).hashes)


def shared(some: Hashes, others: Hashes) -> int:
    """How many of the distinct ascending hashes of one text are among those of another."""
    return int(np.isin(some, others, assume_unique=True).sum())


class WordStream:
    """Hashes of runs of ``size`` words of a text that comes in pieces, equal to those of :func:`words`.

    ``push`` takes text in any pieces and gives (segment, hashes): a piece of the text that is settled, with all runs
    that end in it. A word is settled when white space follows, or in a script without spaces the next character.
    """

    def __init__(self, size: int = SPAN) -> None:
        self._size = size
        self._last: list[int] = []
        self._held = ""

    def push(self, text: str) -> Iterator[tuple[str, list[int]]]:
        """What is settled by some more text; call until it is used up."""
        if text.isascii() and self._held.isascii():  # the same, but faster
            *settled, held = _SEGMENTS.findall(self._held + text) or [""]
            for self._held in settled:
                yield self._settle()
            self._held = held
            return
        for char in text:
            if self._held and _parts(self._held[-1], char):
                yield self._settle()
            self._held += char

    def finish(self) -> Iterator[tuple[str, list[int]]]:
        """What was held back."""
        if self._held:
            yield self._settle()

    def _settle(self) -> tuple[str, list[int]]:
        segment, self._held = self._held, ""
        found = []
        for word in _words(_folded(segment)):
            self._last.append(_word_hash(word))
            if len(self._last) >= self._size:
                self._last = self._last[-self._size :]
                found.append(_run_hash(self._last))
        return segment, found


def _parts(before: str, after: str) -> bool:
    """Whether a text may be cut between two characters: no word and no composed character goes across."""
    if before.isspace() or after.isspace():
        return before.isspace() != after.isspace()
    return ord(before) >= 0x0E00 and _kind(after) == _SINGLE == _kind(before) and not unicodedata.combining(after)


def _folded(text: str) -> str:
    return (
        text.lower()
        if text.isascii()
        else unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text).casefold())
    )


def _words(folded: str) -> Iterator[str]:
    word = ""
    for char in folded:
        kind = _kind(char)
        if kind == _LETTER:
            word += char
            continue
        if word:
            yield word
            word = ""
        if kind == _SINGLE:
            yield char
    if word:
        yield word


# -- hashes ------------------------------------------------------------------------------------------------------


@lru_cache(maxsize=4096)
def _word_hash(word: str) -> int:
    scrambled = _scrambled()
    total = sum(int(scrambled[ord(char)]) * pow(_BASE, place, 2**64) for place, char in enumerate(word))
    return _mixed_one(total & _MASK)


def _run_hash(hashes: Sequence[int]) -> int:
    size = len(hashes)
    return _mixed_one(sum(one * pow(_STEP, size - place, 2**64) for place, one in enumerate(hashes)) & _MASK)


def _mixed(values: Hashes) -> Hashes:
    """The finaliser of SplitMix64 (Steele, Lea, Flood 2014): every bit of the result depends on every bit."""
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    mixed: Hashes = values ^ (values >> np.uint64(31))
    return mixed


def _mixed_one(value: int) -> int:
    value = ((value ^ (value >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
    value = ((value ^ (value >> 27)) * 0x94D049BB133111EB) & _MASK
    return value ^ (value >> 31)


@lru_cache(maxsize=1)
def _scrambled() -> Hashes:
    """A scrambled value for each code point, (0x110000,)."""
    return _mixed(np.arange(1, 0x110001, dtype=np.uint64) * np.uint64(_BASE))


@lru_cache(maxsize=4)
def _powers(count: int) -> tuple[Hashes, Hashes]:
    """The powers of the base and of its inverse modulo 2^64, from 0 on, (count,) each."""
    both = []
    for base in (_BASE, _INVERSE):
        factors = np.full(count, base, np.uint64)
        factors[0] = 1
        both.append(np.multiply.accumulate(factors))
    return both[0], both[1]


# -- what a character is -----------------------------------------------------------------------------------------

_KINDS: Final = np.full(0x110000, _UNKNOWN, np.uint8)
"""The kind of each code point that was met so far."""


def _kinds(codes: npt.NDArray[np.uint32]) -> npt.NDArray[np.uint8]:
    found = _KINDS[codes]
    unknown = np.unique(codes[found == _UNKNOWN])
    if len(unknown):
        for code in unknown.tolist():
            _kind(chr(code))
        found = _KINDS[codes]
    return found


def _kind(char: str) -> int:
    code = ord(char)
    known = int(_KINDS[code])
    if known == _UNKNOWN:
        known = _SEPARATOR
        if char.isalnum() or unicodedata.category(char)[0] == "M":
            known = _SINGLE if any(first <= code <= last for first, last in _SINGLES) else _LETTER
        _KINDS[code] = known
    return known
