"""Web archives: WARC, WET and ARC, whole and broken, beside FastWARC's own count of the same files."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from source_run import counts, left_out, run_source, tar

from groundup.base.errors import DataError
from groundup.stages.source.readers import http

SHARED = Path(__file__).parents[3] / "../shared/data/warc"
SHARED = SHARED if SHARED.is_dir() else Path(__file__).parents[3] / "shared/data/warc"
ABOUT = b"<pre>\r\n\r\nWARC/1.0\r\nWARC-Type: response\r\n</pre>"
HTML = "<!doctype html><title>é</title><p>Hello, world"


def record(number: int, body: bytes, length: int | None = None, kind: str = "resource", **more: str) -> bytes:
    fields = {
        "WARC-Type": kind,
        "WARC-Record-ID": f"<urn:x:{number}>",
        "WARC-Date": "2024-05-18T01:58:10Z",
        "WARC-Target-URI": f"http://a/{number}",
        "Content-Type": "text/plain",
        **more,
        "Content-Length": str(len(body) if length is None else length),
    }
    return "".join(["WARC/1.0\r\n", *(f"{key}: {value}\r\n" for key, value in fields.items()), "\r\n"]).encode() + (
        body + b"\r\n\r\n"
    )


def response(number: int, body: bytes, status: str = "200 OK", **headers: str) -> bytes:
    head = "".join([f"HTTP/1.1 {status}\r\n", *(f"{key.replace('_', '-')}: {v}\r\n" for key, v in headers.items())])
    message = head.encode() + b"\r\n" + body
    return record(number, message, kind="response", **{"Content-Type": "application/http; msgtype=response"})


def _each(compress: Callable[[bytes], bytes], records: list[bytes]) -> bytes:
    return b"".join(map(compress, records))


def _zstd(data: bytes) -> bytes:
    return bytes(pa.compress(data, "zstd", asbytes=True))


@pytest.mark.parametrize(
    "name",
    [
        "dolma-sample-0000.warc.gz",
        "dolma-sample-0001-creativecommons.warc.gz",
        "resiliparse-warcfile.warc.gz",
        "whirlwind.warc.gz",
        "whirlwind.warc.wet.gz",
    ],
)
def test_real_files_give_what_fastwarc_gives(tmp_path: Path, name: str) -> None:
    if not (SHARED / name).is_file():
        pytest.skip(f"{name} is not beside this checkout")
    from fastwarc.warc import ArchiveIterator

    expected: dict[str, bytes] = {}
    for one in ArchiveIterator(str(SHARED / name), parse_http=True, auto_decode="all", fsspec_args=False):
        if one.headers.get("WARC-Type") in ("response", "conversion"):
            assert one.http_headers is None or one.http_headers.status_code == 200
            expected[one.record_id.strip("<>")] = one.reader.read()
    (tmp_path / name).symlink_to(SHARED / name)
    pages, outcome = run_source(tmp_path, name)
    assert {page["record"]: page["content"] for page in pages} == expected
    assert set(counts(outcome)) <= {"not_a_page"}
    assert all(page["url"].startswith("http") and page["date"].startswith("20") for page in pages)
    assert all(json.loads(page["headers"]) for page in pages if page["media_type"] == "text/html")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("resiliparse-clipped.warc.gz", r"is cut off \(74970 of 88038 bytes\)"),
        ("resiliparse-block-sized-records.warc", r"gave no pages \(left out: 3 not_a_page\)"),
        ("whirlwind.warc.wat.gz", r"gave no pages \(left out: 2 not_a_page\)"),
    ],
)
def test_real_files_without_a_page_say_so(tmp_path: Path, name: str, message: str) -> None:
    if not (SHARED / name).is_file():
        pytest.skip(f"{name} is not beside this checkout")
    (tmp_path / name).symlink_to(SHARED / name)
    with pytest.raises(DataError, match=message):
        run_source(tmp_path, name)


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("x.warc", lambda records: b"".join(records)),
        ("x.warc.gz", lambda records: _each(gzip.compress, records)),
        ("x.warc.gz", lambda records: gzip.compress(b"".join(records))),
        ("x.warc.zst", lambda records: _each(_zstd, records)),
        ("x.warc.zst", lambda records: _zstd(b"".join(records))),
        ("x.warc.xz", lambda records: __import__("lzma").compress(b"".join(records))),
        ("x.tar", lambda records: tar({"d/x.warc.gz": _each(gzip.compress, records)})),
    ],
)
def test_every_packing_gives_the_same_pages(tmp_path: Path, name: str, data: Callable[[list[bytes]], bytes]) -> None:
    records = [
        record(0, b"x", kind="warcinfo"),
        response(1, HTML.encode("latin-1"), Content_Type="text/html; charset=latin-1", X_Robots_Tag="noai"),
        record(2, b"plain text", kind="conversion"),
        response(3, b"moved", "301 Moved", Location="/"),
        response(4, b"\x89PNG", Content_Type="image/png"),
        response(5, gzip.compress(b"<html>packed"), Content_Type="text/html", Content_Encoding="gzip"),
        response(6, b"5\r\n<html\r\n3\r\n>ab\r\n0\r\n\r\n", Content_Type="text/html", Transfer_Encoding="chunked"),
        record(7, b"", kind="revisit"),
        response(8, b" \n", Content_Type="text/html"),
        response(9, b"not gzip", Content_Type="text/html", Content_Encoding="gzip"),
    ]
    (tmp_path / name).write_bytes(data(records))
    pages, outcome = run_source(tmp_path, name, file={"signals": "ignore"})
    assert [(page["record"], page["media_type"], page["encoding"], page["content"]) for page in pages] == [
        ("urn:x:1", "text/html", "iso8859-1", HTML.encode("latin-1")),
        ("urn:x:2", "text/plain", "utf-8", b"plain text"),
        ("urn:x:5", "text/html", None, b"<html>packed"),
        ("urn:x:6", "text/html", None, b"<html>ab"),
    ]
    assert json.loads(pages[0]["headers"]) == {"content-type": "text/html; charset=latin-1", "x-robots-tag": "noai"}
    assert (pages[0]["url"], pages[0]["date"]) == ("http://a/1", "2024-05-18T01:58:10Z")
    assert counts(outcome) == {
        "not_a_page": 1, "http_status": 1, "media_type": 1, "revisit": 1, "empty": 1, "content_encoding": 1,
    }  # fmt: skip


TEXTS = {number: bytes([96 + number]) * 2000 for number in range(1, 6)}
PLAIN = [record(number, text) for number, text in TEXTS.items()]
PACKED = [gzip.compress(one, mtime=0) for one in PLAIN]


def _with(number: int, one: bytes, whole: list[bytes]) -> bytes:
    return b"".join([*whole[: number - 1], one, *whole[number:]])


@pytest.mark.parametrize(
    ("data", "missing", "reasons"),
    [
        (b"".join(PACKED)[:-20], {5}, {"truncated": 1}),
        (b"".join(PLAIN)[:-500], {5}, {"truncated": 1}),
        (_with(2, PACKED[1][:25] + b"\xff\xff\xff" + PACKED[1][28:], PACKED), {2}, {"damaged": 1}),
        (_with(2, PACKED[1][:30], PACKED), {2}, {"damaged": 1}),
        (b"\0" * 600 + b"".join(PLAIN), set(), {"damaged": 1}),
        *(
            (_with(2, record(2, TEXTS[2], 2000 + extra), PLAIN), {2}, {"wrong_length": 1})
            for extra in (6, 10, 14, 20, 60, 500, 5000, 10**9)
        ),
        *(
            (_with(2, gzip.compress(record(2, TEXTS[2], 2000 + extra)), PACKED), {2}, {"wrong_length": 1})
            for extra in (6, 10, 14, 20, 60, 500, 5000, 10**9)
        ),
        (_with(2, record(2, TEXTS[2], -5), PLAIN), {2}, {"empty": 1}),
    ],
)
def test_damage_costs_the_damaged_record_only(
    tmp_path: Path, data: bytes, missing: set[int], reasons: dict[str, int]
) -> None:
    (tmp_path / "x.warc").write_bytes(data)
    pages, outcome = run_source(tmp_path, "x.warc")
    assert [page["record"] for page in pages] == [f"urn:x:{number}" for number in TEXTS if number not in missing]
    assert all(page["content"] == TEXTS[int(page["record"][-1])] for page in pages)
    assert counts(outcome) == reasons
    assert sum(reasons.values()) == len(left_out(tmp_path))


def test_a_length_that_is_too_short_is_found_by_the_digest(tmp_path: Path) -> None:
    import base64
    import hashlib

    digest = "sha1:" + base64.b32encode(hashlib.sha1(TEXTS[2]).digest()).decode()
    good, short = ({"WARC-Block-Digest": digest} for _ in range(2))
    data = [record(1, TEXTS[2], **good), record(2, TEXTS[2], 700, **short), record(3, TEXTS[3])]
    (tmp_path / "x.warc").write_bytes(b"".join(data))
    pages, outcome = run_source(tmp_path, "x.warc", file={"verify_digests": True})
    assert [page["record"] for page in pages] == ["urn:x:1", "urn:x:3"]
    assert counts(outcome) == {"wrong_digest": 1}


def test_the_text_of_a_record_is_no_record(tmp_path: Path) -> None:
    about = response(2, ABOUT, Content_Type="text/html",
                     Content_Length=str(len(ABOUT)))  # fmt: skip
    (tmp_path / "x.warc").write_bytes(PLAIN[0] + about + PLAIN[2])
    pages, outcome = run_source(tmp_path, "x.warc")
    assert [page["record"] for page in pages] == ["urn:x:1", "urn:x:2", "urn:x:3"]
    assert counts(outcome) == {}


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"hello\n" * 99, "holds no WARC record"),
        (b"", "the file is empty"),
        (b"".join(PACKED)[:-20], "urn:x:5 is cut off"),
        (_with(2, record(2, TEXTS[2], 2060), PLAIN), "urn:x:2 runs into the next one"),
    ],
)
def test_strict(tmp_path: Path, data: bytes, message: str) -> None:
    (tmp_path / "x.warc").write_bytes(data)
    with pytest.raises(DataError, match=message):
        run_source(tmp_path, "x.warc", strict=True)


def test_a_bomb_in_a_record(tmp_path: Path) -> None:
    bomb = response(2, gzip.compress(b"<p>" + bytes(1 << 20)), Content_Type="text/html", Content_Encoding="gzip")
    (tmp_path / "x.warc").write_bytes(PLAIN[0] + bomb + PLAIN[2])
    pages, outcome = run_source(tmp_path, "x.warc", max_page_size="100 kB")
    assert [page["record"] for page in pages] == ["urn:x:1", "urn:x:3"]
    assert counts(outcome) == {"too_large": 1}


def test_a_file_that_unpacks_too_far(tmp_path: Path) -> None:
    data = PACKED[0] + gzip.compress(record(2, bytes(65 << 20))) + PACKED[2]
    (tmp_path / "x.warc.gz").write_bytes(data)
    pages, outcome = run_source(tmp_path, "x.warc.gz")
    assert [page["record"] for page in pages] == ["urn:x:1"]
    assert counts(outcome) == {"too_large": 1, "unpacks_too_far": 1}


def _arc(*records: tuple[str, bytes]) -> bytes:
    first = b"1 0 Archive\nURL IP-address Archive-date Content-type Archive-length\n"
    parts = [f"filedesc://x.arc 0.0.0.0 20070311002000 text/plain {len(first)}\n".encode() + first]
    parts += [f"{url} 1.2.3.4 20070311002000 text/html {len(body)}\n".encode() + body for url, body in records]
    return b"\n".join(parts) + b"\n"


OK = b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\n\r\n<p>"


@pytest.mark.parametrize("pack", [bytes, gzip.compress])
def test_arc(tmp_path: Path, pack: Callable[[bytes], Any]) -> None:
    whole = _arc(("http://a/1", OK + b"one"), ("http://a/2", b"HTTP/1.1 404 No\r\n\r\nx"), ("http://a/3", OK + b"two"))
    (tmp_path / "x.arc").write_bytes(pack(whole))
    pages, outcome = run_source(tmp_path, "x.arc")
    assert [(page["url"], page["content"], page["date"]) for page in pages] == [
        ("http://a/1", b"<p>one", "2007-03-11T00:20:00Z"),
        ("http://a/3", b"<p>two", "2007-03-11T00:20:00Z"),
    ]
    assert counts(outcome) == {"http_status": 1}
    (tmp_path / "x.arc").write_bytes(whole[:-3])
    pages, outcome = run_source(tmp_path, "x.arc")
    assert [page["url"] for page in pages] == ["http://a/1"]
    assert counts(outcome) == {"http_status": 1, "damaged": 1}


@pytest.mark.parametrize(
    ("said", "identified", "body", "expected"),
    [
        ("text/html", None, b"", "text/html"),
        ("application/xhtml+xml;q=1", None, b"", "text/html"),
        ("text/html", "application/pdf", b"%PDF", "application/pdf"),
        (None, None, b" <!-- x --><!DOCTYPE html>", "text/html"),
        ("application/octet-stream", None, b"<HTML>", "text/html"),
        (None, None, b"hello", "unknown"),
    ],
)
def test_media_types(said: str | None, identified: str | None, body: bytes, expected: str) -> None:
    assert http.media_type(said, identified, body) == expected


def test_bodies() -> None:
    import zlib

    packed = zlib.compress(b"abc")
    assert http.decoded(packed, {"content-encoding": "deflate"}, 99) == b"abc"
    assert http.decoded(packed[2:-4], {"content-encoding": "deflate"}, 99) == b"abc"
    assert http.decoded(gzip.compress(packed), {"content-encoding": "deflate, gzip"}, 99) == b"abc"
    assert http.decoded(b"<html>x", {"content-encoding": "gzip"}, 99) == b"<html>x"
    assert http.decoded(b"as it is", {"transfer-encoding": "chunked"}, 99) == b"as it is"
    with pytest.raises(http.TooLargeError):
        http.decoded(gzip.compress(b"abc"), {"content-encoding": "gzip"}, 2)
