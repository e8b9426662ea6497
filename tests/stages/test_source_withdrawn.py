"""Filtering what a source gave is, byte for byte, what the source gives when it leaves the same rows out."""

from __future__ import annotations

import gzip
import itertools
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from store_task import record

from groundup.artifact.record import Record
from groundup.artifact.stage import Artifact, Outcome, StageConfig, Task
from groundup.artifact.store import scan
from groundup.base.errors import DataError
from groundup.base.progress import Silent
from groundup.recipe import stage_class
from groundup.stages.source.withdrawn import copy_warc
from groundup.text.document import read_rows, tables

TERMS = {"licence": "CC0-1.0", "origin": "made here"}
NUMBERS = itertools.count()


class Material:
    """A stage with its files, run once with all rows."""

    def __init__(self, home: Path, stage: str, **fields: Any) -> None:
        self.home, self.config = home, stage_class(stage, stage).parse(fields, stage)
        self.all, self.ids = self.run(frozenset()), ()

    def run(self, withdrawn: frozenset[str], former: Artifact | None = None) -> Artifact:
        folder = self.home / str(next(NUMBERS))
        folder.mkdir()
        payload, scratch = folder / "payload", folder / "scratch"
        payload.mkdir()
        scratch.mkdir()
        files = {name: self.home / name for name in self.config.file_paths()}
        task = Task("m", "d", {}, files, payload, scratch, Silent(), withdrawn=withdrawn, former=former)
        return Artifact(payload, _record(self.config, self.config.run(task), payload))

    def names(self) -> list[str]:
        if self.config.kind == "pages":
            return [row["id"] for shard in tables(self.all.path, "pages") for row in read_rows(shard, ["id"])]
        lines = (self.all.path / f"{self.config.kind}.jsonl").read_text().splitlines()
        return [json.loads(line)["id"] for line in lines]


def _record(config: StageConfig, outcome: Outcome, payload: Path) -> Record:
    return record(config.kind, metrics=outcome.metrics, terms=outcome.terms, files=scan(payload))


def _bytes(artifact: Artifact) -> dict[str, bytes]:
    return {name: (artifact.path / name).read_bytes() for name in artifact.record.files if not name.startswith("log/")}


def _lines(path: Path, rows: list[dict[str, Any]]) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


@pytest.fixture(scope="module")
def materials(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Material]:
    home = tmp_path_factory.mktemp("withdrawn")
    pages = [
        {"text": f"A page of number {n}.", "url": f"https://a.example/{n}", "author": f"W{n % 3}"} for n in range(12)
    ]
    _lines(home / "a.jsonl", [*pages, {"no": "text"}])
    _lines(home / "b.jsonl", [{"text": f"Another page {n}"} for n in range(9)])
    talks = [{"prompt": f"Ask {n % 8}", "response": f"Say {n % 8}"} for n in range(12)]
    _lines(home / "talks.jsonl", [*talks, {"prompt": "x"}])
    _lines(home / "pairs.jsonl", [{"prompt": f"q{n}", "chosen": f"a{n}", "rejected": f"b{n}"} for n in range(9)])
    files = [{"path": "a.jsonl", **TERMS}, {"path": "b.jsonl", "limit": 6, **TERMS}]
    made = {
        "source": Material(home, "source", files=files),
        "conversations": Material(home, "conversations", files=[{"path": "talks.jsonl", **TERMS}], held_out=0.2),
        "preferences": Material(home, "preferences", files=[{"path": "pairs.jsonl", **TERMS}], held_out=0.01),
    }
    assert [len(one.names()) for one in made.values()] == [18, 8, 9]
    return made


@pytest.mark.parametrize("stage", ["source", "conversations", "preferences"])
@settings(max_examples=12, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_filtered_is_what_reading_again_gives(materials: dict[str, Material], stage: str, data: st.DataObject) -> None:
    one = materials[stage]
    names = one.names()
    chosen = data.draw(st.sets(st.sampled_from(names), min_size=1, max_size=len(names) - 1))
    fewer = data.draw(st.sets(st.sampled_from(sorted(chosen))))
    read = one.run(frozenset(chosen))
    filtered = one.run(frozenset(chosen), one.all)
    twice = one.run(frozenset(chosen), one.run(frozenset(fewer), one.all) if fewer else one.all)
    for other in (filtered, twice):
        assert _bytes(other) == _bytes(read)
        assert other.record.metrics == read.record.metrics
        assert other.record.terms == read.record.terms
    assert _bytes(read) != _bytes(one.all)
    assert sorted(row["id"] for row in _rows(read)) == sorted(set(names) - chosen)


@pytest.mark.parametrize("stage", ["source", "conversations", "preferences"])
def test_a_filter_needs_none_of_the_files_that_were_read(
    materials: dict[str, Material], stage: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    one = materials[stage]
    name = one.names()[3]
    monkeypatch.setattr(one, "home", tmp_path)
    filtered = one.run(frozenset({name}), one.all)
    assert name not in str(list(_rows(filtered)))
    assert name not in {row["id"] for row in _rows(filtered)}


def _rows(artifact: Artifact) -> Iterator[dict[str, Any]]:
    if artifact.record.kind == "pages":
        for shard in tables(artifact.path, "pages"):
            yield from read_rows(shard)
    else:
        for line in (artifact.path / f"{artifact.record.kind}.jsonl").read_text().splitlines():
            yield json.loads(line)


@pytest.mark.parametrize("stage", ["source", "conversations", "preferences"])
def test_nothing_left_is_one_line(materials: dict[str, Material], stage: str) -> None:
    one = materials[stage]
    with pytest.raises(DataError, match="are left: all of them were withdrawn"):
        one.run(frozenset(one.names()), one.all)


def _capture(url: str) -> bytes:
    """A record of its own member of a gzip file (ISO 28500, annex C)."""
    body = url.encode() * 50
    head = f"WARC/1.1\r\nWARC-Type: resource\r\nWARC-Record-ID: <urn:uuid:0-{len(url)}>\r\nWARC-Target-URI: {url}\r\n"
    rest = f"WARC-Date: 2026-01-01T00:00:00Z\r\nContent-Length: {len(body)}\r\n\r\n"
    return gzip.compress((head + rest).encode() + body + b"\r\n\r\n", mtime=0)


def test_captures_lose_the_withdrawn_records_and_no_others(tmp_path: Path) -> None:
    path, out = tmp_path / "all.warc.gz", tmp_path / "out.warc.gz"
    parts = [_capture(f"https://a.example/{number}") for number in (1, 2, 3, 2, 22)]
    path.write_bytes(b"".join(parts))
    copy_warc(path, out, {"https://a.example/2"})
    assert out.read_bytes() == parts[0] + parts[2] + parts[4]
    copy_warc(path, out, {"https://other.example/"})
    assert out.read_bytes() == path.read_bytes()
