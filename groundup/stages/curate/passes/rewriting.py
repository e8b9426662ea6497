"""A unit's documents with some texts rewritten: rows keep their places, and what depends on a text is made anew."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from groundup.base.files import sha256_json
from groundup.base.runner.runs import gather_runs, read_partition
from groundup.stages.curate.engine.operator import Operator
from groundup.stages.curate.passes.clean import KEPT
from groundup.stages.curate.passes.decisions import DECISIONS
from groundup.stages.curate.passes.inputs import ROWS, UNIT_BITS, Ints, UnitInput
from groundup.stages.curate.passes.tables import conform

MARKS: Final = "marks.arrow"

_AT_ONCE: Final = 1 << 22
"""Marks in memory while they are gathered, of about 20 bytes each."""


@dataclass(frozen=True)
class Marked:
    """A unit, and the run of what was marked in all of them."""

    unit: UnitInput
    marks: Path


@dataclass(frozen=True)
class Gather:
    """Writes ``marks.arrow``: what the partitions marked in documents, as a run of which partition u is unit u.

    Their files have ``document`` (the address), ``place`` and perhaps more, in this order.
    """

    units: int

    @property
    def digest(self) -> str:
        """What defines the work."""
        return sha256_json(["gathered marks", 1, self.units])

    def __call__(self, payload: Any, folder: Path) -> dict[str, Any]:
        """Gather; the payload is the files."""
        paths: Sequence[Path] = payload
        units = np.arange(self.units + 1) << UNIT_BITS
        gather_runs(paths, pq.read_schema(paths[0]), ("document", "place"), units, folder / MARKS, _AT_ONCE)
        return {}


def of_documents(marks: Path, unit: int) -> pa.Table:
    """What was marked in one unit; ``document`` is the row's number now."""
    table = read_partition([marks], unit)
    at = table.schema.get_field_index("document")
    rows = table.column("document").to_numpy() - (unit << UNIT_BITS)
    return table.set_column(at, "document", pa.array(rows))


@contextmanager
def rewriting(kept: Path, folder: Path) -> Iterator[Callable[[pa.RecordBatch], None]]:
    """Write the unit's ``kept.parquet`` anew into ``folder``, batch by batch; what was dropped goes with it."""
    with pq.ParquetWriter(folder / "kept.parquet", KEPT, compression="zstd", compression_level=1) as writer:
        yield lambda batch: writer.write_table(conform(batch, KEPT), row_group_size=ROWS)
    os.link(kept.with_name("dropped.parquet"), folder / "dropped.parquet")


def rekeyed(batch: pa.RecordBatch, touched: Ints, operators: Sequence[Operator]) -> pa.RecordBatch:
    """The batch with the operators' columns made anew for the touched rows, which ascend."""
    part = batch.take(touched)
    for operator in operators:
        part = operator(part)
    order = np.arange(batch.num_rows)
    order[touched] = batch.num_rows + np.arange(len(touched))
    both = pa.concat_tables([conform(batch, KEPT), conform(part, KEPT)]).take(order).combine_chunks()
    return both.to_batches()[0]


def emptied(unit: int, rows: Sequence[int], step: str) -> pa.Table:
    """The decisions on documents of which nothing is left."""
    count = len(rows)
    columns: dict[str, Any] = {
        "unit": pa.array([unit] * count, pa.int64()),
        "row": pa.array(rows, pa.int64()),
        "step": [step] * count,
        "rule": ["nothing_left"] * count,
        "detail": ["all of it stands in other documents"] * count,
        "survivor": [None] * count,
        "similarity": [None] * count,
    }
    return pa.table(columns, schema=DECISIONS)
