"""Which characters a set of a split pattern holds, as the ``tokenizers`` library sees it.

Unicode tables differ from version to version and from library to library, so nothing is assumed: the library splits a
text of all code points by the set, and what is left over are those outside. Of code points that no version of Unicode
tells apart (planes 4 to 13, private ones but for their ends), one answers for all.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from groundup.base.errors import missing_extra
from groundup.text.bpe.pattern import Chars

NUM_CODES: Final = 0x110000
Mask = NDArray[np.bool_]
Codes = NDArray[np.int64]

_LIKE: Final = ((0x40000, 0xE0000), (0xE1000, 0xF0000), (0xF0000, 0x100000), (0x100000, NUM_CODES))
"""Ranges [from, to) whose first code point answers for the others, but for the last two of each plane."""


def members(chars: Chars) -> Mask:
    """Which code points the set holds, bool (0x110000,); surrogates are in none."""
    if chars.literal is not None:
        mask = np.zeros(NUM_CODES, np.bool_)
        mask[ord(chars.literal)] = True
        return mask
    packed = _folded(chars.source, version()) if chars.folded else _plain(chars.source, version())
    return np.unpackbits(np.frombuffer(packed, np.uint8)).view(np.bool_)


def numeric() -> Mask:
    """The characters that the library's ``Digits`` takes for digits (Rust's ``char::is_numeric``)."""
    return _cut_out(_library().pre_tokenizers.Digits(individual_digits=True))


def punctuation() -> Mask:
    """The characters that the library's ``Punctuation`` takes for such: category P and all marks of ASCII."""
    return _cut_out(_library().pre_tokenizers.Punctuation("isolated"))


def version() -> str:
    """The library's version, which all tables depend on; RequestError if it is not installed."""
    return str(_library().__version__)


def _library() -> Any:
    try:
        import tokenizers
    except ImportError:
        raise missing_extra("tokenizers", "tokenize") from None
    return tokenizers


@lru_cache(maxsize=64)
def _plain(source: str, version: str) -> bytes:
    """The set as packed bits; ``version`` is only a key."""
    codes = _asked()
    mask = np.zeros(NUM_CODES, np.bool_)
    mask[codes] = _split_off(source, codes)
    for start, end in _LIKE:
        told = np.zeros(end - start, np.bool_)
        told[[code - start for code in codes[np.searchsorted(codes, start) : np.searchsorted(codes, end)]]] = True
        mask[start:end][~told] = mask[start]
    return np.packbits(mask).tobytes()


@lru_cache(maxsize=256)
def _folded(source: str, version: str) -> bytes:
    """As :func:`_plain` for letters of ASCII in any case: only what folds to some letter has to be asked for."""
    every = np.unpackbits(np.frombuffer(_plain("(?i:[a-z])", version), np.uint8)).view(np.bool_)
    codes = np.nonzero(every | (np.arange(NUM_CODES) < 0x80))[0]
    mask = np.zeros(NUM_CODES, np.bool_)
    mask[codes] = _split_off(f"(?i:{source})", codes)
    return np.packbits(mask).tobytes()


@lru_cache(maxsize=1)
def _asked() -> Codes:
    """The code points that are asked for one by one, ascending."""
    ends = [plane << 16 | end for plane in range(4, 17) for end in (0xFFFE, 0xFFFF)]
    codes = np.concatenate(
        [np.arange(0xD800), np.arange(0xE000, 0x40001), np.arange(0xE0000, 0xE1001), [0xF0000, 0x100000, *ends]]
    )
    return np.sort(codes).astype(np.int64)


def _split_off(source: str, codes: Codes) -> Mask:
    """Which of the code points the library matches with ``source``, bool (codes,)."""
    library = _library()
    text = codes.astype("<u4").tobytes().decode("utf-32-le")
    left = library.NormalizedString(text).split(library.Regex(f"(?:{source})+"), "removed")
    outside = "".join(piece.normalized for piece in left).encode("utf-32-le")
    mask = np.ones(NUM_CODES, np.bool_)
    mask[np.frombuffer(outside, "<u4")] = False
    return mask[codes]


def _cut_out(splitter: Any) -> Mask:
    """The characters that ``splitter`` makes pieces of their own.

    Asked for are those of the first two planes, where all such are, but for ideographs, Hangul and private use.
    """
    blocks = [(0, 0x3400), (0xA000, 0xAC00), (0xD7A4, 0xD800), (0xF900, 0x20000)]
    codes = [code for start, end in blocks for code in range(start, end)]
    pieces = splitter.pre_tokenize_str("a" + "a".join(map(chr, codes)) + "a")
    alone = [ord(piece) for piece, _ in pieces if len(piece) == 1 and piece != "a"]
    mask = np.zeros(NUM_CODES, np.bool_)
    mask[alone] = True
    return mask
