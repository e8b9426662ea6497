"""What the comparing passes decide: which rows of which unit go, why, and for whose sake."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

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


def write_decisions(path: Path, decisions: pa.Table) -> None:
    """Write decisions ordered by unit and row, so that a unit's own are found without reading the others."""
    ordered = decisions.sort_by([("unit", "ascending"), ("row", "ascending")])
    pq.write_table(ordered, path, row_group_size=_ROWS, compression="zstd", compression_level=1)


def of_unit(paths: Sequence[Path], unit: int) -> pa.Table:
    """The decisions on one unit's rows, of all files; the first file's word counts where two speak of a row."""
    parts = [pq.read_table(path, filters=[("unit", "=", unit)], schema=DECISIONS) for path in paths]
    table = pa.concat_tables(parts) if parts else DECISIONS.empty_table()
    _, first = np.unique(table.column("row").to_numpy(), return_index=True)
    return table.take(np.sort(first))


def gone(decisions: pa.Table, rows: int) -> NDArray[np.bool_]:
    """Which of a unit's rows go: (rows,) bool."""
    mask = np.zeros(rows, bool)
    mask[decisions.column("row").to_numpy()] = True
    return mask
