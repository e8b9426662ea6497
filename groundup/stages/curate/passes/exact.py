"""Exact duplicates: one partition of the keys of all units at a time.

The longest copy stays, the lower id among equals: copies may differ in case and white space.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from groundup.base.files import sha256_json
from groundup.stages.curate.engine.runs import read_partition
from groundup.stages.curate.passes.decisions import DECISIONS, write_decisions


@dataclass(frozen=True)
class Partition:
    """One partition of runs, which are in the order of the units that they came from."""

    number: int
    runs: Sequence[Path]


@dataclass(frozen=True)
class ExactReduce:
    """The work on a partition: writes ``decisions.parquet``."""

    step: str = "exact_dedup"

    @property
    def digest(self) -> str:
        """What defines the work."""
        return sha256_json(["exact", 1, self.step])

    def __call__(self, payload: Any, folder: Path) -> dict[str, Any]:
        """Decide on every document whose key another one has, too."""
        partition: Partition = payload
        parts = [read_partition([run], partition.number) for run in partition.runs]
        unit = np.repeat(np.arange(len(parts)), [part.num_rows for part in parts])
        table = pa.concat_tables(parts)
        decisions = exact_decisions(table, unit, self.step)
        write_decisions(folder / "decisions.parquet", decisions)
        return {"keys": table.num_rows, "dropped": decisions.num_rows}


def exact_decisions(table: pa.Table, unit: np.ndarray[Any, np.dtype[np.int64]], step: str) -> pa.Table:
    """The decisions on rows (exact, id, chars, row) of units (rows,) int64."""
    keys, ids = table.column("exact").to_pylist(), table.column("id").to_pylist()
    chars, rows = table.column("chars").to_numpy(), table.column("row").to_numpy()
    order = sorted(range(len(keys)), key=lambda at: (keys[at], -chars[at], ids[at], unit[at], rows[at]))
    found: list[dict[str, Any]] = []
    survivor = -1
    for at in order:
        if survivor < 0 or keys[at] != keys[survivor]:
            survivor = at
            continue
        same = ids[at] == ids[survivor]
        found.append(
            {
                "unit": int(unit[at]),
                "row": int(rows[at]),
                "step": step,
                "rule": "duplicate_id" if same else "duplicate",
                "detail": f"of {ids[survivor]}",
                "survivor": ids[survivor],
                "similarity": 1.0,
            }
        )
    return pa.Table.from_pylist(found, schema=DECISIONS)
