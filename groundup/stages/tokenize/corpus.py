"""Reading the documents of a corpus."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from groundup.artifact.stage import Artifact
from groundup.base.errors import DataError
from groundup.text.document import COPIES, tables


def read_batches(corpus: Artifact, split: str, columns: list[str]) -> Iterator[list[dict[str, str]]]:
    """The documents of a split in the corpus's order, a bounded batch at a time; DataError if there are none."""
    found = False
    for rows in _read(corpus, split, columns, 0):
        found = True
        yield rows
    if not found:
        raise DataError(f"the corpus {corpus.record.name!r} has no documents in the split {split!r}")


def read_passes(corpus: Artifact, split: str, columns: list[str]) -> Iterator[list[dict[str, str]]]:
    """The documents as often as a mixture says: all of them, then those with a second copy, and so on.

    So two copies of a document never stand side by side in a row of tokens.
    """
    yield from read_batches(corpus, split, columns)
    for number in range(1, _most_copies(corpus)):
        yield from _read(corpus, split, columns, number)


def readings(corpus: Artifact) -> int:
    """How many documents ``read_passes`` gives for both splits, by the record."""
    metrics = corpus.record.metrics
    return int(metrics.get("readings", metrics["documents"]))


def _read(corpus: Artifact, split: str, columns: list[str], number: int) -> Iterator[list[dict[str, str]]]:
    """The documents of a split that have more than ``number`` copies."""
    for path in tables(corpus.path, "corpus"):
        with pq.ParquetFile(path) as file:
            extra = [COPIES] if number else []
            for batch in file.iter_batches(batch_size=256, columns=[*columns, "split", *extra]):
                wanted = pc.equal(batch["split"], pa.scalar(split))
                if number:
                    wanted = pc.and_(wanted, pc.greater(batch[COPIES], pa.scalar(number, pa.int32())))
                rows = batch.filter(wanted).select(columns).to_pylist()
                if rows:
                    yield rows


def _most_copies(corpus: Artifact) -> int:
    most = 1
    for path in tables(corpus.path, "corpus"):
        with pq.ParquetFile(path) as file:
            if COPIES in file.schema_arrow.names and file.metadata.num_rows:
                copies: Any = pc.max(file.read([COPIES])[COPIES])
                most = max(most, int(copies.as_py()))
    return most


def read_documents(corpus: Artifact, split: str, columns: list[str]) -> Iterator[dict[str, str]]:
    """The documents of ``read_batches`` one by one."""
    for rows in read_batches(corpus, split, columns):
        yield from rows
