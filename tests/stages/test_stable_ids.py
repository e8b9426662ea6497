"""A document's id is that of its source, place and content: not of order, archive, batches, units or workers."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from source_run import run_source, tar, zipped

from groundup.stages.source.readers import rows as rows_module
from groundup.text import document as document_module
from groundup.text.document import document_id

HTML = {f"d{number}/page {number}.html": f"<html><p>page {number}</p></html>".encode() for number in range(12)}
TEXTS = [f"text number {number}" for number in range(300)]


@given(st.text(max_size=20), st.text(max_size=20), st.binary(max_size=20))
def test_the_definition(source: str, record: str, content: bytes) -> None:
    parts = [source.encode(), record.encode(), content]
    whole = b"".join(len(part).to_bytes(8, "big") + part for part in parts)
    assert document_id(source, record, content) == hashlib.sha256(whole).hexdigest()[:32]


def folder(home: Path, members: dict[str, bytes]) -> str:
    for name, content in members.items():
        (home / "whole" / name).parent.mkdir(parents=True, exist_ok=True)
        (home / "whole" / name).write_bytes(content)
    return "whole"


def packed(name: str, pack: Callable[[dict[str, bytes]], bytes]) -> Callable[[Path, dict[str, bytes]], str]:
    def write(home: Path, members: dict[str, bytes]) -> str:
        (home / name).write_bytes(pack(members))
        return name

    return write


def tar_xz(members: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:xz") as archive:
        for name, content in members.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
    return buffer.getvalue()


PLACES = {
    "folder": folder,
    "tar": packed("a.tar", tar),
    "tar.gz": packed("a.tar.gz", lambda members: gzip.compress(tar(members))),
    "tar.xz": packed("a.tar.xz", tar_xz),
    "zip": packed("a.zip", zipped),
    "zip, deflated": packed("b.zip", lambda members: zipped(members, zipfile.ZIP_DEFLATED)),
}


def ids(home: Path, path: str, **fields: Any) -> dict[str, str]:
    """Id to record, of pages whose source is always called the same."""
    found, _ = run_source(home, path, file={"name": "s"}, **fields)
    assert len({row["id"] for row in found}) == len(found)
    return {row["id"]: row["record"] for row in found}


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("backwards", [False, True])
def test_the_kind_of_archive_and_the_order_in_it_do_not_show(tmp_path: Path, place: str, backwards: bool) -> None:
    members = dict(sorted(HTML.items(), reverse=backwards))
    found = ids(tmp_path, PLACES[place](tmp_path, members))
    assert found == {document_id("s", name, content): name for name, content in HTML.items()}


@pytest.mark.parametrize("ending", ["jsonl", "jsonl.gz", "jsonl.xz", "jsonl.bz2"])
def test_compression_does_not_show(tmp_path: Path, ending: str) -> None:
    import bz2
    import lzma

    data = "".join(json.dumps({"text": text}) + "\n" for text in TEXTS).encode()
    how = {"gz": gzip.compress, "xz": lzma.compress, "bz2": bz2.compress}.get(ending.rpartition(".")[2], bytes)
    (tmp_path / f"a.{ending}").write_bytes(how(data))
    found = ids(tmp_path, f"a.{ending}")
    assert found == {document_id("s", f"line {at}", text.encode()): f"line {at}" for at, text in enumerate(TEXTS, 1)}


@pytest.mark.parametrize("groups", [7, 100, 1000])
@pytest.mark.parametrize("rows", [1, 64])
def test_batches_do_not_show(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, groups: int, rows: int) -> None:
    monkeypatch.setattr(rows_module, "_PARQUET_ROWS", rows)
    monkeypatch.setattr(document_module, "ROWS_PER_GROUP", rows + 2)
    pq.write_table(pa.table({"text": TEXTS}), tmp_path / "a.parquet", row_group_size=groups)
    found = ids(tmp_path, "a.parquet")
    assert found == {document_id("s", f"row {at}", text.encode()): f"row {at}" for at, text in enumerate(TEXTS, 1)}


def test_other_files_beside_a_source_do_not_show(tmp_path: Path) -> None:
    whole = ids(tmp_path, folder(tmp_path, HTML))
    (tmp_path / "whole" / "more.html").write_bytes(b"<p>more</p>")
    assert set(whole) < set(ids(tmp_path, "whole"))
