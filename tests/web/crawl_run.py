"""Runs a crawl as the source stage does, in this process or in one that a test may kill."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from crawl_web import Web

from groundup.artifact.stage import Outcome, Task
from groundup.base.progress import Silent
from groundup.stages.source.config import SourceConfig
from groundup.text.document import read_rows, tables

AGENT = "groundup-test/1.0 (+https://example.org/bot)"
TERMS = {"agent": AGENT, "licence": "CC0-1.0", "origin": "a web made for tests", "allow_private": True}


@dataclass(frozen=True)
class Crawled:
    web: Web
    folder: Path
    outcome: Outcome
    visits: dict[str, dict[str, Any]]
    pages: list[dict[str, Any]]
    signals: list[dict[str, Any]]


def config(**fields: Any) -> SourceConfig:
    return SourceConfig.parse({"crawl": {**TERMS, **fields}}, "artifact 'pages'")


def crawl(folder: Path, web: Web, **fields: Any) -> Crawled:
    outcome = config(**fields).run(task(folder))
    payload = folder / "payload"
    visits = {row["url"]: row for row in read_rows(payload / "crawl.parquet")}
    rows = {name: [row for table in tables(payload, name) for row in read_rows(table)] for name in ("pages", "signals")}
    return Crawled(web, folder, outcome, visits, rows["pages"], rows["signals"])


def task(folder: Path) -> Task:
    """A task whose payload is empty and whose scratch folder is what the attempt before left."""
    payload, scratch = folder / "payload", folder / "scratch"
    if payload.exists():
        shutil.rmtree(payload)
    payload.mkdir(parents=True)
    scratch.mkdir(exist_ok=True)
    return Task("pages", "d", {}, {}, payload, scratch, Silent())


def started(folder: Path, **fields: Any) -> subprocess.Popen[bytes]:
    """The same crawl in a process of its own."""
    code = (
        "import json, sys; sys.path[:0] = json.loads(sys.argv[1]); from pathlib import Path; import crawl_run;"
        "crawl_run.config(**json.loads(sys.argv[2])).run(crawl_run.task(Path(sys.argv[3])))"
    )
    command = [sys.executable, "-c", code, json.dumps(sys.path), json.dumps(fields), str(folder)]
    return subprocess.Popen(command, stderr=subprocess.PIPE)
