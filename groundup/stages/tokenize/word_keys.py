"""A key for each word, by which equal words of all jobs meet."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from groundup.text.bpe.jit import kernel

_PRIME: Final = np.uint64(0x100000001B3)
_OFFSET: Final = np.uint64(0xCBF29CE484222325)
_MIX_A: Final = np.uint64(0xBF58476D1CE4E5B9)
_MIX_B: Final = np.uint64(0x94D049BB133111EB)


@kernel
def _hash(data: Any, offsets: Any, keys: Any) -> None:
    """``keys[i]`` (uint64) of the bytes ``data[offsets[i]:offsets[i + 1]]``: FNV-1a, then splitmix64's mixing, for a
    partition is a range of keys."""
    for row in range(len(keys)):
        value = _OFFSET
        for byte in range(offsets[row], offsets[row + 1]):
            value = (value ^ np.uint64(data[byte])) * _PRIME
        value = (value ^ (value >> np.uint64(30))) * _MIX_A
        value = (value ^ (value >> np.uint64(27))) * _MIX_B
        keys[row] = value ^ (value >> np.uint64(31))


def word_keys(words: Any) -> NDArray[np.uint64]:
    """A key (uint64) for each row of a binary column; it depends on the bytes alone."""
    parts = [np.zeros(0, np.uint64)]
    for array in words.cast(pa.large_binary()).chunks:
        keys = np.empty(len(array), np.uint64)
        if len(array):
            _, edges, data = array.buffers()
            offsets = np.frombuffer(edges, np.int64, len(array) + 1, 8 * array.offset)
            _hash(np.frombuffer(data, np.uint8) if data and len(data) else np.zeros(1, np.uint8), offsets, keys)
        parts.append(keys)
    return np.concatenate(parts)
