"""The hash table of pieces and how it grows; what it holds is in :mod:`.table_kernels`."""

from __future__ import annotations

from typing import Final

import numpy as np

from groundup.text.bpe import table_kernels as kernels
from groundup.text.bpe.table_kernels import LONG, POOLED, SHORT, USED, Table

_FIRST_SLOTS: Final = 1 << 14
_FIRST_POOL: Final = 1 << 16
_FIRST_LONG: Final = 1 << 12


class PieceTable:
    """A growing table with ``width - 2`` words of value a piece."""

    def __init__(self, width: int) -> None:
        self._width = width
        self.table = self._empty()

    @property
    def nbytes(self) -> int:
        """Memory now. Growing doubles one of the arrays, and needs the old one beside it meanwhile."""
        return self.table.slots.nbytes + self.table.pool.nbytes + self.table.starts.nbytes

    def __len__(self) -> int:
        return int(self.table.sizes[USED])

    def clear(self) -> None:
        """Forget all pieces, and give the memory back."""
        self.table = self._empty()

    def make_room(self, size: int) -> None:
        """Grow until a piece of ``size`` bytes can be put in."""
        slots, pool, starts, sizes = self.table
        if 2 * (sizes[USED] + 1) > len(slots):
            larger = np.zeros((2 * len(slots), self._width), np.uint64)
            kernels.move(slots, larger)
            slots = larger
        if size > SHORT and sizes[LONG] + 2 > len(starts):
            starts = np.concatenate([starts, np.zeros_like(starts)])
        if size > SHORT and sizes[POOLED] + size > len(pool):
            pool = np.concatenate([pool, np.zeros(max(len(pool), size), np.uint8)])
        self.table = Table(slots, pool, starts, sizes)

    def _empty(self) -> Table:
        return Table(
            np.zeros((_FIRST_SLOTS, self._width), np.uint64),
            np.zeros(_FIRST_POOL, np.uint8),
            np.zeros(_FIRST_LONG, np.int64),
            np.zeros(3, np.int64),
        )
