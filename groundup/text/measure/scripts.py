"""The script of a text, and whether its words stand apart.

A label such as ``fra_Latn`` names its script (ISO 15924). Without one the script of most letters counts, by the code
charts of the scripts that most of the web is written in.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter
from typing import Final

UNKNOWN: Final = "Zyyy"
"""ISO 15924 for text of no certain script."""

UNSPACED: Final = frozenset(
    {"Hani", "Hans", "Hant", "Jpan", "Hira", "Kana", "Thai", "Laoo", "Khmr", "Mymr", "Tibt", "Bopo", "Yiii"}
)
"""Scripts that put no space between words: their words are counted as characters instead."""

_CHARTS: Final = (
    (0x0041, "Latn"),
    (0x0250, "Latn"),
    (0x02B0, UNKNOWN),
    (0x0370, "Grek"),
    (0x0400, "Cyrl"),
    (0x0530, "Armn"),
    (0x0590, "Hebr"),
    (0x0600, "Arab"),
    (0x0700, UNKNOWN),
    (0x0750, "Arab"),
    (0x0780, UNKNOWN),
    (0x08A0, "Arab"),
    (0x0900, "Deva"),
    (0x0980, "Beng"),
    (0x0A00, "Guru"),
    (0x0A80, "Gujr"),
    (0x0B00, "Orya"),
    (0x0B80, "Taml"),
    (0x0C00, "Telu"),
    (0x0C80, "Knda"),
    (0x0D00, "Mlym"),
    (0x0D80, "Sinh"),
    (0x0E00, "Thai"),
    (0x0E80, "Laoo"),
    (0x0F00, "Tibt"),
    (0x1000, "Mymr"),
    (0x10A0, "Geor"),
    (0x1100, "Hang"),
    (0x1200, "Ethi"),
    (0x13A0, UNKNOWN),
    (0x1780, "Khmr"),
    (0x1800, UNKNOWN),
    (0x1E00, "Latn"),
    (0x1F00, "Grek"),
    (0x2000, UNKNOWN),
    (0x3041, "Jpan"),
    (0x3100, UNKNOWN),
    (0x3400, "Hani"),
    (0xA000, UNKNOWN),
    (0xAC00, "Hang"),
    (0xD7B0, UNKNOWN),
    (0xF900, "Hani"),
    (0xFB00, UNKNOWN),
    (0x20000, "Hani"),
    (0x32000, UNKNOWN),
)
"""(first code point, script) up to the next row; letters only are looked up."""
_FIRSTS: Final = tuple(first for first, _ in _CHARTS)
_LOOKED_AT: Final = 2000
_KANA_SHARE: Final = 0.05


def script_of(label: str, text: str) -> str:
    """The script of a text with a language label, or of its letters if the label names none.

    >>> script_of("fra_Latn", "x"), script_of("", "Привет, мир"), script_of("und", "猫と犬がいる"), script_of("", "12")
    ('Latn', 'Cyrl', 'Jpan', 'Zyyy')
    """
    _, _, script = label.partition("_")
    if len(script) == 4 and script.isalpha() and script != UNKNOWN:
        return script
    found = Counter(_CHARTS[bisect_right(_FIRSTS, ord(char)) - 1][1] for char in text[:_LOOKED_AT] if char.isalpha())
    del found[UNKNOWN]
    if not found:
        return UNKNOWN
    if found["Jpan"] > _KANA_SHARE * found.total():  # kana beside Han characters: Chinese has none
        return "Jpan"
    return max(found, key=lambda name: (found[name], name))


def count_words(text: str, script: str) -> int:
    """Words by white space; characters other than white space in scripts that put no space between words.

    >>> count_words("one  two\\n", "Latn"), count_words("猫と 犬", "Jpan")
    (2, 3)
    """
    parts = text.split()
    return sum(map(len, parts)) if script in UNSPACED else len(parts)
