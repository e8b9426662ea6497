"""Where the embeddings of documents come from: TF-IDF of their words, or a file of somebody else's.

Both ways end in ``vectors.parquet`` files: a row of (unit, row, chars, id, vector) for each document that has a vector,
``vector`` being its whole numbers (:func:`~groundup.stages.curate.duplicates.semantic.on_grid`) as int16, packed. What
has none, an empty text or a document that the file doesn't name, is in no such file and so is never dropped.

A file of embeddings is cut by row groups and meets the documents by id in sorted runs; neither is in memory whole.
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
from numpy.typing import NDArray

from groundup.base.errors import DataError, RequestError, nearest
from groundup.base.files import sha256_json
from groundup.stages.curate.duplicates.embed import SLOTS, Floats, document_frequencies, tfidf_embeddings
from groundup.stages.curate.duplicates.semantic import MOST_DIM, on_grid
from groundup.stages.curate.engine.columns import texts
from groundup.stages.curate.engine.jobs import Done
from groundup.stages.curate.engine.runs import id_keys, read_partition, write_run
from groundup.stages.curate.engine.units import Unit
from groundup.stages.curate.passes.decisions import gone, of_unit
from groundup.stages.curate.passes.exact import Partition
from groundup.stages.curate.passes.near import UnitInput
from groundup.stages.curate.passes.rewriting import ROWS, Ints
from groundup.stages.curate.passes.tables import table_schema

ID: Final = "id"
EMBEDDING: Final = "embedding"
TFIDF_DIM: Final = 256

_RUN_BYTES: Final = 64 << 20
_HEX: Final = "^[0-9a-f]{32}$"


def vectors_schema(dim: int) -> pa.Schema:
    """The columns of ``vectors.parquet``."""
    return table_schema(
        [
            ("unit", pa.int64()),
            ("row", pa.int64()),
            ("chars", pa.int64()),
            (ID, pa.string()),
            ("vector", pa.binary(2 * dim)),
        ]
    )


def packed(points: Floats) -> pa.Array[Any]:
    """Whole numbers, (rows, dim), as a column of fixed-size binary."""
    numbers = np.ascontiguousarray(points, np.int16)
    made: pa.Array[Any] = pa.FixedSizeBinaryArray.from_buffers(
        pa.binary(2 * numbers.shape[1]), len(numbers), [None, pa.py_buffer(numbers.tobytes())]
    )
    return made


def unpacked(column: Any) -> Floats:
    """The (rows, dim) float32 of a column that :func:`packed` made."""
    dim = column.type.byte_width // 2
    parts = [np.zeros((0, dim), np.int16)]
    for chunk in column.chunks if isinstance(column, pa.ChunkedArray) else [column]:
        data: Any = chunk.buffers()[1]
        numbers = np.frombuffer(data, np.int16) if data is not None else np.zeros(0, np.int16)
        parts.append(numbers[chunk.offset * dim : (chunk.offset + len(chunk)) * dim].reshape(-1, dim))
    return np.concatenate(parts).astype(np.float32)


def _staying(unit: UnitInput, columns: Sequence[str]) -> Iterator[tuple[Ints, pa.RecordBatch]]:
    """The rows of a unit's staying documents and some of their columns, batch by batch; no batch is empty."""
    start = 0
    with pq.ParquetFile(unit.kept) as file:
        leaves = gone(of_unit(unit.decisions, unit.number), file.metadata.num_rows)
        for batch in file.iter_batches(batch_size=ROWS, columns=list(columns)):
            rows = np.flatnonzero(~leaves[start : start + batch.num_rows])
            if len(rows):
                yield rows + start, batch.take(rows)
            start += batch.num_rows


# -- TF-IDF of words -----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class SlotCount:
    """Writes ``slots.parquet``, (slot, count): in how many of a unit's staying documents the words of a slot are."""

    @property
    def digest(self) -> str:
        """What defines the work."""
        return sha256_json(["word slots", 1])

    def __call__(self, payload: Any, folder: Path) -> dict[str, Any]:
        """Count."""
        counts, documents = np.zeros(SLOTS, np.int64), 0
        for rows, batch in _staying(payload, ["text"]):
            counts += document_frequencies(texts(batch))
            documents += len(rows)
        slots = np.flatnonzero(counts)
        pq.write_table(pa.table({"slot": slots, "count": counts[slots]}), folder / "slots.parquet", compression="zstd")
        return {"documents": documents}


def all_frequencies(counted: Sequence[Done]) -> tuple[NDArray[np.int64], int]:
    """The document frequencies of the corpus, and how many documents it has, from those of its units."""
    frequencies = np.zeros(SLOTS, np.int64)
    for done in counted:
        table = pq.read_table(done.file("slots.parquet"))
        frequencies[table.column("slot").to_numpy()] += table.column("count").to_numpy()
    return frequencies, sum(done.facts["documents"] for done in counted)


@dataclass(frozen=True)
class Weighed:
    """A unit, with the file of the corpus's document frequencies and how many documents it has."""

    unit: UnitInput
    frequencies: Path
    documents: int


@dataclass(frozen=True)
class Tfidf:
    """Writes ``vectors.parquet`` of a unit's staying documents by TF-IDF of their words."""

    @property
    def digest(self) -> str:
        """What defines the work."""
        return sha256_json(["tf-idf", 1, TFIDF_DIM])

    def __call__(self, payload: Any, folder: Path) -> dict[str, Any]:
        """Embed the texts."""
        job: Weighed = payload
        frequencies = np.load(job.frequencies)
        documents = vectors = 0
        with _writer(folder, TFIDF_DIM) as file:
            for rows, batch in _staying(job.unit, ["id", "chars", "text"]):
                points = on_grid(tfidf_embeddings(texts(batch), frequencies, job.documents, TFIDF_DIM))
                table = _with_vectors(job.unit.number, rows, batch.column("chars"), batch.column(ID), points)
                file.write_table(table)
                documents += len(rows)
                vectors += table.num_rows
        return {"documents": documents, "vectors": vectors, "dim": TFIDF_DIM}


def _with_vectors(unit: Any, rows: Any, chars: Any, ids: Any, points: Floats) -> pa.Table:
    """Rows of :func:`vectors_schema`, those without direction left out: they are like nothing."""
    some = np.flatnonzero(points.any(axis=1))
    units = np.broadcast_to(np.asarray(unit, np.int64), len(points))
    columns: list[Any] = [units[some], np.asarray(rows)[some], chars.take(some), ids.take(some), packed(points[some])]
    schema = vectors_schema(points.shape[1])
    return pa.Table.from_arrays(
        [each if isinstance(each, (pa.Array, pa.ChunkedArray)) else pa.array(each) for each in columns], schema=schema
    )


def _keys(table: pa.Table) -> NDArray[np.uint64]:
    return id_keys(str(name) for name in table.column(ID).to_pylist())


def _writer(folder: Path, dim: int) -> pq.ParquetWriter:
    return pq.ParquetWriter(
        folder / "vectors.parquet", vectors_schema(dim), compression="zstd", compression_level=1, use_dictionary=False
    )


# -- a file of embeddings ------------------------------------------------------------------------------------------


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
            write_run(folder / names[-1], table, _keys(table), self.partitions)

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
        for rows, batch in _staying(unit, ["id", "chars"]):
            units = np.full(len(rows), unit.number, np.int64)
            columns: list[Any] = [pa.array(units), pa.array(rows), batch.column("chars"), batch.column(ID)]
            parts.append(pa.Table.from_arrays(columns, schema=schema))
        table = pa.concat_tables(parts)
        write_run(folder / "names.arrow", table, _keys(table), self.partitions)
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
        table = _with_vectors(unit, row, found.column("chars"), found.column(ID), points)
        with _writer(folder, points.shape[1]) as file:
            file.write_table(table)
        return {"documents": names.num_rows, "vectors": table.num_rows, "dim": points.shape[1]}
