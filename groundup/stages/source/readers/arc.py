"""ARC files, the Internet Archive's format before WARC (Burner and Kahle 1996): a line a record, then its HTTP message.

The line says ``URL IP-address date content-type length``, with more fields before the length in version 2.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

from groundup.stages.source.bounded import DamageError
from groundup.stages.source.readers import http
from groundup.stages.source.readers.author import html_author
from groundup.stages.source.readers.encodings import decode_any
from groundup.stages.source.readers.reading import Page, Reading, where
from groundup.stages.source.unpack import Member

_LINE: Final = re.compile(
    rb"(?P<url>[a-z][a-z0-9+.-]*:\S*) (?P<ip>[0-9a-fA-F.:]+) (?P<date>\d{8,14}) (?P<type>\S+)"
    rb"(?: \S+)*? (?P<size>\d+)\r?\n?"
)
_HEADERS_END: Final = re.compile(rb"\r?\n\r?\n")
_LONGEST_LINE: Final = 1 << 16
_DRAIN: Final = 1 << 20


def read_arc(member: Member, reading: Reading) -> Iterator[Page]:
    """The pages of an ARC file: responses with status 200. DamageError if it is cut off."""
    number = 0
    while line := member.stream.readline(_LONGEST_LINE):
        match = _LINE.fullmatch(line)
        if match is None:
            if line.strip():
                reading.skip("wrong_length", f"after record {number}", "not a record's first line")
                _seek_record(member)
            continue
        number += 1
        size = int(match["size"])
        body = member.stream.read(min(size, reading.max_size))
        left = size - len(body)
        while left > 0 and (passed := member.stream.read(min(left, _DRAIN))):
            left -= len(passed)
        if left > 0:
            raise DamageError(where(member, reading), f"is cut off in record {number}; fetch it again")
        if match["url"].startswith(b"filedesc:"):
            continue
        record = f"record {number}" if member.lone else f"{member.name} record {number}"
        if size > reading.max_size:
            reading.skip("too_large", record)
            continue
        page = _page(match, record, body, reading)
        if page is not None:
            yield page


def _seek_record(member: Member) -> None:
    """Read on to an empty line, which stands before each record."""
    while (line := member.stream.readline(_LONGEST_LINE)) and line.strip():
        pass


def _page(match: re.Match[bytes], record: str, body: bytes, reading: Reading) -> Page | None:
    pairs: list[tuple[str, str]] = []
    status = 200
    if body.startswith(b"HTTP/"):
        end = _HEADERS_END.search(body)
        head, body = (body[: end.start()], body[end.end() :]) if end else (body, b"")
        first, *rest = head.decode("latin-1").splitlines()
        words = first.split()
        status = int(words[1]) if len(words) > 1 and words[1].isdigit() else 0
        pairs = [(name, value.strip()) for name, colon, value in (line.partition(":") for line in rest) if colon]
    if status != 200:
        reading.skip("http_status", record, str(status))
        return None
    fields = {name.lower(): value for name, value in pairs}
    try:
        content = http.decoded(body, fields, reading.max_size)
    except http.TooLargeError:
        reading.skip("too_large", record, "when unpacked")
        return None
    if content is None or not content.strip():
        reading.skip("empty" if content is not None else "content_encoding", record)
        return None
    said = fields.get("content-type") or match["type"].decode("latin-1")
    kind = http.media_type(said, None, content)
    encoding = http.charset(said)
    if kind in http.TEXT_TYPES:
        found = decode_any(content)
        if found is None:
            reading.skip("unknown_encoding", record)
            return None
        encoding = found[1]
    elif kind != "text/html":
        reading.skip("media_type", record, kind)
        return None
    url = match["url"].decode("utf-8", "replace")
    author = html_author(content, encoding) if kind == "text/html" else None
    date = _iso(match["date"].decode())
    return Page(record, kind, encoding, url, content, date, http.headers_json(pairs), author=author)


def _iso(stamp: str) -> str | None:
    """
    >>> _iso("20070311002000"), _iso("20070311")
    ('2007-03-11T00:20:00Z', '2007-03-11')
    """
    day = f"{stamp[:4]}-{stamp[4:6]}-{stamp[6:8]}"
    return f"{day}T{stamp[8:10]}:{stamp[10:12]}:{stamp[12:14]}Z" if len(stamp) == 14 else day
