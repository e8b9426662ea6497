"""Document ids and other keys of 128 bits as pairs of integers: they sort as fast as numbers do, in 16 bytes each."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from groundup.base.errors import DataError

Words = NDArray[np.uint64]
"""Keys of 128 bits, (rows, 2): the first 64 bits and the last. They order as the ids or bytes do."""

ID_DIGITS: Final = 32

_HEX: Final = np.frombuffer(b"0123456789abcdef", np.uint8)
_NONE: Final = np.uint8(255)
_VALUES: Final = np.full(256, _NONE, np.uint8)
_VALUES[_HEX] = np.arange(16)


def id_words(column: Any) -> Words:
    """The document ids of a column of strings, each of 32 hex digits in lower case; DataError if one is not.

    >>> id_words(pa.array(["00000000000000ff" + "0" * 15 + "7"])).tolist()
    [[255, 7]]
    """
    array = _whole(column).cast(pa.large_string())
    _, bounds, data = array.buffers()
    offsets = np.frombuffer(bounds, np.int64)[array.offset : array.offset + len(array) + 1] if bounds else np.zeros(1)
    if not len(array):
        return np.zeros((0, 2), np.uint64)
    digits = np.frombuffer(data, np.uint8)[int(offsets[0]) : int(offsets[-1])] if data else np.zeros(0, np.uint8)
    values = _VALUES[digits]
    if array.null_count or np.any(np.diff(offsets) != ID_DIGITS) or np.any(values == _NONE):
        raise DataError(f"a document's id is not {ID_DIGITS} hex digits in lower case: make the pages again")
    packed = (values[::2] << np.uint8(4)) | values[1::2]
    return packed.view(">u8").astype(np.uint64).reshape(-1, 2)


def id_names(words: Words) -> pa.Array[Any]:
    """The ids as strings again.

    >>> id_names(np.array([[255, 7]], np.uint64))[0].as_py()
    '00000000000000ff0000000000000007'
    """
    packed = words.astype(">u8").reshape(-1).view(np.uint8)
    digits = np.empty(2 * len(packed), np.uint8)
    digits[::2] = _HEX[packed >> 4]
    digits[1::2] = _HEX[packed & 15]
    offsets = np.arange(len(words) + 1, dtype=np.int64) * ID_DIGITS
    names: Any = pa.LargeStringArray.from_buffers(len(words), _buffer(offsets), _buffer(digits))
    return names.cast(pa.string())  # type: ignore[no-any-return]


def key_words(column: Any) -> Words:
    """The keys of a column of binary(16), none of them null."""
    array = _whole(column)
    assert array.type == pa.binary(16) and not array.null_count
    data = array.buffers()[1]
    whole = np.frombuffer(data, ">u8").astype(np.uint64).reshape(-1, 2) if data else np.zeros((0, 2), np.uint64)
    return whole[array.offset : array.offset + len(array)]


def _buffer(array: Any) -> pa.Buffer:
    return pa.py_buffer(array)


def _whole(column: Any) -> Any:
    return column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
