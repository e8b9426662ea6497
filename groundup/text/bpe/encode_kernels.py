"""Rows of text to ids, compiled: cut a piece, look it up among the pieces seen before, else merge it and remember it.

The value of a remembered piece (:mod:`.table_kernels`) are its ids: up to three of them stand in the slot itself,
``slot[2]`` = first | second << 32 and ``slot[3]`` = third | how many << 32. Of more, ``slot[2]`` says where they begin
in ``Memory.ids``.
"""

from __future__ import annotations

from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from groundup.text.bpe.jit import inlined, kernel
from groundup.text.bpe.merge_kernels import SCANNED, Merges, merge_long, merge_short
from groundup.text.bpe.split_kernels import is_kept, piece_end
from groundup.text.bpe.table_kernels import Table, find, has_room, key_of, put

ROW, AT, COUNT, NEEDED = range(4)
"""Places in ``position``: the row, the byte in it, ids written so far; the bytes of the piece that found no room."""
DONE, NEEDS_MEMORY, NEEDS_SCRATCH, NEEDS_OUT = range(4)
"""Why the kernel came back."""
REMEMBERED: Final = 1024
"""Longer pieces, in bytes, are merged anew each time: they hardly ever come again."""
INLINE: Final = 3
_PROBES: Final = 64
_HALF: Final = np.uint64(32)
_LOW: Final = np.uint64(0xFFFFFFFF)


class Memory(NamedTuple):
    """``table``: the pieces seen so far, four words a slot; ``ids``: uint32, those of pieces with more than three;
    ``used``: int64 (1,), how many of them."""

    table: Table
    ids: NDArray[np.uint32]
    used: NDArray[np.int64]


class Model(NamedTuple):
    """``merges``; ``whole``: the vocabulary's pieces (three words a slot), which are encoded as they are if they are a
    whole piece; empty unless the tokenizer ignores merges for them."""

    merges: Merges
    whole: Table


@kernel
def _encode_piece(
    data: Any, start: int, end: int, low: Any, high: Any, model: Any, scratch: Any, out: Any, at: int
) -> int:
    """The ids of a piece that isn't remembered, written to ``out[at:]``; their number."""
    whole = model.whole
    if whole.sizes[0] > 0:
        slot, known = find(whole.slots, whole.pool, whole.starts, data, start, end, low, high, len(whole.slots))
        if known:
            out[at] = np.uint32(whole.slots[slot, 2])
            return 1
    if end - start <= SCANNED:
        return int(merge_short(data, start, end, model.merges, scratch.ranks, out, at))
    return int(merge_long(data, start, end, model.merges, scratch, out, at))


@kernel
def _remember(memory: Any, slot: int, out: Any, at: int, count: int) -> None:
    """Write the value of a piece: ``out[at:at + count]``."""
    slots, ids, used = memory.table.slots, memory.ids, memory.used
    size = np.uint64(count) << _HALF
    if count > INLINE:
        slots[slot, 2] = np.uint64(used[0])
        slots[slot, 3] = size
        for i in range(count):
            ids[used[0] + i] = out[at + i]
        used[0] += count
        return
    slots[slot, 2] = np.uint64(out[at])
    slots[slot, 3] = size
    if count > 1:
        slots[slot, 2] |= np.uint64(out[at + 1]) << _HALF
    if count > 2:
        slots[slot, 3] |= np.uint64(out[at + 2])


@inlined
def _recall(slots: Any, ids: Any, slot: int, out: Any, at: int) -> int:
    """Write the ids of a remembered piece to ``out[at:]``; their number."""
    first, second = slots[slot, 2], slots[slot, 3]
    count = np.int64(second >> _HALF)
    if count <= INLINE:
        # Writing three is faster than asking how many; what is too much is overwritten.
        out[at] = np.uint32(first & _LOW)
        out[at + 1] = np.uint32(first >> _HALF)
        out[at + 2] = np.uint32(second & _LOW)
    else:
        start = np.int64(first)
        for i in range(count):
            out[at + i] = ids[start + i]
    return int(count)


@kernel
def _encode_new(
    data: Any, start: int, end: int, key: Any, slot: int, model: Any, memory: Any, scratch: Any, out: Any, at: int
) -> int:
    """Encode a piece and remember it in ``slot`` (-1: nowhere); the number of ids, or minus the reason to come back."""
    low, high = key
    size = end - start
    remembers = slot >= 0 and size <= REMEMBERED
    if remembers and not (has_room(memory.table, size) and memory.used[0] + size <= len(memory.ids)):
        return -NEEDS_MEMORY
    if size > scratch.links.shape[1]:
        return -NEEDS_SCRATCH
    count = _encode_piece(data, start, end, low, high, model, scratch, out, at)
    if remembers:
        put(memory.table, slot, data, start, end, low, high)
        _remember(memory, slot, out, at, count)
    return count


@kernel
def encode_rows(
    texts: Any,
    skip: Any,
    split: Any,
    model: Any,
    memory: Any,
    chain: Any,
    scratch: Any,
    position: Any,
    out: Any,
    bounds: Any,
) -> int:
    """Encode from ``position`` on until all rows are done, or there is no room: then make it and call again.

    ``skip``: bool (rows,), rows that get no ids. ``chain``: the ends and flags of :mod:`.split_kernels`.
    ``out``: uint32; ``bounds``: int64 (rows + 1,), filled with the number of ids up to the end of each row, counted
    from the start of ``out``.
    """
    # Taken out of their tuples once: in the loop that would cost more than the look-up.
    data, offsets = texts
    ends, kept = chain
    classes, entries, drops, block, width = split
    slots, pool, starts, _ = memory.table
    ids = memory.ids
    row, at, count = position[ROW], position[AT], position[COUNT]
    reason = DONE
    while row < len(offsets) - 1:
        if at <= offsets[row]:
            at = offsets[row]
            ends[:] = at
            ends[0] = at if skip[row] else offsets[row + 1]
        while at < ends[0]:
            stop = piece_end(data, at, ends, kept, drops, classes, entries, block, width)
            if count + stop - at + INLINE > len(out):
                reason = NEEDS_OUT
            elif is_kept(kept):
                low, high = key_of(data, at, stop)
                slot, known = find(slots, pool, starts, data, at, stop, low, high, _PROBES)
                if known:
                    count += _recall(slots, ids, slot, out, count)
                else:
                    written = _encode_new(data, at, stop, (low, high), slot, model, memory, scratch, out, count)
                    if written < 0:
                        reason = -written
                    else:
                        count += written
            if reason != DONE:
                position[NEEDED] = stop - at
                break
            at = stop
        if reason != DONE:
            break
        row += 1
        bounds[row] = count
        at = -1
    position[ROW] = row
    position[AT] = at
    position[COUNT] = count
    return reason


@kernel
def fill_whole(table: Any, data: Any, offsets: Any, ids: Any) -> None:
    """Put the tokens ``data[offsets[i]:offsets[i + 1]]`` with their ids into an empty table that has room for them."""
    for i in range(len(ids)):
        low, high = key_of(data, offsets[i], offsets[i + 1])
        slot, known = find(
            table.slots, table.pool, table.starts, data, offsets[i], offsets[i + 1], low, high, len(table.slots)
        )
        if not known:
            put(table, slot, data, offsets[i], offsets[i + 1], low, high)
            table.slots[slot, 2] = np.uint64(ids[i])
