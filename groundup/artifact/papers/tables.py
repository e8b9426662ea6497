"""Facts that stand in tables: what the ledgers say of the documents that were kept, and the signals of their owners.

A table is read once, in batches, and only a few columns of it: memory grows with the number of hosts, not of documents.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from groundup.artifact.papers.facts import Fact, Place
from groundup.artifact.stage import Artifact
from groundup.base.errors import ArtifactError
from groundup.base.progress import Progress

_COLUMNS: Final = ("source", "url", "page_bytes", "author", "found_licence", "permission", "step")
_HOST: Final = r"^[A-Za-z][A-Za-z0-9+.-]*://(?:[^/?#@]*@)?(?P<host>\[[^\]]*\]|[^/?#:\[]+)"
"""The host of an address (RFC 3986, 3.2.2), as RE2 finds it; an address that has none doesn't match."""


@dataclass
class Kept:
    """What a ledger says of the documents that were kept.

    ``hosts`` and ``bytes`` count documents and bytes of pages by host of the address, for each source apart;
    ``found_licence`` and ``permission`` count documents by value; ``authors`` counts those that name their author.
    """

    artifact: Artifact
    hosts: dict[str, Counter[str]] = field(default_factory=dict)
    bytes: dict[str, Counter[str]] = field(default_factory=dict)
    found_licence: Counter[str] = field(default_factory=Counter)
    permission: Counter[str] = field(default_factory=Counter)
    authors: int = 0
    documents: int = 0

    def fact(self, value: Any, *path: str) -> Fact:
        """A count with its place."""
        record = self.artifact.record
        return Fact(value, Place("ledger", record.name, record.digest, path))

    def by(self, column: str) -> list[tuple[str, Fact]]:
        """Documents by ``found_licence`` or ``permission``, most first; those without a value are not among them."""
        counts: Counter[str] = getattr(self, column)
        ordered = sorted(counts.items(), key=lambda pair: (-pair[1], pair[0]))
        return [(value, self.fact(count, column, value, "documents")) for value, count in ordered]


@dataclass(frozen=True)
class Host:
    """A host with what was kept of it."""

    name: str
    documents: Fact
    bytes: Fact


def kept(artifact: Artifact, progress: Progress | None = None) -> Kept | None:
    """What the ledger of a corpus says; None if it has none."""
    paths = _files(artifact, "ledger")
    if not paths:
        return None
    found = Kept(artifact)
    for done, path in enumerate(paths):
        if progress is not None:
            progress.update(f"reading the ledger of {artifact.record.name}", done, len(paths), "files")
        for batch in _batches(path, _COLUMNS):
            _count(found, batch.filter(pc.is_null(batch["step"])))
    return found


def _count(found: Kept, rows: pa.Table) -> None:
    """Add a batch of documents that were kept."""
    found.documents += rows.num_rows
    for column, counts in (("found_licence", found.found_licence), ("permission", found.permission)):
        if column in rows.column_names:
            pairs: Any = pc.value_counts(rows[column].drop_null())
            counts.update({pair["values"]: pair["counts"] for pair in pairs.to_pylist()})
    if "author" in rows.column_names:
        found.authors += rows.num_rows - rows["author"].null_count
    url: Any = rows["url"].cast(pa.string())
    address: Any = pc.extract_regex(url, pattern=_HOST)
    found_host: Any = pc.utf8_lower(pc.struct_field(address, "host"))
    host: Any = pc.utf8_rtrim(found_host, characters=".")
    page_bytes: Any = rows["page_bytes"]
    size: Any = pc.fill_null(page_bytes, 0)
    columns: Any = [rows["source"], host, size]
    table = pa.Table.from_arrays(columns, names=["source", "host", "bytes"]).filter(pc.is_valid(host))
    grouped = table.group_by(["source", "host"]).aggregate([("bytes", "count"), ("bytes", "sum")])
    for one in grouped.to_pylist():
        found.hosts.setdefault(one["source"], Counter())[one["host"]] += one["bytes_count"]
        found.bytes.setdefault(one["source"], Counter())[one["host"]] += one["bytes_sum"]


def hosts(ledger: Kept, sources: Iterable[str]) -> list[Host]:
    """The hosts of some sources, the one with most bytes first."""
    documents, size = Counter[str](), Counter[str]()
    for source in sources:
        documents.update(ledger.hosts.get(source, Counter()))
        size.update(ledger.bytes.get(source, Counter()))
    ordered = sorted(documents, key=lambda name: (-size[name], name))
    return [
        Host(
            name,
            ledger.fact(documents[name], "host of url", name, "documents"),
            ledger.fact(size[name], "host of url", name, "page_bytes"),
        )
        for name in ordered
    ]


def signals(artifact: Artifact) -> list[tuple[str, str, Fact]]:
    """(protocol, verdict, how many signals were read) in the evidence that a crawl kept; empty where there is none."""
    counts: Counter[tuple[str, str]] = Counter()
    for path in _files(artifact, "signals"):
        for batch in _batches(path, ("protocol", "verdict")):
            grouped = batch.drop_null().group_by(["protocol", "verdict"]).aggregate([([], "count_all")])
            counts.update({(row["protocol"], row["verdict"]): row["count_all"] for row in grouped.to_pylist()})
    record = artifact.record
    return [
        (protocol, verdict, Fact(count, Place("signals", record.name, record.digest, (protocol, verdict, "signals"))))
        for (protocol, verdict), count in sorted(counts.items())
    ]


def schemas(artifact: Artifact) -> dict[str, Any]:
    """The Arrow schemas of the tables of an artifact by name: a folder of Parquet shards, or one Parquet file."""
    found: dict[str, Any] = {}
    for name in sorted(artifact.record.files):
        table = name.rpartition("/")[0] or name.removesuffix(".parquet")
        if name.endswith(".parquet") and table not in found:
            found[table] = _open(artifact.path / name).schema_arrow
    return found


def columns(artifact: Artifact) -> list[tuple[str, str, Fact]]:
    """(table, column, its type) of every table of an artifact."""
    record = artifact.record
    return [
        (table, one.name, Fact(str(one.type), Place("file", record.name, record.digest, (table, one.name))))
        for table, schema in schemas(artifact).items()
        for one in schema
    ]


def _files(artifact: Artifact, table: str) -> list[Path]:
    names = [name for name in artifact.record.files if name.startswith(f"{table}/") and name.endswith(".parquet")]
    return [artifact.path / name for name in sorted(names, key=lambda name: (len(name), name))]


def _batches(path: Path, columns: Sequence[str]) -> Iterator[pa.Table]:
    """Some columns of a table, as far as it has them, many rows at a time."""
    with _open(path) as file:
        there = [name for name in columns if name in file.schema_arrow.names]
        for batch in file.iter_batches(batch_size=1 << 17, columns=there):
            yield pa.Table.from_batches([batch])


def _open(path: Path) -> pq.ParquetFile:
    try:
        return pq.ParquetFile(path)
    except (OSError, ValueError) as error:
        reason = str(error).splitlines()[0]
        raise ArtifactError(f"{path} is not a readable Parquet file ({reason}); make the artifact again") from None
