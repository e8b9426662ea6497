"""Read the files of a source stage into ``pages/NNNNN.parquet``, and what was left out into ``left_out.jsonl``."""

from __future__ import annotations

import hashlib
import heapq
import pickle
import tempfile
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, TypeVar

from groundup.artifact.exhibit import Exhibit, Table
from groundup.artifact.stage import Outcome, Task
from groundup.artifact.terms import SourceTerms, Terms
from groundup.base.errors import DataError
from groundup.base.files import sha256_path
from groundup.base.seeds import unit_interval
from groundup.base.units import human_bytes, human_count
from groundup.stages.source.bounded import Rules
from groundup.stages.source.config import SourceConfig, SourceFile, Supply
from groundup.stages.source.crawl.frontier import WARC
from groundup.stages.source.crawl.run import Crawled, crawl
from groundup.stages.source.pages import pages_of
from groundup.stages.source.permission import Evidence, permitted
from groundup.stages.source.places import Meter, Place, Skip, local, remote
from groundup.stages.source.readers.reading import Page, Reading
from groundup.stages.source.terms import Licences, contradictions, licence_table, source_terms
from groundup.stages.source.withdrawn import WITHDRAWN, filter_pages, withdrawn_lines
from groundup.text.conversation import write_jsonl
from groundup.text.document import PAGES, write_shards

T = TypeVar("T")

_IN_MEMORY: Final = 64 << 20
_SHOWN_REASONS: Final = 12
_DAMAGE: Final = ("damaged", "truncated", "wrong_length", "unpacks_too_far", "unreadable", "encrypted")


@dataclass
class _Taken:
    """What one source gave."""

    reading: Reading
    pages: int = 0
    bytes: int = 0
    withdrawn: int = 0
    ids: Any = field(default_factory=hashlib.sha256)
    licences: Licences = field(default_factory=Licences)

    @property
    def counts(self) -> dict[str, int]:
        whole = {**self.reading.tally, "found": self.reading.found, "pages": self.pages, "bytes": self.bytes}
        return dict(sorted({**whole, **({WITHDRAWN: self.withdrawn} if self.withdrawn else {})}.items()))


def run(config: SourceConfig, task: Task) -> Outcome:
    """Write every page; the terms and the counts of each file go into the outcome."""
    if task.former is not None:
        return filter_pages(config, task, task.former)
    with ExitStack() as held:
        crawled = held.enter_context(closing(crawl(config.crawl, task))) if config.crawl else None
        files = (*config.files, crawled.file) if crawled else config.files
        taken = {
            file.name: _Taken(_reading(config, file, task), licences=Licences(task.files.get(file.path)))
            for file in config.files
        }
        if crawled:
            taken[crawled.file.name] = _Taken(crawled.reading())
        evidence = held.enter_context(closing(Evidence(task.scratch)))
        written = write_shards(task.payload, "pages", PAGES, _all_rows(files, task, taken, evidence, crawled))
        if crawled:
            evidence.extend(crawled.evidence())
        evidence.write(task.payload)
        metrics = {"crawl": crawled.metrics()} if crawled else {}
        if crawled:
            task.show(crawled.exhibit())
    listed = ((name, one) for name, each in taken.items() for one in each.reading.listed)
    lines = ({"source": name, **vars(one)} for name, one in listed)
    write_jsonl(task.payload / "left_out.jsonl", (*lines, *withdrawn_lines(task.withdrawn)))
    terms = tuple(_terms(file, task, taken[file.name]) for file in files)
    task.show(*_exhibits(files, taken), *licence_table(terms))
    for note in contradictions(terms):
        task.progress.note(note)
    total = sum(one.bytes for one in taken.values())
    counts = {name: one.counts for name, one in taken.items()}
    whole = {"pages": written, "bytes": total, "sources": counts, **metrics}
    return Outcome(whole, Terms.union([Terms(sources=terms)]))


def supply_terms(file: Supply, task: Task, documents: int) -> SourceTerms:
    """The terms under which a local file of rows entered."""
    return source_terms(file, sha256_path(task.files[file.path]), documents)


def _terms(file: SourceFile, task: Task, taken: _Taken) -> SourceTerms:
    """The same for any source: what came from an address is known by the hash of its pages' ids."""
    sha256 = sha256_path(task.files[file.path]) if file.path else str(taken.ids.hexdigest())
    return source_terms(file, sha256, taken.pages, taken.licences.counts)


def draw(items: Iterable[tuple[str, T]], file: Supply, folder: Path | None = None) -> Iterator[tuple[str, T]]:
    """At most ``file.limit`` of the (record, item) pairs, drawn by a hash of the record, in their order.

    Which are drawn depends on seed, name and record alone: more rows in the file change the draw only by entering it.
    Candidates beyond what is small wait in a file in ``folder``, so that a large limit takes disk and no memory.
    """
    if file.limit is None:
        yield from items
        return
    heap: list[tuple[float, int, int]] = []  # the least unit interval is drawn: a heap of negatives has the worst first
    with tempfile.SpooledTemporaryFile(_IN_MEMORY, dir=str(folder) if folder else None) as store:
        for at, pair in enumerate(items):
            key = -unit_interval(file.seed, "limit", file.name, pair[0])
            if len(heap) == file.limit and (key, -at) < heap[0][:2]:
                continue
            entry = (key, -at, store.tell())
            pickle.dump(pair, store, pickle.HIGHEST_PROTOCOL)
            if len(heap) < file.limit:
                heapq.heappush(heap, entry)
            else:
                heapq.heapreplace(heap, entry)
        for _, _, place in sorted(heap, key=lambda entry: -entry[1]):
            store.seek(place)
            yield pickle.load(store)


def _reading(config: SourceConfig, file: SourceFile, task: Task) -> Reading:
    rules = Rules(int(config.max_member), int(config.max_unpacked), config.max_ratio)
    return Reading(file, int(config.max_page_size), config.strict, rules, str(task.scratch))


def _places(file: SourceFile, task: Task, skip: Skip, meter: Meter, crawled: Crawled | None) -> list[Place]:
    if crawled and file is crawled.file:
        return list(local(task.payload / WARC, skip, meter))
    if file.path:
        return list(local(task.files[file.path], skip, meter))
    return list(remote(file.url, meter)) if file.url else []


def _all_rows(
    files: Sequence[SourceFile], task: Task, taken: dict[str, _Taken], evidence: Evidence, crawled: Crawled | None
) -> Iterator[dict[str, Any]]:
    meter = Meter()
    places = {file.name: _places(file, task, taken[file.name].reading.skip, meter, crawled) for file in files}
    meter.total = sum(place.size for found in places.values() for place in found)
    done = 0
    for number, file in enumerate(files, 1):
        one = taken[file.name]
        phase = f"{number}/{len(files)} {file.name}"
        pages = permitted(pages_of(places[file.name], one.reading), file, one.reading, evidence)
        if crawled and file is crawled.file:
            pages = crawled.permitted(pages)
        found = ((page.record, (name, page)) for name, page in pages)
        watched = _watched(found, phase, meter, task, one)
        for _, (name, page) in draw(watched, file, task.scratch):
            if name in task.withdrawn:
                one.withdrawn += 1
                if crawled and file is crawled.file:
                    crawled.withdraw(page)
                continue
            one.pages += 1
            one.bytes += len(page.content)
            one.ids.update(name.encode())
            done += 1
            yield _row(name, page, file, one.licences.of(page))
        if crawled and file is crawled.file:
            crawled.account(task.payload, one.reading)
        _check(file, one, task)


def _watched(items: Iterable[T], phase: str, meter: Meter, task: Task, one: _Taken) -> Iterator[T]:
    """The items, with the progress shown: packed bytes read of all, where their number is known, else pages."""
    for item in items:
        if meter.total:
            pages = human_count(one.reading.found)
            task.progress.update(phase, min(meter.done, meter.total) / 1e6, meter.total / 1e6, "MB", pages=pages)
        else:
            task.progress.update(phase, one.reading.found, one.reading.found, "pages")
        yield item


def _row(name: str, page: Page, file: SourceFile, found_licence: str | None) -> dict[str, Any]:
    return {
        "id": name,
        "source": file.name,
        "record": page.record,
        "media_type": page.media_type,
        "encoding": page.encoding,
        "url": page.url,
        "licence": file.licence,
        "date": page.date,
        "headers": page.headers,
        "author": page.author,
        "found_licence": found_licence,
        "permission": page.permission,
        "content": page.content,
    }


def _check(file: SourceFile, one: _Taken, task: Task) -> None:
    """DataError if a source gave nothing; a lasting line if a part of it gave no pages."""
    reading = one.reading
    if not one.pages and not one.withdrawn:
        first = next((skipped.detail for skipped in reading.listed if skipped.reason in _DAMAGE), "") or reading.problem
        raise DataError(first or f"{file.place} gave no pages{_why(reading.tally)}")
    left_out = {reason: count for reason, count in reading.tally.items() if count}
    if left_out:
        reasons = ", ".join(f"{reason} {count}" for reason, count in sorted(left_out.items()))
        total = sum(left_out.values())
        task.progress.note(f"{file.name}: {total} left out ({reasons}), the rest was read; see left_out.jsonl")


def _why(tally: Counter[str]) -> str:
    reasons = {name: count for name, count in tally.items() if count}
    if not reasons:
        return "; the file is empty"
    return " (left out: " + ", ".join(f"{count} {name}" for name, count in sorted(reasons.items())) + ")"


def _exhibits(files: Sequence[SourceFile], taken: dict[str, _Taken]) -> Iterator[Exhibit]:
    def row(file: SourceFile) -> tuple[str | int, ...]:
        one = taken[file.name]
        left_out = one.reading.tally.total()
        return file.name, one.reading.found, one.pages, human_bytes(one.bytes), left_out, file.licence

    yield Table(
        title="What came in",
        caption="Pages as they came, before any cleaning. 'Kept' is below 'found' where a limit was set.",
        columns=("source", "found", "kept", "size", "left out", "licence"),
        rows=tuple(row(file) for file in files),
    )
    reasons: Counter[str] = Counter()
    for one in taken.values():
        reasons.update(one.reading.tally)
    if reasons:
        yield Table(
            title="What was left out",
            caption="Files, rows and records that gave no page, by reason; left_out.jsonl names them.",
            columns=("reason", "number", *taken),
            rows=tuple(
                (reason, count, *(one.reading.tally[reason] for one in taken.values()))
                for reason, count in reasons.most_common(_SHOWN_REASONS)
            ),
        )
