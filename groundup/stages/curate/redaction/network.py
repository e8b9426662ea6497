"""E-mail addresses (RFC 5322's usual forms) and public Internet addresses."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator
from typing import Final

from groundup.stages.curate.redaction.scan import AT, COLONS, DOTS, Windows
from groundup.stages.curate.redaction.spans import Span, compiled, said_before

_LETTER: Final = r"[^\W\d_]"
_EMAIL: Final = (
    r"(?<![\w.+%-])[\w](?:[\w.%+'-]{0,62}[\w+-])?@(?:[^\W_](?:[\w-]{0,61}[^\W_])?\.){1,6}"
    rf"(?P<top>{_LETTER}{{2,24}})(?![\w-]|\.[^\W\d_])"
)
_FILE_ENDINGS: Final = frozenset({"png", "jpg", "jpeg", "gif", "svg", "webp", "css", "js", "html", "php", "py"})

_IPV4: Final = r"(?<![\w.-])(?:\d{1,3}\.){3}\d{1,3}(?![\w-]|\.\d|/\d)"
_IPV6: Final = r"(?<![\w:.])[23][0-9A-Fa-f]{3}:[0-9A-Fa-f:]{2,34}(?![\w:])"
_HOST_WORD: Final = (
    r"\bfrom $|\b(?:ips?|ipv4|address(?:es)?|host|server|ping|gateway|dns|client|peer|adresse|dirección)\b"
    r"\W*(?:\w+\W+)?$"
)
_VERSION_WORD: Final = (
    r"(?:\b(?:v|ver|versions?|releases?|build|firmware|section|chapter|oid|table|figure|update)\.?|§)\s*$"
)
_VERSION_OCTET: Final = 64


def emails(text: str, windows: Windows) -> Iterator[Span]:
    """Addresses; a picture's name such as ``logo@2x.png`` is none."""
    for start, end in windows.get(AT, ()):
        for match in compiled(_EMAIL).finditer(text, start, end):
            if match["top"].lower() not in _FILE_ENDINGS:
                yield Span(*match.span(), "email", "email")


def addresses(text: str, windows: Windows) -> Iterator[Span]:
    """Public IPv4 and IPv6 addresses; private, reserved and example ranges stay, and so do version numbers."""
    for start, end in windows.get(DOTS, ()):
        for match in compiled(_IPV4).finditer(text, start, end):
            if _is_public(match[0]) and not _looks_like_version(text, match.start(), match[0]):
                yield Span(*match.span(), "ip", "ipv4")
    for start, end in windows.get(COLONS, ()):
        for match in compiled(_IPV6).finditer(text, start, end):
            address = match[0].rstrip(":")
            if _is_public(address):
                yield Span(match.start(), match.start() + len(address), "ip", "ipv6")


def _looks_like_version(text: str, start: int, address: str) -> bool:
    """Four small numbers are a version unless a word before says otherwise; few addresses look like that."""
    if said_before(text, start, _VERSION_WORD, 20):
        return True
    small = all(int(octet) < _VERSION_OCTET for octet in address.split("."))
    return small and not said_before(text, start, _HOST_WORD, 40)


def _is_public(address: str) -> bool:
    try:
        found = ipaddress.ip_address(address)
    except ValueError:
        return False
    return found.is_global and not found.is_multicast
