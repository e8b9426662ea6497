"""Which script a text is written in, from its characters alone (ISO 15924 codes).

The table ``scripts.tsv`` holds the letters and marks of each script, as the Unicode Character Database gives them
(Scripts.txt); digits, punctuation and symbols belong to no script. The script of a text is the one that most of its
letters are of. Han, kana and hangul characters count twice: one of them says about as much as two letters.

Two codes are of mixtures: text with more than one kana to twenty Han characters is ``Jpan``; hangul with Han is
``Hang``, as in GlotLID and FineWeb2. Chinese stays ``Hani``, whether simplified or traditional.
"""

from __future__ import annotations

from functools import lru_cache
from importlib import resources
from typing import Final

import numba
import numpy as np
from numpy.typing import NDArray

from groundup.stages.curate.engine.columns import Bytes, Offsets

NONE: Final = "Zzzz"
"""The code of a text without letters."""

_CEILING: Final = 0x32400
_WEIGHTY: Final = ("Hani", "Hira", "Kana", "Hang", "Bopo", "Yiii")
_KANA_TO_HAN: Final = 20


@lru_cache(maxsize=1)
def script_names() -> tuple[str, ...]:
    """The codes in the order of the columns of :func:`script_letters`; the first is NONE."""
    return (NONE, *(name for name, _ in _lines()))


@lru_cache(maxsize=1)
def script_table() -> NDArray[np.uint8]:
    """(code points,) uint8: the number of each character's script in :func:`script_names`, 0 where it has none."""
    table = np.zeros(_CEILING, np.uint8)
    for number, (_, ranges) in enumerate(_lines(), 1):
        for span in ranges.split():
            first, _, last = span.partition("-")
            table[int(first, 16) : int(last or first, 16) + 1] = number
    return table


def script_letters(data: Bytes, offsets: Offsets) -> NDArray[np.int64]:
    """How many letters and marks of each script each text has: (rows, scripts) int64, columns as in script_names."""
    return np.asarray(_count(data, offsets, script_table(), len(script_names())))


def main_scripts(letters: NDArray[np.int64]) -> list[str]:
    """The script of each row of counts; NONE where there are no letters. Of equals the first in the alphabet."""
    names = script_names()
    weights = np.array([2 if name in _WEIGHTY else 1 for name in names])
    weighed = letters * weights
    han, hira, kana, hang, bopo = (names.index(name) for name in ("Hani", "Hira", "Kana", "Hang", "Bopo"))
    kanas = weighed[:, hira] + weighed[:, kana]
    east = weighed[:, han] + weighed[:, bopo]
    japanese = kanas * _KANA_TO_HAN > east
    # What is East Asian counts together, under one name, so that kanji and kana don't compete with each other.
    weighed[:, [han, hira, kana, hang, bopo]] = 0
    korean = letters[:, hang] * 2
    weighed[:, han] = east + kanas + korean
    found: list[str] = []
    for row, best in enumerate(weighed.argmax(axis=1).tolist()):
        if not weighed[row, best]:
            found.append(NONE)
        elif best != han:
            found.append(names[best])
        elif korean[row] > kanas[row] and korean[row] * 2 > east[row]:
            found.append("Hang")
        else:
            found.append("Jpan" if japanese[row] and kanas[row] else "Hani")
    return found


def script_of(text: str) -> str:
    """The script of one text.

    >>> script_of("Сви људи рађају се слободни"), script_of("Svi ljudi rađaju se slobodni"), script_of("3.14")
    ('Cyrl', 'Latn', 'Zzzz')
    """
    data = np.frombuffer(text.encode("utf-8", "replace"), np.uint8)
    return main_scripts(script_letters(data, np.array([0, len(data)])))[0]


def _lines() -> list[tuple[str, str]]:
    written = resources.files(__package__).joinpath("scripts.tsv").read_text("utf-8")
    rows = [line.split("\t") for line in written.splitlines() if line and not line.startswith("#")]
    return [(name, ranges) for name, ranges in rows]


@numba.njit(cache=True, nogil=True)
def _count(data, offsets, table, num_scripts):  # type: ignore[no-untyped-def]
    rows = len(offsets) - 1
    counts = np.zeros((rows, num_scripts), np.int64)
    for row in range(rows):
        at, end = offsets[row], offsets[row + 1]
        while at < end:
            byte = data[at]
            if byte < 0x80:
                point, size = np.int64(byte), 1
            elif byte < 0xE0:
                point, size = np.int64(byte & 0x1F), 2
            elif byte < 0xF0:
                point, size = np.int64(byte & 0x0F), 3
            else:
                point, size = np.int64(byte & 0x07), 4
            if at + size > end:
                break
            for follower in range(1, size):
                point = (point << 6) | np.int64(data[at + follower] & 0x3F)
            if point < len(table):
                counts[row, table[point]] += 1
            at += size
        counts[row, 0] = 0
    return counts
