"""Bytes of a piece to ids by merges, compiled (Sennrich et al. 2016): the merge that was learned first goes first, and
of equal ones the leftmost. Short pieces are searched through for each merge; long ones keep a heap of candidates, so
that a word of a megabyte takes a moment and not for ever.
"""

from __future__ import annotations

from typing import Any, Final, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from groundup.text.bpe.jit import inlined, kernel

NONE: Final = 0x7FFFFFFF
"""The rank of a pair that isn't merged."""
SCANNED: Final = 64
"""Bytes up to which a piece is searched through."""


class Merges(NamedTuple):
    """``byte_ids``: int32 (256,), the id of each byte. ``first``: int32 (65536,), the rank of the merge of two bytes,
    the left one times 256 plus the right one. ``keys``: uint64 (n,) and ``ranks``: int32 (n,), a hash table, n a power
    of two: left id << 32 | right id, all ones where free. ``made``: int32 (merges,), the id that each merge makes."""

    byte_ids: NDArray[np.int32]
    first: NDArray[np.int32]
    keys: NDArray[np.uint64]
    ranks: NDArray[np.int32]
    made: NDArray[np.int32]


class Scratch(NamedTuple):
    """What merging needs for a piece of ``n`` bytes. ``ranks``: int32 (SCANNED,), by place in a short piece; ``links``:
    int32 (4, n), by byte of a long one: id, next, previous, rank of the pair; ``heap``: uint64 (3 * n,), rank << 32 |
    byte: each merge takes a pair away and brings two at most."""

    ranks: NDArray[np.int32]
    links: NDArray[np.int32]
    heap: NDArray[np.uint64]

    @classmethod
    def of(cls, size: int) -> Self:
        """For pieces of up to ``size`` bytes: 40 bytes each."""
        return cls(np.empty(SCANNED, np.int32), np.empty((4, size), np.int32), np.empty(3 * size, np.uint64))


_FREE: Final = np.uint64(0xFFFFFFFFFFFFFFFF)
_HALF: Final = np.uint64(32)
_LOW: Final = np.uint64(0xFFFFFFFF)
_MIX: Final = np.uint64(0x9E3779B97F4A7C15)


@inlined
def _place(keys: Any, key: Any) -> int:
    mask = len(keys) - 1
    place = np.int64((key * _MIX) >> _HALF) & mask
    while keys[place] != key and keys[place] != _FREE:
        place = (place + 1) & mask
    return int(place)


@inlined
def _rank(merges: Any, left: int, right: int) -> int:
    """The rank of the merge of two ids."""
    key = np.uint64(left) << _HALF | np.uint64(right)
    place = _place(merges.keys, key)
    return int(merges.ranks[place]) if merges.keys[place] == key else NONE


@kernel
def fill(keys: Any, ranks: Any, pairs: Any) -> None:
    """Fill the hash table with pairs, int64 (merges, 2), whose place is their rank; the last of equal ones counts."""
    keys[:] = _FREE
    for rank in range(len(pairs)):
        key = np.uint64(pairs[rank, 0]) << _HALF | np.uint64(pairs[rank, 1])
        place = _place(keys, key)
        keys[place] = key
        ranks[place] = rank


@kernel
def merge_short(data: Any, start: int, end: int, merges: Any, ranks: Any, out: Any, at: int) -> int:
    """The ids of a piece of up to SCANNED bytes, written to ``out[at:]``, which has room for a byte each; their number.

    ``ranks``: int32 (SCANNED,), scratch: that of the pair which begins at each id.
    """
    size = end - start
    for i in range(size):
        out[at + i] = merges.byte_ids[data[start + i]]
    for i in range(size - 1):
        ranks[i] = merges.first[np.int64(data[start + i]) << 8 | np.int64(data[start + i + 1])]
    while size > 1:
        best = NONE
        where = 0
        for i in range(size - 1):
            if ranks[i] < best:
                best = ranks[i]
                where = i
        if best == NONE:
            break
        out[at + where] = merges.made[best]
        size -= 1
        for i in range(where + 1, size):
            out[at + i] = out[at + i + 1]
            ranks[i] = ranks[i + 1]
        if where + 1 < size:
            ranks[where] = _rank(merges, out[at + where], out[at + where + 1])
        if where > 0:
            ranks[where - 1] = _rank(merges, out[at + where - 1], out[at + where])
    return int(size)


@kernel
def _push(heap: Any, size: int, item: Any) -> int:
    at = size
    while at > 0 and heap[(at - 1) >> 1] > item:
        heap[at] = heap[(at - 1) >> 1]
        at = (at - 1) >> 1
    heap[at] = item
    return size + 1


@kernel
def _pop(heap: Any, size: int) -> int:
    """Take the first one out of the heap, having read it; the new size."""
    size -= 1
    item = heap[size]
    at = 0
    while True:
        child = 2 * at + 1
        if child >= size:
            break
        if child + 1 < size and heap[child + 1] < heap[child]:
            child += 1
        if heap[child] >= item:
            break
        heap[at] = heap[child]
        at = child
    heap[at] = item
    return size


@kernel
def merge_long(data: Any, start: int, end: int, merges: Any, scratch: Any, out: Any, at: int) -> int:
    """As :func:`merge_short` for a piece of any size that ``scratch`` has room for."""
    size = end - start
    heap = scratch.heap
    ids, after, before, ranks = scratch.links[0], scratch.links[1], scratch.links[2], scratch.links[3]
    ranks[:size] = NONE
    waiting = 0
    for i in range(size):
        ids[i] = merges.byte_ids[data[start + i]]
        after[i] = i + 1
        before[i] = i - 1
    for i in range(size - 1):
        ranks[i] = merges.first[np.int64(data[start + i]) << 8 | np.int64(data[start + i + 1])]
        if ranks[i] != NONE:
            waiting = _push(heap, waiting, np.uint64(ranks[i]) << _HALF | np.uint64(i))
    while waiting > 0:
        rank = int(heap[0] >> _HALF)
        i = int(heap[0] & _LOW)
        waiting = _pop(heap, waiting)
        if ranks[i] != rank:
            continue  # one of the two has been merged with another meanwhile
        right = int(after[i])
        ids[i] = merges.made[rank]
        ranks[right] = NONE
        follower = int(after[right])
        after[i] = follower
        ranks[i] = NONE
        if follower < size:
            before[follower] = i
            ranks[i] = _rank(merges, ids[i], ids[follower])
            if ranks[i] != NONE:
                waiting = _push(heap, waiting, np.uint64(ranks[i]) << _HALF | np.uint64(i))
        left = int(before[i])
        if left >= 0:
            ranks[left] = _rank(merges, ids[left], ids[i])
            if ranks[left] != NONE:
                waiting = _push(heap, waiting, np.uint64(ranks[left]) << _HALF | np.uint64(left))
    count = 0
    i = 0
    while i < size:
        out[at + count] = ids[i]
        count += 1
        i = int(after[i])
    return int(count)
