"""What a source is handed in bad faith or by bad luck: bombs, links, names that lead away, lines without an end."""

from __future__ import annotations

import bz2
import gzip
import io
import json
import lzma
import os
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from source_run import counts, left_out, run_source, tar, zipped

from groundup.base.errors import DataError
from groundup.base.machine import peak_memory
from groundup.base.progress import Silent
from groundup.stages.source import bounded
from groundup.stages.source.config import SourceConfig
from groundup.text import document
from groundup.text.document import PAGES, count_rows, read_rows, tables, write_shards

ZEROS = bytes(3 << 20)


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Bombs are told from a mebibyte on, so that the tests need no large ones."""
    monkeypatch.setattr(bounded, "SMALL", 1 << 20)


def _zstd(data: bytes) -> bytes:
    return bytes(pa.compress(data, "zstd", asbytes=True))


@pytest.mark.parametrize(
    ("name", "pack"), [("b.txt.gz", gzip.compress), ("b.txt.bz2", bz2.compress), ("b.txt.zst", _zstd)]
)
def test_a_bomb_among_good_files(tmp_path: Path, name: str, pack: Callable[[bytes], bytes]) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "a.txt").write_text("one")
    (folder / name).write_bytes(pack(ZEROS))
    (folder / "c.txt").write_text("two")
    pages, outcome = run_source(tmp_path, "folder", max_page_size="1 GiB")
    assert [page["record"] for page in pages] == ["a.txt", "c.txt"]
    assert counts(outcome) == {"unpacks_too_far": 1}
    with pytest.raises(DataError, match=f"folder: {name} unpacks to more than 200 times its size; see max_ratio"):
        run_source(tmp_path, "folder", strict=True)


def test_a_bomb_in_an_archive_costs_itself_only(tmp_path: Path) -> None:
    members = {"a.txt": b"one", "b.txt": ZEROS, "c.txt": b"two"}
    (tmp_path / "x.zip").write_bytes(zipped(members, zipfile.ZIP_DEFLATED))
    pages, outcome = run_source(tmp_path, "x.zip", max_page_size="1 GiB")
    assert [page["record"] for page in pages] == ["a.txt", "c.txt"]
    assert counts(outcome) == {"unpacks_too_far": 1}
    pages, outcome = run_source(tmp_path, "x.zip", max_member="1 MiB", max_ratio=1e9, max_page_size="1 GiB")
    assert counts(outcome) == {"unpacks_too_far": 1}
    inner = {"a.txt": b"one", "b.txt.xz": lzma.compress(ZEROS), "c.txt": b"two"}
    (tmp_path / "x.tar").write_bytes(tar(inner))
    pages, outcome = run_source(tmp_path, "x.tar", max_page_size="1 GiB")
    assert [page["record"] for page in pages] == ["a.txt", "c.txt"]
    assert counts(outcome) == {"unpacks_too_far": 1}


def test_a_limit_in_all(tmp_path: Path) -> None:
    (tmp_path / "x.tar.gz").write_bytes(gzip.compress(tar({f"{n}.txt": b"x" * 9000 for n in range(9)})))
    pages, outcome = run_source(tmp_path, "x.tar.gz", max_unpacked="30 kB")
    assert [page["record"] for page in pages] == ["0.txt", "1.txt"]
    assert counts(outcome) == {"unpacks_too_far": 1}


def test_links_and_names_that_lead_away(tmp_path: Path) -> None:
    (tmp_path / "secret.txt").write_text("secret")
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for name in ("ok.txt", "../up.txt", "/root.txt", "d/../../e.txt"):
            entry = tarfile.TarInfo(name)
            entry.size = len(name)
            archive.addfile(entry, io.BytesIO(name.encode()))
        for name, kind in (("s.txt", tarfile.SYMTYPE), ("h.txt", tarfile.LNKTYPE), ("f.txt", tarfile.FIFOTYPE)):
            entry = tarfile.TarInfo(name)
            entry.type, entry.linkname = kind, str(tmp_path / "secret.txt")
            archive.addfile(entry)
    (tmp_path / "x.tar").write_bytes(buffer.getvalue())
    pages, outcome = run_source(tmp_path, "x.tar")
    assert [page["record"] for page in pages] == ["ok.txt", "root.txt"]
    assert counts(outcome) == {"path_leaves_archive": 2, "symlink": 2, "special_file": 1}
    folder = tmp_path / "folder"
    (folder / "sub").mkdir(parents=True)
    (folder / "ok.txt").write_text("fine")
    (folder / "s.txt").symlink_to(tmp_path / "secret.txt")
    (folder / "sub" / "round").symlink_to(folder)
    os.mkfifo(folder / "pipe.txt")
    pages, outcome = run_source(tmp_path, "folder")
    assert [page["content"] for page in pages] == [b"fine"]
    assert counts(outcome) == {"symlink": 2, "special_file": 1}


def test_archives_in_archives_and_locked_ones(tmp_path: Path) -> None:
    (tmp_path / "x.zip").write_bytes(zipped({"a.txt": b"one", "in.zip": zipped({"b.txt": b"x"}), "c.tar.gz": b"x"}))
    pages, outcome = run_source(tmp_path, "x.zip")
    assert [page["record"] for page in pages] == ["a.txt"]
    assert counts(outcome) == {"nested_archive": 2}
    locked = bytearray(zipped({"a.txt": b"one", "b.txt": b"two"}))
    first = locked.index(b"PK\x01\x02")
    locked[first + 8] |= 1  # the flag of encryption, in the directory and before the content
    locked[6] |= 1
    (tmp_path / "x.zip").write_bytes(bytes(locked))
    pages, outcome = run_source(tmp_path, "x.zip")
    assert [page["record"] for page in pages] == ["b.txt"]
    assert counts(outcome) == {"encrypted": 1}


def test_a_line_of_fifty_megabytes_takes_no_memory(tmp_path: Path) -> None:
    with (tmp_path / "r.jsonl").open("wb") as handle:
        handle.write(b'{"text": "a"}\n{"text": "')
        for _ in range(50):
            handle.write(b"x" * (1 << 20))
        handle.write(b'"}\n{"text": "b"}\n')
    before = peak_memory()
    pages, outcome = run_source(tmp_path, "r.jsonl", max_page_size="1 MiB")
    assert [page["record"] for page in pages] == ["line 1", "line 3"]
    assert counts(outcome) == {"too_large": 1}
    assert peak_memory() - before < 30 << 20


def test_a_file_that_may_not_be_read(tmp_path: Path) -> None:
    if os.geteuid() == 0:
        pytest.skip("root may read every file")
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "a.txt").write_text("one")
    (tmp_path / "folder" / "b.txt").write_text("two")
    (tmp_path / "folder" / "b.txt").chmod(0)
    pages, outcome = run_source(tmp_path, "folder")
    assert [page["record"] for page in pages] == ["a.txt"]
    assert counts(outcome) == {"unreadable": 1}


def test_utf16_rows_and_binary_text(tmp_path: Path) -> None:
    (tmp_path / "x.zip").write_bytes(
        zipped({"a.txt": "Grüße".encode("utf-16"), "b.txt": bytes(range(256)) * 9, "c.txt": b"a\0b" + b"x" * 5000})
    )
    pages, outcome = run_source(tmp_path, "x.zip")
    assert [(page["record"], page["encoding"]) for page in pages] == [("a.txt", "utf-16"), ("c.txt", "utf-8")]
    assert counts(outcome) == {"unknown_encoding": 1}


def test_the_listing_ends_and_the_count_does_not(tmp_path: Path) -> None:
    rows = [json.dumps({"text": " "})] * 1500 + [json.dumps({"text": "x"})]
    (tmp_path / "r.jsonl").write_text("\n".join(rows))
    _, outcome = run_source(tmp_path, "r.jsonl")
    assert counts(outcome) == {"empty": 1500}
    assert len(left_out(tmp_path)) == 1000


# -- shards --------------------------------------------------------------------------------------------------------


def _page(number: int, size: int) -> dict[str, object]:
    return {
        "id": f"{number:032x}", "source": "s", "record": str(number), "media_type": "text/plain", "licence": "CC0-1.0",
        "content": bytes([number % 256]) * size,
    }  # fmt: skip


def test_shards_and_row_groups_are_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(document, "BYTES_PER_GROUP", 10_000)
    monkeypatch.setattr(document, "BYTES_PER_SHARD", 500_000)
    rows = [_page(number, 3000 if number % 2 else 10) for number in range(3000)]
    for folder in ("a", "b"):
        assert write_shards(tmp_path / folder, "pages", PAGES, iter(rows)) == 3000
    shards = tables(tmp_path / "a", "pages")
    assert [path.name for path in shards[:2]] == ["00000.parquet", "00001.parquet"]
    assert [row["id"] for path in shards for row in read_rows(path)] == [row["id"] for row in rows]
    for path in shards:
        sizes = [
            pq.ParquetFile(path).metadata.row_group(n).num_rows for n in range(pq.ParquetFile(path).num_row_groups)
        ]
        contents = [len(row["content"]) for row in read_rows(path)]
        assert max(sizes) <= 1024
        assert sum(contents) < 500_000 + 13_000
        at = 0
        for size in sizes:
            assert sum(contents[at : at + size]) <= 13_000
            at += size
        assert (tmp_path / "b" / "pages" / path.name).read_bytes() == path.read_bytes()
    assert write_shards(tmp_path / "none", "pages", PAGES, []) == 0
    assert [count_rows(path) for path in tables(tmp_path / "none", "pages")] == [0]


def test_progress_is_in_bytes_of_all_files(tmp_path: Path) -> None:
    from groundup.artifact.stage import Task

    seen: list[tuple[float, float, str]] = []

    class Watched(Silent):
        def update(self, phase: str, done: float, total: float, unit: str, **values: object) -> None:
            seen.append((done, total, unit))

    (tmp_path / "a.jsonl").write_text("\n".join(json.dumps({"text": "x" * 5000}) for _ in range(1000)))
    (tmp_path / "b.txt.gz").write_bytes(gzip.compress(b"text"))
    terms = {"licence": "CC0-1.0", "origin": "here"}
    config = SourceConfig.parse({"files": [{"path": "a.jsonl", **terms}, {"path": "b.txt.gz", **terms}]}, "t")
    (tmp_path / "payload").mkdir()
    files = {name: tmp_path / name for name in config.file_paths()}
    config.run(Task("pages", "d", {}, files, tmp_path / "payload", tmp_path, Watched()))
    whole = sum(path.stat().st_size for path in files.values()) / 1e6
    done = [one[0] for one in seen]
    assert {one[1:] for one in seen} == {(whole, "MB")}
    assert done == sorted(done)
    assert done[0] < whole / 2 < done[-1] <= whole
