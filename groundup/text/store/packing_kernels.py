"""The compiled part of best-fit packing: a search for the fullest row with room.

Arrays: ``lengths`` int64 (n,) of pieces; ``order`` int64 (n,) from the longest to the shortest; ``tree`` uint8, a
binary tree in an array whose leaf r says whether some row has exactly r free positions and whose inner nodes say so of
all leaves below; ``top`` int64 (seq_len + 1,), the latest row with r free positions, and ``below`` int64 (n,), the one
before it, -1 for none.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from groundup.base.errors import missing_extra

try:
    import numba  # type: ignore[import-untyped,unused-ignore]
except ModuleNotFoundError:
    raise missing_extra("numba", "tokenize") from None

Numbers = npt.NDArray[np.int64]


def best_fit(lengths: Numbers, order: Numbers, seq_len: int) -> Numbers:
    """The row of each piece, int64 (n,), numbered as rows were begun. Pieces have 1 to ``seq_len`` tokens."""
    leaves = 1 << (seq_len + 1).bit_length()
    rows = np.empty(len(lengths), np.int64)
    _best_fit(
        lengths, order, seq_len, leaves, np.zeros(2 * leaves, np.uint8), np.full(seq_len + 1, -1, np.int64),
        np.full(len(lengths), -1, np.int64), rows,
    )  # fmt: skip
    return rows


@numba.njit(cache=True, nogil=True)  # type: ignore[untyped-decorator,unused-ignore]
def _best_fit(lengths: Any, order: Any, seq_len: int, leaves: int, tree: Any, top: Any, below: Any, rows: Any) -> int:
    count = 0
    for piece in order:
        length = lengths[piece]
        free = _least(tree, leaves, length)
        if free < 0:
            row, free = count, seq_len
            count += 1
        else:
            row = top[free]
            top[free] = below[row]
            if top[free] < 0:
                _mark(tree, leaves, free, 0)
        rows[piece] = row
        left = free - length
        if left > 0:
            below[row] = top[left]
            if top[left] < 0:
                _mark(tree, leaves, left, 1)
            top[left] = row
    return count


@numba.njit(cache=True, nogil=True)  # type: ignore[untyped-decorator,unused-ignore]
def _least(tree: Any, leaves: int, wanted: int) -> int:
    """The smallest marked leaf that is ``wanted`` or more, -1 if there is none."""
    node = leaves + wanted
    if tree[node]:
        return wanted
    while node > 1:  # up until there is something to the right
        if node % 2 == 0 and tree[node + 1]:
            node += 1
            while node < leaves:  # and down to its leftmost
                node *= 2
                if not tree[node]:
                    node += 1
            return node - leaves
        node //= 2
    return -1


@numba.njit(cache=True, nogil=True)  # type: ignore[untyped-decorator,unused-ignore]
def _mark(tree: Any, leaves: int, leaf: int, value: int) -> None:
    node = leaves + leaf
    tree[node] = value
    while node > 1:
        node //= 2
        tree[node] = tree[2 * node] | tree[2 * node + 1]
