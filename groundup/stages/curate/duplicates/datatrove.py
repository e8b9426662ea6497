"""MinHash signatures equal to datatrove's (0.10, ``pipeline/dedup/minhash.py``), to compare or join corpora with.

A shingle is five words of the simplified text joined by spaces, hashed by SHA-1 or xxHash to 64 or 32 bits. Minimum j
is of (a_j * h + b_j) mod (2^61 - 1), with a and b from ``numpy.random.RandomState(seed)``. In 64 bits the product
wraps at 2^64 before the modulus is taken, so the permutations are not the ones of Carter and Wegman that were meant;
that is copied here, not in our own :mod:`.minhash`. A text of fewer words than a shingle has no signature.

datatrove splits the simplified text by spaCy. Words are an argument here: split at spaces, 98.7 % of the shingles of
100 pages of C4 are the same (English contractions without their apostrophe, "dont", are two words to spaCy).
"""

from __future__ import annotations

import hashlib
import re
import string
import struct
import unicodedata
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray

from groundup.base.errors import missing_extra

Hashes = NDArray[np.uint64]

_MERSENNE: Final = np.uint64((1 << 61) - 1)
_NUMBER: Final = re.compile(r"\d+([.,،٫⎖⎗⎘]\d+)?")
_SPACES: Final = re.compile(r"\s+")
_PUNCTUATION: Final = (
    string.punctuation
    + "«´»–—’“”„…∶━►、。〈〉《》「」【】！％（），．１：；？～"
    + "".join(chr(point) for point in (*range(9), *range(11, 32), *range(127, 160)))
)
_TO_SPACE: Final = str.maketrans(_PUNCTUATION, " " * len(_PUNCTUATION))
_CHUNK: Final = 4096


def simplify(text: str) -> str:
    """The normal form that shingles are taken of.

    >>> simplify("Naïve cafés sold 3.14 tons, of 1,000,000.")
    'naive cafes sold 0 tons of 0 0'
    """
    text = _NUMBER.sub("0", text.lower()).translate(_TO_SPACE)
    text = unicodedata.normalize("NFD", _SPACES.sub(" ", text.strip()))
    return "".join(character for character in text if unicodedata.category(character) != "Mn").strip()


def shingle_hashes(
    words: Sequence[str],
    size: int = 5,
    hash_name: Literal["sha1", "xxhash"] = "xxhash",
    precision: Literal[32, 64] = 64,
) -> Hashes:
    """The hash of each run of ``size`` words of a simplified text, in order: (runs,) uint64."""
    hashed = _hash(hash_name, precision)
    runs = [" ".join(words[at : at + size]).encode() for at in range(len(words) - size + 1)]
    return np.array([hashed(run) for run in runs], np.uint64)


def signature(
    shingles: Hashes, bands: int = 14, rows: int = 8, seed: int = 1, precision: Literal[32, 64] = 64
) -> Hashes | None:
    """The minima, (bands, rows) uint64; None without shingles."""
    if not len(shingles):
        return None
    factors, addends = _permutations(bands * rows, seed)
    least = np.full(bands * rows, np.iinfo(np.uint64).max, np.uint64)
    for start in range(0, len(shingles), _CHUNK):
        values = (shingles[start : start + _CHUNK, None] * factors + addends) % _MERSENNE
        if precision == 32:
            values &= np.uint64(0xFFFFFFFF)
        np.minimum(least, values.min(axis=0), out=least)
    return least.reshape(bands, rows)


@lru_cache(maxsize=4)
def _permutations(count: int, seed: int) -> tuple[Hashes, Hashes]:
    draw = np.random.RandomState(seed)
    factors = draw.randint(1, _MERSENNE, dtype=np.uint64, size=count)
    return factors, draw.randint(0, _MERSENNE, dtype=np.uint64, size=count)


def _hash(name: Literal["sha1", "xxhash"], precision: Literal[32, 64]) -> Callable[[bytes], int]:
    if name == "sha1":
        size, form = precision // 8, "<I" if precision == 32 else "<Q"
        return lambda run: int(struct.unpack(form, hashlib.sha1(run, usedforsecurity=False).digest()[:size])[0])
    try:
        import xxhash
    except ModuleNotFoundError:
        raise missing_extra("xxhash", "curate") from None
    chosen: Callable[[bytes], int] = xxhash.xxh32_intdigest if precision == 32 else xxhash.xxh64_intdigest
    return chosen
