"""Read the files of a source stage into ``pages.parquet``."""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Any, TypeVar

from groundup.artifact.exhibit import Table
from groundup.artifact.stage import Outcome, Task
from groundup.artifact.terms import SourceTerms, Terms
from groundup.base.errors import DataError
from groundup.base.files import sha256_path
from groundup.base.seeds import unit_interval
from groundup.base.units import human_bytes
from groundup.stages.source.config import SourceConfig, SourceFile, Supply
from groundup.stages.source.pages import Page, pages_of
from groundup.text.document import PAGES, document_id, write_rows

T = TypeVar("T")


def run(config: SourceConfig, task: Task) -> Outcome:
    """Write every page; the terms and the counts of each file go into the outcome."""
    tallies: dict[str, Counter[str]] = {file.name: Counter() for file in config.files}
    written = write_rows(task.payload / "pages.parquet", PAGES, _all_rows(config, task, tallies))
    for file in config.files:
        if not tallies[file.name]["pages"]:
            raise DataError(f"{file.path} gave no pages{_why(tallies[file.name])}")
    counts = {file.name: dict(sorted(tallies[file.name].items())) for file in config.files}
    terms = [supply_terms(file, task, tallies[file.name]["pages"]) for file in config.files]
    task.show(_table(config, tallies))
    total = sum(tally["bytes"] for tally in tallies.values())
    return Outcome({"pages": written, "bytes": total, "sources": counts}, Terms.union([Terms(sources=tuple(terms))]))


def supply_terms(file: Supply, task: Task, documents: int) -> SourceTerms:
    """The terms under which a file entered."""
    sha256 = sha256_path(task.files[file.path])
    return SourceTerms(source=file.name, licence=file.licence, origin=file.origin, sha256=sha256, documents=documents)


def draw(items: Iterable[tuple[str, T]], file: Supply) -> Iterator[tuple[str, T]]:
    """At most ``file.limit`` of the (record, item) pairs, drawn by a hash of the record, in their order.

    Which are drawn depends on seed, name and record alone: more rows in the file change the draw only by entering it.
    """
    if file.limit is None:
        yield from items
        return
    keyed = ((unit_interval(file.seed, "limit", file.name, pair[0]), at, pair) for at, pair in enumerate(items))
    smallest = heapq.nsmallest(file.limit, keyed, key=lambda entry: entry[:2])
    for _, _, pair in sorted(smallest, key=lambda entry: entry[1]):
        yield pair


def _all_rows(config: SourceConfig, task: Task, tallies: dict[str, Counter[str]]) -> Iterator[dict[str, Any]]:
    done = 0
    for number, file in enumerate(config.files, 1):
        tally = tallies[file.name]
        found = _counted(pages_of(file, task.files[file.path], int(config.max_page_size), tally), tally)
        for record, page in draw(((page.record, page) for page in found), file):
            tally["pages"] += 1
            tally["bytes"] += len(page.content)
            done += 1
            task.progress.update(f"{number}/{len(config.files)} {file.name}", done, done, "pages")
            yield {
                "id": document_id(file.name, record, page.content),
                "source": file.name,
                "record": record,
                "media_type": page.media_type,
                "encoding": page.encoding,
                "url": page.url,
                "licence": file.licence,
                "content": page.content,
            }


def _counted(pages: Iterable[Page], tally: Counter[str]) -> Iterator[Page]:
    for page in pages:
        tally["found"] += 1
        yield page


def _why(tally: Counter[str]) -> str:
    reasons = {name: count for name, count in tally.items() if name not in ("pages", "bytes", "found") and count}
    if not reasons:
        return "; the file is empty"
    return " (left out: " + ", ".join(f"{count} {name}" for name, count in sorted(reasons.items())) + ")"


def _table(config: SourceConfig, tallies: dict[str, Counter[str]]) -> Table:
    def row(file: SourceFile) -> tuple[str | int, ...]:
        tally = tallies[file.name]
        left_out = sum(count for name, count in tally.items() if name not in ("pages", "bytes", "found"))
        return (file.name, tally["found"], tally["pages"], human_bytes(tally["bytes"]), left_out, file.licence)

    return Table(
        title="What came in",
        caption="Pages as they came, before any cleaning. 'Kept' is below 'found' where a limit was set.",
        columns=("source", "found", "kept", "size", "unreadable or too large", "licence"),
        rows=tuple(row(file) for file in config.files),
    )
