"""Shingles, MinHash signatures and true Jaccard similarity (Broder 1997, "On the resemblance and containment of
documents").

A document is the set of its runs of five words, lower-cased, without punctuation and accents, digits made 0 (as
datatrove normalises). Two sets agree in one random minimum with probability equal to their Jaccard similarity s, so
they agree in at least one of b bands of r minima with probability 1 - (1 - s^r)^b. datatrove hashes with SHA-1 and
multiplies modulo a Mersenne prime; here shingles are mixed to 64 random-looking bits and each minimum is of a
multiply-add modulo 2^64 (Dietzfelbinger et al. 1997), which numpy does without overflow tricks.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable
from functools import lru_cache
from typing import Final

import numpy as np
from numpy.typing import NDArray

from groundup.base.seeds import derive
from groundup.text.overlap import word_hash

Hashes = NDArray[np.uint64]

_FACTOR: Final = np.uint64(0x9E3779B97F4A7C15)
_CHUNK: Final = 4096
_DIGITS: Final = re.compile(r"\d+")


def shingles(words: Iterable[str], size: int) -> Hashes:
    """The distinct hashes, ascending, of all runs of ``size`` words; of the whole text if it has fewer words.

    ``words`` as they stand in the text; those that are all punctuation don't count.
    """
    keys = [key for word in words if (key := word_key(word))]
    single: Hashes = np.array(keys, dtype=np.uint64)
    length = max(1, len(single) - size + 1) if len(single) else 0
    rolling = np.zeros(length, np.uint64)
    for offset in range(min(size, len(single))):
        rolling = rolling * _FACTOR + single[offset : offset + length]
    return np.unique(_mix(rolling))


@lru_cache(maxsize=1 << 18)
def word_key(word: str) -> int:
    """The hash of a word's normal form; 0 for punctuation."""
    plain = unicodedata.normalize("NFD", _DIGITS.sub("0", word.lower()))
    plain = "".join(character for character in plain if character.isalnum())
    return word_hash(plain) if plain else 0


def band_keys(hashes: Hashes, bands: int, rows: int) -> Hashes:
    """One key a band: (bands,) uint64. Documents with an equal key in one place agree in that band's minima."""
    if not len(hashes):
        return np.zeros(0, np.uint64)
    factors, offsets = _coefficients(bands * rows)
    minima = np.full(bands * rows, np.iinfo(np.uint64).max, np.uint64)
    for start in range(0, len(hashes), _CHUNK):
        values = factors[:, None] * hashes[None, start : start + _CHUNK] + offsets[:, None]
        np.minimum(minima, values.min(axis=1), out=minima)
    keys = np.arange(bands, dtype=np.uint64)
    for row in minima.reshape(bands, rows).T:
        keys = _mix(keys * _FACTOR + row)
    return keys


def jaccard(a: Hashes, b: Hashes) -> float:
    """|a ∩ b| / |a ∪ b| of two ascending arrays of distinct hashes.

    >>> jaccard(np.array([1, 2, 3], np.uint64), np.array([2, 3, 4], np.uint64))
    0.5
    """
    if not len(a) or not len(b):
        return float(len(a) == len(b))
    if len(a) > len(b):
        a, b = b, a
    at = np.searchsorted(b, a)
    at[at == len(b)] = 0
    shared = int((b[at] == a).sum())
    return shared / (len(a) + len(b) - shared)


def catch_probability(similarity: float, bands: int, rows: int) -> float:
    """P(a pair of this Jaccard similarity becomes a candidate) = 1 - (1 - s^r)^b.

    >>> round(catch_probability(0.8, 14, 8), 3)
    0.924
    """
    return 1 - (1 - similarity**rows) ** bands


@lru_cache(maxsize=4)
def _coefficients(count: int) -> tuple[Hashes, Hashes]:
    draw = np.array([[derive(1, "minhash", kind, n) for n in range(count)] for kind in ("a", "b")], dtype=np.uint64)
    return draw[0] * np.uint64(2) + np.uint64(1), draw[1] * np.uint64(2)


def _mix(values: Hashes) -> Hashes:
    """The finaliser of splitmix64 (Steele, Lea and Flood 2014): each input bit moves every output bit."""
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return values ^ (values >> np.uint64(31))
