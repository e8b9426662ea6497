"""What learning merges keeps count with, compiled: a hash table of pairs, and the queue of them.

Both are flat arrays, as long as Python made them; ``state`` (int64) says how much of them is filled.
"""

from __future__ import annotations

from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from groundup.text.bpe.jit import inlined, kernel

# What ``state``, int64, holds.
IDS: Final = 0
MERGES: Final = 1
QUEUED: Final = 2
STORED: Final = 3
PAIRS: Final = 4
SPELT: Final = 5
WANTED: Final = 6
STATE: Final = 7


class Pairs(NamedTuple):
    """A hash table of neighbours: left id << 32 | right id, or -1; how often they stand together; and, while a merge
    is under way, how many places of the pair it made."""

    keys: NDArray[np.int64]
    counts: NDArray[np.int64]
    fresh: NDArray[np.int64]


class Queue(NamedTuple):
    """A binary heap, most frequent pair first, then the least. Item i has its places in ``sizes[i]`` positions from
    ``starts[i]`` on; ``counts[i]`` is what its count was when it was put in."""

    counts: NDArray[np.int64]
    keys: NDArray[np.int64]
    starts: NDArray[np.int64]
    sizes: NDArray[np.int64]


_MIX: Final = np.uint64(0x9E3779B97F4A7C15)
_HALF: Final = np.uint64(32)


@inlined
def key_of(left: int, right: int) -> Any:
    return np.int64(left) << 32 | np.int64(right)


@inlined
def find(keys: Any, key: int) -> int:
    """The slot of a pair, or the free one where it belongs."""
    mask = len(keys) - 1
    at = np.int64((np.uint64(key) * _MIX) >> _HALF) & mask
    while keys[at] != -1 and keys[at] != key:
        at = (at + 1) & mask
    return at  # type: ignore[return-value]


@kernel
def rehash(old: Any, new: Any) -> int:
    """Move the pairs that there still are into a larger table; how many."""
    moved = 0
    for slot in range(len(old.keys)):
        if old.keys[slot] != -1 and old.counts[slot] > 0:
            at = find(new.keys, old.keys[slot])
            new.keys[at] = old.keys[slot]
            new.counts[at] = old.counts[slot]
            new.fresh[at] = old.fresh[slot]
            moved += 1
    return moved


@inlined
def _before(count: int, key: int, other_count: int, other_key: int) -> bool:
    return count > other_count or (count == other_count and key < other_key)


@kernel
def push(state: Any, queue: Any, count: int, key: int, start: int, size: int) -> None:
    at = state[QUEUED]
    state[QUEUED] += 1
    while at > 0:
        parent = (at - 1) >> 1
        if not _before(count, key, queue.counts[parent], queue.keys[parent]):
            break
        _move(queue, parent, at)
        at = parent
    _put(queue, at, count, key, start, size)


@inlined
def _move(queue: Any, source: int, target: int) -> None:
    queue.counts[target] = queue.counts[source]
    queue.keys[target] = queue.keys[source]
    queue.starts[target] = queue.starts[source]
    queue.sizes[target] = queue.sizes[source]


@inlined
def _put(queue: Any, at: int, count: int, key: int, start: int, size: int) -> None:
    queue.counts[at] = count
    queue.keys[at] = key
    queue.starts[at] = start
    queue.sizes[at] = size


@kernel
def sink(state: Any, queue: Any, count: int, key: int, start: int, size: int) -> None:
    """Put an item where the first one was."""
    number, at = state[QUEUED], 0
    while True:
        child = 2 * at + 1
        if child >= number:
            break
        if child + 1 < number and _before(
            queue.counts[child + 1], queue.keys[child + 1], queue.counts[child], queue.keys[child]
        ):
            child += 1
        if not _before(queue.counts[child], queue.keys[child], count, key):
            break
        _move(queue, child, at)
        at = child
    _put(queue, at, count, key, start, size)


@kernel
def pop(state: Any, queue: Any) -> None:
    state[QUEUED] -= 1
    last = state[QUEUED]
    if last > 0:
        sink(state, queue, queue.counts[last], queue.keys[last], queue.starts[last], queue.sizes[last])
