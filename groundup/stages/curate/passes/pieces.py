"""Lines or paragraphs that stand in many documents: struck from all but one.

Map: a row for every piece, sorted by key. Reduce: which copies go. Strike: the texts without them, unit by unit, and
the keys of what was rewritten made anew. The rows of a unit stay the same, so that decisions go on naming them.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from groundup.base.files import sha256_json
from groundup.stages.curate.duplicates.pieces import Pieces, piece_rows, pieces, priorities, strike, struck_pieces
from groundup.stages.curate.duplicates.reduce import piece_reduce, piece_table
from groundup.stages.curate.engine.columns import texts
from groundup.stages.curate.engine.operator import Operator, staying
from groundup.stages.curate.engine.runs import read_partition, write_run
from groundup.stages.curate.passes.clean import KEPT
from groundup.stages.curate.passes.decisions import DECISIONS, gone, of_unit, write_decisions
from groundup.stages.curate.passes.exact import Partition
from groundup.stages.curate.passes.near import UnitInput
from groundup.stages.curate.passes.tables import conform

Cut = Literal["line", "paragraph"]

STEP_NAME: Final = "repeated_text"
_ROWS: Final = 1024
_UNIT_BITS: Final = 32


@dataclass(frozen=True)
class PieceMap:
    """Writes ``pieces.parquet``, a run of (key, check, priority, document, place) of a unit's staying documents.

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
        parts, start = [], 0
        with pq.ParquetFile(unit.kept) as file:
            leaves = gone(of_unit(unit.decisions, unit.number), file.metadata.num_rows)
            for batch in file.iter_batches(batch_size=_ROWS, columns=["id", "url", "text"]):
                rows = np.flatnonzero(~leaves[start : start + batch.num_rows])
                names = [str(row["url"] or row["id"]) for row in batch.select(["id", "url"]).take(rows).to_pylist()]
                columns = texts(batch.select(["text"]).take(rows))
                found = piece_rows(columns, pieces(columns, self.cut), min_bytes=self.min_bytes)
                documents = (unit.number << _UNIT_BITS) | (rows + start)
                parts.append(piece_table(found, priorities(names), documents))
                start += batch.num_rows
        table = pa.Table.from_batches(parts) if parts else _NO_PIECES
        write_run(folder / "pieces.parquet", table, table.column("key").to_numpy(), self.partitions)
        return {"pieces": table.num_rows}


_NO_PIECES: Final = pa.table(
    {
        "key": np.zeros(0, np.uint64),
        "check": np.zeros(0, np.uint64),
        "priority": np.zeros(0, np.uint64),
        "document": np.zeros(0, np.int64),
        "place": np.zeros(0, np.int64),
    }
)


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
class Struck:
    """A unit and what of it goes: the files of all partitions."""

    unit: UnitInput
    struck: Sequence[Path]


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
        unit = payload.unit
        documents, places = _struck(payload.struck, unit.number)
        empty: list[int] = []
        changed = start = 0
        with (
            pq.ParquetFile(unit.kept) as file,
            pq.ParquetWriter(folder / "kept.parquet", KEPT, compression="zstd", compression_level=1) as writer,
        ):
            for batch in file.iter_batches(batch_size=_ROWS):
                mine = (documents >= start) & (documents < start + batch.num_rows)
                if mine.any():
                    batch, left_empty = self._strike(batch, documents[mine] - start, places[mine])
                    empty += [start + row for row in left_empty]
                    changed += len(np.unique(documents[mine]))
                writer.write_table(conform(batch, KEPT), row_group_size=_ROWS)
                start += batch.num_rows
        os.link(unit.kept.with_name("dropped.parquet"), folder / "dropped.parquet")
        write_decisions(folder / "decisions.parquet", _nothing_left(unit.number, empty))
        return {"pieces": len(places), "documents": changed, "emptied": len(empty)}

    def _strike(
        self, batch: pa.RecordBatch, rows: np.ndarray[Any, Any], places: np.ndarray[Any, Any]
    ) -> tuple[pa.RecordBatch, list[int]]:
        found: Pieces = pieces(texts(batch), self.cut)
        done = strike(batch, found, struck_pieces(found, rows, places), STEP_NAME)
        emptied = np.flatnonzero(~staying(done)).tolist()
        touched = np.unique(rows)
        part = done.select(batch.schema.names).take(pa.array(touched))
        for operator in self.rekey:
            part = operator(part)
        fresh, whole = conform(part, KEPT), conform(done.select(batch.schema.names), KEPT)
        order = np.arange(batch.num_rows)
        order[touched] = batch.num_rows + np.arange(len(touched))
        both = pa.concat_tables([whole, fresh]).take(order).combine_chunks()
        return both.to_batches()[0], emptied


def _struck(paths: Sequence[Path], unit: int) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """(rows, places) of a unit's pieces that go."""
    low, high = unit << _UNIT_BITS, (unit + 1) << _UNIT_BITS
    only = (pc.field("document") >= low) & (pc.field("document") < high)
    table = pa.concat_tables([pq.read_table(path, filters=only) for path in paths])
    return table.column("document").to_numpy() - low, table.column("place").to_numpy()


def _nothing_left(unit: int, rows: Sequence[int]) -> pa.Table:
    count = len(rows)
    return pa.table(
        {
            "unit": pa.array([unit] * count, pa.int64()),
            "row": pa.array(rows, pa.int64()),
            "step": [STEP_NAME] * count,
            "rule": ["nothing_left"] * count,
            "detail": ["all of it stands in other documents"] * count,
            "survivor": [None] * count,
            "similarity": [None] * count,
        },
        schema=DECISIONS,
    )
