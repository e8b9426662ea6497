"""What the owners of documents say of them, from the ledgers of the corpora that are mixed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Final

import pyarrow as pa
import pyarrow.parquet as pq

from groundup.artifact.stage import Artifact
from groundup.base.errors import DataError
from groundup.text.document import tables

OWNER_COLUMNS: Final = ("author", "found_licence", "permission")
_ROWS: Final = 4096
_UNKNOWN: Final[dict[str, Any]] = dict.fromkeys(OWNER_COLUMNS)


def owners_of(corpus: Artifact) -> Callable[[str], dict[str, Any]]:
    """A function of the ids of a corpus's documents, asked one by one in their order: their columns of the ledger.

    A ledger has the documents that were kept in the order of the corpus, so both are gone through side by side. All is
    unknown of a corpus without a ledger. DataError if the ledger lacks a document.
    """
    if not (corpus.path / "ledger").is_dir():
        return lambda _: _UNKNOWN
    kept = _kept(corpus)

    def owner(document: str) -> dict[str, Any]:
        found = next(kept, None)
        if found is None or found["id"] != document:
            raise DataError(
                f"the ledger of {corpus.record.name!r} disagrees with its corpus at document {document[:12]}: make it "
                "again"
            )
        return {name: found.get(name) for name in OWNER_COLUMNS}

    return owner


def _kept(corpus: Artifact) -> Iterator[dict[str, Any]]:
    for path in tables(corpus.path, "ledger"):
        try:
            with pq.ParquetFile(path) as file:
                columns = [name for name in ("id", "step", *OWNER_COLUMNS) if name in file.schema_arrow.names]
                for batch in file.iter_batches(batch_size=_ROWS, columns=columns):
                    yield from batch.filter(batch.column("step").is_null()).to_pylist()
        except pa.ArrowInvalid as error:
            raise DataError(f"{path.name} is not a readable Parquet file ({str(error).splitlines()[0]})") from None
