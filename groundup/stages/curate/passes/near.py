"""Near duplicates: band keys meet in sorted runs, candidates are verified on their shingles, which lie on disk.

Of the documents that share no band with another, nothing is in memory. Of the others, the candidates, all are in the
memory of one process at once, as numbers: 64 bytes a candidate, 70 for each *different* set of documents that it shares
a band with, 150 a decision, and about 100 MB whatever their number. Copies in nearly the same words share every band
with the same documents, so that is one set; at worst it is as many as there are bands, 1 kB a candidate.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from groundup.base.files import sha256_json
from groundup.base.runner.jobs import Done
from groundup.base.runner.runs import read_partition, write_run
from groundup.stages.curate.duplicates.minhash import distinct, shingle_sets
from groundup.stages.curate.duplicates.similarity import BUDGET
from groundup.stages.curate.duplicates.survivors import (
    Buckets,
    Twins,
    buckets_of,
    by_right_to_stay,
    joined,
    survivors,
)
from groundup.stages.curate.engine.columns import Lists, lists, texts
from groundup.stages.curate.engine.ids import Words, id_names, id_words
from groundup.stages.curate.passes.decisions import DECISIONS, gone, of_unit, write_decisions
from groundup.stages.curate.passes.inputs import UNIT_BITS, Ints, Partition, UnitInput

STEP: Final = "near_dedup"

_ROW: Final = (1 << UNIT_BITS) - 1
_AT_ONCE: Final = 1 << 20
"""Entries of buckets that are put together with the others at a time, at least."""
_WORDED_AT_ONCE: Final = 1 << 16
"""Decisions that are Python's strings at a time."""


@dataclass(frozen=True)
class BandMap:
    """Writes ``bands.arrow``, a run of (band key, address) of the documents that are still there."""

    partitions: int

    @property
    def digest(self) -> str:
        """What defines the work."""
        return sha256_json(["bands", 2, self.partitions])

    def __call__(self, payload: Any, folder: Path) -> dict[str, Any]:
        """Spread each document over its bands."""
        unit: UnitInput = payload
        table = pq.read_table(unit.kept, columns=["bands"])
        stays = ~gone(of_unit(unit.decisions, unit.number), table.num_rows)
        rows = np.flatnonzero(stays)
        batch = table.take(rows).combine_chunks().to_batches()
        keys, counts = np.zeros(0, np.uint64), np.zeros(0, np.int64)
        if batch:
            found = lists(batch[0], "bands")
            keys = found.values[found.offsets[0] : found.offsets[-1]]
            counts = np.diff(found.offsets)
        place = np.repeat(np.arange(len(rows)), counts)
        table = pa.table({"band": keys, "document": unit.addresses(rows)[place]})
        write_run(folder / "bands.arrow", table, keys, self.partitions)
        return {"documents": len(rows)}


@dataclass(frozen=True)
class BandReduce:
    """Writes the documents of a partition that share a band key: ``members.npy`` and ``offsets.npy`` of buckets."""

    @property
    def digest(self) -> str:
        """What defines the work."""
        return sha256_json(["shared bands", 2])

    def __call__(self, payload: Any, folder: Path) -> dict[str, Any]:
        """Keep the keys that at least two documents have; equal sets of documents once."""
        partition: Partition = payload
        table = read_partition(partition.runs, partition.number)
        buckets = joined([buckets_of(table.column("band").to_numpy(), table.column("document").to_numpy())])
        np.save(folder / "members.npy", buckets.members)
        np.save(folder / "offsets.npy", buckets.offsets)
        return {"buckets": len(buckets)}


@dataclass(frozen=True)
class ShingleMap:
    """Writes what is to be known of some rows of a unit: their shingle sets, ids and lengths.

    ``values.npy`` (uint64) and ``offsets.npy`` (int64) are the sets; ``ids.npy`` is (rows, 2) uint64, ``chars.npy``
    int64.
    """

    shingle_words: int

    @property
    def digest(self) -> str:
        """What defines the work."""
        return sha256_json(["shingles", 2, self.shingle_words])

    def __call__(self, payload: Any, folder: Path) -> dict[str, Any]:
        """Shingle the rows that were asked for, a row group at a time."""
        kept, wanted = payload
        values, sizes, start = [np.zeros(0, np.uint64)], [np.zeros(0, np.int64)], 0
        with pq.ParquetFile(kept) as file:
            for batch in file.iter_batches(batch_size=512, columns=["text"]):
                here = wanted[(wanted >= start) & (wanted < start + batch.num_rows)] - start
                start += batch.num_rows
                if len(here):
                    sets = shingle_sets(texts(batch.take(pa.array(here))), self.shingle_words)
                    values.append(sets.values)
                    sizes.append(np.diff(sets.offsets))
            known = file.read(columns=["id", "chars"]).take(wanted)
        np.save(folder / "values.npy", np.concatenate(values))
        np.save(folder / "offsets.npy", _bounds(np.concatenate(sizes)))
        np.save(folder / "ids.npy", id_words(known.column("id")))
        np.save(folder / "chars.npy", known.column("chars").to_numpy())
        return {"documents": len(wanted)}


@dataclass(frozen=True)
class Candidates:
    """Documents that share a band with another: (documents,) int64 addresses, ascending; and with which.

    The members of ``buckets`` are places in ``address``.
    """

    address: Ints
    buckets: Buckets

    def units(self) -> list[tuple[int, slice]]:
        """The number of each unit that they are of, and which of them are."""
        numbers, starts = np.unique(self.address >> UNIT_BITS, return_index=True)
        stops = np.append(starts, len(self.address))[1:]
        return [
            (number, slice(start, stop))
            for number, start, stop in zip(numbers.tolist(), starts.tolist(), stops.tolist(), strict=True)
        ]

    def wanted(self) -> dict[int, Ints]:
        """For each unit, the rows whose shingles are needed, ascending."""
        return {number: self.address[part] & _ROW for number, part in self.units()}


def candidates(shared: Sequence[Done]) -> Candidates:
    """What the partitions found, put together piece by piece, so that equal buckets are never all in memory."""
    address = _addresses(shared)
    kind = np.int32 if len(address) < np.iinfo(np.int32).max else np.int64
    found, waiting, held = joined([]), list[Buckets](), 0
    for done in shared:
        members, which = np.unique(np.load(done.file("members.npy")), return_inverse=True)
        places = np.searchsorted(address, members).astype(kind)[which]  # in their order, for the cache's sake
        waiting.append(Buckets(places, np.load(done.file("offsets.npy"))))
        held += len(places)
        if held > max(_AT_ONCE, len(found.members)):
            found, waiting, held = joined([found, *waiting]), [], 0
    return Candidates(address, joined([found, *waiting]))


def _addresses(shared: Sequence[Done]) -> Ints:
    """The members of all buckets, each once, ascending."""
    found, waiting, held = np.zeros(0, np.int64), list[Ints](), 0
    for done in shared:
        waiting.append(_distinct(np.load(done.file("members.npy"))))
        held += len(waiting[-1])
        if held > max(_AT_ONCE, len(found)):
            found, waiting, held = _distinct(np.concatenate([found, *waiting])), [], 0
    return _distinct(np.concatenate([found, *waiting]))


def _distinct(addresses: Ints) -> Ints:
    return distinct(addresses.view(np.uint64)).view(np.int64)  # none is negative


@dataclass(frozen=True)
class DiskShingles:
    """A :class:`ShingleStore` over the files of :class:`ShingleMap`; read, not mapped, so that memory stays bounded.

    Documents are numbered by their right to stay: ``order[number]`` is the place of one among the candidates. By place:
    ``unit``'s file in ``paths`` has its set from ``start`` on, of ``size`` shingles; ``ids`` is (documents, 2) uint64.
    """

    paths: Mapping[int, Path]
    order: Ints
    address: Ints
    start: Ints
    size: Ints
    ids: Words

    def sizes(self, documents: Ints) -> Ints:
        """How many shingles each document has."""
        return self.size[self.order[documents]]

    def load(self, documents: Ints) -> Lists:
        """The sets of documents, read file by file in the order of the disk."""
        places = self.order[documents]
        starts, sizes, units = self.start[places], self.size[places], self.address[places] >> UNIT_BITS
        bounds = _bounds(sizes)
        out = np.empty(int(bounds[-1]), np.uint64)
        opened: _Opened | None = None
        try:
            for at in np.argsort(places).tolist():
                number = int(units[at])
                if opened is None or opened.number != number:
                    if opened is not None:
                        opened.handle.close()
                    opened = _open(number, self.paths[number] / "values.npy")
                opened.handle.seek(opened.data + 8 * int(starts[at]))
                out[bounds[at] : bounds[at + 1]] = np.fromfile(opened.handle, np.uint64, int(sizes[at]))
        finally:
            if opened is not None:
                opened.handle.close()
        return Lists(out, bounds)


@dataclass(frozen=True)
class _Opened:
    number: int
    handle: Any
    data: int


def _open(number: int, path: Path) -> _Opened:
    handle = path.open("rb")
    np.lib.format.read_magic(handle)
    np.lib.format.read_array_header_1_0(handle)
    return _Opened(number, handle, handle.tell())


def shingled(found: Candidates, folders: Mapping[int, Path]) -> DiskShingles:
    """The store of the candidates; ``folders``: where :class:`ShingleMap` wrote, by number of unit."""
    count = len(found.address)
    ids, chars = np.empty((count, 2), np.uint64), np.empty(count, np.int64)
    start, size = np.empty(count, np.int64), np.empty(count, np.int64)
    for number, part in found.units():
        offsets = np.load(folders[number] / "offsets.npy")
        start[part], size[part] = offsets[:-1], np.diff(offsets)
        ids[part], chars[part] = np.load(folders[number] / "ids.npy"), np.load(folders[number] / "chars.npy")
    return DiskShingles(folders, by_right_to_stay(chars, ids), found.address, start, size, ids)


def ranked(buckets: Buckets, order: Ints) -> Buckets:
    """The buckets with the place ``order[n]`` called n; members ascend again. Fewer than 2^31 buckets."""
    number = np.empty(len(order), np.int64)
    number[order] = np.arange(len(order))
    bucket = np.repeat(np.arange(len(buckets)), np.diff(buckets.offsets))
    packed = (bucket << UNIT_BITS) | number[buckets.members]
    packed.sort()
    packed &= _ROW
    return Buckets(packed.astype(buckets.members.dtype), buckets.offsets)


@dataclass(frozen=True)
class NearReduce:
    """Writes ``decisions.parquet`` on all candidates: the one step that sees all of them.

    Its payload is a function that finds them, for it is to be called only if the decisions aren't there yet.
    """

    min_jaccard: float
    shingle_words: int

    @property
    def digest(self) -> str:
        """What defines the work."""
        return sha256_json(["near", 2, self.min_jaccard, self.shingle_words])

    def __call__(self, payload: Any, folder: Path) -> dict[str, Any]:
        """Search and decide."""
        find: Callable[[], tuple[Candidates, DiskShingles]] = payload
        found, store = find()
        decisions = near_decisions(found, store, self.min_jaccard)
        write_decisions(folder / "decisions.parquet", decisions)
        return {"candidates": len(found.address), "dropped": decisions.num_rows}


def near_decisions(found: Candidates, store: DiskShingles, min_jaccard: float, budget: int = BUDGET) -> pa.Table:
    """The decisions on all candidates."""
    twins = survivors(ranked(found.buckets, store.order), store, min_jaccard, budget=budget)
    parts = [DECISIONS.empty_table()]
    for start in range(0, len(twins.dropped), _WORDED_AT_ONCE):
        part = slice(start, start + _WORDED_AT_ONCE)
        parts.append(_worded(store, Twins(twins.dropped[part], twins.survivor[part], twins.jaccard[part])))
    return pa.concat_tables(parts)


def _worded(store: DiskShingles, twins: Twins) -> pa.Table:
    address = store.address[store.order[twins.dropped]]
    kept = id_names(store.ids[store.order[twins.survivor]]).to_pylist()
    details = [
        f"of {name} (Jaccard similarity {value:.3f})" for name, value in zip(kept, twins.jaccard.tolist(), strict=True)
    ]
    return pa.table(
        {
            "unit": address >> UNIT_BITS,
            "row": address & _ROW,
            "step": [STEP] * len(kept),
            "rule": ["near_duplicate"] * len(kept),
            "detail": details,
            "survivor": kept,
            "similarity": twins.jaccard,
        },
        schema=DECISIONS,
    )


def _bounds(sizes: Ints) -> Ints:
    return np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)
