"""The ids of a column of texts, flat."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple, Self

import numpy as np
from numpy.typing import NDArray


class Encoded(NamedTuple):
    """Row i has ``ids[bounds[i]:bounds[i + 1]]``. ``ids``: uint32; ``bounds``: int64 (rows + 1,)."""

    ids: NDArray[np.uint32]
    bounds: NDArray[np.int64]

    @classmethod
    def of(cls, rows: Iterable[Sequence[int]]) -> Self:
        """From a list of ids a row."""
        parts = [np.asarray(row, np.uint32) for row in rows]
        bounds = np.zeros(len(parts) + 1, np.int64)
        np.cumsum([len(part) for part in parts], out=bounds[1:])
        return cls(np.concatenate([np.empty(0, np.uint32), *parts]), bounds)

    @property
    def num_rows(self) -> int:
        """Rows."""
        return len(self.bounds) - 1

    def row(self, index: int) -> NDArray[np.uint32]:
        """The ids of a row, a view."""
        return self.ids[self.bounds[index] : self.bounds[index + 1]]

    def lists(self) -> list[list[int]]:
        """A list of ids a row."""
        flat: list[int] = self.ids.tolist()
        return [flat[start:end] for start, end in zip(self.bounds[:-1].tolist(), self.bounds[1:].tolist(), strict=True)]

    def with_rows(self, places: NDArray[np.int64], other: Encoded) -> Encoded:
        """With the rows of ``other`` at ``places`` (ascending), where there are none so far."""
        sizes = np.diff(self.bounds)
        sizes[places] = np.diff(other.bounds)
        bounds = np.zeros_like(self.bounds)
        np.cumsum(sizes, out=bounds[1:])
        theirs = np.zeros(self.num_rows, np.bool_)
        theirs[places] = True
        taken = np.repeat(theirs, sizes)
        ids = np.empty(int(bounds[-1]), np.uint32)
        ids[taken] = other.ids
        ids[~taken] = self.ids
        return Encoded(ids, bounds)
