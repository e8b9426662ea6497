"""What the jobs of the passes are handed: a partition of runs, or a unit with the decisions so far on its rows."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from groundup.stages.curate.passes.decisions import gone, of_unit

Ints = NDArray[np.int64]

UNIT_BITS: Final = 32
"""A document of a run is named by one integer, its address: the number of its unit, then that of its row."""
ROWS: Final = 1024


@dataclass(frozen=True)
class Partition:
    """One partition of runs, which are in the order of the units that they came from."""

    number: int
    runs: Sequence[Path]


@dataclass(frozen=True)
class UnitInput:
    """A unit's number, the table of what it kept, the decisions so far, and the shard of pages that it came from."""

    number: int
    kept: Path
    decisions: Sequence[Path]
    shard: str = ""

    def addresses(self, rows: Ints) -> Ints:
        """What the documents of some rows are called in runs."""
        return (np.int64(self.number) << UNIT_BITS) | rows


def staying_rows(unit: UnitInput, columns: Sequence[str]) -> Iterator[tuple[Ints, pa.RecordBatch]]:
    """The rows of a unit's staying documents and some of their columns, batch by batch; no batch is empty."""
    start = 0
    with pq.ParquetFile(unit.kept) as file:
        leaves = gone(of_unit(unit.decisions, unit.number), file.metadata.num_rows)
        for batch in file.iter_batches(batch_size=ROWS, columns=list(columns)):
            rows = np.flatnonzero(~leaves[start : start + batch.num_rows])
            if len(rows):
                yield rows + start, batch.take(rows)
            start += batch.num_rows
