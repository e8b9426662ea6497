"""Exact duplicates: one partition of the keys of all units at a time.

The longest copy stays, the lower id among equals: copies may differ in case and white space.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from groundup.base.files import sha256_json
from groundup.base.runner.runs import read_parts
from groundup.stages.curate.engine.ids import id_names, id_words, key_words
from groundup.stages.curate.passes.decisions import DECISIONS, write_decisions
from groundup.stages.curate.passes.inputs import Partition


@dataclass(frozen=True)
class ExactReduce:
    """The work on a partition: writes ``decisions.parquet``."""

    step: str = "exact_dedup"

    @property
    def digest(self) -> str:
        """What defines the work."""
        return sha256_json(["exact", 2, self.step])

    def __call__(self, payload: Any, folder: Path) -> dict[str, Any]:
        """Decide on every document whose key another one has, too."""
        partition: Partition = payload
        parts = read_parts(partition.runs, partition.number)
        unit = np.repeat(np.arange(len(parts)), [part.num_rows for part in parts])
        table = pa.concat_tables(parts)
        decisions = exact_decisions(table, unit, self.step)
        write_decisions(folder / "decisions.parquet", decisions)
        return {"keys": table.num_rows, "dropped": decisions.num_rows}


def exact_decisions(table: pa.Table, unit: np.ndarray[Any, np.dtype[np.int64]], step: str) -> pa.Table:
    """The decisions on rows (exact, id, chars, row) of units (rows,) int64; about 100 bytes a row while it works."""
    keys, ids = key_words(table.column("exact")), id_words(table.column("id"))
    chars, rows = table.column("chars").to_numpy(), table.column("row").to_numpy()
    order = np.lexsort((rows, unit, ids[:, 1], ids[:, 0], -chars, keys[:, 1], keys[:, 0]))
    ordered = keys[order]
    leads = np.ones(len(order), bool)
    leads[1:] = np.any(ordered[1:] != ordered[:-1], axis=1)
    leader = order[np.maximum.accumulate(np.where(leads, np.arange(len(order)), 0))]
    gone, stays = order[~leads], leader[~leads]
    same = np.all(ids[gone] == ids[stays], axis=1)
    survivors = id_names(ids[stays]).to_pylist()
    return pa.table(
        {
            "unit": unit[gone],
            "row": rows[gone],
            "step": [step] * len(gone),
            "rule": ["duplicate_id" if one else "duplicate" for one in same.tolist()],
            "detail": [f"of {name}" for name in survivors],
            "survivor": survivors,
            "similarity": np.ones(len(gone)),
        },
        schema=DECISIONS,
    )
