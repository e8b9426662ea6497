"""Arrow columns as numpy arrays without a copy, and back: what kernels work on."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

Bytes = NDArray[np.uint8]
Offsets = NDArray[np.int64]


class Texts(NamedTuple):
    """A column of strings: row i is ``data[offsets[i]:offsets[i + 1]]``, UTF-8. ``offsets``: (rows + 1,) int64."""

    data: Bytes
    offsets: Offsets


def texts(batch: pa.RecordBatch, name: str = "text") -> Texts:
    """A string column's bytes and offsets; nulls count as empty."""
    column: Any = batch.column(name)
    if pa.types.is_string(column.type):
        column = column.cast(pa.large_string())
    _, offsets, data = column.buffers()
    content = np.frombuffer(data, np.uint8) if data is not None else np.zeros(0, np.uint8)
    return Texts(content, _bounds(column, offsets))


class Lists(NamedTuple):
    """A column of lists: row i is ``values[offsets[i]:offsets[i + 1]]``. ``offsets``: (rows + 1,) int64."""

    values: NDArray[Any]
    offsets: Offsets


def lists(batch: pa.RecordBatch, name: str) -> Lists:
    """A column of type ``large_list`` of numbers, as one flat array and the bounds of its rows."""
    column: Any = batch.column(name)
    _, offsets, *_ = column.buffers()
    return Lists(column.values.to_numpy(zero_copy_only=True), _bounds(column, offsets))


def list_array(values: NDArray[Any], offsets: Offsets) -> pa.Array[Any]:
    """The column whose row i is ``values[offsets[i]:offsets[i + 1]]``."""
    return pa.LargeListArray.from_arrays(pa.array(offsets, pa.int64()), pa.array(values))


def _bounds(column: Any, offsets: Any) -> Offsets:
    whole = np.frombuffer(offsets, np.int64) if offsets is not None else np.zeros(1, np.int64)
    return whole[column.offset : column.offset + len(column) + 1]
