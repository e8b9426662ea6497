"""Passages that stand in many places, byte for byte: struck (Lee et al. 2022), across all units.

Five steps over sorted runs, as :mod:`groundup.stages.curate.duplicates.passages` tells: fingerprints meet, then windows
whose fingerprint is shared, then the texts are rewritten. The first copy is that of the document whose id has the least
hash, so no order of units shows.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from groundup.base.files import sha256_json
from groundup.base.runner.runs import read_partition, write_run
from groundup.stages.curate.duplicates.passages import (
    FINGERPRINT_BYTES,
    fingerprints,
    first_and_others,
    marks_of,
    shared,
    window_keys,
)
from groundup.stages.curate.duplicates.pieces import priorities, text_array
from groundup.stages.curate.duplicates.substring import Keep, spans_of, without_spans
from groundup.stages.curate.engine.columns import Texts, texts
from groundup.stages.curate.engine.operator import Operator, with_column
from groundup.stages.curate.passes.decisions import write_decisions
from groundup.stages.curate.passes.inputs import ROWS, Ints, Partition, UnitInput, staying_rows
from groundup.stages.curate.passes.pieces import NO_ROWS
from groundup.stages.curate.passes.rewriting import Marked, emptied, of_documents, rekeyed, rewriting

STEP_NAME: Final = "repeated_passages"
LEAST_BYTES: Final = FINGERPRINT_BYTES
_GROUP: Final = 1 << 14


@dataclass(frozen=True)
class PrintMap:
    """Writes ``prints.arrow``, a run of (key, document, place): the fingerprints of a unit's staying documents."""

    min_bytes: int
    partitions: int

    @property
    def digest(self) -> str:
        """What defines the work."""
        return sha256_json(["prints", 1, self.min_bytes, self.partitions])

    def __call__(self, payload: Any, folder: Path) -> dict[str, Any]:
        """Fingerprint the texts."""
        unit: UnitInput = payload
        keys, documents, places = [np.zeros(0, np.uint64)], [np.zeros(0, np.int64)], [np.zeros(0, np.int64)]
        for rows, batch in staying_rows(unit, ["text"]):
            found = fingerprints(texts(batch), self.min_bytes)
            keys.append(found.hashes)
            documents.append(unit.addresses(rows[found.rows]))
            places.append(found.places)
        key = np.concatenate(keys)
        table = pa.table({"key": key, "document": np.concatenate(documents), "place": np.concatenate(places)})
        write_run(folder / "prints.arrow", table, key, self.partitions)
        return {"prints": len(key)}


@dataclass(frozen=True)
class PrintReduce:
    """Writes ``hot.parquet``: the (document, place) of fingerprints that occur more than once, in their order."""

    @property
    def digest(self) -> str:
        """What defines the work."""
        return sha256_json(["hot prints", 1])

    def __call__(self, payload: Any, folder: Path) -> dict[str, Any]:
        """Keep the shared ones."""
        partition: Partition = payload
        table = read_partition(partition.runs, partition.number)
        hot = table.filter(pa.array(shared(table.column("key").to_numpy()))).select(["document", "place"])
        _write(hot, folder / "hot.parquet")
        return {"hot": hot.num_rows}


@dataclass(frozen=True)
class WindowMap:
    """Writes ``windows.arrow``, a run of (key, check, priority, document, place): windows that may be repeated."""

    min_bytes: int
    partitions: int

    @property
    def digest(self) -> str:
        """What defines the work."""
        return sha256_json(["windows", 1, self.min_bytes, self.partitions])

    def __call__(self, payload: Any, folder: Path) -> dict[str, Any]:
        """Key the windows of the documents that have a shared fingerprint."""
        one: Marked = payload
        unit = one.unit
        hot = of_documents(one.marks, unit.number)
        documents, places = hot.column("document").to_numpy(), hot.column("place").to_numpy()
        parts, start = [NO_ROWS], 0
        with pq.ParquetFile(unit.kept) as file:
            for batch in file.iter_batches(batch_size=ROWS, columns=["id", "text"]):
                mine = (documents >= start) & (documents < start + batch.num_rows)
                if mine.any():
                    found = window_keys(texts(batch), documents[mine] - start, places[mine], self.min_bytes)
                    claim = priorities(str(name) for name in batch.column("id").to_pylist())
                    parts.append(
                        pa.table(
                            {
                                "key": found.keys,
                                "check": found.checks,
                                "priority": claim[found.rows],
                                "document": unit.addresses(found.rows + start),
                                "place": found.places,
                            }
                        )
                    )
                start += batch.num_rows
        table = pa.concat_tables(parts)
        write_run(folder / "windows.arrow", table, table.column("key").to_numpy(), self.partitions)
        return {"windows": table.num_rows}


@dataclass(frozen=True)
class WindowReduce:
    """Writes ``struck.parquet``: (document, place, later) of repeated windows, in the order of documents."""

    @property
    def digest(self) -> str:
        """What defines the work."""
        return sha256_json(["repeated windows", 1])

    def __call__(self, payload: Any, folder: Path) -> dict[str, Any]:
        """Tell the first copy from the later ones."""
        partition: Partition = payload
        table = read_partition(partition.runs, partition.number)
        names = ("key", "check", "priority", "place")
        key, check, priority, place = (table.column(name).to_numpy() for name in names)
        first, later = first_and_others(key, check, priority, place)
        both = first | later
        found = table.filter(pa.array(both)).select(["document", "place"]).append_column("later", pa.array(later[both]))
        _write(found, folder / "struck.parquet")
        return {"repeated": found.num_rows}


@dataclass(frozen=True)
class PassageStrike:
    """Writes the unit's ``kept.parquet`` anew, and ``decisions.parquet`` on documents of which nothing is left."""

    min_bytes: int
    keep: Keep
    rekey: tuple[Operator, ...]

    @property
    def digest(self) -> str:
        """What defines the work."""
        operators = [operator.spec.digest for operator in self.rekey]
        return sha256_json(["strike passages", 1, self.min_bytes, self.keep, operators])

    def __call__(self, payload: Any, folder: Path) -> dict[str, Any]:
        """Rewrite the texts of a unit."""
        one: Marked = payload
        unit = one.unit
        marked = of_documents(one.marks, unit.number)
        rows, places, later = (marked.column(name).to_numpy() for name in ("document", "place", "later"))
        empty: list[int] = []
        struck_bytes = documents = start = 0
        with pq.ParquetFile(unit.kept) as file, rewriting(unit.kept, folder) as write:
            for batch in file.iter_batches(batch_size=ROWS):
                mine = (rows >= start) & (rows < start + batch.num_rows)
                if mine.any():
                    batch, touched, size = self._strike(batch, rows[mine] - start, places[mine], later[mine])
                    struck_bytes += size
                    documents += len(touched)
                    blank = [row for row in touched.tolist() if not str(batch.column("text")[row].as_py()).strip()]
                    empty += [start + row for row in blank]
                write(batch)
                start += batch.num_rows
        write_decisions(folder / "decisions.parquet", emptied(unit.number, empty, STEP_NAME))
        return {"bytes": struck_bytes, "documents": documents, "emptied": len(empty)}

    def _strike(
        self, batch: pa.RecordBatch, rows: Ints, places: Ints, later: np.ndarray[Any, Any]
    ) -> tuple[pa.RecordBatch, Ints, int]:
        column: Texts = texts(batch)
        marks = marks_of(column, (rows[~later], places[~later]), (rows[later], places[later]))
        spans = spans_of(column, marks, self.min_bytes, self.keep)
        touched = np.unique(spans.rows)
        if not len(touched):
            return batch, touched, 0
        batch = with_column(batch, "text", text_array(without_spans(column, spans)))
        return rekeyed(batch, touched, self.rekey), touched, int(np.sum(spans.stops - spans.starts))


def _write(table: pa.Table, path: Path) -> None:
    ordered = table.sort_by([("document", "ascending"), ("place", "ascending")])
    pq.write_table(ordered, path, row_group_size=_GROUP, compression="zstd", compression_level=1)
