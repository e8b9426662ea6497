"""What the comparing passes decide: which rows of which unit go, why, and for whose sake.

The jobs of a pass each write some of its decisions, ordered by unit. :func:`gather` makes one file a pass of them, in
which those of each unit lie together.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from groundup.base.runner.runs import gather_runs, read_parts
from groundup.stages.curate.passes.tables import table_schema

DECISIONS: Final = table_schema(
    [
        ("unit", pa.int64()),
        ("row", pa.int64()),
        ("step", pa.string()),
        ("rule", pa.string()),
        ("detail", pa.string()),
        ("survivor", pa.string()),
        ("similarity", pa.float64()),
    ]
)
"""``unit`` counts units in their order, ``row`` the kept rows of a unit; ``survivor`` is the id
that names a cluster."""

_ROWS: Final = 4096
_AT_ONCE: Final = 1 << 20
"""Decisions in memory while they are gathered, of about 150 bytes each."""


def write_decisions(path: Path, decisions: pa.Table) -> None:
    """Write decisions ordered by unit and row, so that a range of units is found without reading the others."""
    ordered = decisions.sort_by([("unit", "ascending"), ("row", "ascending")])
    pq.write_table(ordered, path, row_group_size=_ROWS, compression="zstd", compression_level=1)


def gather(paths: Sequence[Path], units: int, path: Path, at_once: int = _AT_ONCE) -> None:
    """Write the decisions of all files as one run, of which partition u is unit u of ``units``."""
    gather_runs(paths, DECISIONS, ("unit", "row"), np.arange(units + 1), path, at_once)


def of_unit(paths: Sequence[Path], unit: int) -> pa.Table:
    """The decisions on one unit's rows, of all gathered files; the first file's counts where two speak of a row."""
    table = pa.concat_tables([DECISIONS.empty_table(), *read_parts(paths, unit)])
    _, first = np.unique(table.column("row").to_numpy(), return_index=True)
    return table.take(np.sort(first))


def gone(decisions: pa.Table, rows: int) -> NDArray[np.bool_]:
    """Which of a unit's rows go: (rows,) bool."""
    mask = np.zeros(rows, bool)
    mask[decisions.column("row").to_numpy()] = True
    return mask
