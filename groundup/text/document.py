"""Documents on disk: the Parquet schemas of pages, corpus and rejects, and deterministic reading and writing.

A document's id is a hash of where it came from and what it says, so it is the same on every machine and in every
run, and names the document in each later artifact (the ledger's key).
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Final

import pyarrow as pa
import pyarrow.parquet as pq

from groundup.base.errors import ArtifactError, DataError

_STRING: Final = pa.string()


def _schema(*columns: tuple[str, pa.DataType], optional: tuple[str, ...] = ()) -> pa.Schema:
    return pa.schema([pa.field(name, kind, nullable=name in optional) for name, kind in columns])


PAGES: Final = _schema(
    ("id", _STRING),
    ("source", _STRING),
    ("record", _STRING),
    ("media_type", _STRING),
    ("encoding", _STRING),
    ("url", _STRING),
    ("licence", _STRING),
    ("date", _STRING),
    ("headers", _STRING),
    ("author", _STRING),
    ("found_licence", _STRING),
    ("permission", _STRING),
    ("content", pa.large_binary()),
    optional=("encoding", "url", "date", "headers", "author", "found_licence", "permission"),
)
"""Pages as they came. ``encoding`` is set where it is known (``utf-8`` for text) and null where it must be detected.

``date`` is when a page was captured or written, in ISO 8601. ``headers`` are the HTTP response headers of a page from
the web as a JSON object with lower-case names: signs that its owner doesn't want it used are among them. ``author`` is
who wrote the page, where it says so. ``licence`` is what the source declares; ``found_licence`` what the page itself
says, as an SPDX expression. ``permission`` is ``allowed`` where signals of its owner were looked for, else null.
"""

CORPUS: Final = _schema(
    ("id", _STRING),
    ("text", pa.large_string()),
    ("source", _STRING),
    ("record", _STRING),
    ("url", _STRING),
    ("licence", _STRING),
    ("language", _STRING),
    ("language_score", pa.float64()),
    ("split", _STRING),
    ("chars", pa.int64()),
    optional=("url",),
)
"""Curated documents, ordered by id. ``split`` is ``train`` or ``held_out``; ``chars`` counts Unicode code points."""

COPIES: Final = "copies"
MIXED: Final = CORPUS.append(pa.field(COPIES, pa.int32(), nullable=False))
"""A corpus that is a mixture, corpus by corpus: ``copies`` says how often a document is read in an epoch of it."""

REJECTS: Final = _schema(
    ("id", _STRING),
    ("source", _STRING),
    ("record", _STRING),
    ("step", _STRING),
    ("reason", _STRING),
    ("detail", _STRING),
    ("text", pa.large_string()),
)
"""What was taken away, with its text at that point: ``reason`` is ``step:rule``, ``detail`` has the measured value."""

ROWS_PER_GROUP: Final = 1024
BYTES_PER_GROUP: Final = 16 << 20
BYTES_PER_SHARD: Final = 256 << 20
"""Bytes of content. Row groups are the units of work of later stages, so they are small; shards are for storage."""


def document_id(source: str, record: str, content: bytes) -> str:
    """The 32 hex digits that name a document: a hash of source, record and content, each with its length.

    >>> document_id("a", "bc", b"") != document_id("ab", "c", b"")
    True
    """
    whole = hashlib.sha256()
    for part in (source.encode(), record.encode(), content):
        whole.update(len(part).to_bytes(8, "big"))
        whole.update(part)
    return whole.hexdigest()[:32]


def write_rows(path: Path, schema: pa.Schema, rows: Iterable[dict[str, Any]]) -> int:
    """Write rows as Parquet and return their number.

    The bytes depend on the rows alone: fixed compression, fixed row groups, no time in the metadata.
    """
    count = 0
    with _writer(path, schema) as writer:
        for batch, _ in _groups(rows):
            writer.write_table(pa.Table.from_pylist(batch, schema=schema), row_group_size=ROWS_PER_GROUP)
            count += len(batch)
    return count


def write_shards(folder: Path, name: str, schema: pa.Schema, rows: Iterable[dict[str, Any]]) -> int:
    """Write rows as ``folder/name/00000.parquet`` and so on, and return their number.

    A row group has at most ROWS_PER_GROUP rows and, but for its last row, BYTES_PER_GROUP of content; a shard is closed
    at the row group with which it has BYTES_PER_SHARD. One row group is in memory at a time. No rows give one empty
    shard. The bytes depend on the rows alone.
    """
    count = number = 0
    groups = _groups(rows)
    group: tuple[list[dict[str, Any]], int] | None = next(groups, ([], 0))
    while True:
        path = folder / name / f"{number:05d}.parquet"
        path.parent.mkdir(parents=True, exist_ok=True)
        with _writer(path, schema) as writer:
            filled = 0
            while group is not None and filled < BYTES_PER_SHARD:
                batch, size = group
                writer.write_table(pa.Table.from_pylist(batch, schema=schema), row_group_size=ROWS_PER_GROUP)
                count += len(batch)
                filled += size
                group = next(groups, None)
        if group is None:
            return count
        number += 1


def tables(folder: Path, name: str) -> list[Path]:
    """The shards of a table in an artifact (``pages``, ``corpus``, ``rejects``), in order; ArtifactError if none."""
    found = sorted((folder / name).glob("*.parquet"), key=lambda path: (len(path.name), path.name))
    if not found:
        raise ArtifactError(f"{folder} has no table {name!r}; it was made by an older version: make it again")
    return found


def _writer(path: Path, schema: pa.Schema) -> pq.ParquetWriter:
    return pq.ParquetWriter(path, schema, compression="zstd", compression_level=3, write_page_index=False)


def read_rows(path: Path, columns: Sequence[str] | None = None, batch_size: int = 256) -> Iterator[dict[str, Any]]:
    """The rows of a Parquet file in order, ``batch_size`` of them in memory at a time; DataError if it is damaged."""
    try:
        with pq.ParquetFile(path) as file:
            for batch in file.iter_batches(batch_size=batch_size, columns=list(columns) if columns else None):
                yield from batch.to_pylist()
    except (pa.ArrowInvalid, OSError) as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise
        raise DataError(f"{path.name} is not a readable Parquet file ({str(error).splitlines()[0]})") from None


def count_rows(path: Path) -> int:
    """The number of rows, from the file's footer."""
    return int(pq.read_metadata(path).num_rows)


def _groups(rows: Iterable[dict[str, Any]]) -> Iterator[tuple[list[dict[str, Any]], int]]:
    """(rows of a row group, their bytes): a group ends with ROWS_PER_GROUP rows or BYTES_PER_GROUP bytes."""
    batch: list[dict[str, Any]] = []
    size = 0
    for row in rows:
        batch.append(row)
        size += sum(len(value) for value in row.values() if isinstance(value, (bytes, str)))
        if len(batch) == ROWS_PER_GROUP or size >= BYTES_PER_GROUP:
            yield batch, size
            batch, size = [], 0
    if batch:
        yield batch, size
