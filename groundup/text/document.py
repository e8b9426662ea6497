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

from groundup.base.errors import DataError

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
    ("content", pa.large_binary()),
    optional=("encoding", "url"),
)
"""Pages as they came. ``encoding`` is set where it is known (``utf-8`` for text) and null where it must be detected."""

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
    with pq.ParquetWriter(path, schema, compression="zstd", compression_level=3, write_page_index=False) as writer:
        for batch in _batches(rows, ROWS_PER_GROUP):
            writer.write_table(pa.Table.from_pylist(batch, schema=schema), row_group_size=ROWS_PER_GROUP)
            count += len(batch)
    return count


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


def _batches(rows: Iterable[dict[str, Any]], size: int) -> Iterator[list[dict[str, Any]]]:
    batch: list[dict[str, Any]] = []
    for row in rows:
        batch.append(row)
        if len(batch) == size:
            yield batch
            batch = []
    if batch:
        yield batch
