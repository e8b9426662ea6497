"""A crawl as part of a source stage: Scrapy in a process of its own, then its pages, visits and evidence as tables.

The crawl's state lies in the task's scratch folder, so a crawl that was stopped or killed goes on where it was. Once it
is finished, its WARC files are linked into the payload, and read back by the reader of any WARC.
"""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterable, Iterator
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime
from functools import cached_property, partial
from pathlib import Path
from typing import Any, Final

import pyarrow as pa

from groundup.artifact.exhibit import Facts
from groundup.artifact.stage import Task
from groundup.base.errors import DataError, GroundupError, ResourceError, missing_extra
from groundup.base.files import write_atomic
from groundup.base.progress import Progress
from groundup.base.units import human_bytes, human_time
from groundup.stages.source.bounded import Rules
from groundup.stages.source.config import SourceFile
from groundup.stages.source.crawl.frontier import FRONTIER, WARC, Frontier
from groundup.stages.source.crawl_config import Crawl
from groundup.stages.source.readers.reading import Page, Reading
from groundup.stages.source.withdrawn import copy_warc
from groundup.text.document import write_rows

_COLUMNS: Final[tuple[tuple[str, pa.DataType, bool], ...]] = (
    ("url", pa.string(), False),
    ("via", pa.string(), False),
    ("depth", pa.int32(), False),
    ("decision", pa.string(), True),
    ("used", pa.bool_(), False),
    ("reason", pa.string(), True),
    ("status", pa.int32(), True),
    ("at", pa.string(), True),
    ("seconds", pa.float64(), True),
    ("bytes", pa.int64(), True),
)
VISITS: Final = pa.schema([pa.field(name, kind, nullable=optional) for name, kind, optional in _COLUMNS])
"""Every address that a crawl met (``crawl.parquet``), ordered by address.

``via`` is the page whose link led to it, or ``seed``; ``depth`` how many links it is away from one. ``decision`` is the
verdict of its owner's signals where it was looked for; ``reason`` why there is no page, null where it is ``used``.
``status`` is HTTP's, ``at`` when its permission was looked for (ISO 8601, UTC), ``seconds`` and ``bytes`` what the
answer took.
"""

_REQUESTS: Final = "not_a_page"
"""The reason under which the WARC reader counts records that are no answers."""

_DECLARED: Final = ("name", "licence", "origin", "terms", "use")
_RATIO: Final = 2000.0
"""More than Deflate can unpack to (1032 times): the bodies were bounded when they came."""

_STOP_SECONDS: Final = 15.0
_CHILD: Final = "import sys; sys.path[:] = sys.argv[1:]; from groundup.stages.source.crawl.child import main; main()"


def crawl(config: Crawl, task: Task) -> Crawled:
    """Carry a crawl out, or what is left of it, and put its WARC files into ``task.payload``.

    ResourceError if its process ends before its time. On KeyboardInterrupt it is stopped in order, and what it has is
    kept.
    """
    for package in ("scrapy", "warcio", "protego", "fastwarc"):
        if importlib.util.find_spec(package) is None:
            raise missing_extra(package, "curate" if package == "fastwarc" else "crawl")
    folder = task.scratch / "crawl"
    folder.mkdir(parents=True, exist_ok=True)
    if not _is_finished(folder):
        _attempt(config, folder, task.progress)
    target = task.payload / WARC
    target.mkdir(parents=True, exist_ok=True)
    for path in sorted((folder / WARC).glob("*.warc.gz")):
        _link(path, target / path.name)
    return Crawled(config, folder)


class Crawled:
    """A finished crawl, to be closed."""

    def __init__(self, config: Crawl, folder: Path) -> None:
        self._config = config
        self._folder = folder
        self._frontier = Frontier(folder / FRONTIER)
        self._withdrawn: set[str] = set()

    def close(self) -> None:
        """Close the file behind it."""
        self._frontier.close()

    @cached_property
    def file(self) -> SourceFile:
        """The crawl as a source: its pages were asked about already, so nothing more is looked for in them."""
        shared = {name: getattr(self._config, name) for name in _DECLARED}
        return SourceFile(url=f"crawl:{self._config.name}", format="warc", signals="ignore", **shared)

    def reading(self) -> Reading:
        """How its WARC files are read: as any, for a page may be written to look like a broken record."""
        return Reading(self.file, int(self._config.max_page_size), False, Rules(max_ratio=_RATIO))

    def permitted(self, pages: Iterable[tuple[str, Page]]) -> Iterator[tuple[str, Page]]:
        """The pages with their permission: none where it isn't known (``fail_closed: false``)."""
        for name, page in pages:
            is_allowed = self._frontier.decision(page.url or "") == "allowed"
            yield name, replace(page, permission="allowed") if is_allowed else page

    def withdraw(self, page: Page) -> None:
        """A page was withdrawn: it is to be in no file of the payload."""
        self._withdrawn.add(page.url or "")

    def account(self, payload: Path, reading: Reading) -> None:
        """Write ``crawl.parquet``, and count in ``reading`` the addresses that gave no page.

        Its WARC files hold requests too, which no one would call pages left out. DataError if nothing gave a page; the
        next run then asks anew.
        """
        for path in sorted((payload / WARC).iterdir()) if self._withdrawn else ():
            write_atomic(path, partial(copy_warc, path, urls=self._withdrawn))
        write_rows(payload / "crawl.parquet", VISITS, map(_visit, self._frontier.results()))
        del reading.tally[_REQUESTS]
        reading.listed[:] = [one for one in reading.listed if one.reason != _REQUESTS]
        for row in self._frontier.results():
            if row["reason"]:
                reading.skip(row["reason"], row["url"], _detail(row))
        if not reading.found:
            why = ", ".join(f"{count} {reason}" for reason, count in sorted(reading.tally.items()) if count)
            self.close()
            shutil.rmtree(self._folder, ignore_errors=True)
            raise DataError(f"the crawl {self._config.name!r} gave no pages (left out: {why})")

    def exhibit(self) -> Facts:
        """What the crawl did, for the report."""
        found = self.metrics()
        allowed, refused = (found["decisions"].get(name, 0) for name in ("allowed", "refused"))
        time = human_time(found["seconds"])
        return Facts(
            title=f"What was asked for: {self._config.name}",
            caption="crawl.parquet names every address, and signals/ holds the bytes on which each decision rests.",
            facts=(
                ("hosts", str(found["hosts"]), f"by {self._config.agent}"),
                ("requests", str(found["requests"]), f"{human_bytes(found['bytes'])} in {time}"),
                ("allowed", str(allowed), "addresses whose owner lets us use them, as far as was said"),
                ("refused", str(refused), "by their owner, or because that could not be read"),
            ),
        )

    def evidence(self) -> Iterator[dict[str, Any]]:
        """The rows of ``SIGNALS``: what was said about each address, with the bytes that say it."""
        return self._frontier.evidence()

    def metrics(self) -> dict[str, Any]:
        """Counts, and when it was ``finished`` (ISO 8601, UTC)."""
        totals = self._frontier.totals
        return {
            "finished": _iso(totals.get("finished", 0.0)),
            "addresses": self._frontier.count(),
            "used": int(totals.get("used", 0)),
            "requests": int(totals.get("requests", 0)),
            "bytes": int(totals.get("bytes", 0)),
            "hosts": self._frontier.hosts(),
            "seconds": round(totals.get("seconds", 0.0), 1),
            "decisions": dict(self._frontier.decisions()),
            "reasons": dict(self._frontier.reasons()),
        }


def _is_finished(folder: Path) -> bool:
    if not (folder / FRONTIER).is_file():
        return False
    with closing(Frontier(folder / FRONTIER)) as frontier:
        return "finished" in frontier.totals


def _attempt(config: Crawl, folder: Path, progress: Progress) -> None:
    log = folder / "log.txt"
    with log.open("wb") as complaints:
        process = subprocess.Popen(
            [sys.executable, "-c", _CHILD, *sys.path],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=complaints, start_new_session=True,
        )  # fmt: skip
    assert process.stdin is not None and process.stdout is not None
    end: dict[str, Any] = {}
    try:
        job = {"config": config.model_dump(mode="json"), "folder": str(folder)}
        process.stdin.write(json.dumps(job).encode() + b"\n")
        process.stdin.flush()
        for line in process.stdout:
            end = json.loads(line)
            _show(config, end, progress)
        process.wait()
    except BrokenPipeError:
        process.wait()
    except KeyboardInterrupt:
        progress.note("stopping the crawl; what it has is kept")
        raise
    finally:
        _stop(process)
    if end.get("end") != "finished":
        raise _failure(end, log)


def _show(config: Crawl, now: dict[str, Any], progress: Progress) -> None:
    if "pages" not in now:
        return
    total = min(config.pages, now["pages"] + now["left"])
    values = {"hosts": int(now["hosts"]), "size": human_bytes(now["bytes"])}
    budget = f"{human_time(now['seconds_left'])} left"
    progress.update(config.name, now["pages"], max(total, now["pages"]), "pages", **values, budget=budget)


def _stop(process: subprocess.Popen[bytes]) -> None:
    """End the child if it hasn't ended: in order, or, if that takes long, at once; nothing is lost either way."""
    assert process.stdin is not None and process.stdout is not None
    if process.poll() is None:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
    process.stdin.close()
    process.stdout.close()


def _failure(end: dict[str, Any], log: Path) -> GroundupError:
    said = end.get("error") or ""
    if not said:
        said = log.read_text(errors="replace")
    last = said.strip().splitlines()[-1:] or ["no reason given"]
    if end.get("end") == "stopped":
        return ResourceError("the crawl was stopped; the same command goes on from here")
    return ResourceError(f"the crawl ended before its time ({last[0][:300]}); the same command goes on from here")


def _link(path: Path, target: Path) -> None:
    """The same file in another place: a kill before the artifact is whole must leave the crawl its own."""
    try:
        os.link(path, target)
    except OSError:
        shutil.copyfile(path, target)


def _visit(row: dict[str, Any]) -> dict[str, Any]:
    return {**{name: row[name] for name in VISITS.names}, "used": bool(row["used"])}


def _detail(row: dict[str, Any]) -> str:
    parts = [row["decision"] or "", f"status {row['status']}" if row["status"] is not None else ""]
    return ", ".join(part for part in parts if part)


def _iso(time: float) -> str:
    return datetime.fromtimestamp(time, UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
