"""A hash table whose keys are pieces of text, compiled. Keys are compared in full: a hash never stands for a piece.

A slot is a row of uint64. A piece of up to 15 bytes is its own key: ``slot[0]`` holds its first eight bytes,
``slot[1]`` the others and, in the topmost byte, how many there are. Of a longer one ``slot[0]`` is the hash, and
``slot[1]`` the number of its entry below a topmost byte of 255; the bytes of entry e are
``pool[starts[e]:starts[e + 1]]``. A slot whose ``slot[1]`` is 0 is free. What stands behind is the value. Collisions go
to the next slot.
"""

from __future__ import annotations

from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from groundup.text.bpe.jit import inlined, kernel

SHORT: Final = 15
"""The longest piece that is its own key, in bytes."""
USED, LONG, POOLED = range(3)


class Table(NamedTuple):
    """``slots``: uint64 (n, 3 or 4), n a power of two; ``pool``: uint8; ``starts``: int64; ``sizes``: int64 (3,), the
    slots that are taken, the entries of long pieces, and their bytes."""

    slots: NDArray[np.uint64]
    pool: NDArray[np.uint8]
    starts: NDArray[np.int64]
    sizes: NDArray[np.int64]


_LONG_MARK: Final = np.uint64(0xFF << 56)
_ENTRY: Final = np.uint64((1 << 56) - 1)
_TOP: Final = np.uint64(56)
_FREE: Final = np.uint64(0)
# Odd multipliers: the golden ratio's, and two of splitmix64 (Steele et al. 2014).
_MIX0: Final = np.uint64(0x9E3779B97F4A7C15)
_MIX1: Final = np.uint64(0xBF58476D1CE4E5B9)
_MIX2: Final = np.uint64(0x94D049BB133111EB)
_FOLD: Final = np.uint64(32)


@inlined
def key_of(data: Any, start: int, end: int) -> Any:
    """The two words by which ``data[start:end]`` is looked up."""
    size = end - start
    low = np.uint64(0)
    high = np.uint64(0)
    if size <= SHORT:
        for i in range(min(size, 8)):
            low |= np.uint64(data[start + i]) << np.uint64(8 * i)
        for i in range(8, size):
            high |= np.uint64(data[start + i]) << np.uint64(8 * i - 64)
        return low, high | np.uint64(size) << _TOP
    for i in range(start, end):
        low = (low ^ np.uint64(data[i])) * _MIX1
        low ^= low >> _FOLD
    return low, _LONG_MARK


@inlined
def home(low: Any, high: Any, mask: int) -> int:
    """The slot where the search for a key begins."""
    if high >= _LONG_MARK:
        high = _LONG_MARK
    mixed = (low * _MIX0) ^ (high * _MIX2)
    mixed = (mixed ^ (mixed >> _FOLD)) * _MIX1
    return int(np.int64(mixed >> _FOLD) & mask)


@inlined
def find(
    slots: Any, pool: Any, starts: Any, data: Any, start: int, end: int, low: Any, high: Any, limit: int
) -> tuple[int, bool]:
    """(slot, whether it holds the piece). If not, the slot is free, or -1 if none of the first ``limit`` is."""
    mask = len(slots) - 1
    slot = home(low, high, mask)
    for _ in range(limit):
        there = slots[slot, 1]
        if there == _FREE:
            return slot, False
        if slots[slot, 0] == low:
            if high < _LONG_MARK:
                if there == high:
                    return slot, True
            elif there >= _LONG_MARK:
                entry = np.int64(there & _ENTRY)
                first = starts[entry]
                if starts[entry + 1] - first == end - start:
                    same = True
                    for i in range(end - start):
                        if pool[first + i] != data[start + i]:
                            same = False
                            break
                    if same:
                        return slot, True
        slot = (slot + 1) & mask
    return -1, False


@kernel
def has_room(table: Any, size: int) -> bool:
    """Whether a new piece of ``size`` bytes may be put in: at most half of the slots are taken."""
    slots, pool, starts, sizes = table
    if 2 * (sizes[USED] + 1) > len(slots):
        return False
    return bool(size <= SHORT or (sizes[LONG] + 2 <= len(starts) and sizes[POOLED] + size <= len(pool)))


@kernel
def put(table: Any, slot: int, data: Any, start: int, end: int, low: Any, high: Any) -> None:
    """Write a new piece into a free slot; there is room for it. Its value is left as it is."""
    slots, pool, starts, sizes = table
    slots[slot, 0] = low
    slots[slot, 1] = high
    sizes[USED] += 1
    if high >= _LONG_MARK:
        entry, first = sizes[LONG], sizes[POOLED]
        slots[slot, 1] = _LONG_MARK | np.uint64(entry)
        for i in range(end - start):
            pool[first + i] = data[start + i]
        starts[entry + 1] = first + end - start
        sizes[LONG] += 1
        sizes[POOLED] += end - start


@kernel
def move(old: Any, new: Any) -> None:
    """Copy all slots that are taken into a larger array of free ones."""
    mask = len(new) - 1
    for i in range(len(old)):
        if old[i, 1] != _FREE:
            slot = home(old[i, 0], old[i, 1], mask)
            while new[slot, 1] != _FREE:
                slot = (slot + 1) & mask
            for word in range(old.shape[1]):
                new[slot, word] = old[i, word]


@kernel
def read_keys(table: Any, order: Any, data: Any, offsets: Any) -> None:
    """The pieces of all taken slots, back to back in ``data`` and in order of slots; ``order``: their slots."""
    slots, pool, starts, _ = table
    count = 0
    at = 0
    for i in range(len(slots)):
        high = slots[i, 1]
        if high == _FREE:
            continue
        if high >= _LONG_MARK:
            entry = np.int64(high & _ENTRY)
            size = starts[entry + 1] - starts[entry]
            for byte in range(size):
                data[at + byte] = pool[starts[entry] + byte]
        else:
            size = np.int64(high >> _TOP)
            for byte in range(size):
                word = slots[i, 0] if byte < 8 else high
                data[at + byte] = np.uint8((word >> np.uint64(8 * (byte & 7))) & np.uint64(0xFF))
        at += size
        order[count] = i
        count += 1
        offsets[count] = at


@kernel
def bytes_of_keys(table: Any) -> int:
    """The bytes of all pieces together."""
    total = table.sizes[POOLED]
    for i in range(len(table.slots)):
        high = table.slots[i, 1]
        if high < _LONG_MARK:
            total += np.int64(high >> _TOP)
    return int(total)
