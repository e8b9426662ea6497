"""Dictionaries of Structured Field Values for HTTP (RFC 9651, 3.2 and 4.2.2), read strictly: one error spoils all.

Only what the dictionary says is kept: its values without their parameters. A value that is no token, string, number,
boolean or date (that is, an inner list or bytes) is told apart by its type alone.
"""

from __future__ import annotations

import re
from typing import Final

_KEY: Final = re.compile(r"[a-z*][a-z0-9_.*-]*+")
_TOKEN: Final = re.compile(r"[A-Za-z*][A-Za-z0-9:/!#$%&'*+.^_`|~-]*+")
_NUMBER: Final = re.compile(r"-?(?:[0-9]{1,12}+\.[0-9]{1,3}+|[0-9]{1,15}+)(?![0-9.])")
_STRING: Final = re.compile(r'"((?:[\x20\x21\x23-\x5b\x5d-\x7e]|\\["\\])*+)"')
_BYTES: Final = re.compile(r":[A-Za-z0-9+/=]*+:")
_BOOLEAN: Final = re.compile(r"\?([01])")
_DATE: Final = re.compile(r"@(-?[0-9]{1,15}+)(?![0-9.])")
_DISPLAY: Final = re.compile(r'%"((?:[\x20\x21\x23\x24\x26-\x7e]|%[0-9a-f]{2})*+)"')
_OWS: Final = re.compile(r"[ \t]*+")
_SP: Final = re.compile(r" *+")

MAX_LENGTH: Final = 64 << 10
"""Characters of a field that are read; a longer one counts as damaged."""


class Token(str):
    """A value that is written without quotes."""


class FieldError(ValueError):
    """The field is no dictionary."""


Value = Token | str | bool | float | bytes | tuple[()]


def dictionary(text: str) -> dict[str, Value]:
    """The keys and values of a dictionary; of a key that is there twice the last one. FieldError if it is none.

    >>> dictionary('train-ai=n;because="x", search=y, all')
    {'train-ai': 'n', 'search': 'y', 'all': True}
    """
    if len(text) > MAX_LENGTH:
        raise FieldError("too long")
    found: dict[str, Value] = {}
    at, end = _skip(_SP, text, 0), len(text.rstrip(" "))
    while at < end:
        key, at = _take(_KEY, text, at, "key")
        if text[at : at + 1] == "=":
            value, at = _member(text, at + 1)
        else:
            value = True
        at = _parameters(text, at)
        found.pop(key, None)  # RFC 9651, 4.2.2: an overwritten key takes its new place
        found[key] = value
        at = _skip(_OWS, text, at)
        if at >= end:
            return found
        if text[at] != ",":
            raise FieldError("no comma between members")
        at = _skip(_OWS, text, at + 1)
        if at >= end:
            raise FieldError("a comma at the end")
    return found


def _take(pattern: re.Pattern[str], text: str, at: int, what: str) -> tuple[str, int]:
    match = pattern.match(text, at)
    if match is None:
        raise FieldError(f"no {what} at character {at}")
    return match[0], match.end()


def _skip(pattern: re.Pattern[str], text: str, at: int) -> int:
    match = pattern.match(text, at)
    assert match is not None
    return match.end()


def _member(text: str, at: int) -> tuple[Value, int]:
    if text[at : at + 1] != "(":
        return _bare(text, at)
    at += 1
    while True:
        at = _skip(_SP, text, at)
        if text[at : at + 1] == ")":
            return (), at + 1
        _, at = _bare(text, at)
        at = _parameters(text, at)
        if text[at : at + 1] not in (" ", ")"):
            raise FieldError("an inner list that doesn't end")


def _bare(text: str, at: int) -> tuple[Value, int]:
    """A bare item (RFC 9651, 4.2.3.1)."""
    if match := _TOKEN.match(text, at):
        return Token(match[0]), match.end()
    if match := _NUMBER.match(text, at):
        return float(match[0]), match.end()
    if match := _STRING.match(text, at):
        return re.sub(r"\\(.)", r"\1", match[1]), match.end()
    if match := _BOOLEAN.match(text, at):
        return match[1] == "1", match.end()
    if match := _BYTES.match(text, at):
        return match[0].encode(), match.end()
    if match := _DATE.match(text, at):
        return float(match[1]), match.end()
    if match := _DISPLAY.match(text, at):
        return match[1], match.end()
    raise FieldError(f"no value at character {at}")


def _parameters(text: str, at: int) -> int:
    while text[at : at + 1] == ";":
        at = _skip(_SP, text, at + 1)
        _, at = _take(_KEY, text, at, "parameter")
        if text[at : at + 1] == "=":
            _, at = _bare(text, at + 1)
    return at
