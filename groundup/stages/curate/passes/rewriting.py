"""A unit's documents with some texts rewritten: rows keep their places, and what depends on a text is made anew."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from groundup.stages.curate.engine.operator import Operator
from groundup.stages.curate.passes.clean import KEPT
from groundup.stages.curate.passes.decisions import DECISIONS
from groundup.stages.curate.passes.tables import conform

Ints = NDArray[np.int64]

UNIT_BITS: Final = 32
"""A document of a run is named by one integer: the number of its unit, then that of its row."""
ROWS: Final = 1024


def of_documents(paths: Sequence[Path], unit: int) -> pa.Table:
    """The rows of all files whose ``document`` is of one unit; ``document`` is the row's number then."""
    low, high = unit << UNIT_BITS, (unit + 1) << UNIT_BITS
    only = (pc.field("document") >= low) & (pc.field("document") < high)
    table = pa.concat_tables([pq.read_table(path, filters=only) for path in paths])
    at = table.schema.get_field_index("document")
    return table.set_column(at, "document", pa.array(table.column("document").to_numpy() - low))


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
