"""Which documents make up a group's part: whole passes over it, and for the rest those whose draw is lowest."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

Ints = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Survey:
    """What is known of every document of all corpora, in their order: one entry each.

    ``group`` counts the groups in the order of their names, ``size`` is in bytes of UTF-8, ``draw`` a number in [0, 1)
    by the document's id, ``text`` and ``name`` (rows, 2) uint64 are hashes of text and id, ``train`` says which
    documents are to learn from.
    """

    group: Ints
    size: Ints
    draw: npt.NDArray[np.float64]
    text: npt.NDArray[np.uint64]
    name: npt.NDArray[np.uint64]
    train: npt.NDArray[np.bool_]

    def first(self) -> npt.NDArray[np.bool_]:
        """Which documents have neither the id nor the text of an earlier one: (rows,) bool."""
        return _first(self.text) & _first(self.name)


def _first(keys: npt.NDArray[np.uint64]) -> npt.NDArray[np.bool_]:
    order = np.lexsort((keys[:, 1], keys[:, 0]))  # stable: of equal keys, the earliest document comes first
    ordered = keys[order]
    fresh = np.ones(len(keys), dtype=bool)
    fresh[1:] = np.any(ordered[1:] != ordered[:-1], axis=1)
    result = np.zeros(len(keys), dtype=bool)
    result[order] = fresh
    return result


def copies(draw: npt.NDArray[np.float64], size: Ints, epochs: float) -> npt.NDArray[np.int32]:
    """How often each document of a group is read, int32 (documents,), so that the group is read ``epochs`` times.

    The last, broken pass takes the documents of the lowest draws, as many as come nearest to its size. So a larger
    mixture with the same seed holds every document that a smaller one does.

    >>> copies(np.array([0.9, 0.1, 0.5]), np.array([10, 10, 10]), 2.33).tolist()
    [2, 3, 2]
    """
    whole = int(epochs)
    rest = (epochs - whole) * float(size.sum())
    order = np.argsort(draw, kind="stable")
    ends: npt.NDArray[Any] = np.cumsum(size[order])
    taken = np.full(len(draw), whole, dtype=np.int32)
    taken[order[ends - size[order] / 2 <= rest]] += 1
    return taken
