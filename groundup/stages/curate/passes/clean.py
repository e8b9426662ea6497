"""The first pass: every page by itself, through all operators, and the keys for the passes that compare.

One unit of pages in; what stays (``kept.parquet``, in the order of the pages), what was dropped (``dropped.parquet``)
and a run of exact keys (``exact.arrow``) out.
"""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, cast

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from groundup.base.files import sha256_json
from groundup.base.runner import units
from groundup.base.runner.runs import write_run
from groundup.base.runner.units import Unit
from groundup.base.seeds import unit_interval
from groundup.stages.curate.engine.ids import key_words
from groundup.stages.curate.engine.operator import VERDICT, Spec, with_column
from groundup.stages.curate.engine.pipeline import Pipeline, Tally
from groundup.stages.curate.passes.tables import conform, names_and_types, table_schema

OWNER_COLUMNS: Final = ("author", "found_licence", "permission")
"""What a page's owner says of it: no step changes them, and they go into the ledger."""

PAGE_COLUMNS: Final = (
    "id", "source", "record", "media_type", "encoding", "url", "licence", *OWNER_COLUMNS, "content",
)  # fmt: skip

DOCUMENT: Final = table_schema(
    [
        ("id", pa.string()),
        ("source", pa.string()),
        ("record", pa.string()),
        ("url", pa.string()),
        ("licence", pa.string()),
        *((name, pa.string()) for name in OWNER_COLUMNS),
        ("media_type", pa.string()),
        ("page_bytes", pa.int64()),
        ("extractor", pa.string()),
        ("language", pa.string()),
        ("language_score", pa.float64()),
        ("redactions", pa.map_(pa.string(), pa.int32())),
        ("text", pa.large_string()),
    ]
)
"""What is known of a document, dropped or not; null where no step came to it. ``redactions``: kind to count."""

KEPT: Final = table_schema(
    [
        *names_and_types(DOCUMENT),
        ("chars", pa.int64()),
        ("exact", pa.binary(16)),
        ("bands", pa.large_list(pa.uint64())),
        ("hits", pa.string()),
    ]
)
DROPPED: Final = table_schema([*names_and_types(DOCUMENT), *((name, pa.string()) for name in VERDICT)])

_ROWS: Final = 1024


@dataclass(frozen=True)
class Measures:
    """Tags a page with the size of its content, before anything else happens to it."""

    @property
    def spec(self) -> Spec:
        """What defines the result."""
        return Spec("measures", 1, "tag", ("content",), ("page_bytes",))

    def __call__(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        """The batch with ``page_bytes``."""
        return with_column(batch, "page_bytes", _lengths(batch.column("content")))


@dataclass(frozen=True)
class Chars:
    """Tags a text with its length in code points."""

    @property
    def spec(self) -> Spec:
        """What defines the result."""
        return Spec("chars", 1, "tag", ("text",), ("chars",))

    def __call__(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        """The batch with ``chars``."""
        return with_column(batch, "chars", code_points(batch.column("text")))


@dataclass(frozen=True)
class Clean:
    """The work on a unit of pages. ``overlap_share`` of the pages, drawn by id, are shown to every rule."""

    pipeline: Pipeline
    partitions: int
    overlap_share: float

    @property
    def digest(self) -> str:
        """What defines the work."""
        return sha256_json(["clean", 3, self.pipeline.digest, self.partitions, self.overlap_share])

    def __call__(self, payload: Any, folder: Path) -> dict[str, Any]:
        """Write the three tables; facts: rows in, kept and dropped, seconds a step, rules that go together."""
        unit: Unit = payload
        tally, together, exact = Tally(), Counter[str](), list[pa.Table]()
        rows = kept_rows = page_bytes = 0
        with (
            pq.ParquetWriter(folder / "kept.parquet", KEPT, compression="zstd", compression_level=1) as kept_file,
            pq.ParquetWriter(folder / "dropped.parquet", DROPPED, compression="zstd", compression_level=1) as dropped,
        ):
            for batch in units.read(unit, PAGE_COLUMNS):
                together.update(self._together(batch))
                kept, gone = self.pipeline.run(batch, tally)
                for part in gone:
                    dropped.write_table(conform(part, DROPPED), row_group_size=_ROWS)
                if kept.num_rows:
                    table = conform(kept, KEPT)
                    kept_file.write_table(table, row_group_size=_ROWS)
                    exact.append(_exact_rows(table, kept_rows))
                rows += batch.num_rows
                page_bytes += int(np.asarray(_lengths(batch.column("content"))).sum())
                kept_rows += kept.num_rows
        keys = pa.concat_tables(exact) if exact else _exact_rows(KEPT.empty_table(), 0)
        write_run(folder / "exact.arrow", keys, key_words(keys.column("exact"))[:, 0], self.partitions)
        return {
            "rows": rows,
            "page_bytes": page_bytes,
            "kept": kept_rows,
            "seconds": {name: round(spent, 4) for name, spent in tally.seconds.items()},
            "seen": dict(tally.rows),
            "together": dict(together),
        }

    def _together(self, batch: pa.RecordBatch) -> list[str]:
        """For each page of the sample, all rules that would drop it, as one JSON list."""
        if not self.overlap_share:
            return []
        drawn = [unit_interval(0, "overlap", name) < self.overlap_share for name in batch.column("id").to_pylist()]
        sample = batch.filter(pa.array(drawn, pa.bool_()))
        return [json.dumps(rules) for rules in self.pipeline.verdicts(sample)] if sample.num_rows else []


def code_points(column: Any) -> pa.Array[Any]:
    """The length of each text in code points, int64."""
    lengths: Any = pc.utf8_length(column)
    return cast("pa.Array[Any]", lengths.cast(pa.int64()))


def _lengths(column: Any) -> pa.Array[Any]:
    lengths: Any = pc.binary_length(column)
    return cast("pa.Array[Any]", lengths.cast(pa.int64()))


def _exact_rows(table: pa.Table, start: int) -> pa.Table:
    rows = pa.array(np.arange(start, start + table.num_rows), pa.int64())
    return table.select(["exact", "id", "chars"]).append_column("row", rows)
