"""How a text is made comparable, code point by code point: the table that the word kernel reads.

The normal form is datatrove's (``utils/text.py``, ``simplify_text``), which takes it from cc_net: lower case, numbers
made ``0`` (with one decimal part: ``3.14`` is one number), punctuation to space, NFD without marks. Ours differs in
four points, so that nothing but words is left:

- Separators are all of Unicode's punctuation, symbols, spaces and controls, not a list of 100 characters.
- Format characters (soft hyphen, zero-width joiners) vanish, as marks do; so do enclosing marks.
- A final sigma is a sigma.
- Characters of scripts that don't put spaces between words (Han, kana, Thai, Lao, Khmer, Myanmar, ...) are words by
  themselves: a Chinese page would otherwise be one word a clause, and two pages alike or not at all.

A document's normal form depends on the Unicode version of the interpreter for characters newer than it; the version is
part of every specification that uses the table.
"""

from __future__ import annotations

import unicodedata
from functools import cache
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

UNICODE: Final = unicodedata.unidata_version

DROPPED: Final = 0
SEPARATOR: Final = 1
DIGIT: Final = 2
DECIMAL: Final = 3
"""A separator, unless it stands between the digits of one number."""
LETTER: Final = 1 << 28
ALONE: Final = 1 << 29
MANY: Final = 1 << 30
VALUE: Final = (1 << 24) - 1

DECIMAL_MARKS: Final = ".,،٫⎖⎗⎘"
_NO_SPACES: Final = (
    (0x0E00, 0x0EFF),  # Thai, Lao
    (0x0F00, 0x0FFF),  # Tibetan
    (0x1000, 0x109F),  # Myanmar
    (0x1780, 0x17FF),  # Khmer
    (0x1950, 0x19DF),  # Tai Le, New Tai Lue
    (0x1A20, 0x1AAF),  # Tai Tham
    (0x2E80, 0x312F),  # radicals, kana, Bopomofo
    (0x3190, 0x31FF),  # Kanbun, extended kana
    (0x3400, 0x4DBF),  # Han
    (0x4E00, 0x9FFF),
    (0xAA60, 0xAADF),  # Myanmar extended, Tai Viet
    (0xF900, 0xFAFF),  # Han compatibility
    (0xFF66, 0xFF9F),  # half-width kana
    (0x1AFF0, 0x1B2FF),  # historic kana, Tangut, Nushu
    (0x20000, 0x3FFFD),  # Han of the other planes
)
_LOOKED_UP: Final = ((0, 0x323B0), (0xE0000, 0xE0200))
"""Where characters are; the rest is unassigned or private."""


class Table(NamedTuple):
    """``codes``: (0x110000,) uint32, what each code point becomes. ``expansions``: uint32, runs of a count and values.

    A code is DROPPED, SEPARATOR, DIGIT, DECIMAL; or LETTER with a code point in its VALUE bits; or MANY with the place
    of its run in ``expansions``. A letter or run may be ALONE: a word by itself.
    """

    codes: NDArray[np.uint32]
    expansions: NDArray[np.uint32]


@cache
def table() -> Table:
    """The table; made once a process, in about a third of a second."""
    codes = np.full(0x110000, SEPARATOR, np.uint32)
    alone = np.zeros(0x110000, bool)
    for first, last in _NO_SPACES:
        alone[first : last + 1] = True
    expansions: list[int] = []
    for start, stop in _LOOKED_UP:
        for point in range(start, stop):
            codes[point] = _code(chr(point), expansions) | (ALONE if alone[point] else 0)
    small = codes & ~np.uint32(ALONE) <= DECIMAL
    codes[small] &= ~np.uint32(ALONE)
    return Table(codes, np.array(expansions, np.uint32))


def _code(character: str, expansions: list[int]) -> int:
    category = unicodedata.category(character)
    if category == "Nd":
        return DIGIT
    if category in ("Mn", "Me", "Cf"):
        return DROPPED
    if category[0] not in "LMN":
        return DECIMAL if character in DECIMAL_MARKS else SEPARATOR
    plain = unicodedata.normalize("NFD", character.lower()).replace("ς", "σ")
    letters = [ord(each) for each in plain if unicodedata.category(each) not in ("Mn", "Me")]
    if len(letters) == 1:
        return letters[0] | LETTER
    if not letters:
        return DROPPED
    expansions += [len(letters), *letters]
    return (len(expansions) - len(letters) - 1) | MANY
