"""Reading the documents of a corpus."""

from __future__ import annotations

from collections.abc import Iterator

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from groundup.artifact.stage import Artifact
from groundup.base.errors import DataError
from groundup.text.document import tables


def read_documents(corpus: Artifact, split: str, columns: list[str]) -> Iterator[dict[str, str]]:
    """The documents of a split, one by one in the corpus's order; DataError if there are none."""
    found = False
    for path in tables(corpus.path, "corpus"):
        with pq.ParquetFile(path) as file:
            for batch in file.iter_batches(batch_size=256, columns=[*columns, "split"]):
                rows = batch.filter(pc.equal(batch["split"], pa.scalar(split))).select(columns).to_pylist()
                found = found or bool(rows)
                yield from rows
    if not found:
        raise DataError(f"the corpus {corpus.record.name!r} has no documents in the split {split!r}")
