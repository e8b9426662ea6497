"""SentencePiece's table of characters (``precompiled_charsmap``), read, and applied as it is by ``tokenizers``.

The table maps strings of one or more code points to others; SentencePiece replaces, from left to right, the longest
that fits (``normalizer.cc``). The library takes a grapheme at once: of one shorter than six bytes it looks for the
*shortest* string that it begins with, and forgets the rest; of others it looks up each code point. So strings of
several code points, and marks behind a code point that has an entry, come out otherwise ("A" with ring and acute,
conjoining jamo, CR LF).

``normalizers`` makes them come out alike with the library's own steps. A first separator is put before each code
point that joins the one before it, unless both belong to one string of the table: so each string stands alone. It is
composed (NFC), which does what the table does to most; a second separator parts what is still several code points, so
that the table sees them singly; without it, what came out is composed once more; then the first goes as well. The few
strings for which that isn't so (newer Unicode than the library's) are replaced one by one. Whether it holds is tried
on all strings of the table and all code points; where it doesn't, None says so.
"""

from __future__ import annotations

import base64
import json
import unicodedata
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from typing import Any, Final

import numpy as np
import tokenizers

from groundup.base.errors import DataError

SEPARATORS: Final = "\U000e0002\U000e0003"
"""Unassigned, and borders of graphemes. Text loses them: the only code points that aren't kept."""

_JOINING: Final = (
    r"\p{M}\x{200C}\x{200D}\x{FF9E}\x{FF9F}\x{0E33}\x{0EB3}\x{1160}-\x{11FF}\x{D7B0}-\x{D7FB}"
    r"\x{1F3FB}-\x{1F3FF}\x{E0020}-\x{E007F}"
)
"""Code points that go on with a grapheme, as a class of Oniguruma's."""
_MOST_SINGLE: Final = 256
"""Steps that there may be for strings that are replaced one by one, one for each result."""

_VALUE: Final = (1 << 31) - 1
_LABEL: Final = (1 << 31) | 0xFF
_AT_ONCE: Final = 512
_BYTES: Final = np.arange(256, dtype=np.int64)


def read_charsmap(data: bytes) -> dict[str, str]:
    """The table: what is replaced, and by what. DataError if it is damaged.

    Layout: u32 size of a double-array trie in bytes (darts-clone: u32 a unit), the trie, then the replacements, each
    ended by a zero byte; a key's value is where its replacement starts.
    """
    try:
        size = int.from_bytes(data[:4], "little")
        units = np.frombuffer(data[4 : 4 + size], "<u4").astype(np.int64)
        texts = data[4 + size :]
        if size % 4 or len(units) * 4 != size or not size:
            raise ValueError("cut off")
        padded = np.concatenate([units, np.zeros(256, np.int64)])
        return {key.decode(): texts[at : texts.index(b"\0", at)].decode() for key, at in _keys(padded)}
    except (ValueError, IndexError, RecursionError) as error:
        raise DataError(f"the model's table of characters is damaged ({error}): fetch the file again") from None


def _keys(units: Any) -> Iterator[tuple[bytes, int]]:
    """(key, value) of a darts-clone trie: a unit's children lie at its place xor its offset xor their byte."""

    def offset(unit: int) -> int:
        return (unit >> 10) << ((unit & (1 << 9)) >> 6)

    stack = [(b"", offset(int(units[0])))]
    while stack:
        key, base = stack.pop()
        if len(key) > 64:
            raise ValueError("a key of more than 64 bytes")
        places = base ^ _BYTES
        found = np.nonzero((units[places] & _LABEL) == _BYTES)[0]
        for byte in found.tolist():
            if byte == 0:
                continue
            place = base ^ byte
            unit = int(units[place])
            below = place ^ offset(unit)
            longer = key + bytes([byte])
            if unit >> 8 & 1:
                yield longer, int(units[below]) & _VALUE
            stack.append((longer, below))


@lru_cache(maxsize=4)
def normalizers(data: bytes) -> tuple[dict[str, Any], ...] | None:
    """The steps that do what SentencePiece does with the table; None if they don't for this one."""
    table = read_charsmap(data)
    joined = [key for key in table if len(key) > 1]
    joins = _joins(table, joined)
    first, second = SEPARATORS
    before = [_regex(_borders(joined, joins), first)]
    after = [
        {"type": "NFC"},
        _regex(rf"[^{first}]\K(?={joins})", second),
        {"type": "Precompiled", "precompiled_charsmap": base64.b64encode(data).decode("ascii")},
        _string(second, ""),
        {"type": "NFC"},
        _string(first, ""),
    ]
    alone = _differing([*before, *after], {key: table[key] for key in joined})
    single = _one_by_one(alone, table, joined)
    if len(single) > _MOST_SINGLE:
        return None
    steps = (*before, *single, *after)
    return None if _differing(steps, {**_points(), **table}) else steps


def _regex(pattern: str, by: str) -> dict[str, Any]:
    return {"type": "Replace", "pattern": {"Regex": pattern}, "content": by}


def _string(what: str, by: str) -> dict[str, Any]:
    return {"type": "Replace", "pattern": {"String": what}, "content": by}


def _one_by_one(alone: Sequence[str], table: Mapping[str, str], joined: Sequence[str]) -> list[dict[str, Any]]:
    """Steps that replace whole strings only: none that is a part of a longer one of the table."""
    wanted = {key: (set[str](), set[str]()) for key in alone}
    for key in joined:
        for start in range(len(key)):
            for end in range(start + 1, len(key) + 1):
                around = wanted.get(key[start:end])
                if around is not None:
                    around[0].update(key[start - 1 : start])
                    around[1].update(key[end : end + 1])
    by_result: dict[str, list[str]] = {}
    for key, (before, behind) in wanted.items():
        pattern = f"(?<![{_class(sorted(before))}])" if before else ""
        pattern += _class(key) + (f"(?![{_class(sorted(behind))}])" if behind else "")
        by_result.setdefault(table[key], []).append(pattern)
    return [_regex("|".join(patterns), result) for result, patterns in sorted(by_result.items())]


def _joins(table: Mapping[str, str], joined: Sequence[str]) -> str:
    """A class of the code points that join the one before: in a grapheme, a string of the table, or once replaced."""
    further = {character for key in joined for character in key[1:]}
    base = tokenizers.Regex(f"[{_JOINING}{_class(sorted(further))}]")
    starts = sorted({text[0] for text in table.values() if text})
    splitter = tokenizers.pre_tokenizers.Split(base, "removed")
    kept = {piece for piece, _ in splitter.pre_tokenize_str("\n".join(starts))}
    joining = set(starts) - {character for piece in kept for character in piece}
    later = {key for key, text in table.items() if len(key) == 1 and text and text[0] in joining}
    return f"[{_JOINING}{_class(sorted(further | later))}]"


def _borders(joined: Sequence[str], joins: str) -> str:
    """A regex whose matches are the empty places between code points of a grapheme that are no string of the table.

    A code point that joins nothing begins such a string or stands alone; then follow joining ones, which are looked at
    from where the last match ended (\\G).
    """
    strings = f"(?=[{_class(sorted({key[0] for key in joined}))}]{joins}){_trie(joined)}|" if joined else ""
    alone = f"(?>(?!{joins})(?>{strings}[\\s\\S]))"
    return rf"(?:{alone}|\G(?>{strings}{joins}))\K(?={joins})|\r\K(?=\n)"


def _trie(keys: Sequence[str]) -> str:
    """A regex for the longest of ``keys`` that fits; code points that go on alike share a class."""
    ends = "" in keys
    following: dict[str, list[str]] = {}
    for key in keys:
        if key:
            following.setdefault(key[0], []).append(key[1:])
    if not following:
        return ""
    alike: dict[str, list[str]] = {}
    for character, rest in following.items():
        alike.setdefault(_trie(rest), []).append(character)
    either = "|".join(f"[{_class(sorted(characters))}]{rest}" for rest, characters in alike.items())
    return f"(?:{either})?" if ends else f"(?:{either})"


def _class(characters: Sequence[str]) -> str:
    return "".join(f"\\x{{{ord(character):X}}}" for character in characters)


def _differing(steps: Iterable[dict[str, Any]], wanted: Mapping[str, str]) -> list[str]:
    """The texts to which the steps don't do what is wanted: tried all at once, and singly where that fails."""
    bare = {"version": "1.0", "added_tokens": [], "model": {"type": "BPE", "vocab": {}, "merges": []}}
    normalizer = {"type": "Sequence", "normalizers": list(steps)}
    normalize = tokenizers.Tokenizer.from_str(json.dumps({**bare, "normalizer": normalizer})).normalizer.normalize_str
    texts = list(wanted)
    found = []
    for start in range(0, len(texts), _AT_ONCE):
        part = texts[start : start + _AT_ONCE]
        if normalize("0" + "0".join(part)) != "0" + "0".join(wanted[text] for text in part):
            found += [text for text in part if normalize(text) != wanted[text]]
    return found


def _points() -> dict[str, str]:
    """All assigned code points but the private ones, as they are."""
    points = (chr(point) for point in range(0x110000) if not 0xD800 <= point < 0xE000)
    return {point: point for point in points if unicodedata.category(point) not in {"Cn", "Co"}}
