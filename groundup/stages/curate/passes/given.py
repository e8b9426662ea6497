"""Embeddings of documents from a file of somebody else's, checked row by row.

It is cut by row groups and meets the documents by id in sorted runs; neither is in memory whole.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from groundup.base.errors import DataError, RequestError, nearest
from groundup.base.files import sha256_json
from groundup.base.runner.jobs import Done
from groundup.base.runner.runs import read_partition, write_run
from groundup.base.runner.units import Unit
from groundup.stages.curate.duplicates.embed import Floats
from groundup.stages.curate.duplicates.semantic import MOST_DIM, on_grid
from groundup.stages.curate.engine.ids import id_words
from groundup.stages.curate.passes.inputs import ROWS, Partition, UnitInput, staying_rows
from groundup.stages.curate.passes.vectors import ID, packed, unpacked, vectors_schema, vectors_writer, with_vectors

EMBEDDING: Final = "embedding"

_RUN_BYTES: Final = 64 << 20
_HEX: Final = "^[0-9a-f]{32}$"


def embedding_files(path: Path) -> list[Path]:
    """The Parquet files of a path, which is one or a folder of them; RequestError if their columns can't be used."""
    files = sorted(path.rglob("*.parquet")) if path.is_dir() else [path]
    if not files:
        raise RequestError(f"embeddings: there is no .parquet file in {path.name}")
    for file in files:
        try:
            schema = pq.read_schema(file)
        except (pa.ArrowInvalid, OSError) as error:
            raise RequestError(
                f"embeddings: {file.name} is not a readable Parquet file ({str(error).splitlines()[0]})"
            ) from None
        for name, wanted, kind in ((ID, "strings", _is_string), (EMBEDDING, "lists of floats", _is_floats)):
            if name not in schema.names:
                raise RequestError(f"embeddings: {file.name} has no column {name!r}{nearest(name, schema.names)}")
            if not kind(schema.field(name).type):
                found = schema.field(name).type
                raise RequestError(f"embeddings: column {name!r} of {file.name} must be {wanted}, not {found}")
    return files


def _is_string(kind: pa.DataType) -> bool:
    return pa.types.is_string(kind) or pa.types.is_large_string(kind)


def _is_floats(kind: Any) -> bool:
    is_list = pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind)
    return is_list and pa.types.is_floating(kind.value_type)


@dataclass(frozen=True)
class FileMap:
    """Writes ``given00000.arrow`` and on, runs of (id, vector): row groups of a file, in pieces of bounded size."""

    partitions: int

    @property
    def digest(self) -> str:
        """What defines the work."""
        return sha256_json(["given embeddings", 1, self.partitions])

    def __call__(self, payload: Any, folder: Path) -> dict[str, Any]:
        """Check the rows and bring them to the grid; facts: the names of the runs, and the dimensions."""
        unit: Unit = payload
        names: list[str] = []
        dim, parts, size = 0, list[pa.Table](), 0

        def write() -> None:
            table = pa.concat_tables(parts)
            names.append(f"given{len(names):05d}.arrow")
            write_run(folder / names[-1], table, id_words(table.column(ID))[:, 0], self.partitions)

        for batch in _batches(unit):
            ids, points = _checked(batch, unit.path.name)
            _same_dim(dim, points.shape[1], unit.path.name)
            dim = points.shape[1]
            parts.append(pa.table({ID: ids, "vector": packed(points)}))
            size += points.size * 2
            if size >= _RUN_BYTES:
                write()
                parts, size = [], 0
        if parts:
            write()
        return {"runs": names, "dim": dim}


def _batches(unit: Unit) -> Iterator[pa.RecordBatch]:
    """The rows of a unit of a file, some at a time: a row group of a million vectors is too much at once."""
    try:
        with pq.ParquetFile(unit.path) as file:
            groups = list(range(unit.first, unit.last))
            for batch in file.iter_batches(batch_size=ROWS, row_groups=groups, columns=[ID, EMBEDDING]):
                if batch.num_rows:
                    yield batch
    except (pa.ArrowInvalid, OSError) as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise
        raise DataError(f"embeddings: {unit.path.name} is damaged ({str(error).splitlines()[0]})") from None


def _checked(batch: pa.RecordBatch, name: str) -> tuple[pa.Array[Any], Floats]:
    """Ids and vectors on the grid of rows of a file; DataError if they can't be used. Values are in no message."""
    ids: Any = batch.column(ID)
    column: Any = batch.column(EMBEDDING)
    if ids.null_count or not pc.all(pc.match_substring_regex(ids, _HEX)).as_py():
        raise DataError(f"embeddings: {name} has an id that no document can have (32 hexadecimal digits)")
    if column.null_count:
        raise DataError(f"embeddings: {name} has a row without an embedding; leave such rows out")
    sizes = np.unique(np.asarray(pc.list_value_length(column).to_numpy(zero_copy_only=False)))
    _same_dim(int(sizes[0]), int(sizes[-1]), name)
    dim = int(sizes[0])
    if not 1 <= dim <= MOST_DIM:
        raise DataError(f"embeddings: those of {name} have {dim} dimensions; 1 to {MOST_DIM} can be used")
    values = column.flatten().cast(pa.float64()).to_numpy(zero_copy_only=False)  # a null becomes NaN
    if not (np.abs(values) <= np.finfo(np.float32).max).all():
        raise DataError(f"embeddings: {name} has a number that is missing, not finite or not a number of float32")
    return ids.cast(pa.string()), on_grid(values.reshape(-1, dim))


def _same_dim(one: int, other: int, name: str) -> None:
    if one and one != other:
        few, many = sorted((one, other))
        raise DataError(f"embeddings: some of {name} have {few} dimensions and some {many}; one model makes one size")


def given_runs(mapped: Sequence[Done]) -> list[Path]:
    """The runs of all units of the files; DataError if there are none, or vectors of several sizes."""
    dim = 0
    for done in mapped:
        if done.facts["runs"]:
            _same_dim(dim, done.facts["dim"], "the files")
            dim = done.facts["dim"]
    runs = [done.file(name) for done in mapped for name in done.facts["runs"]]
    if not runs:
        raise DataError("embeddings: the file has no rows")
    return runs


@dataclass(frozen=True)
class NameMap:
    """Writes ``names.arrow``, a run of (unit, row, chars, id) of a unit's staying documents, by id."""

    partitions: int

    @property
    def digest(self) -> str:
        """What defines the work."""
        return sha256_json(["names", 1, self.partitions])

    def __call__(self, payload: Any, folder: Path) -> dict[str, Any]:
        """Name the documents."""
        unit: UnitInput = payload
        schema = pa.schema(list(vectors_schema(1))[:-1])
        parts = [schema.empty_table()]
        for rows, batch in staying_rows(unit, ["id", "chars"]):
            units = np.full(len(rows), unit.number, np.int64)
            columns: list[Any] = [pa.array(units), pa.array(rows), batch.column("chars"), batch.column(ID)]
            parts.append(pa.Table.from_arrays(columns, schema=schema))
        table = pa.concat_tables(parts)
        write_run(folder / "names.arrow", table, id_words(table.column(ID))[:, 0], self.partitions)
        return {"documents": table.num_rows}


@dataclass(frozen=True)
class Join:
    """Writes ``vectors.parquet`` of the documents of a partition of ids that the file names."""

    @property
    def digest(self) -> str:
        """What defines the work."""
        return sha256_json(["joined embeddings", 1])

    def __call__(self, payload: Any, folder: Path) -> dict[str, Any]:
        """Look the documents up; the payload is the partition of names and that of the file."""
        by_name, by_file = payload
        wanted: Partition = by_name
        names = read_partition(wanted.runs, wanted.number)
        given = read_partition(by_file.runs, by_file.number)
        if pc.count_distinct(given.column(ID)).as_py() < given.num_rows:
            raise DataError("embeddings: the file has two embeddings of one document")
        looked_up: Any = pc.index_in(names.column(ID), value_set=given.column(ID))
        at = looked_up.combine_chunks()
        found = names.filter(at.is_valid())
        points = unpacked(given.column("vector").take(at.drop_null()))
        unit, row = found.column("unit").to_numpy(), found.column("row").to_numpy()
        table = with_vectors(unit, row, found.column("chars"), found.column(ID), points)
        with vectors_writer(folder, points.shape[1]) as file:
            file.write_table(table)
        return {"documents": names.num_rows, "vectors": table.num_rows, "dim": points.shape[1]}
