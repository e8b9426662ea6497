"""What each Unicode character is, as one table of bits that kernels look up.

The table follows the Unicode version of the running Python (``unicodedata``): it is part of an operator's parameters,
because a newer version knows more letters. Built at first use, in about a tenth of a second.
"""

from __future__ import annotations

import unicodedata
from functools import cache
from importlib.resources import files
from typing import Any, Final

import numpy as np
import yaml
from numpy.typing import NDArray

SPACE: Final = 1 << 0
"""``str.isspace``."""
ALPHA: Final = 1 << 1
"""``str.isalpha``."""
ALNUM: Final = 1 << 2
"""``str.isalnum``: letters, and digits of any kind."""
WORD: Final = 1 << 3
"""What a regular expression's ``\\w`` matches: letters, digits, the underscore."""
EXTEND: Final = 1 << 4
"""Belongs to the character before it: combining marks and joiners (UAX 29: Extend, ZWJ)."""
ALONE: Final = 1 << 5
"""A letter of a script that puts no spaces between words: each counts as a word."""
PUNCTUATION: Final = 1 << 6
"""Of general category P."""
COUNTED_OUT: Final = 1 << 7
"""Punctuation as datatrove lists it, its terminal marks included."""
SENTENCE_END: Final = 1 << 8
"""Ends a sentence for spaCy's sentencizer."""
TERMINAL: Final = 1 << 9
"""Ends a sentence for datatrove's FineWeb filter."""
UPPER: Final = 1 << 10
"""``str.isupper``."""
DIGIT: Final = 1 << 11
"""``str.isdigit``."""
LINE_END: Final = 1 << 12
"""``str.splitlines`` breaks here."""
DECIMAL: Final = 1 << 13
"""``str.isdecimal``: what a regular expression's ``\\d`` matches."""

UNICODE: Final = unicodedata.unidata_version

_ASSIGNED: Final = ((0, 0x33480), (0xE0000, 0xE01F0))
"""Outside these ranges lie surrogates, private use and nothing: no bit is set there."""
_ALONE: Final = (
    (0x0E00, 0x0EFF),  # Thai, Lao
    (0x1000, 0x109F),  # Myanmar
    (0x1780, 0x17FF),  # Khmer
    (0x1950, 0x19DF),  # Tai Le, New Tai Lue
    (0x1A20, 0x1AAF),  # Tai Tham
    (0x3005, 0x3007),  # ideographic marks
    (0x3040, 0x309F),  # Hiragana (Katakana runs are words, as in UAX 29)
    (0x3400, 0x4DBF),  # Han
    (0x4E00, 0x9FFF),
    (0xAA60, 0xAADF),  # Myanmar Extended-A, Tai Viet
    (0xF900, 0xFAFF),
    (0x20000, 0x33480),
)
_JOINERS: Final = (0x200C, 0x200D)
_LINE_ENDS: Final = "\n\r\x0b\x0c\x1c\x1d\x1e\x85\u2028\u2029"

Table = NDArray[np.uint16]


@cache
def table() -> Table:
    """(0x110000,) uint16: the bits of each code point."""
    bits = np.zeros(0x110000, np.uint16)
    tests = (
        (str.isspace, SPACE),
        (str.isalpha, ALPHA),
        (str.isalnum, ALNUM),
        (str.isupper, UPPER),
        (str.isdigit, DIGIT),
        (str.isdecimal, DECIMAL),
    )
    for first, last in _ASSIGNED:
        characters = [chr(code) for code in range(first, last)]
        part = bits[first:last]
        for test, bit in tests:
            part[np.fromiter(map(test, characters), bool, len(characters))] |= bit
        category = np.array([name[0] for name in map(unicodedata.category, characters)])
        part[category == "P"] |= PUNCTUATION
        part[category == "M"] |= EXTEND
    bits[(bits & ALNUM) != 0] |= WORD
    bits[ord("_")] |= WORD
    bits[list(_JOINERS)] |= EXTEND
    for first, last in _ALONE:
        part = bits[first : last + 1]
        part[(part & ALNUM) != 0] |= ALONE
        # Digits of these scripts make up numbers, as all digits do.
        part[(part & DIGIT) != 0] &= np.uint16(0xFFFF ^ ALONE)
    bits[marks("terminal")] |= TERMINAL | COUNTED_OUT
    bits[marks("punctuation")] |= COUNTED_OUT
    bits[marks("sentencizer")] |= SENTENCE_END
    bits[[ord(mark) for mark in _LINE_ENDS]] |= LINE_END
    bits.setflags(write=False)
    return bits


def marks(name: str) -> NDArray[np.int64]:
    """The code points of a set in ``marks.yaml``."""
    codes: list[int] = []
    for part in _sets()[name].split():
        first, _, last = part.partition("-")
        codes.extend(range(int(first, 16), int(last or first, 16) + 1))
    return np.array(codes, np.int64)


@cache
def _sets() -> dict[str, str]:
    loaded: dict[str, Any] = yaml.safe_load((files(__package__) / "marks.yaml").read_text("utf-8"))
    return {name: str(value) for name, value in loaded.items()}
