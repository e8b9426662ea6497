"""Lines or paragraphs that stand in many documents: struck from all but one.

Map: a row for every piece, sorted by key. Reduce: which copies go. Strike: the texts without them, unit by unit, and
the keys of what was rewritten made anew. The rows of a unit stay the same, so that decisions go on naming them.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from groundup.base.files import sha256_json
from groundup.base.runner.runs import read_partition, write_run
from groundup.stages.curate.duplicates.pieces import (
    PieceRows,
    Pieces,
    piece_rows,
    pieces,
    priorities,
    repeated,
    strike,
    struck_pieces,
)
from groundup.stages.curate.engine.columns import texts
from groundup.stages.curate.engine.operator import Operator, staying
from groundup.stages.curate.passes.decisions import write_decisions
from groundup.stages.curate.passes.inputs import ROWS, Ints, Partition, UnitInput, staying_rows
from groundup.stages.curate.passes.rewriting import Marked, emptied, of_documents, rekeyed, rewriting

Cut = Literal["line", "paragraph"]

STEP_NAME: Final = "repeated_text"


@dataclass(frozen=True)
class PieceMap:
    """Writes ``pieces.arrow``, a run of (key, check, priority, document, place) of a unit's staying documents.

    ``document`` is the unit's number and the row's, in one integer.
    """

    cut: Cut
    min_bytes: int
    partitions: int

    @property
    def digest(self) -> str:
        """What defines the work."""
        return sha256_json(["pieces", 1, self.cut, self.min_bytes, self.partitions])

    def __call__(self, payload: Any, folder: Path) -> dict[str, Any]:
        """Cut the texts and key the pieces."""
        unit: UnitInput = payload
        parts = []
        for rows, batch in staying_rows(unit, ["id", "url", "text"]):
            names = [str(row["url"] or row["id"]) for row in batch.select(["id", "url"]).to_pylist()]
            columns = texts(batch)
            found = piece_rows(columns, pieces(columns, self.cut), min_bytes=self.min_bytes)
            parts.append(piece_table(found, priorities(names), unit.addresses(rows)))
        table = pa.concat_tables([NO_ROWS, *parts])
        write_run(folder / "pieces.arrow", table, table.column("key").to_numpy(), self.partitions)
        return {"pieces": table.num_rows}


NO_ROWS: Final = pa.table(
    {
        "key": np.zeros(0, np.uint64),
        "check": np.zeros(0, np.uint64),
        "priority": np.zeros(0, np.uint64),
        "document": np.zeros(0, np.int64),
        "place": np.zeros(0, np.int64),
    }
)
"""A run of pieces, or of windows of passages, without rows."""


def piece_table(found: PieceRows, priority: NDArray[np.uint64], documents: Ints) -> pa.Table:
    """Rows as in :data:`NO_ROWS`; ``priority`` and ``documents`` are of the rows that the pieces were cut from."""
    columns: list[Any] = [found.keys, found.checks, priority[found.rows], documents[found.rows], found.places]
    return pa.table(columns, names=NO_ROWS.column_names)


def piece_reduce(table: pa.Table) -> pa.Table:
    """The (document, place) of the pieces to strike, in their order; ``table`` has all rows of its keys."""
    key, check, priority, document, place = (table.column(name).to_numpy() for name in NO_ROWS.column_names)
    gone = repeated(key, check, priority, document, place)
    found = table.select(["document", "place"]).filter(pa.array(gone))
    return found.sort_by([("document", "ascending"), ("place", "ascending")])


@dataclass(frozen=True)
class PieceReduce:
    """Writes ``struck.parquet``: (document, place) of the copies of a partition that go, in their order."""

    @property
    def digest(self) -> str:
        """What defines the work."""
        return sha256_json(["struck pieces", 1])

    def __call__(self, payload: Any, folder: Path) -> dict[str, Any]:
        """Find the copies."""
        partition: Partition = payload
        table = piece_reduce(read_partition(partition.runs, partition.number))
        pq.write_table(table, folder / "struck.parquet", row_group_size=1 << 14, compression="zstd")
        return {"struck": table.num_rows}


@dataclass(frozen=True)
class PieceStrike:
    """Writes the unit's ``kept.parquet`` anew, and ``decisions.parquet`` on documents of which nothing is left.

    ``rekey`` are the operators whose columns depend on the text.
    """

    cut: Cut
    rekey: tuple[Operator, ...]

    @property
    def digest(self) -> str:
        """What defines the work."""
        return sha256_json(["strike", 1, self.cut, [operator.spec.digest for operator in self.rekey]])

    def __call__(self, payload: Any, folder: Path) -> dict[str, Any]:
        """Rewrite the texts of a unit."""
        one: Marked = payload
        unit = one.unit
        marked = of_documents(one.marks, unit.number)
        documents, places = marked.column("document").to_numpy(), marked.column("place").to_numpy()
        empty: list[int] = []
        start = 0
        with pq.ParquetFile(unit.kept) as file, rewriting(unit.kept, folder) as write:
            for batch in file.iter_batches(batch_size=ROWS):
                mine = (documents >= start) & (documents < start + batch.num_rows)
                if mine.any():
                    batch, left_empty = self._strike(batch, documents[mine] - start, places[mine])
                    empty += [start + row for row in left_empty]
                write(batch)
                start += batch.num_rows
        write_decisions(folder / "decisions.parquet", emptied(unit.number, empty, STEP_NAME))
        return {"pieces": len(places), "documents": len(np.unique(documents)), "emptied": len(empty)}

    def _strike(self, batch: pa.RecordBatch, rows: Ints, places: Ints) -> tuple[pa.RecordBatch, list[int]]:
        found: Pieces = pieces(texts(batch), self.cut)
        done = strike(batch, found, struck_pieces(found, rows, places), STEP_NAME)
        nothing_left = np.flatnonzero(~staying(done)).tolist()
        return rekeyed(done.select(batch.schema.names), np.unique(rows), self.rekey), nothing_left
