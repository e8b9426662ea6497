"""True Jaccard similarity of pairs of documents, from shingle sets that need not be in memory."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final, Protocol

import numpy as np
from numpy.typing import NDArray

from groundup.stages.curate.duplicates.minhash import shingle_sets
from groundup.stages.curate.engine.columns import Lists, Texts

Ints = NDArray[np.int64]

BUDGET: Final = 1 << 24
"""Shingle hashes in memory at a time: 128 MiB."""


class ShingleStore(Protocol):
    """Where the shingle sets of documents are, by document number."""

    def sizes(self, documents: Ints) -> Ints:
        """About how many shingles each document has, or more: to tell how many fit in memory."""
        ...

    def load(self, documents: Ints) -> Lists:
        """The shingle sets of documents, in the order asked for: distinct uint64, ascending."""
        ...


@dataclass(frozen=True)
class ShingleTable:
    """A store of sets that were made before, in memory or mapped from a file (np.memmap)."""

    sets: Lists

    def sizes(self, documents: Ints) -> Ints:
        """How many shingles each document has."""
        offsets = self.sets.offsets
        return np.asarray(offsets[documents + 1] - offsets[documents])

    def load(self, documents: Ints) -> Lists:
        """The shingle sets of documents."""
        return Lists(*_gathered(self.sets.values, self.sets.offsets, documents))


@dataclass(frozen=True)
class TextTable:
    """A store that shingles texts when asked to: no set is ever written. ``rows`` may be mapped from an Arrow file."""

    rows: Texts
    shingle_words: int

    def sizes(self, documents: Ints) -> Ints:
        """The most shingles that so many bytes can have."""
        offsets = self.rows.offsets
        return np.asarray((offsets[documents + 1] - offsets[documents]) // 2 + 1)

    def load(self, documents: Ints) -> Lists:
        """The shingle sets of documents."""
        return shingle_sets(Texts(*_gathered(self.rows.data, self.rows.offsets, documents)), self.shingle_words)


def verify_pairs(pairs: Ints, store: ShingleStore, min_jaccard: float, budget: int = BUDGET) -> NDArray[np.float64]:
    """The Jaccard similarity of each pair of documents, (pairs,) float64; 0 where it is below ``min_jaccard``.

    ``pairs`` is (pairs, 2). Sets are loaded in the order of the second document, then the first, each once a batch;
    a batch holds at most ``budget`` hashes, or one pair.
    """
    from groundup.stages.curate.duplicates import near_kernels
    from groundup.stages.curate.duplicates.compiled import read_only

    order = np.lexsort((pairs[:, 0], pairs[:, 1]))
    found = np.zeros(len(pairs), np.float64)
    ordered = pairs[order]
    for start, stop in _batches(ordered, store, budget):
        batch = ordered[start:stop]
        documents, places = np.unique(batch, return_inverse=True)
        sets = store.load(documents)
        left, right = np.ascontiguousarray(places.reshape(-1, 2).T)
        out = np.empty(stop - start, np.float64)
        values, offsets, left, right = read_only(*sets, left, right)
        near_kernels.jaccards(values, offsets, left, right, min_jaccard, out)
        found[order[start:stop]] = out
    return found


def _batches(pairs: Ints, store: ShingleStore, budget: int) -> list[tuple[int, int]]:
    if not len(pairs):
        return []
    cost = store.sizes(pairs[:, 0])
    leads = np.concatenate([[True], pairs[1:, 1] != pairs[:-1, 1]])
    cost = cost + np.where(leads, store.sizes(pairs[:, 1]), 0)
    batches = []
    start, spent = 0, 0
    for at, each in enumerate(cost.tolist()):
        if spent + each > budget and at > start:
            batches.append((start, at))
            start, spent = at, int(store.sizes(pairs[at : at + 1, 1])[0])
        spent += each
    return [*batches, (start, len(pairs))]


def _gathered(values: NDArray[Any], offsets: Ints, rows: Ints) -> tuple[NDArray[Any], Ints]:
    lengths = np.asarray(offsets[rows + 1] - offsets[rows])
    bounds = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    out = np.empty(int(bounds[-1]), values.dtype)
    for row, start, stop in zip(rows.tolist(), bounds[:-1].tolist(), bounds[1:].tolist(), strict=True):
        first = int(offsets[row])
        out[start:stop] = values[first : first + stop - start]
    return out, bounds
