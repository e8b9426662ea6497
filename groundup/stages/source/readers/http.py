"""HTTP messages in archives of the web: headers as JSON, and bodies without their content and transfer encodings."""

from __future__ import annotations

import codecs
import json
import re
import zlib
from collections.abc import Iterable, Mapping
from typing import Final

HTML_TYPES: Final = frozenset({"text/html", "application/xhtml+xml"})
TEXT_TYPES: Final = frozenset({"text/plain", "text/markdown"})
_PRIVATE: Final = frozenset({"set-cookie", "set-cookie2"})
_HTML_START: Final = re.compile(
    rb"\s*+(?>(?:<!--.*?-->\s*+)*+)<(!doctype\s+html|html|head|body|title|meta|script|div|p|h1)\b", re.I
)
_CHARSET: Final = re.compile(r"charset\s*+=\s*+[\"']?\s*+([^\s\"';]+)", re.I)
_CHUNK: Final = re.compile(rb"(?:\r?\n)?([0-9a-fA-F]{1,8})[ \t]*(?:;[^\r\n]*)?\r?\n")


class TooLargeError(Exception):
    """A body is longer than it may be."""


def headers_json(pairs: Iterable[tuple[str, str]]) -> str:
    """Header fields as a JSON object with lower-case names; a field that is there twice is joined by a comma.

    That is how RFC 9110 (5.3) combines them. Cookies are left out: they say nothing of the page.

    >>> headers_json([("X-Robots-Tag", "noai"), ("Set-Cookie", "a=b"), ("x-robots-tag", "noindex")])
    '{"x-robots-tag": "noai, noindex"}'
    """
    fields: dict[str, str] = {}
    for name, value in pairs:
        key = name.strip().lower()
        if key and key not in _PRIVATE:
            fields[key] = f"{fields[key]}, {value}" if key in fields else value
    return json.dumps(fields)


def media_type(content_type: str | None, identified: str | None, body: bytes) -> str:
    """What a body is: as an archive's own look at it found, else as the server said, else HTML if it begins so."""
    for said in (identified, content_type):
        kind = (said or "").partition(";")[0].strip().lower()
        if kind and kind not in ("application/octet-stream", "unk", "unknown"):
            return "text/html" if kind in HTML_TYPES else kind
    return "text/html" if _HTML_START.match(body[:4096]) else "unknown"


def charset(content_type: str | None) -> str | None:
    """The encoding that a Content-Type names, if Python knows it.

    >>> charset("text/html; charset='ISO-8859-1'"), charset("text/html; charset=none"), charset(None)
    ('iso8859-1', None, None)
    """
    match = _CHARSET.search(content_type or "")
    try:
        return codecs.lookup(match[1]).name if match else None
    except (LookupError, UnicodeError):
        return None


def decoded(body: bytes, fields: Mapping[str, str], limit: int) -> bytes | None:
    """The body without its transfer and content encodings; None if it doesn't hold what its header says.

    Crawlers often store a body decoded with the header still there: one that is HTML already is left as it is.
    TooLarge if it unpacks to more than ``limit`` bytes.
    """
    if "chunked" in fields.get("transfer-encoding", "").lower():
        body = _unchunked(body)
    for coding in reversed([part.strip().lower() for part in fields.get("content-encoding", "").split(",")]):
        if coding in ("", "identity", "utf-8"):
            continue
        unpacked = _unpacked(body, coding, limit)
        if unpacked is None:
            return body if _HTML_START.match(body[:4096]) else None
        body = unpacked
    return body


def _unchunked(body: bytes) -> bytes:
    """RFC 9112 (7.1); a body that isn't chunked after all is left as it is."""
    parts: list[bytes] = []
    at = 0
    while match := _CHUNK.match(body, at):
        size = int(match[1], 16)
        if size == 0:
            return b"".join(parts)
        parts.append(body[match.end() : match.end() + size])
        at = match.end() + size
    return b"".join(parts) if parts and at >= len(body) else body


def _unpacked(body: bytes, coding: str, limit: int) -> bytes | None:
    if coding == "br":
        return _brotli(body, limit)
    windows = {"gzip": (31,), "x-gzip": (31,), "deflate": (15, -15)}.get(coding, ())
    for bits in windows:
        worker = zlib.decompressobj(bits)
        try:
            data = worker.decompress(body, limit + 1)
        except zlib.error:
            continue
        if len(data) > limit:
            raise TooLargeError
        return data
    return None


def _brotli(body: bytes, limit: int) -> bytes | None:
    import io

    from fastwarc.stream_io import BrotliReader

    try:
        data = bytes(BrotliReader(io.BytesIO(body)).read(limit + 1))
    except (OSError, ValueError):
        return None
    if len(data) > limit:
        raise TooLargeError
    return data
