"""A hash table for kernels that count: cleared in no time, because a slot belongs to the round that wrote it."""

from __future__ import annotations

from typing import Any, Final

import numba
import numpy as np
from numpy.typing import NDArray

_MIX: Final = np.uint64(0x9E3779B97F4A7C15)
_SHIFT: Final = np.uint64(32)

Matrix = NDArray[np.float64]


def new_table(size: int) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any]]:
    """(rounds, keys, values) with room for ``size`` keys: a power of two, at most half full."""
    room = 1 << max(4, int(2 * size - 1).bit_length())
    return np.zeros(room, np.int32), np.zeros(room, np.uint64), np.zeros(room, np.int64)


@numba.njit(cache=True, nogil=True, inline="always")
def slot_of(rounds: Any, keys: Any, mask: int, now: int, key: np.uint64) -> Any:
    """The slot that holds ``key`` in this round, or the one where it belongs (``rounds`` of it is not ``now``)."""
    mixed = key * _MIX
    at = np.int64(mixed >> _SHIFT) & mask
    while rounds[at] == now and keys[at] != key:
        at = (at + 1) & mask
    return at


@numba.njit(cache=True, nogil=True, inline="always")
def joined(one: np.uint64, other: np.uint64) -> np.uint64:
    """A hash of a pair of hashes; the order counts."""
    mixed = (one ^ (one >> _SHIFT)) * _MIX + other
    return mixed ^ (mixed >> np.uint64(29))


def hash_text(text: str) -> int:
    """The hash that the split gives to this word or line."""
    from groundup.stages.curate.words.kernels import BASE

    value = 0
    for byte in text.encode():
        value = (value * BASE + byte + 1) % 2**64
    return value
