"""Counting pieces in a table (:mod:`.table_kernels`), compiled: ``slot[2]`` is how often a piece was there."""

from __future__ import annotations

from typing import Any

import numpy as np

from groundup.text.bpe.jit import kernel
from groundup.text.bpe.split_kernels import is_kept, piece_end
from groundup.text.bpe.table_kernels import find, has_room, key_of, put

ROW, AT = range(2)
"""Places in ``position``: the row, and the byte in it (before the row: at its beginning)."""


@kernel
def count_rows(texts: Any, split: Any, table: Any, chain: Any, position: Any, weight: int) -> int:
    """Count from ``position`` on. 0 when all rows are done; else the bytes of a piece that there is no room for.

    ``chain``: the ends and flags of :mod:`.split_kernels`.
    """
    data, offsets = texts
    ends, kept = chain
    classes, entries, drops, block, width = split
    slots, pool, starts, _ = table
    row, at = position[ROW], position[AT]
    needed = 0
    while row < len(offsets) - 1:
        if at <= offsets[row]:
            at = offsets[row]
            ends[:] = at
            ends[0] = offsets[row + 1]
        while at < ends[0]:
            stop = piece_end(data, at, ends, kept, drops, classes, entries, block, width)
            if is_kept(kept):
                low, high = key_of(data, at, stop)
                slot, known = find(slots, pool, starts, data, at, stop, low, high, len(slots))
                if not known:
                    if not has_room(table, stop - at):
                        needed = stop - at
                        break
                    put(table, slot, data, at, stop, low, high)
                    slots[slot, 2] = np.uint64(0)
                slots[slot, 2] += np.uint64(weight)
            at = stop
        if needed:
            break
        row += 1
        at = -1
    position[ROW] = row
    position[AT] = at
    return needed
