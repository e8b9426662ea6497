"""Addresses of pages: their normal form, the hosts a crawl may visit, and addresses that are nobody's public site."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final
from urllib.parse import quote, urljoin, urlsplit, urlunsplit

from groundup.base.public import Address

LONGEST: Final = 2048
"""Characters of an address that is asked for: longer ones are traps, or carry somebody's data."""

_PORTS: Final = {"http": 80, "https": 443}
_KEPT_IN_PATH: Final = "%/:=&~+!$,;'@()*"
_KEPT_IN_QUERY: Final = "%/:=&?~+!$,;@()*"
_UNSEEN: Final = str.maketrans("", "", "\t\r\n")
_PATTERN: Final = re.compile(r"(?P<star>\*\.)?(?P<host>[^*/:@\s]+|\[[0-9a-fA-F:.]+\])(?::(?P<port>\d{1,5}))?")


def normal(url: str, base: str | None = None) -> str | None:
    """The one form in which a page's address is kept; None if it is no address of a page on the web.

    Scheme and host in lower case (a host's name in ASCII), no default port, no fragment, no dot segments, everything
    that is no character of an address percent-encoded (RFC 3986, 6.2.2). An address with a user name or a password in
    it is none of a public page.

    >>> normal("HTTP://Example.org:80/a b/../c?q=1#top"), normal("/x", "https://example.org/y"), normal("mailto:a@b")
    ('http://example.org/c?q=1', 'https://example.org/x', None)
    """
    text = url.translate(_UNSEEN).strip()  # as browsers do (WHATWG URL, 4.4)
    if not text.isprintable() or len(text) > LONGEST:
        return None
    try:
        parts = urlsplit(urljoin(base, text) if base else text)
        host, port = parts.hostname, parts.port
        name = _ascii(host or "")
    except (ValueError, UnicodeError):
        return None
    if parts.scheme not in _PORTS or not name or parts.username is not None or parts.password is not None:
        return None
    where = f"[{name}]" if ":" in name else name
    netloc = where if port in (None, _PORTS[parts.scheme]) else f"{where}:{port}"
    path = _without_dots(quote(parts.path, _KEPT_IN_PATH)) or "/"
    made = urlunsplit((parts.scheme, netloc, path, quote(parts.query, _KEPT_IN_QUERY), ""))
    return made if len(made) <= LONGEST else None


def _ascii(host: str) -> str:
    lower = host.rstrip(".").lower()
    if ".." in lower or lower.startswith("."):
        raise ValueError("an empty label")
    return lower if lower.isascii() else lower.encode("idna").decode()


def _without_dots(path: str) -> str:
    """RFC 3986, 5.2.4: ``/a/./b/../c`` is ``/a/c``."""
    kept: list[str] = []
    parts = path.split("/")
    for at, part in enumerate(parts):
        if part in (".", ".."):
            if part == ".." and len(kept) > 1:
                kept.pop()
            if at == len(parts) - 1:
                kept.append("")
        else:
            kept.append(part)
    return "/".join(kept)


def host_of(url: str) -> str:
    """The host of a normal address, without its port."""
    return urlsplit(url).hostname or ""


def origin_of(url: str) -> str:
    """Scheme, host and port of a normal address: what one robots.txt speaks for (RFC 9309, 2.3)."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}"


@dataclass(frozen=True)
class Hosts:
    """Patterns of hosts: ``example.org`` (that host), ``*.example.org`` (every host below it), with a port or any."""

    patterns: tuple[str, ...]

    @classmethod
    def of(cls, patterns: Sequence[str]) -> Hosts:
        """ValueError for what is no pattern."""
        for pattern in patterns:
            if not _PATTERN.fullmatch(pattern):
                raise ValueError(f"{pattern!r} is no host: write 'example.org', '*.example.org' or 'example.org:8080'")
        return cls(tuple(pattern.lower() for pattern in patterns))

    def has(self, url: str) -> bool:
        """Whether a normal address lies on one of the hosts.

        >>> hosts = Hosts.of(["*.example.org"])
        >>> hosts.has("https://a.example.org/"), hosts.has("https://example.org/"), hosts.has("https://badexample.org/")
        (True, False, False)
        """
        parts = urlsplit(url)
        host, port = parts.hostname or "", parts.port or _PORTS.get(parts.scheme)
        for pattern in self.patterns:
            match = _PATTERN.fullmatch(pattern)
            assert match is not None
            if match["port"] and int(match["port"]) != port:
                continue
            name = match["host"].strip("[]")
            if host.endswith(f".{name}") if match["star"] else host == name:
                return True
        return False


def literal(host: str) -> Address | None:
    """The address that a host is, if it is one and no name."""
    try:
        return ipaddress.ip_address(host)
    except ValueError:
        return None
