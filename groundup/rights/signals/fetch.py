"""Asking a site again, politely and within limits: a few small files, and the head of some pages.

Plain ``http.client``, a connection a request. Bounded are the time (a watchdog ends what drips), the bytes and the
redirects; only http and https are asked, and only public addresses unless that is allowed. A name may lead to a machine
of the house, so it is the address that is judged, after the look-up, and the one that was judged is connected to.
"""

from __future__ import annotations

import datetime
import http.client
import ipaddress
import socket
import ssl
import threading
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final
from urllib.parse import urljoin, urlsplit

from groundup.base.errors import RequestError
from groundup.base.public import is_public
from groundup.rights.signals.signal import SiteFile

_PORTS: Final = {"http": 80, "https": 443}
_REDIRECTS: Final = frozenset({301, 302, 303, 307, 308})
_CHUNK: Final = 1 << 16


@dataclass(frozen=True)
class Limits:
    """What one answer may take: seconds in all and without a byte, bytes of its body, redirects one after the other."""

    seconds: float = 20.0
    silence: float = 10.0
    bytes: int = 512 << 10
    redirects: int = 5


@dataclass(frozen=True)
class Answer:
    """What a request gave. ``status`` is None if there was no answer, for the reason ``why``.

    ``complete`` is False if the body was cut off, by the server or at the limit.
    """

    url: str
    status: int | None
    fields: tuple[tuple[str, str], ...] = ()
    body: bytes = b""
    complete: bool = True
    why: str = ""

    @property
    def headers(self) -> dict[str, str]:
        """The fields by lower-case name; those of one name joined by a comma (RFC 9110, 5.3)."""
        joined: dict[str, str] = {}
        for name, value in self.fields:
            key = name.lower()
            joined[key] = f"{joined[key]}, {value}" if key in joined else value
        return joined


class _RefusedError(Exception):
    """A request that is not made."""


@dataclass
class Fetcher:
    """Asks by the name of ``agent``; ``allow_private`` opens loopback and private networks, for tests and intranets."""

    agent: str
    limits: Limits = field(default_factory=Limits)
    allow_private: bool = False
    context: ssl.SSLContext = field(default_factory=ssl.create_default_context)

    def __post_init__(self) -> None:
        if not self.agent.isprintable() or not self.agent.isascii() or not self.agent.strip():
            raise RequestError(f"the user agent {self.agent!r} must be a line of plain letters")

    def site_file(self, url: str) -> SiteFile:
        """A file of a site, behind up to ``limits.redirects`` redirects to any host (RFC 9309, 2.3.1.2)."""
        asked, at = url, _now()
        for _ in range(self.limits.redirects + 1):
            answer = self.get(asked)
            target = answer.headers.get("location") if answer.status in _REDIRECTS else None
            if target is None:
                return SiteFile(url, answer.status, answer.body, answer.headers, answer.complete, at)
            try:
                asked = urljoin(asked, target)
            except ValueError:
                break
        return SiteFile(url, None, b"", {}, True, at)

    def get(self, url: str) -> Answer:
        """One request, its redirects not followed. It never raises: what goes wrong is no answer."""
        try:
            return self._get(url)
        except (_RefusedError, OSError, http.client.HTTPException, ValueError) as error:
            return Answer(url, None, why=str(error) or type(error).__name__)

    def _get(self, url: str) -> Answer:
        parts = urlsplit(url)
        if parts.scheme not in _PORTS or not parts.hostname:
            raise _RefusedError("only http and https are asked")
        if parts.username is not None or any(not letter.isprintable() for letter in url):
            raise _RefusedError("an address with a password or control characters is not asked")
        host, port = parts.hostname.encode("idna").decode(), parts.port or _PORTS[parts.scheme]
        place = self._address(host, port)
        context = self.context if parts.scheme == "https" else None
        with _Connection(host, port, place, context, self.limits) as connection:
            target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
            connection.request("GET", _ascii(target), headers=self._fields(host, port, parts.scheme))
            answer = _read(connection.getresponse(), url, self.limits.bytes)
            # What the watchdog ends looks like an end to a body whose length is not known.
            return replace(answer, complete=False) if connection.expired else answer

    def _fields(self, host: str, port: int, scheme: str) -> Mapping[str, str]:
        shown = f"[{host}]" if ":" in host else host
        return {
            "Host": shown if port == _PORTS[scheme] else f"{shown}:{port}",
            "User-Agent": self.agent,
            "Accept": "*/*",
            "Accept-Encoding": "identity",
            "Connection": "close",
        }

    def _address(self, host: str, port: int) -> tuple[Any, ...]:
        """The socket address of a host; refused if any of its addresses is not one of the public internet."""
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        if not self.allow_private and not all(map(_is_public, found)):
            raise _RefusedError(f"{host} is an address of a private network")
        return found[0]


def _is_public(found: tuple[Any, ...]) -> bool:
    return is_public(ipaddress.ip_address(str(found[4][0]).partition("%")[0]))


class _Connection(http.client.HTTPConnection):
    """A connection to an address that was looked up before, which a watchdog ends when its time is over."""

    def __init__(
        self, host: str, port: int, place: tuple[Any, ...], context: ssl.SSLContext | None, limits: Limits
    ) -> None:
        super().__init__(host, port, timeout=limits.silence)
        self._place, self._context = place, context
        self._open: list[socket.socket] = []
        self.expired = False
        self._watchdog = threading.Timer(limits.seconds, self._end)
        self._watchdog.daemon = True

    def __enter__(self) -> _Connection:
        self._watchdog.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._watchdog.cancel()
        self.close()
        for one in self._open:
            one.close()

    def connect(self) -> None:
        """Connect to the address, and speak TLS by the host's name if that was asked for."""
        family, kind, protocol, _, address = self._place
        plain = socket.socket(family, kind, protocol)
        self._open.append(plain)
        plain.settimeout(self.timeout)
        plain.connect(address)
        self.sock: socket.socket = plain
        if self._context is not None:
            self.sock = self._context.wrap_socket(plain, server_hostname=self.host)
            self._open.append(self.sock)

    def _end(self) -> None:
        self.expired = True
        for one in self._open:
            try:
                one.shutdown(socket.SHUT_RDWR)
            except OSError:
                continue


def _read(response: http.client.HTTPResponse, url: str, limit: int) -> Answer:
    fields = tuple(response.getheaders())
    body, complete = b"", True
    try:
        while len(body) <= limit and (part := response.read1(_CHUNK)):
            body += part
        complete = len(body) <= limit and not response.length
    except (http.client.HTTPException, OSError):
        complete = False
    finally:
        response.close()
    answer = Answer(url, response.status, fields, body[:limit], complete)
    coding = answer.headers.get("content-encoding", "").strip().lower()
    return answer if coding in ("", "identity") else _unpacked(answer, coding, limit)


def _unpacked(answer: Answer, coding: str, limit: int) -> Answer:
    """The same with its body unpacked, as far as the limit; no answer if it is packed in a way that isn't known."""
    if coding not in ("gzip", "x-gzip", "deflate"):
        return Answer(answer.url, None, why=f"content coding {coding[:20]!r}")
    worker = zlib.decompressobj(47)
    try:
        body = worker.decompress(answer.body, limit)
    except zlib.error:
        return Answer(answer.url, None, why="damaged content coding")
    complete = answer.complete and worker.eof
    return Answer(answer.url, answer.status, answer.fields, body, complete)


def _ascii(target: str) -> str:
    """A path and query as they go over the wire: what is not ASCII or a space is encoded."""
    return "".join(letter if "!" <= letter <= "~" else _coded(letter) for letter in target)


def _coded(letter: str) -> str:
    return "".join(f"%{octet:02X}" for octet in letter.encode("utf-8", "replace"))


def _now() -> str:
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
