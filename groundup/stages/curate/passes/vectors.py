"""Embeddings on disk: ``vectors.parquet`` has (unit, row, chars, id, vector) of each document that has a vector.

``vector`` is its whole numbers (:func:`~groundup.stages.curate.duplicates.semantic.on_grid`) as int16, packed. What has
none, an empty text or a document that a file doesn't name, is in no such table and so is never dropped.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from groundup.stages.curate.duplicates.embed import Floats
from groundup.stages.curate.passes.tables import table_schema

ID: Final = "id"
VECTORS: Final = "vectors.parquet"


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


def with_vectors(unit: Any, rows: Any, chars: Any, ids: Any, points: Floats) -> pa.Table:
    """Rows of :func:`vectors_schema`, those without direction left out: they are like nothing."""
    some = np.flatnonzero(points.any(axis=1))
    units = np.broadcast_to(np.asarray(unit, np.int64), len(points))
    columns: list[Any] = [units[some], np.asarray(rows)[some], chars.take(some), ids.take(some), packed(points[some])]
    schema = vectors_schema(points.shape[1])
    return pa.Table.from_arrays(
        [each if isinstance(each, (pa.Array, pa.ChunkedArray)) else pa.array(each) for each in columns], schema=schema
    )


def vectors_writer(folder: Path, dim: int) -> pq.ParquetWriter:
    """What writes them into a folder."""
    return pq.ParquetWriter(
        folder / VECTORS, vectors_schema(dim), compression="zstd", compression_level=1, use_dictionary=False
    )
