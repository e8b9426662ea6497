"""The document ledger: one row for every page that came in, kept or not, with what was decided and why.

It is Parquet (``ledger/NNNNN.parquet`` in a corpus), ordered by id, so DuckDB or any reader can query it.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import pyarrow as pa
import pyarrow.dataset as ds

_STRING: Final = pa.string()

_COLUMNS: Final[list[pa.Field[Any]]] = [
    pa.field("id", _STRING, nullable=False),
    pa.field("source", _STRING, nullable=False),
    pa.field("record", _STRING, nullable=False),
    pa.field("url", _STRING),
    pa.field("licence", _STRING, nullable=False),
    pa.field("author", _STRING),
    pa.field("found_licence", _STRING),
    pa.field("permission", _STRING),
    pa.field("media_type", _STRING),
    pa.field("page_bytes", pa.int64()),
    pa.field("extractor", _STRING),
    pa.field("language", _STRING),
    pa.field("language_score", pa.float64()),
    pa.field("chars", pa.int64()),
    pa.field("redactions", pa.map_(_STRING, pa.int32())),
    pa.field("step", _STRING),
    pa.field("rule", _STRING),
    pa.field("detail", _STRING),
    pa.field("survivor", _STRING),
    pa.field("similarity", pa.float64()),
    pa.field("split", _STRING),
    pa.field("pipeline", _STRING, nullable=False),
]

LEDGER: Final = pa.schema(_COLUMNS)
"""``step`` and ``rule`` are null for a document that was kept. ``survivor`` is the id of the document for whose sake a
duplicate went, and so the name of its cluster; ``similarity`` is how alike they are: Jaccard's, or the cosine of
embeddings for semantic duplicates. ``redactions`` maps kinds to counts. ``split`` is null for what was dropped.
``pipeline`` hashes all rules that the document went through."""


def find(folder: Path, wanted: str) -> list[dict[str, Any]]:
    """The entries whose id begins with ``wanted``, or whose record or address is it; ordered by id."""
    table = _dataset(folder).to_table(
        filter=ds.field("id").isin([wanted])
        | pa.compute.starts_with(ds.field("id"), wanted)
        | (ds.field("record") == wanted)
        | (ds.field("url") == wanted)
    )
    return [dict(row) for row in table.sort_by("id").to_pylist()]


def cluster(folder: Path, survivor: str) -> list[dict[str, Any]]:
    """The entries that went for the sake of one document, ordered by id."""
    return [
        dict(row)
        for row in _dataset(folder).to_table(filter=ds.field("survivor") == survivor).sort_by("id").to_pylist()
    ]


def _dataset(folder: Path) -> ds.Dataset:
    return ds.dataset(sorted(folder.glob("*.parquet")), schema=LEDGER, format="parquet")
