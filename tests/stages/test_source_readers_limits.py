"""Small files that would take all memory, or an hour: archives, XML, JSON, and patterns that go back and forth."""

from __future__ import annotations

import gzip
import io
import json
import lzma
import tarfile
import time
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from source_run import counts, left_out, run_source, tar, zipped

from groundup.base.errors import DataError
from groundup.base.machine import peak_memory, reset_peak_memory
from groundup.stages.source import bounded, decompress
from groundup.stages.source.bounded import DamageError
from groundup.stages.source.decompress import decompressed
from groundup.stages.source.readers import http, rows
from groundup.stages.source.readers.text import split_at_headings
from groundup.stages.source.readers.wikitext import plain_text
from groundup.stages.source.readers.xml import elements

# -- archives ------------------------------------------------------------------------------------------------------


@pytest.fixture
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bounded, "SMALL", 1 << 16)


@pytest.mark.usefixtures("_small")
@pytest.mark.parametrize("kind", ["zip", "tar", "tar.xz"])
def test_many_small_bombs_are_one(tmp_path: Path, kind: str) -> None:
    filler = b"a" * (1 << 16)
    if kind == "zip":
        whole = zipped({f"{n:02}.txt": b"%d" % n + filler[:-2] for n in range(40)}, zipfile.ZIP_DEFLATED)
    else:
        packed = tar({f"{n:02}.txt.gz": gzip.compress(b"%d" % n + filler[:-2]) for n in range(40)})
        whole = packed if kind == "tar" else lzma.compress(packed)
    (tmp_path / f"x.{kind}").write_bytes(whole)
    pages, outcome = run_source(tmp_path, f"x.{kind}", max_ratio=1.5)
    assert [page["record"] for page in pages] == [f"{n:02}.txt" for n in range(16)]
    assert counts(outcome) == {"unpacks_too_far": 1}
    (row,) = left_out(tmp_path)
    assert row["detail"] == f"x.{kind} in all unpacks to more than 1.0 MiB; see max_ratio and max_unpacked"
    pages, outcome = run_source(tmp_path, f"x.{kind}", max_ratio=1e4)
    assert len(pages) == 40 and not counts(outcome)
    if kind != "tar.xz":
        pages, outcome = run_source(tmp_path, f"x.{kind}", max_ratio=1e4, max_unpacked="200 kB")
        assert (len(pages), counts(outcome)) == (3, {"unpacks_too_far": 1})


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_a_zip_by_a_method_without_bounds(tmp_path: Path, method: int) -> None:
    with zipfile.ZipFile(tmp_path / "x.zip", "w", method) as archive:
        with archive.open("bomb.txt", "w") as member:
            for _ in range(200):
                member.write(bytes(1 << 20))
        archive.writestr("a.txt", "one", zipfile.ZIP_DEFLATED)
    before = peak_memory()
    pages, outcome = run_source(tmp_path, "x.zip")
    assert ([page["content"] for page in pages], counts(outcome)) == ([b"one"], {"zip_method": 1})
    assert peak_memory() - before < 20 << 20
    with pytest.raises(DataError, match=r"x\.zip: bomb\.txt is packed by another method than Deflate; pack it anew"):
        run_source(tmp_path, "x.zip", strict=True)


def _dictionary_of(packed: bytes, code: int) -> bytes:
    """An .xz file that says that it needs a larger dictionary (.xz file format 1.2, 3.1 and 5.3.1)."""
    size = (packed[12] + 1) * 4
    header = bytearray(packed[12 : 12 + size - 4])
    assert header[2:4] == b"\x21\x01"
    header[4] = code
    return packed[:12] + bytes(header) + zlib.crc32(header).to_bytes(4, "little") + packed[12 + size :]


def test_an_xz_that_wants_all_memory(tmp_path: Path) -> None:
    packed = lzma.compress(b"text")
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "a.txt.xz").write_bytes(_dictionary_of(packed, 28))  # 64 MiB
    (tmp_path / "folder" / "b.txt.xz").write_bytes(_dictionary_of(packed, 40))  # 4 GiB
    (tmp_path / "folder" / "c.txt.xz").write_bytes(packed + _dictionary_of(packed, 40))
    pages, outcome = run_source(tmp_path, "folder")
    assert [page["record"] for page in pages] == ["a.txt"]
    assert counts(outcome) == {"unpacks_too_far": 2}
    detail = left_out(tmp_path)[0]["detail"]
    assert detail == "folder: b.txt.xz takes more than 256.0 MiB of memory to unpack; unpack it first"


@given(st.lists(st.binary(max_size=300), min_size=1, max_size=4), st.integers(0, 3), st.binary(max_size=5))
def test_xz_reads_as_lzma_does(parts: list[bytes], zeros: int, rest: bytes) -> None:
    packed = list(map(lzma.compress, parts))
    stream = decompressed(io.BytesIO(bytes(4 * zeros).join(packed) + rest), ".xz")
    found = b"".join(iter(lambda: stream.read(50), b""))
    assert found == lzma.decompress(b"".join(packed)) == b"".join(parts)  # which knows no padding between streams


@pytest.mark.parametrize("cut", [0, 3, 20, -1, -13])
def test_an_xz_that_is_cut_off(cut: int) -> None:
    packed = lzma.compress(b"text" * 50)[: cut or None] if cut else b""
    stream = decompressed(io.BytesIO(packed), ".xz")
    with pytest.raises((EOFError, lzma.LZMAError)):
        while stream.read(1000):
            pass
    assert decompress.DICTIONARY > 65 << 20


def test_names_of_a_tar_that_go_on(tmp_path: Path) -> None:
    def header(kind: bytes, size: int) -> bytes:
        entry = tarfile.TarInfo("x")
        entry.type, entry.size = kind, size
        return entry.tobuf(tarfile.GNU_FORMAT)

    good = tar({"a.txt": b"one"})[:1024]
    (tmp_path / "x.tar.gz").write_bytes(gzip.compress(good + header(b"L", 40 << 20) + bytes(40 << 20)))
    before = peak_memory()
    pages, outcome = run_source(tmp_path, "x.tar.gz", max_ratio=1e6)
    assert ([page["content"] for page in pages], counts(outcome)) == ([b"one"], {"damaged": 1})
    assert peak_memory() - before < 20 << 20
    chain = b"".join(header(b"g", 16) + b"16 comment=hello".ljust(512, b"\0") for _ in range(3000))
    (tmp_path / "y.tar").write_bytes(good + chain + bytes(1024))
    pages, outcome = run_source(tmp_path, "y.tar")
    assert ([page["content"] for page in pages], counts(outcome)) == ([b"one"], {"damaged": 1})


def test_a_parquet_that_unpacks_too_far(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rows, "_BATCH_BYTES", 16 << 20)
    (tmp_path / "folder").mkdir()
    for name, size in (("a", 10), ("b", 65 << 20), ("c", 3 << 20)):
        column = pa.DictionaryArray.from_arrays(pa.array([0] * 200, pa.int32()), pa.array(["x" * size]))
        path, field = tmp_path / "folder" / f"{name}.parquet", "the.text"
        pq.write_table(pa.table({field: column}), path, compression="zstd", store_schema=False)
    reset_peak_memory()
    before = peak_memory()
    pages, outcome = run_source(tmp_path, "folder", max_page_size="1 MiB", file={"text_field": "the.text"})
    assert len(pages) == 200
    assert counts(outcome) == {"too_large": 200, "unpacks_too_far": 1}
    assert peak_memory() - before < 100 << 20  # 64 rows of 3 MiB at a time take more


def test_a_parquet_with_values_that_python_has_not(tmp_path: Path) -> None:
    offsets, data = np.array([0, 2, 6], np.int32).tobytes(), b"\xff\xfefine"
    text = pa.Array.from_buffers(pa.string(), 2, [None, pa.py_buffer(offsets), pa.py_buffer(data)])
    date = pa.array([0, 10**17], pa.timestamp("ms"))
    pq.write_table(pa.table({"text": text, "url": text, "date": date}), tmp_path / "x.parquet")
    pages, outcome = run_source(tmp_path, "x.parquet")
    assert [(page["content"], page["url"], page["date"]) for page in pages] == [(b"fine", "fine", None)]
    assert counts(outcome) == {"not_utf8": 1}


def test_a_warc_goes_on_behind_what_is_no_record(tmp_path: Path) -> None:
    def record(number: int) -> bytes:
        head = f"WARC/1.0\r\nWARC-Type: conversion\r\nWARC-Record-ID: <urn:x:{number}>\r\nContent-Type: text/plain\r\n"
        body = f"text {number}"
        return gzip.compress(f"{head}Content-Length: {len(body)}\r\n\r\n{body}\r\n\r\n".encode())

    noise = gzip.compress(b"z" * 100_000)
    for parts, reasons in (
        ([record(1), noise, record(2)], {"damaged": 1}),
        ([noise, record(1), record(2)], {"damaged": 1}),
        ([record(1), noise, noise, record(2)], {"damaged": 2}),
        ([record(1), record(2), noise], {"damaged": 1}),
        ([record(1), record(2)], {}),
    ):
        (tmp_path / "x.warc.gz").write_bytes(b"".join(parts))
        pages, outcome = run_source(tmp_path, "x.warc.gz")
        assert [page["record"] for page in pages] == ["urn:x:1", "urn:x:2"]
        assert counts(outcome) == reasons


# -- XML and JSON --------------------------------------------------------------------------------------------------


def _endless(start: bytes, piece: bytes) -> io.BufferedReader:
    """A stream of half a gigabyte, made as it is read."""

    class Stream(io.RawIOBase):
        left = (512 << 20) // len(piece)
        first = start

        def readable(self) -> bool:
            return True

        def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
            data = self.first or (piece * (len(buffer) // len(piece)) if self.left > 0 else b"")
            self.left -= len(data) // len(piece)
            self.first = b""
            buffer[: len(data)] = data
            return len(data)

    return io.BufferedReader(Stream(), 1 << 16)


@pytest.mark.parametrize(
    ("start", "piece", "message"),
    [
        (b"<posts>", b"<row>", "nested too deeply"),
        (b"<posts><row Body='", b"xxxxxxxx", "a tag in it has no end"),
        (b"<posts><!-- ", b"xxxxxxxx", "a tag in it has no end"),
        (b"<!DOCTYPE a [<!ENTITY b 'bbbb'><!ENTITY c '&b;&b;&b;'>]><posts>&c;", b"<a></a>", "entities of its own"),
    ],
)
def test_xml_that_would_fill_the_memory(start: bytes, piece: bytes, message: str) -> None:
    before = peak_memory()
    with pytest.raises(DamageError, match=message):
        list(elements(_endless(start, piece), "x.xml", ("row",), 1 << 20))
    assert peak_memory() - before < 30 << 20


def test_xml_with_a_name_for_everything() -> None:
    names = b"".join(b"<n%d/>" % number for number in range(150_000))
    with pytest.raises(DamageError, match="too many names"):
        list(elements(io.BytesIO(b"<posts>" + names), "x.xml", ("row",), 1 << 20))


def test_an_element_of_empty_elements_is_given_up(tmp_path: Path) -> None:
    body = b"<row Id='1'/><row>" + b"<a/>" * 100_000 + b"</row><!-- fine --><row Id='2'/>"
    found = list(elements(io.BytesIO(b"<posts>" + body + b"</posts>"), "x.xml", ("row",), 1 << 20))
    assert [None if one is None else one.get("Id") for one in found] == ["1", None, "2"]


def test_a_thread_that_goes_on_is_left_out(tmp_path: Path) -> None:
    rows = ["<row Id='1' PostTypeId='1' Title='t' Body='q'/>"]
    rows += [f"<row Id='{n}' PostTypeId='2' ParentId='1' Body='{'a' * 100}'/>" for n in range(2, 50)]
    rows += [f"<row Id='{n}' PostTypeId='2' ParentId='99' Body='b'/>" for n in range(50, 53)]
    rows += ["<row Id='60' PostTypeId='1' Body='fine'/>", "<row Id='61' PostTypeId='2' ParentId='60'/>"]
    (tmp_path / "Posts.xml").write_text("<posts>" + "".join(rows) + "</posts>")
    pages, outcome = run_source(tmp_path, "Posts.xml", max_page_size="2 kB")
    assert [page["content"] for page in pages] == [b"fine"]
    assert counts(outcome) == {"too_large": 1, "answer_without_question": 3}


def test_a_json_list_of_little_things(tmp_path: Path) -> None:
    threads = [{"posts": ["good"]}, *[1] * 200_000, {"posts": ["last"]}]
    (tmp_path / "t.json").write_text(json.dumps(threads))
    start = time.process_time()
    pages, outcome = run_source(tmp_path, "t.json", file={"format": "threads"})
    assert [page["content"] for page in pages] == [b"good", b"last"]
    assert counts(outcome) == {"no_object": 200_000}
    assert time.process_time() - start < 10  # each item used to take the time of all that were held
    for rest in ("]", "x", " " * 200_000 + "{}"):
        (tmp_path / "t.json").write_text('[{"posts": ["good"]}]' + rest)
        _, outcome = run_source(tmp_path, "t.json", file={"format": "threads"})
        assert counts(outcome) == {"damaged": 1}
    (tmp_path / "t.json").write_text(' [ {"posts": ["good"]} ,\n] ' + " " * 200_000)
    pages, outcome = run_source(tmp_path, "t.json", file={"format": "threads"})
    assert (len(pages), counts(outcome)) == (1, {})


# -- patterns ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "work",
    [
        lambda: http.media_type(None, None, b"<!---->" * 580),
        lambda: http.charset("text/html; charset=" + " " * 300_000 + ";"),
        lambda: plain_text("=" + " " * 300_000 + "x"),
        lambda: plain_text("= " * 150_000 + "x"),
        lambda: split_at_headings("# " + "#" * 300_000 + "x\ntext\n"),
        lambda: split_at_headings("# " + " #" * 150_000 + "x\ntext\n"),
    ],
)
def test_patterns_take_linear_time(work: Callable[[], object]) -> None:
    start = time.process_time()
    work()
    assert time.process_time() - start < 2  # the first took for ever, the others minutes


def test_what_the_patterns_find_is_as_before() -> None:
    assert http.media_type(None, None, b" <!-- a --> <!-- b -->\n<HTML lang=en>") == "text/html"
    assert http.media_type(None, None, b"<!-- a --> text <html>") == "unknown"
    assert http.charset('text/html; charset = " utf-8 "') == "utf-8"
    assert plain_text("== A ==\nx\n===B===  \ny\n") == "## A\n\nx\n\n### B\n\ny"
    assert split_at_headings("# One ##\na\n## C# #\nb\n") == [("One", "# One ##\na\n"), ("C", "## C# #\nb\n")]


def test_what_is_listed_is_short(tmp_path: Path) -> None:
    rows = [{"text": "fine"}, {"title": "t" * 100_000, "text": 3}]
    (tmp_path / "r.jsonl").write_text("\n".join(json.dumps(row) for row in rows))
    run_source(tmp_path, "r.jsonl")
    (row,) = left_out(tmp_path)
    assert max(map(len, row.values())) <= 401
    with pytest.raises(DataError):
        run_source(tmp_path, "r.jsonl", strict=True)
