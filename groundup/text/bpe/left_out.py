"""Rows that the compiled encoder leaves to the library: text that it would normalise, cut at an added token, or drop
because the vocabulary lacks one of its bytes.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping
from functools import lru_cache
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from groundup.text.bpe.byte_level import ALPHABET
from groundup.text.bpe.columns import Texts, chunks
from groundup.text.bpe.members import NUM_CODES
from groundup.text.bpe.pattern import CannotCompileError
from groundup.text.bpe.split_kernels import bytes_of_rows, worst_of_rows

PLAIN, IN_CONTEXT, UNKNOWN = range(3)
"""Characters that NFC leaves as they are anywhere; that it may join or reorder; of which our tables know nothing."""

_MAX_NEEDLES: Final = 200
_PREFIX: Final = 4
_OF_UTF8: Final = (*range(0xC0), *range(0xC2, 0xF5))
"""The bytes that occur in UTF-8."""


class LeftOut:
    """Says which rows they are. ``nfc``: rows must be in that form; they must contain none of the ``added`` texts, and
    none of the ``missing`` bytes."""

    def __init__(self, *, nfc: bool, added: tuple[str, ...], missing: bytes) -> None:
        self._nfc = nfc
        self._missing = np.zeros(256, np.bool_)
        self._missing[list(missing)] = True
        needles = _shortest(added)
        if len(needles) > _MAX_NEEDLES:
            needles = _shortest([needle[:_PREFIX] for needle in needles])
        if len(needles) > _MAX_NEEDLES:
            raise CannotCompileError("too many added tokens that text may contain")
        self._pattern = "|".join(re.escape(needle) for needle in needles)

    @classmethod
    def parse(cls, description: Mapping[str, Any]) -> LeftOut:
        """From what a ``tokenizer.json`` holds; CannotCompileError if it normalises in another way than by NFC.

        Added tokens that are special are none of text's business; the others the library cuts out of it.
        """
        normalizer = description.get("normalizer")
        if normalizer and normalizer.get("type") == "Sequence":
            inner = normalizer["normalizers"]
            normalizer = inner[0] if len(inner) == 1 else {"type": "Sequence"} if inner else None
        if normalizer and normalizer.get("type") != "NFC":
            raise CannotCompileError(f"the normalizer {normalizer.get('type')}")
        added: list[str] = [t["content"] for t in description.get("added_tokens") or () if not t.get("special")]
        forms = [form for token in added for form in (token, unicodedata.normalize("NFC", token)) if form]
        vocab = description["model"]["vocab"]
        missing = bytes(byte for byte in _OF_UTF8 if ALPHABET[byte] not in vocab)
        return cls(nfc=bool(normalizer), added=tuple(forms), missing=missing)

    def rows(self, texts: Any) -> NDArray[np.bool_]:
        """Which rows of a column of strings (Array or ChunkedArray) are left out, bool (rows,)."""
        out = np.zeros(len(texts), np.bool_)
        if self._nfc:
            out |= _not_nfc(texts)
        if self._missing.any():
            out |= np.concatenate([out[:0], *(_with_bytes(chunk, self._missing) for chunk in chunks(texts))])
        if self._pattern:
            if not pa.types.is_large_string(texts.type):
                texts = texts.cast(pa.large_string())
            found = pc.fill_null(pc.match_substring_regex(texts, self._pattern), False)
            out |= np.asarray(found, np.bool_)
        return out


def _shortest(words: Any) -> list[str]:
    """Those that contain no other: a text that holds one of all words holds one of these."""
    kept: list[str] = []
    for word in sorted(set(words), key=lambda word: (len(word), word)):
        if not any(other in word for other in kept):
            kept.append(word)
    return kept


def _with_bytes(texts: Texts, wanted: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Rows that hold one of the wanted bytes, bool (256,)."""
    found = np.zeros(len(texts.offsets) - 1, np.bool_)
    bytes_of_rows(texts.data, texts.offsets, wanted, found)
    return found


def _not_nfc(texts: Any) -> NDArray[np.bool_]:
    """Rows that are not in NFC, or hold characters that this Python's Unicode doesn't know."""
    parts = [np.zeros(0, np.bool_)]
    for data, offsets in chunks(texts):
        worst = np.zeros(len(offsets) - 1, np.uint8)
        worst_of_rows(data, offsets, _nfc_table(), worst)
        out = worst == UNKNOWN
        for row in np.nonzero(worst == IN_CONTEXT)[0]:
            text = data[offsets[row] : offsets[row + 1]].tobytes().decode("utf-8", "replace")
            out[row] = not unicodedata.is_normalized("NFC", text)
        parts.append(out)
    return np.concatenate(parts)


@lru_cache(maxsize=1)
def _nfc_table() -> NDArray[np.uint8]:
    """How every code point behaves under NFC (UAX 15), uint8 (0x110000,).

    Below U+0300 nothing is decomposed, reordered or joined to what stands before it.
    """
    table = np.full(NUM_CODES, UNKNOWN, np.uint8)
    table[:0x300] = PLAIN
    for start, end in ((0x300, 0x34000), (0xE0000, 0xE1000)):
        for code in range(start, end):
            character = chr(code)
            if unicodedata.category(character) != "Cn":
                table[code] = IN_CONTEXT if unicodedata.combining(character) else PLAIN
                decomposed = unicodedata.decomposition(character)
                if decomposed and decomposed[0] != "<":
                    if not unicodedata.is_normalized("NFC", character):
                        table[code] = IN_CONTEXT
                    elif " " in decomposed:
                        table[int(decomposed.split()[1], 16)] = IN_CONTEXT  # joins with the character before it
    table[0x1161:0x1176] = IN_CONTEXT  # vowels and finals of Hangul, which join by rule
    table[0x11A7:0x11C3] = IN_CONTEXT
    table[0xF0000:0xFFFFE] = PLAIN
    table[0x100000:0x10FFFE] = PLAIN
    return table
