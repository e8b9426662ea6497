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
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from groundup.stages.curate.duplicates.minhash import Hashes
from groundup.stages.curate.duplicates.similarity import BUDGET, Ints, ShingleStore, verify_pairs
from groundup.stages.curate.engine.ids import Words

MOST_LEADERS: Final = 32
_NAMED_AT_ONCE: Final = 1 << 15
_VERIFIED_AT_ONCE: Final = 1 << 20
_INT32: Final = np.iinfo(np.int32).max
_SALTS: Final = np.array([0x9E3779B97F4A7C15, 0xD1B54A32D192ED03], np.uint64)

Numbers = NDArray[Any]
"""Numbers of documents or places of entries: int32 where that is enough, else int64."""


@dataclass(frozen=True)
class Buckets:
    """Documents that share a band key: ``members[offsets[i]:offsets[i + 1]]``, ascending, at least two in a bucket."""

    members: Numbers
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


def by_right_to_stay(chars: Ints, ids: Sequence[str] | Words) -> Ints:
    """The order of documents: the longest first, the lower id first among equals. (rows,) int64.

    ``ids`` are strings, or (rows, 2) uint64 as :func:`.ids.id_words` makes them.

    >>> by_right_to_stay(np.array([3, 9, 3]), ["b", "c", "a"]).tolist()
    [1, 2, 0]
    """
    names = np.asarray(ids)
    columns = (names,) if names.ndim == 1 else (names[:, 1], names[:, 0])
    return np.lexsort((*columns, -chars)).astype(np.int64)


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

    What :func:`survivors` finds is the same with all of them: which documents one is compared with depends on the
    buckets that it is in, and an equal bucket has the same ones to offer. Buckets are told apart by 128 bits: the sums
    of two hashes of their members. Their order is of no consequence.

    Memory: that of the buckets twice, and 40 bytes a bucket.
    """
    from groundup.stages.curate.duplicates import near_kernels as near

    parts = [part for part in parts if len(part)]
    if not parts:
        return Buckets(np.zeros(0, np.int64), _bounds(np.zeros(0, np.int64)))
    members = np.concatenate([part.members for part in parts])
    sizes = np.concatenate([np.diff(part.offsets) for part in parts])
    names = np.empty((len(_SALTS), len(sizes)), np.uint64)
    near.names_of(members, _bounds(sizes), _SALTS, names)
    order = np.lexsort((*names, sizes))
    fresh = np.zeros(len(sizes), bool)
    fresh[order] = np.concatenate([[True], np.any([np.diff(name[order]) != 0 for name in (*names, sizes)], axis=0)])
    return Buckets(members[np.repeat(fresh, sizes)], _bounds(sizes[fresh]))


def survivors(
    buckets: Buckets, store: ShingleStore, min_jaccard: float, most: int = MOST_LEADERS, budget: int = BUDGET
) -> Twins:
    """The documents that go, each with the survivor that it is most like; of equal ones the one with most right.

    Memory: 29 bytes an entry of a bucket (a document in a bucket; 53 from 2^31 entries on), 33 a verified pair, 9 a
    document, 8 times ``budget``, and 200 MB.
    """
    if not len(buckets):
        return Twins(np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros(0))
    return _Search(buckets, store, min_jaccard, most, budget).run()


class _Search:
    """The state of a search. Documents are renumbered without gaps, in their order."""

    def __init__(self, buckets: Buckets, store: ShingleStore, min_jaccard: float, most: int, budget: int) -> None:
        from groundup.stages.curate.duplicates import near_kernels as near

        self.store, self.min_jaccard, self.most, self.budget = store, min_jaccard, most, budget
        entries = len(buckets.members)
        self.kind: type[np.signedinteger[Any]] = np.int32 if entries < _INT32 else np.int64
        self.documents, self.members = _without_gaps(buckets.members, self.kind)
        sizes = np.diff(buckets.offsets)
        self.starts = np.repeat(buckets.offsets[:-1].astype(self.kind), sizes)
        self.own, self.own_offsets = np.empty(entries, self.kind), np.zeros(len(self.documents) + 1, np.int64)
        near.entries_of(self.members, self.own, self.own_offsets)
        self.state = np.zeros(len(self.documents), np.int8)
        self.skip = np.arange(entries + 1, dtype=self.kind)
        self.known_pairs = np.zeros(0, np.int64)
        self.known = np.zeros(0, np.float64)

    def run(self) -> Twins:
        from groundup.stages.curate.duplicates import near_kernels as near

        entries = len(self.members)
        cursor, verdict, seen = self.starts.copy(), np.zeros(entries, np.int8), np.zeros(entries, self.kind)
        asked = np.empty(entries, self.kind)
        layout = (self.members, self.starts, self.own, self.own_offsets, self.most)
        undecided = np.arange(len(self.documents), dtype=np.int64)
        while len(undecided):
            count = near.sweep(undecided, *layout, self.state, self.skip, cursor, verdict, seen, asked)
            for start in range(0, count, _VERIFIED_AT_ONCE):
                entry = asked[start : min(count, start + _VERIFIED_AT_ONCE)]
                likeness = self._jaccard(self.members[entry], self.members[cursor[entry]])
                verdict[entry] = np.where(likeness >= self.min_jaccard, near.LIKE, near.UNLIKE)
            undecided = undecided[self.state[undecided] == near.UNDECIDED]
        return self._named(np.flatnonzero(self.state == near.DROPPED), layout)

    def _named(self, dropped: Ints, layout: tuple[Numbers, Numbers, Numbers, Ints, int]) -> Twins:
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

    def _jaccard(self, left: Numbers, right: Numbers) -> NDArray[np.float64]:
        """The similarity of each pair, verified once in the search however many bands it shares."""
        pairs: Ints
        pairs, places = np.unique(left.astype(np.int64) * len(self.documents) + right, return_inverse=True)
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


def _without_gaps(members: Numbers, kind: type[np.signedinteger[Any]]) -> tuple[Ints, Numbers]:
    """The distinct members, ascending, and the members as places among them."""
    there = np.zeros(int(members.max()) + 1, bool)
    there[members] = True
    documents = np.flatnonzero(there).astype(np.int64)
    if len(documents) == len(there):
        return documents, members.astype(kind, copy=False)
    place = np.cumsum(there, dtype=kind) - kind(1)
    return documents, place[members]


def _bounds(sizes: Ints) -> Ints:
    return np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)
