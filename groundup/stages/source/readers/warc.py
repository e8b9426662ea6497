"""WARC (ISO 28500) and its kin WET and WAT, plain, gzip or Zstandard, by FastWARC (Bevendorff et al. 2021).

Pages are responses with status 200, resources and conversions (the text of a WET file). Web archives are large and
often broken in one place, so reading goes on behind the damage: at the next gzip member, or the next record's first
line. A record whose Content-Length swallows the one after it is left out and the one after it is read.
"""

from __future__ import annotations

import io
import re
import zlib
from collections.abc import Iterator
from typing import IO, Any, Final

from groundup.base.errors import missing_extra
from groundup.base.units import human_bytes
from groundup.stages.source.bounded import SMALL, BombError
from groundup.stages.source.readers import http
from groundup.stages.source.readers.author import html_author
from groundup.stages.source.readers.encodings import decode_any
from groundup.stages.source.readers.reading import Page, Reading, iso_date, where
from groundup.stages.source.unpack import Member

_PAGES: Final = frozenset({"response", "resource", "conversion"})
_SWALLOWED: Final = re.compile(
    rb"\r?\n\r?\n(WARC/[01]\.\d+\r?\n(WARC-|Content-|[A-Z][A-Za-z-]{0,8}\Z|\Z)|W(A(R(C(/([01](\.\d?)?)?)?)?)?)?\Z)"
)
"""The start of a record, whole or cut off by the end."""
_NEXT: Final = re.compile(rb"WARC/[01]\.\d+\r?\n(?:WARC-|Content-)")
_GZIP: Final = b"\x1f\x8b\x08"
_CHUNK: Final = 1 << 20
_MAX_HEADER: Final = 1 << 20
_LONGEST_START: Final = 32
_OWN_NOTES: Final = ("metadata:", "urn:", "warcinfo:")
"""Schemes of resources in which a crawler keeps its logs and settings."""


class _EndedError(Exception):
    """Reading stopped for a reason, and goes on at the next record that can be found after the one at ``behind``.

    ``good`` if that one was read, and it is the one after it that is broken.
    """

    def __init__(self, reason: str, record: str, what: str, behind: int, good: bool = False) -> None:
        super().__init__(what)
        self.reason, self.record, self.behind, self.good = reason, record, behind, good


class _From(io.RawIOBase):
    """A stream from where it stands, which counts from zero: FastWARC asks for positions even of what can't seek."""

    def __init__(self, inner: IO[bytes]) -> None:
        self._inner = inner
        self.at = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return False

    def tell(self) -> int:
        return self.at

    def read(self, size: int | None = -1) -> bytes:
        data = self._inner.read(_CHUNK if size is None or size < 0 else size)
        self.at += len(data)
        return data


def read_warc(member: Member, reading: Reading) -> Iterator[Page]:
    """The pages of a WARC or WET file, record by record."""
    start: int | None = 0
    can_seek = member.place is not None and member.stream.seekable()
    while start is not None:
        if can_seek:
            member.stream.seek(start)
        try:
            yield from _records(member, reading, start)
            return
        except _EndedError as error:
            end = error
        start = _resume(member.stream, end.behind) if can_seek else None
        if start is None or not end.good:  # else the broken record is met again, alone, and counted then
            name = f"{member.name} {end.record}".strip()
            reading.refuse(end.reason, name, f"{where(member, reading)}: {end}")


def _records(member: Member, reading: Reading, start: int) -> Iterator[Page]:
    try:
        from fastwarc.warc import ArchiveIterator
    except ImportError:
        raise missing_extra("fastwarc", "curate") from None
    stream = _From(member.stream)
    position, name, unpacked, place = start, "", 0, where(member, reading)
    try:
        records = iter(
            ArchiveIterator(stream, parse_http=False, quirks_mode=True, auto_decode="none", max_header_len=_MAX_HEADER)
        )
        while (record := next(records, None)) is not None:
            if not name and record.stream_pos and _is_garbage(member, start, record.stream_pos):
                raise _EndedError("damaged", "", f"no record at byte {start}", start)
            name = (record.record_id or "").strip("<>") or f"record at byte {start + record.stream_pos}"
            position = start + record.stream_pos
            size = record.content_length
            unpacked += size
            yield from _pages(record, name, position, member, reading)
            allowed = _allowed(stream.at, reading)
            if unpacked > allowed:
                raise BombError(place, f"unpacks to more than {human_bytes(allowed)}")
        if _goes_on(member, position):
            raise _EndedError("damaged", name, f"no record at byte {position}", position, bool(name))
        if not name and stream.at:
            reading.refuse("damaged", member.name, f"{place} holds no WARC record")
    except (OSError, ValueError) as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise
        what = f"damaged {f'after {name}' if name else f'at byte {start}'} ({''.join(str(error).splitlines()[:1])})"
        raise _EndedError("damaged", name, what, position, bool(name)) from None
    except BaseException as error:
        if type(error).__name__ != "PanicException":  # how a failure inside FastWARC arrives, below BaseException
            raise
        what = f"damaged {f'after {name}' if name else f'at byte {start}'}"
        raise _EndedError("damaged", name, what, position, bool(name)) from None


def _is_garbage(member: Member, start: int, size: int) -> bool:
    """Whether there is more than empty lines before the first record found; a record may have been passed over."""
    if member.place is None or not member.stream.seekable():
        return False
    here = member.stream.tell()
    member.stream.seek(start)
    passed = member.stream.read(min(size, _CHUNK))
    member.stream.seek(here)
    return bool(passed.strip())


def _goes_on(member: Member, position: int) -> bool:
    """Whether a gzip member follows the one at ``position``, FastWARC's last: it ends at one that holds no record."""
    if member.place is None or not member.stream.seekable():
        return False
    end = _member_end(member.stream, position)
    if end is None:
        return False
    member.stream.seek(end)
    return member.stream.read(len(_GZIP)) == _GZIP


def _allowed(packed: int, reading: Reading) -> int:
    return int(min(reading.rules.max_unpacked, max(SMALL, reading.rules.max_ratio * packed)))


def _pages(record: Any, name: str, position: int, member: Member, reading: Reading) -> Iterator[Page]:
    headers = record.headers
    kind = (headers.get("WARC-Type") or "").lower()
    target = headers.get("WARC-Target-URI") or ""
    if kind not in _PAGES or (kind == "resource" and target.strip("<>").startswith(_OWN_NOTES)):
        reading.skip("revisit" if kind == "revisit" else "not_a_page", name, kind)
        return
    claims = reading.file.verify_digests and headers.get("WARC-Block-Digest")
    # To verify a record FastWARC holds it whole; one that is left out for its length anyway need not be.
    if claims and record.content_length <= reading.max_size + _MAX_HEADER and not record.verify_block_digest():
        reading.skip("wrong_digest", name)
        return
    status = None
    if record.is_http:
        record.parse_http(auto_decode="none", quirks_mode=True)
        status = record.http_headers.status_code if record.http_headers else None
    claimed = record.content_length
    body = record.reader.read(min(claimed, reading.max_size) + 1)
    told = record.http_headers.get("Content-Length") if record.http_headers else None
    if told != str(len(body)):  # where both lengths agree there is no need to look
        _check_swallowed(body, name, position)
    if claimed > reading.max_size and len(body) > reading.max_size:
        reading.skip("too_large", name, f"{claimed} bytes")
        return
    if len(body) < claimed:
        what = f"the record {name} is cut off ({len(body)} of {claimed} bytes)"
        raise _EndedError("truncated", name, what, position)
    if status is not None and status != 200:
        reading.skip("http_status", name, str(status))
        return
    page = _page(record, name, body, reading)
    if page is not None:
        yield page


def _check_swallowed(body: bytes, name: str, position: int) -> None:
    """A record that goes on into the next one has a Content-Length that is too long."""
    if _SWALLOWED.search(body, len(body) - _LONGEST_START) or (b"\nWARC" in body and _SWALLOWED.search(body)):
        raise _EndedError("wrong_length", name, f"the record {name} runs into the next one", position)


def _page(record: Any, name: str, body: bytes, reading: Reading) -> Page | None:
    warc = record.headers
    pairs = [(str(key), str(value)) for key, value in record.http_headers] if record.http_headers else []
    fields = {key.lower(): value for key, value in pairs}
    try:
        content = http.decoded(body, fields, reading.max_size)
    except http.TooLargeError:
        reading.skip("too_large", name, "when unpacked")
        return None
    if content is None:
        reading.skip("content_encoding", name, fields.get("content-encoding", ""))
        return None
    if not content.strip():
        reading.skip("empty", name)
        return None
    said = fields.get("content-type") if pairs else warc.get("Content-Type")
    kind = http.media_type(said, warc.get("WARC-Identified-Payload-Type"), content)
    url = (warc.get("WARC-Target-URI") or "").strip("<>") or None
    date = iso_date(warc.get("WARC-Date"))
    as_json = http.headers_json(pairs) if pairs else None
    encoding = http.charset(said)
    if kind in http.TEXT_TYPES:
        found = (content.decode("utf-8"), "utf-8") if _is_utf8(content) else decode_any(content)
        if found is None:
            reading.skip("unknown_encoding", name)
            return None
        return Page(name, kind, found[1], url, content, date, as_json)
    if kind != "text/html":
        reading.skip("media_type", name, kind)
        return None
    return Page(name, kind, encoding, url, content, date, as_json, author=html_author(content, encoding))


def _is_utf8(content: bytes) -> bool:
    try:
        content.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True


def _resume(stream: IO[bytes], behind: int) -> int | None:
    """Where the next record starts after the one at ``behind``; None if there is none, or none that can be found."""
    stream.seek(behind)
    head = stream.read(4)
    if head[:3] == _GZIP:
        end = _member_end(stream, behind)
        return end if end is not None and end > behind else _find_gzip(stream, behind + 1)
    if head == b"\x28\xb5\x2f\xfd":
        return None
    return _find(stream, behind + 1, _NEXT)


def _member_end(stream: IO[bytes], start: int) -> int | None:
    """Where a whole gzip member ends; None if it is damaged or the last one."""
    stream.seek(start)
    worker = zlib.decompressobj(31)
    at = start
    try:
        while data := stream.read(_CHUNK):
            at += len(data)
            while data and not worker.eof:
                worker.decompress(data, _CHUNK)
                data = worker.unconsumed_tail
            if worker.eof:
                end = at - len(worker.unused_data)
                return end if worker.unused_data or stream.read(1) else None
    except zlib.error:
        return None
    return None


def _find_gzip(stream: IO[bytes], start: int) -> int | None:
    """The next gzip member that holds a record: three bytes alone are there by chance once in 16 MiB."""
    at: int | None = start
    while at is not None and (at := _find(stream, at, re.compile(re.escape(_GZIP)))) is not None:
        stream.seek(at)
        try:
            if zlib.decompressobj(31).decompress(stream.read(1 << 12), 8).startswith(b"WARC/"):
                return at
        except zlib.error:
            pass
        at += 1
    return None


def _find(stream: IO[bytes], start: int, pattern: re.Pattern[bytes]) -> int | None:
    """The offset of the first match from ``start`` on."""
    stream.seek(start)
    held, at = b"", start
    while data := stream.read(_CHUNK):
        held += data
        match = pattern.search(held)
        if match:
            return at + match.start()
        keep = held[-64:]
        at += len(held) - len(keep)
        held = keep
    return None
