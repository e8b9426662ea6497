"""What was received, as WARC/1.1 (ISO 28500:2017): shards of gzip members, one a record, whole up to any moment.

A body is kept as it came over the connection, with its content coding; only the transfer coding (chunks) is undone, and
its header with it, as an archive keeps the message and not the way it was sent (RFC 9112, 6.1). Names of header fields
are written as the HTTP client spells them. A record's id is made of its address and content, so that the same page gets
the same id in every crawl.
"""

from __future__ import annotations

import hashlib
import io
import uuid
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from pathlib import Path
from typing import IO, Any, Final
from urllib.parse import urlsplit

from groundup.base.errors import missing_extra
from groundup.stages.source.crawl.frontier import Stored

SHARD_BYTES: Final = 1 << 30
"""A shard is closed by the record with which it has that many compressed bytes."""

_SPACE: Final = uuid.UUID("5d5c3a0e-5d2f-5a86-9a53-1d2a3a3f7c11")

Pairs = Sequence[tuple[str, str]]


class Shards:
    """Writes ``folder/00000.warc.gz`` and so on, going on from ``written``: how far each shard is known to be whole.

    What stands behind that in a shard is of a page that was not settled, and is cut off.
    """

    def __init__(
        self, folder: Path, written: Mapping[int, int], info: Mapping[str, str], size: int = SHARD_BYTES
    ) -> None:
        self._folder = folder
        self._info = dict(info)
        self._size = size
        self._number = max(written, default=0)
        self._file: IO[bytes] | None = None
        folder.mkdir(parents=True, exist_ok=True)
        for path in folder.iterdir():
            whole = written.get(int(path.name.partition(".")[0]), 0)
            if whole == 0:
                path.unlink()
            elif path.stat().st_size > whole:
                with path.open("r+b") as file:
                    file.truncate(whole)

    def write(self, url: str, at: str, asked: Pairs, status: int, answered: Pairs, body: bytes, address: str) -> Stored:
        """Append request and response of a page; they are with the operating system when this returns.

        ``at`` is when it was asked for (ISO 8601, UTC); ``address`` is the server's IP address, if it is known.
        """
        writer = self._writer()
        assert self._file is not None
        start = self._file.tell()
        name = record_id(url, body)
        common = {"WARC-Date": at} | ({"WARC-IP-Address": address} if address else {})
        parts = urlsplit(url)
        target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        line = f"GET {target} HTTP/1.1"
        sent = writer.create_warc_record(
            url, "request",
            http_headers=_message(line, [("Host", parts.netloc), *asked], is_request=True),
            payload=io.BytesIO(),
            length=0,
            warc_headers_dict={**common, "WARC-Record-ID": record_id(url, body, "request"), "WARC-Concurrent-To": name},
        )  # fmt: skip
        came = writer.create_warc_record(
            url, "response",
            http_headers=_message(f"{status} {_phrase(status)}", answered),
            payload=io.BytesIO(body),
            length=len(body),
            warc_headers_dict={**common, "WARC-Record-ID": name},
        )  # fmt: skip
        writer.write_record(came)
        writer.write_record(sent)
        self._file.flush()
        end = self._file.tell()
        stored = Stored(self._number, start, end - start)
        if end >= self._size:
            self.close()
            self._number += 1
        return stored

    def close(self) -> None:
        """Close the shard that is open."""
        if self._file is not None:
            self._file.close()
            self._file = None

    def _writer(self) -> Any:
        try:
            from warcio.warcwriter import WARCWriter  # type: ignore[import-untyped, unused-ignore]
        except ImportError:
            raise missing_extra("warcio", "crawl") from None
        if self._file is None:
            path = self._folder / f"{self._number:05d}.warc.gz"
            self._file = path.open("ab")
            if self._file.tell() >= self._size:
                self._file.close()
                self._number += 1
                self._file = (self._folder / f"{self._number:05d}.warc.gz").open("ab")
        writer = WARCWriter(self._file, gzip=True, warc_version="1.1")
        if self._file.tell() == 0:
            name = f"{self._number:05d}.warc.gz"
            info = writer.create_warcinfo_record(name, self._info)
            info.rec_headers.replace_header("WARC-Record-ID", record_id(name, repr(self._info).encode(), "warcinfo"))
            writer.write_record(info)
            self._file.flush()
        return writer


def record_id(url: str, content: bytes, kind: str = "response") -> str:
    """The WARC-Record-ID of a message: a UUID of version 5 made of what it is (RFC 9562, 5.5).

    >>> record_id("http://a.org/", b"x") == record_id("http://a.org/", b"x") != record_id("http://a.org/", b"y")
    True
    """
    return f"<urn:uuid:{uuid.uuid5(_SPACE, f'{kind} {hashlib.sha256(content).hexdigest()} {url}')}>"


def _message(line: str, pairs: Pairs, *, is_request: bool = False) -> Any:
    from warcio.statusandheaders import StatusAndHeaders  # type: ignore[import-untyped, unused-ignore]

    message = StatusAndHeaders(line, list(pairs), protocol="HTTP/1.1", is_http_request=is_request)

    def as_received(_: object) -> None:  # warcio's own way rewrites values that are not ASCII
        message.headers_buff = message.to_bytes(encoding="latin-1")

    message.compute_headers_buffer = as_received
    return message


def _phrase(status: int) -> str:
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return ""
