"""Runs a source stage on one file and reads back what it wrote."""

from __future__ import annotations

import io
import json
import tarfile
import zipfile
from pathlib import Path
from typing import Any

from groundup.artifact.stage import Outcome, Task
from groundup.base.progress import Silent
from groundup.stages.source.config import SourceConfig
from groundup.text.document import read_rows, tables

TERMS = {"licence": "CC0-1.0", "origin": "made here"}


def run_source(folder: Path, path: str, **fields: Any) -> tuple[list[dict[str, Any]], Outcome]:
    """The pages and the outcome; ``file`` in ``fields`` are fields of the file, the rest of the stage."""
    data = {"files": [{"path": path, **TERMS, **fields.pop("file", {})}], **fields}
    config = SourceConfig.parse(data, "artifact 'pages'")
    payload = folder / "payload"
    payload.mkdir(exist_ok=True)
    files = {name: folder / name for name in config.file_paths()}
    outcome = config.run(Task("pages", "d", {}, files, payload, folder, Silent()))
    return [row for table in tables(payload, "pages") for row in read_rows(table)], outcome


def left_out(folder: Path) -> list[dict[str, str]]:
    """What the run listed as left out."""
    return [json.loads(line) for line in (folder / "payload" / "left_out.jsonl").read_text().splitlines()]


def counts(outcome: Outcome) -> dict[str, int]:
    """The reasons for which the one source of a run left things out."""
    (source,) = outcome.metrics["sources"].values()
    return {name: count for name, count in source.items() if name not in ("pages", "found", "bytes")}


def tar(members: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for name, content in members.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
    return buffer.getvalue()


def zipped(members: dict[str, bytes], method: int = zipfile.ZIP_STORED) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", method) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return buffer.getvalue()
