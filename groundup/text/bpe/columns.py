"""Columns of text as flat buffers, without a copy of the text: what the kernels read."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray


class Texts(NamedTuple):
    """Row i is the UTF-8 ``data[offsets[i]:offsets[i + 1]]``. ``data``: uint8, read-only; ``offsets``: int64."""

    data: NDArray[np.uint8]
    offsets: NDArray[np.int64]


def chunks(column: Any) -> Iterator[Texts]:
    """The chunks of a column of strings (an Array or a ChunkedArray); nulls are empty rows. TypeError otherwise."""
    for array in column.chunks if isinstance(column, pa.ChunkedArray) else (column,):
        yield _texts(array)


def _texts(array: Any) -> Texts:
    if pa.types.is_null(array.type) or pa.types.is_dictionary(array.type) or pa.types.is_string_view(array.type):
        array = array.cast(pa.large_string())
    if not (pa.types.is_string(array.type) or pa.types.is_large_string(array.type)):
        raise TypeError(f"a column of strings is needed, not {array.type}")
    if array.null_count:
        array = pc.fill_null(array, "")
    _, bounds, data = array.buffers()
    width = np.dtype(np.int32 if pa.types.is_string(array.type) else np.int64)
    offsets = np.zeros(len(array) + 1, np.int64)
    if bounds is not None and bounds.size:
        offsets[:] = np.frombuffer(bounds, width, len(array) + 1, array.offset * width.itemsize)
    # Kernels are compiled for read-only bytes, which a buffer of Arrow always gives.
    return Texts(np.frombuffer(data if data is not None and data.size else b"\0", np.uint8), offsets)
