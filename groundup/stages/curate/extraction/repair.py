"""Repair of characters: mojibake and stray entities undone (ftfy, Speer 2019), NFC, one kind of line break.

Quotes, ligatures and full-width forms stay: they are what the author wrote. NFC and never NFKC, which would turn
``x²`` into ``x2``.

Nearly all lines of nearly all texts need nothing, and ftfy looks at every line with a score of rules. So a line is
first proved clean: it is ASCII without entities, or it is in NFC and has no sequence that any of ftfy's signs of
mojibake could begin with. Only other lines go to ftfy, and the result is the same.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final, NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from groundup.base.errors import missing_extra
from groundup.stages.curate.engine.operator import VERDICT, Spec, refuse, with_column

STEP: Final = "repair"

_LINE_BREAKS: Final = re.compile("\r\n?|[\v\f\x85\u2028\u2029]")
_UNSEEN: Final = re.compile("[\x00-\x08\x0e-\x1f\x7f-\x9f\ufeff\ufffe\uffff\ufdd0-\ufdef]")
_TRAILING: Final = re.compile(r"[ \t]+\n")
_MANY_BREAKS: Final = re.compile(r"\n{3,}")
_ESCAPE: Final = "\x1b"
_AT_LINE_START: Final = re.compile("^[ÃÂ] ", re.MULTILINE)
"""The one sign of mojibake that depends on where the line begins."""
_COMMON: Final = ("lower_common", "upper_common", "common")
_REACH: Final = 6
_LAST: Final = 0xFFFF

# What a character is, as bits.
_BREAK: Final = 1 << 0
_HIDDEN: Final = 1 << 1
_CERTAIN: Final = 1 << 2
_ALONE: Final = 1 << 3
_RARE: Final = 1 << 4
_BEYOND: Final = 1 << 5


@dataclass(frozen=True)
class Repair:
    """Reads and writes ``text``; a row of which nothing is left goes by ``repair:no_text``."""

    @property
    def spec(self) -> Spec:
        """What defines the result."""
        return Spec(STEP, 2, "decide", ("text",), ("text", *VERDICT))

    def __call__(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        """The batch with repaired texts; nulls stay null."""
        texts = batch.column("text").to_pylist()
        repaired = [None if text is None else repair(text) for text in texts]
        rules = ["no_text" if text == "" else None for text in repaired]
        details = ["nothing but control characters" if rule else None for rule in rules]
        if repaired != texts:
            batch = with_column(batch, "text", pa.array(repaired, pa.large_string()))
        return refuse(batch, STEP, rules, details)


def repair(text: str) -> str:
    """The text as its author meant it, without control characters and blanks at its ends and line ends.

    >>> repair("cafe\\u0301 na\\u00c3\\u00afve\\r\\n\\x00x\\u00b2 ")
    'café naïve\\nx²'
    """
    kinds = _kinds(text)
    if _any(kinds, _BREAK):
        text = _LINE_BREAKS.sub("\n", text)
        kinds = _kinds(text)
    mended = _mended(text, kinds)
    if mended is not text or _any(kinds, _HIDDEN):
        text = _UNSEEN.sub("", mended)
    if " \n" in text or "\t\n" in text:
        text = _TRAILING.sub("\n", text)
    if "\n\n\n" in text:
        text = _MANY_BREAKS.sub("\n\n", text)
    return text.strip()


def _kinds(text: str) -> NDArray[np.uint8]:
    """What each character is, as bits: (characters,) uint8."""
    if text.isascii():
        return _ASCII[np.frombuffer(text.encode(), np.uint8)]
    codes = np.frombuffer(text.encode("utf-32-le", "surrogatepass"), np.uint32)
    return _ftfy().kinds[np.minimum(codes, _LAST)]


def _any(kinds: NDArray[np.uint8], kind: int) -> bool:
    return bool(kinds.size and np.bitwise_or.reduce(kinds) & kind)


def _mended(text: str, kinds: NDArray[np.uint8]) -> str:
    """What ``ftfy.fix_text`` makes of it; the very same object where that is nothing."""
    if "&" not in text and _ESCAPE not in text:
        if text.isascii():
            return text
        if not _doubtful(text, kinds) and unicodedata.is_normalized("NFC", text):
            return text
    ftfy = _ftfy()
    lines = re.findall("[^\n]*\n|[^\n]+", text)
    if max(map(len, lines), default=0) > ftfy.longest:
        return str(ftfy.fix_text(text, ftfy.settings))
    settings, entities = ftfy.settings, True
    changed = False
    for number, line in enumerate(lines):
        if entities and "<" in line:  # from the first line with markup on, ftfy leaves entities alone
            settings, entities = settings._replace(unescape_html=False), False
        if not _clean(line, entities):
            lines[number] = str(ftfy.fix_text(line, settings))
            changed = True
    return "".join(lines) if changed else text


def _doubtful(text: str, kinds: NDArray[np.uint8]) -> bool:
    """Whether ftfy may find mojibake or other damage somewhere; entities and NFC are not looked at."""
    if _any(kinds, _CERTAIN):
        return True
    rare, beyond = (kinds & _RARE) != 0, (kinds & _BEYOND) != 0
    signs = (kinds & _ALONE) != 0
    signs[:-1] |= rare[:-1] & beyond[1:]
    signs[1:] |= rare[1:] & beyond[:-1]
    places = np.flatnonzero(signs)
    if not len(places):
        return False
    # No sign of mojibake is longer than the reach, so these pieces hold every one there is.
    starts = places[np.append(True, np.diff(places) > _REACH)]
    ends = places[np.append(np.diff(places) > _REACH, True)]
    pieces = [text[max(0, a - _REACH) : b + _REACH + 1] for a, b in zip(starts.tolist(), ends.tolist(), strict=True)]
    joined = "\n".join(pieces)
    return _AT_LINE_START.search(joined) is not None or bool(_ftfy().is_bad(joined))


def _clean(line: str, entities: bool) -> bool:
    """Whether ftfy would return the line as it is."""
    if _ESCAPE in line or (entities and "&" in line):
        return False
    return line.isascii() or (not _doubtful(line, _kinds(line)) and unicodedata.is_normalized("NFC", line))


class _Ftfy(NamedTuple):
    """The parts of ftfy that are used, and ``kinds``: what each character up to U+FFFF is, as bits."""

    fix_text: Any
    is_bad: Any
    settings: Any
    longest: int
    kinds: NDArray[np.uint8]


@lru_cache(maxsize=1)
def _ftfy() -> _Ftfy:
    try:
        import ftfy
        from ftfy.badness import MOJIBAKE_CATEGORIES, is_bad
    except ImportError:
        raise missing_extra("ftfy", "curate") from None
    settings = ftfy.TextFixerConfig(
        uncurl_quotes=False,
        fix_latin_ligatures=False,
        fix_character_width=False,
        fix_line_breaks=False,
        remove_control_chars=False,
        normalization="NFC",
        explain=False,
    )
    return _Ftfy(ftfy.fix_text, is_bad, settings, settings.max_decode_length, _table(MOJIBAKE_CATEGORIES))


def _table(categories: Mapping[str, str]) -> NDArray[np.uint8]:
    """The kinds of characters. Signs of mojibake are two characters outside ASCII in a row, one of them of a category
    that is rare in good text, or one of a few letters by itself."""
    kinds = np.zeros(_LAST + 1, np.uint8)
    kinds[128:] |= _BEYOND
    rare = re.compile("[" + "".join(kind for name, kind in categories.items() if name not in _COMMON) + "]")
    for code in range(128, _LAST):
        letter = chr(code)
        if rare.match(letter):
            kinds[code] |= _RARE
        if _LINE_BREAKS.match(letter):
            kinds[code] |= _BREAK
        if _UNSEEN.match(letter):
            kinds[code] |= _HIDDEN
    kinds[:128] = _ASCII
    kinds[[ord(letter) for letter in "ŒœÂÃвГ"]] |= _ALONE
    kinds[0x80:0xA0] |= _CERTAIN
    kinds[0xD800:0xE000] |= _CERTAIN
    kinds[_LAST] |= _HIDDEN  # U+FFFF itself; beyond it, one bit too many only costs a look
    return kinds


_ASCII: Final = np.zeros(128, np.uint8)
_ASCII[[*range(9), *range(14, 32), 127]] = _HIDDEN
_ASCII[[11, 12, 13]] = _BREAK
_ASCII.setflags(write=False)
