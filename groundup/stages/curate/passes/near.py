"""Near duplicates: band keys meet in sorted runs, candidates are verified on their shingles, which lie on disk.

Of the documents that share no band with another, nothing is in memory. Of the others it is a few numbers each: about
60 bytes a band that they share.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from groundup.base.files import sha256_json
from groundup.stages.curate.duplicates.minhash import shingle_sets
from groundup.stages.curate.duplicates.similarity import BUDGET
from groundup.stages.curate.duplicates.survivors import buckets_of, by_right_to_stay, survivors
from groundup.stages.curate.engine.columns import Lists, lists, texts
from groundup.stages.curate.engine.jobs import Done
from groundup.stages.curate.engine.runs import read_partition, write_run
from groundup.stages.curate.passes.decisions import DECISIONS, gone, of_unit
from groundup.stages.curate.passes.exact import Partition

Ints = NDArray[np.int64]

STEP = "near_dedup"


@dataclass(frozen=True)
class UnitInput:
    """A unit's number, the table of what it kept, and the decisions so far."""

    number: int
    kept: Path
    decisions: Sequence[Path]


@dataclass(frozen=True)
class BandMap:
    """Writes ``bands.parquet``, a run of (band key, unit, row, chars, id) of the documents that are still there."""

    partitions: int

    @property
    def digest(self) -> str:
        """What defines the work."""
        return sha256_json(["bands", 1, self.partitions])

    def __call__(self, payload: Any, folder: Path) -> dict[str, Any]:
        """Spread each document over its bands."""
        unit: UnitInput = payload
        table = pq.read_table(unit.kept, columns=["id", "chars", "bands"])
        stays = ~gone(of_unit(unit.decisions, unit.number), table.num_rows)
        rows = np.flatnonzero(stays)
        batch = table.take(rows).combine_chunks().to_batches()
        keys, counts = np.zeros(0, np.uint64), np.zeros(0, np.int64)
        if batch:
            found = lists(batch[0], "bands")
            keys = found.values[found.offsets[0] : found.offsets[-1]]
            counts = np.diff(found.offsets)
        place = np.repeat(np.arange(len(rows)), counts)
        spread = pa.table(
            {
                "band": pa.array(keys),
                "unit": pa.array(np.full(len(keys), unit.number, np.int64)),
                "row": pa.array(rows[place]),
                "chars": table.column("chars").take(rows).take(place),
                "id": table.column("id").take(rows).take(place),
            }
        )
        write_run(folder / "bands.parquet", spread, keys, self.partitions)
        return {"documents": len(rows)}


@dataclass(frozen=True)
class BandReduce:
    """Writes ``shared.parquet``: the rows of a partition whose band key another document has, too."""

    @property
    def digest(self) -> str:
        """What defines the work."""
        return sha256_json(["shared bands", 1])

    def __call__(self, payload: Any, folder: Path) -> dict[str, Any]:
        """Keep the keys that occur at least twice."""
        partition: Partition = payload
        table = read_partition(partition.runs, partition.number)
        _, which, counts = np.unique(table.column("band").to_numpy(), return_inverse=True, return_counts=True)
        shared = table.filter(pa.array(counts[which] > 1)) if table.num_rows else table
        pq.write_table(shared, folder / "shared.parquet", compression="zstd", compression_level=1)
        return {"rows": shared.num_rows}


@dataclass(frozen=True)
class ShingleMap:
    """Writes the shingle sets of some rows of a unit: ``values.npy`` (uint64) and ``offsets.npy`` (int64)."""

    shingle_words: int

    @property
    def digest(self) -> str:
        """What defines the work."""
        return sha256_json(["shingles", 1, self.shingle_words])

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
        np.save(folder / "values.npy", np.concatenate(values))
        np.save(folder / "offsets.npy", np.concatenate([[0], np.cumsum(np.concatenate(sizes))]).astype(np.int64))
        return {"documents": len(wanted)}


class DiskShingles:
    """A :class:`ShingleStore` over the files of :class:`ShingleMap`; read, not mapped, so that memory stays bounded."""

    def __init__(self, files: Mapping[int, Path], unit: Ints, place: Ints) -> None:
        """``unit`` and ``place`` (documents,): in which unit's file a document's set is, and the how manieth."""
        self._paths = dict(files)
        self._unit = unit
        offsets = {number: np.load(folder / "offsets.npy") for number, folder in files.items()}
        self._start = np.zeros(len(unit), np.int64)
        self._size = np.zeros(len(unit), np.int64)
        for number, bounds in offsets.items():
            mine = unit == number
            self._start[mine] = bounds[place[mine]]
            self._size[mine] = bounds[place[mine] + 1] - bounds[place[mine]]

    def sizes(self, documents: Ints) -> Ints:
        """How many shingles each document has."""
        return self._size[documents]

    def load(self, documents: Ints) -> Lists:
        """The sets of documents, read file by file in the order of the disk."""
        sizes = self._size[documents]
        bounds = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)
        out = np.empty(int(bounds[-1]), np.uint64)
        order = np.lexsort((self._start[documents], self._unit[documents]))
        handles: dict[int, Any] = {}
        try:
            for at in order.tolist():
                document = int(documents[at])
                number = int(self._unit[document])
                if number not in handles:
                    for other in handles.values():
                        other.close()
                    handles = {number: _open(self._paths[number] / "values.npy")}
                handle, data = handles[number].handle, handles[number].data
                handle.seek(data + 8 * int(self._start[document]))
                out[bounds[at] : bounds[at + 1]] = np.fromfile(handle, np.uint64, int(self._size[document]))
        finally:
            for one in handles.values():
                one.close()
        return Lists(out, bounds)


@dataclass(frozen=True)
class _Opened:
    handle: Any
    data: int

    def close(self) -> None:
        self.handle.close()


def _open(path: Path) -> _Opened:
    handle = path.open("rb")
    np.lib.format.read_magic(handle)
    np.lib.format.read_array_header_1_0(handle)
    return _Opened(handle, handle.tell())


@dataclass(frozen=True)
class Candidates:
    """Documents that share a band with another, numbered by their right to stay; and their shared bands."""

    unit: Ints
    row: Ints
    ids: list[str]
    band_keys: NDArray[np.uint64]
    band_documents: Ints

    def wanted(self) -> dict[int, Ints]:
        """For each unit, the rows whose shingles are needed, ascending."""
        return {int(number): np.sort(self.row[self.unit == number]) for number in np.unique(self.unit)}

    def places(self) -> Ints:
        """For each document, the how manieth of its unit's wanted rows it is."""
        place = np.zeros(len(self.unit), np.int64)
        for number, rows in self.wanted().items():
            mine = self.unit == number
            place[mine] = np.searchsorted(rows, self.row[mine])
        return place


def candidates(shared: Sequence[Done]) -> Candidates:
    """What the partitions found, put together."""
    table = pa.concat_tables([pq.read_table(done.file("shared.parquet")) for done in shared])
    unit, row = table.column("unit").to_numpy(), table.column("row").to_numpy()
    address = (unit << 32) | row
    documents, first, which = np.unique(address, return_index=True, return_inverse=True)
    ids = [str(name) for name in table.column("id").take(first).to_pylist()]
    order = by_right_to_stay(table.column("chars").to_numpy()[first], ids)
    number = np.empty(len(order), np.int64)
    number[order] = np.arange(len(order))
    return Candidates(
        unit=documents[order] >> 32,
        row=documents[order] & 0xFFFFFFFF,
        ids=[ids[at] for at in order.tolist()],
        band_keys=table.column("band").to_numpy(),
        band_documents=number[which.reshape(-1)],
    )


def near_decisions(found: Candidates, store: DiskShingles, min_jaccard: float, budget: int = BUDGET) -> pa.Table:
    """The decisions on all candidates."""
    twins = survivors(buckets_of(found.band_keys, found.band_documents), store, min_jaccard, budget=budget)
    kept = [found.ids[at] for at in twins.survivor.tolist()]
    count = len(kept)
    details = [
        f"of {name} (Jaccard similarity {value:.3f})" for name, value in zip(kept, twins.jaccard.tolist(), strict=True)
    ]
    return pa.table(
        {
            "unit": found.unit[twins.dropped],
            "row": found.row[twins.dropped],
            "step": [STEP] * count,
            "rule": ["near_duplicate"] * count,
            "detail": details,
            "survivor": kept,
            "similarity": twins.jaccard,
        },
        schema=DECISIONS,
    )
