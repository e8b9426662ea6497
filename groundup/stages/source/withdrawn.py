"""Material without the rows that were withdrawn, made of the same material with them.

The files that a source was read from may be gone or have changed, and a site need not be asked again: what was made of
them is filtered. The result is, byte for byte, what the stage gives when it reads the same files and leaves out the
same rows. Of a withdrawn row nothing is kept but its id.
"""

from __future__ import annotations

import hashlib
import importlib
import json
import shutil
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from groundup.artifact.exhibit import Table
from groundup.artifact.record import LOG_FOLDER
from groundup.artifact.stage import Artifact, Outcome, Task
from groundup.artifact.terms import SourceTerms, Terms
from groundup.base.errors import DataError, missing_extra
from groundup.base.units import human_bytes
from groundup.stages.source.terms import found_in_order, licence_table
from groundup.text.conversation import write_jsonl
from groundup.text.document import PAGES, read_rows, tables, write_shards

if TYPE_CHECKING:
    from groundup.stages.source.config import SourceConfig

WITHDRAWN: Final = "withdrawn"
"""The reason under which such rows are counted."""

_LEFT_OUT: Final = "left_out.jsonl"


def withdrawn_lines(ids: Iterable[str]) -> list[dict[str, str]]:
    """What ``left_out.jsonl`` says of withdrawn rows: they are named by their ids alone."""
    return [{"source": "", "record": name, "reason": WITHDRAWN, "detail": ""} for name in sorted(ids)]


def read_jsonl(path: Path) -> Iterator[dict[str, Any]]:
    """The objects of a file of JSON lines that this stage wrote; DataError if it is damaged."""
    with path.open(encoding="utf-8", newline="\n") as lines:
        for number, line in enumerate(lines, 1):
            try:
                yield dict(json.loads(line))
            except (ValueError, TypeError):
                raise DataError(f"{path.name} line {number} is damaged") from None


def terms_of(
    former: Artifact,
    documents: Mapping[str, int],
    hashes: Mapping[str, str] | None = None,
    found: Mapping[str, Mapping[str, int]] | None = None,
) -> Terms:
    """The terms of material after rows were left out: as before, with the new number of documents a source.

    ``hashes`` are those of sources that are known by the hash of their pages' ids; ``found`` counts by source how many
    documents state each licence.
    """
    known = hashes or {}

    def changed(one: SourceTerms) -> SourceTerms:
        if one.source not in documents:
            return one
        update: dict[str, Any] = {"documents": documents[one.source], "sha256": known.get(one.source, one.sha256)}
        if found is not None:
            update["found"] = found_in_order(found.get(one.source, {}))
        return one.model_copy(update=update)

    return Terms.union([Terms(sources=tuple(changed(one) for one in former.record.terms.sources))])


def filter_pages(config: SourceConfig, task: Task, former: Artifact) -> Outcome:
    """Write what the source stage gives without the withdrawn rows, from what it gave with more of them."""
    tally = _Tally()
    rows = _staying(former, task, tally)
    written = write_shards(task.payload, "pages", PAGES, rows)
    if not written:
        raise DataError("no pages are left: all of them were withdrawn")
    before = (line for line in read_jsonl(former.file(_LEFT_OUT)) if line["reason"] != WITHDRAWN)
    write_jsonl(task.payload / _LEFT_OUT, (*before, *withdrawn_lines(task.withdrawn)))
    _copy_rest(former, task, tally)
    metrics = former.record.metrics
    sources = {name: tally.counts(name, found) for name, found in metrics["sources"].items()}
    local = {file.name for file in getattr(config, "files", ()) if file.path}
    hashes = {name: ids.hexdigest() for name, ids in tally.ids.items() if name not in local}
    terms = terms_of(former, {name: int(found["pages"]) for name, found in sources.items()}, hashes, tally.licences)
    task.show(_table(sources), *licence_table(terms.sources))
    whole = {**metrics, "pages": written, "bytes": sum(tally.bytes.values()), "sources": sources}
    return Outcome(whole, terms)


class _Tally:
    """What is counted of the rows as they pass, by source."""

    def __init__(self) -> None:
        self.pages: Counter[str] = Counter()
        self.bytes: Counter[str] = Counter()
        self.withdrawn: Counter[str] = Counter()
        self.ids: dict[str, Any] = {}
        self.urls: set[str] = set()
        self.licences: dict[str, Counter[str]] = {}

    def counts(self, name: str, before: Mapping[str, Any]) -> dict[str, Any]:
        """The counts of a source, where ``before`` are those of the former material."""
        gone = int(before.get(WITHDRAWN, 0)) + self.withdrawn[name]
        whole = {**before, "pages": self.pages[name], "bytes": self.bytes[name]}
        return dict(sorted({**whole, **({WITHDRAWN: gone} if gone else {})}.items()))


def _staying(former: Artifact, task: Task, tally: _Tally) -> Iterator[dict[str, Any]]:
    names, total = PAGES.names, int(former.record.metrics["pages"])
    done = 0
    for shard in tables(former.path, "pages"):
        for row in read_rows(shard):
            done += 1
            task.progress.update("pages", done, total, "pages")
            source = row["source"]
            ids = tally.ids.setdefault(source, hashlib.sha256())
            if row["id"] in task.withdrawn:
                tally.withdrawn[source] += 1
                tally.urls.add(row["url"] or "")
                continue
            tally.pages[source] += 1
            tally.bytes[source] += len(row["content"])
            ids.update(row["id"].encode())
            if row.get("found_licence"):
                tally.licences.setdefault(source, Counter())[row["found_licence"]] += 1
            yield {name: row.get(name) for name in names}


def _copy_rest(former: Artifact, task: Task, tally: _Tally) -> None:
    """What else a source keeps: the evidence of permissions as it is, captures without the withdrawn pages."""
    for name in former.record.files:
        if name.startswith(("pages/", LOG_FOLDER)) or name == _LEFT_OUT:
            continue
        target = task.payload / name
        target.parent.mkdir(parents=True, exist_ok=True)
        if name.endswith((".warc", ".warc.gz")):
            copy_warc(former.file(name), target, tally.urls - {""})
        else:
            shutil.copyfile(former.file(name), target)


def copy_warc(source: Path, target: Path, urls: set[str]) -> None:
    """Copy a file of captures, record by record as it is, but for those of these addresses."""
    try:
        archives: Any = importlib.import_module("warcio.archiveiterator")
    except ImportError:
        raise missing_extra("warcio", "crawl") from None
    left_out: list[tuple[int, int]] = []
    with source.open("rb") as handle:
        records = archives.ArchiveIterator(handle, no_record_parse=True)
        for record in records:
            address = (record.rec_headers.get_header("WARC-Target-URI") or "").strip("<>")
            offset, length = records.get_record_offset(), records.get_record_length()
            if address in urls:
                left_out.append((offset, offset + length))
    with source.open("rb") as handle, target.open("wb") as out:
        place = 0
        for first, end in [*left_out, (source.stat().st_size, 0)]:
            handle.seek(place)
            _copy_bytes(handle, out, first - place)
            place = end


def _copy_bytes(source: Any, target: Any, count: int) -> None:
    while count > 0 and (part := source.read(min(count, 1 << 20))):
        target.write(part)
        count -= len(part)


def _table(sources: Mapping[str, Mapping[str, Any]]) -> Table:
    return Table(
        title="What came in",
        caption="Pages as they came, before any cleaning, without those that were withdrawn.",
        columns=("source", "found", "kept", "size", "withdrawn"),
        rows=tuple(
            (name, found.get("found", 0), found["pages"], human_bytes(found["bytes"]), found.get(WITHDRAWN, 0))
            for name, found in sources.items()
        ),
    )
