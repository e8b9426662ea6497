"""Patterns of paths as robots.txt has them (RFC 9309, 2.2.2 and 2.2.3), which other protocols have borrowed.

A pattern is compared octet by octet from the start of path and query; ``*`` stands for any octets, ``$`` at the end for
the end. Percent-encodings are brought to one form first. Matching takes time linear in the path for each part of a
pattern: a pattern is found part by part from the left, never tried again.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

_URL: Final = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*+:(?://[^/?#]*+)?([^#]*+)", re.S)
_CODED: Final = re.compile(rb"%([0-9A-Fa-f]{2})|[^\x21-\x7e]")
_UNRESERVED: Final = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~")


def path_of(url: str) -> str:
    """The path and query of a URL as they are compared.

    >>> path_of("https://example.org/a b/%7Ec?d#e"), path_of("http://example.org?x"), path_of("https://example.org")
    ('/a%20b/~c?d', '/?x', '/')
    """
    match = _URL.match(url)
    path = match[1] if match else url.partition("#")[0]
    return normal(path if path.startswith("/") else f"/{path}")


def normal(path: str) -> str:
    """One form for equal paths: what needs no encoding has none, what needs it has capital digits.

    >>> normal("/%7efoo/%c3%a9/é/%2f")
    '/~foo/%C3%A9/%C3%A9/%2F'
    """
    return _CODED.sub(_recoded, path.encode("utf-8", "replace")).decode("ascii")


def _recoded(match: re.Match[bytes]) -> bytes:
    octet = int(match[1], 16) if match[1] else match[0][0]
    return bytes((octet,)) if octet in _UNRESERVED else b"%%%02X" % octet


@dataclass(frozen=True)
class Pattern:
    """A pattern, split at its stars; ``length`` is its number of octets, by which the most specific one is told."""

    parts: tuple[str, ...]
    anchored: bool
    length: int

    @classmethod
    def of(cls, text: str) -> Pattern:
        """Read a pattern as it is written."""
        anchored = text.endswith("$")
        whole = normal(text.removesuffix("$"))
        return cls(tuple(whole.split("*")), anchored, len(whole) + anchored)

    def matches(self, path: str) -> bool:
        """Whether it matches a path that ``path_of`` gave.

        >>> [Pattern.of(text).matches("/a/b.html?x") for text in ("/a", "/*.html$", "/*.html", "/", "b", "*x$")]
        [True, False, True, True, False, True]
        """
        first, *rest = self.parts
        if not path.startswith(first):
            return False
        at = len(first)
        if not rest:
            return at == len(path) or not self.anchored
        for part in rest[:-1]:
            found = path.find(part, at)
            if found < 0:
                return False
            at = found + len(part)
        last = rest[-1]
        if self.anchored:
            return len(path) - len(last) >= at and path.endswith(last)
        return path.find(last, at) >= 0
