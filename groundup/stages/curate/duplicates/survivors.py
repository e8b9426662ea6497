"""Which of the near duplicates stay.

Documents are numbered by their right to stay: the longest first, the lower id first among equals
(:func:`by_right_to_stay`). Taken in that order, a document goes if its true Jaccard similarity with a document that
*stays* and shares a band with it reaches the threshold; else it stays. So no chain of likenesses pulls unlike documents
into one cluster: what was dropped is in the corpus in nearly the same words, and a cluster is a survivor and all that
is like it. (Connected components, as datatrove, text-dedup and Curator take them, drop c for a with a ~ b ~ c alone.)

In a bucket of a band a document is compared with the first ``most`` that stay, so a bucket of any size costs linear
time. That, too, is a rule about survivors alone: the outcome depends on the numbers, the buckets and the sets, not on
the order of the work.

The rule is sequential; the work is not. A round asks of every undecided document and bucket the one comparison that it
waits for, with the first document of the bucket that is not dropped; the pairs are verified together, in the order in
which a disk likes it; a sweep then decides what can be. Equal documents take two rounds whatever their number; the
last documents of a bucket of unlike ones take ``most``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from groundup.stages.curate.duplicates.minhash import Hashes, mixed
from groundup.stages.curate.duplicates.similarity import BUDGET, Ints, ShingleStore, verify_pairs

MOST_LEADERS: Final = 32
_NAMED_AT_ONCE: Final = 1 << 15
_SALTS: Final = (np.uint64(0x9E3779B97F4A7C15), np.uint64(0xD1B54A32D192ED03))


@dataclass(frozen=True)
class Buckets:
    """Documents that share a band key: ``members[offsets[i]:offsets[i + 1]]``, ascending, at least two in a bucket."""

    members: Ints
    offsets: Ints

    def __len__(self) -> int:
        """How many buckets there are."""
        return len(self.offsets) - 1


@dataclass(frozen=True)
class Twins:
    """What goes, ascending; the most alike document of those that stay (its cluster's name); how alike they are."""

    dropped: Ints
    survivor: Ints
    jaccard: NDArray[np.float64]


def by_right_to_stay(chars: Ints, ids: Sequence[str]) -> Ints:
    """The order of documents: the longest first, the lower id first among equals. (rows,) int64.

    >>> by_right_to_stay(np.array([3, 9, 3]), ["b", "c", "a"]).tolist()
    [1, 2, 0]
    """
    return np.lexsort((np.asarray(ids), -chars)).astype(np.int64)


def buckets_of(keys: Hashes, documents: Ints) -> Buckets:
    """The buckets of two or more in (band key, document) rows in any order; no document twice in one."""
    order = np.lexsort((documents, keys))
    keys, documents = keys[order], documents[order]
    if len(keys):
        again = (keys[1:] == keys[:-1]) & (documents[1:] == documents[:-1])
        fresh = np.concatenate([[True], ~again])
        keys, documents = keys[fresh], documents[fresh]
    starts = np.flatnonzero(np.concatenate([[True], keys[1:] != keys[:-1]])) if len(keys) else np.zeros(0, np.int64)
    sizes = np.diff(np.append(starts, len(keys)))
    return Buckets(documents[np.repeat(sizes > 1, sizes)], _bounds(sizes[sizes > 1]))


def joined(parts: Sequence[Buckets]) -> Buckets:
    """The buckets of all parts, equal ones once (copies of a document agree in every band).

    Buckets are told apart by 128 bits: the sums of two hashes of their members. Their order is of no consequence.
    """
    members = np.concatenate([np.zeros(0, np.int64), *(part.members for part in parts)])
    sizes = np.concatenate([np.zeros(0, np.int64), *(np.diff(part.offsets) for part in parts)])
    if not len(sizes):
        return Buckets(members, _bounds(sizes))
    starts = _bounds(sizes)[:-1]
    names = [np.add.reduceat(mixed(members.astype(np.uint64) + salt), starts) for salt in _SALTS]
    order = np.lexsort((*names, sizes))
    fresh = np.zeros(len(sizes), bool)
    fresh[order] = np.concatenate([[True], np.any([np.diff(name[order]) != 0 for name in (*names, sizes)], axis=0)])
    return Buckets(members[np.repeat(fresh, sizes)], _bounds(sizes[fresh]))


def survivors(
    buckets: Buckets, store: ShingleStore, min_jaccard: float, most: int = MOST_LEADERS, budget: int = BUDGET
) -> Twins:
    """The documents that go, each with the survivor that it is most like; of equal ones the one with most right.

    Memory: about 60 bytes an entry of a bucket, 16 a verified pair, and 8 times ``budget``.
    """
    if not len(buckets):
        return Twins(np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros(0))
    return _Search(buckets, store, min_jaccard, most, budget).run()


class _Search:
    """The state of a search. Documents are renumbered without gaps, in their order."""

    def __init__(self, buckets: Buckets, store: ShingleStore, min_jaccard: float, most: int, budget: int) -> None:
        self.store, self.min_jaccard, self.most, self.budget = store, min_jaccard, most, budget
        self.documents, members = np.unique(buckets.members, return_inverse=True)
        self.members = members.astype(np.int64)
        sizes = np.diff(buckets.offsets)
        self.starts = np.repeat(buckets.offsets[:-1], sizes)
        self.own = np.argsort(self.members, kind="stable").astype(np.int64)
        self.own_offsets = _bounds(np.bincount(self.members, minlength=len(self.documents)))
        self.state = np.zeros(len(self.documents), np.int8)
        self.skip = np.arange(len(self.members) + 1, dtype=np.int64)
        self.known_pairs = np.zeros(0, np.int64)
        self.known = np.zeros(0, np.float64)

    def run(self) -> Twins:
        from groundup.stages.curate.duplicates import near_kernels as near

        entries = len(self.members)
        cursor, verdict, seen = self.starts.copy(), np.zeros(entries, np.int8), np.zeros(entries, np.int64)
        asked = np.empty(entries, np.int64)
        layout = (self.members, self.starts, self.own, self.own_offsets, self.most)
        undecided = np.arange(len(self.documents), dtype=np.int64)
        while len(undecided):
            count = near.sweep(undecided, *layout, self.state, self.skip, cursor, verdict, seen, asked)
            open_entries = asked[:count]
            likeness = self._jaccard(self.members[open_entries], self.members[cursor[open_entries]])
            verdict[open_entries] = np.where(likeness >= self.min_jaccard, near.LIKE, near.UNLIKE)
            undecided = undecided[self.state[undecided] == near.UNDECIDED]
        return self._named(np.flatnonzero(self.state == near.DROPPED), layout)

    def _named(self, dropped: Ints, layout: tuple[Ints, Ints, Ints, Ints, int]) -> Twins:
        """The most alike survivor of each dropped document."""
        from groundup.stages.curate.duplicates import near_kernels as near

        survivor, best = np.zeros(len(dropped), np.int64), np.zeros(len(dropped), np.float64)
        for start in range(0, len(dropped), _NAMED_AT_ONCE):
            part = dropped[start : start + _NAMED_AT_ONCE]
            room = int(np.sum(self.own_offsets[part + 1] - self.own_offsets[part])) * self.most
            out = np.empty(room, np.int64)
            bounds = near.kept_ahead(part, *layout, self.skip, out)
            left, right = np.repeat(part, np.diff(bounds)), out[: bounds[-1]]
            likeness = self._jaccard(left, right)
            order = np.lexsort((right, -likeness, left))
            first = order[bounds[:-1]]  # every dropped document has one, and ``left`` ascends
            survivor[start : start + len(part)] = right[first]
            best[start : start + len(part)] = likeness[first]
        return Twins(self.documents[dropped], self.documents[survivor], best)

    def _jaccard(self, left: Ints, right: Ints) -> NDArray[np.float64]:
        """The similarity of each pair, verified once in the search however many bands it shares."""
        pairs: Ints
        pairs, places = np.unique(left * len(self.documents) + right, return_inverse=True)
        at: Ints = np.searchsorted(self.known_pairs, pairs)
        missing = np.ones(len(pairs), bool)
        inside = at < len(self.known_pairs)
        missing[inside] = self.known_pairs[at[inside]] != pairs[inside]
        fresh = pairs[missing]
        numbers = self.documents[np.stack(np.divmod(fresh, len(self.documents)), axis=1)]
        found = verify_pairs(numbers, self.store, self.min_jaccard, self.budget)
        self.known_pairs = np.insert(self.known_pairs, at[missing], fresh)
        self.known = np.insert(self.known, at[missing], found)
        asked: Ints = np.searchsorted(self.known_pairs, pairs)
        return np.asarray(self.known[asked][places.reshape(-1)])


def _bounds(sizes: Ints) -> Ints:
    return np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)
