"""Sorted runs on disk: how rows of all units meet by key without ever being in memory together.

A map step writes one file a job, its rows sorted by key and cut at fixed places of the key's range: partition p is row
group p. A reduce step reads one partition of every file, and that is all of the keys in its range. The number of
partitions follows from the amount of data alone, so memory is bounded and results don't depend on workers.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

Keys = NDArray[np.uint64]

_COUNTS: Final = b"rows"
_MOST_PARTITIONS: Final = 4096


def partitions_for(size: int, each: int) -> int:
    """The power of two of partitions that leaves about ``each`` bytes, or fewer, of ``size`` in each.

    >>> partitions_for(1000, 64), partitions_for(10, 64)
    (16, 1)
    """
    count = 1
    while count * each < size and count < _MOST_PARTITIONS:
        count *= 2
    return count


def id_keys(ids: Iterable[str]) -> Keys:
    """The first 64 bits of document ids (32 hex digits), which order as the ids do.

    >>> id_keys(["00000000000000ff" + "0" * 16]).tolist()
    [255]
    """
    packed = bytes.fromhex("".join(name[:16] for name in ids))
    return np.frombuffer(packed, ">u8").astype(np.uint64)


def write_run(path: Path, table: pa.Table, keys: Keys, partitions: int) -> None:
    """Write a table as a run: rows ordered by ``keys`` ((rows,) uint64), equal keys in their order."""
    order = np.argsort(keys, kind="stable")
    table = table.take(order)
    cuts = _cuts(partitions)
    bounds = np.concatenate([[0], np.searchsorted(keys[order], cuts), [len(keys)]]).astype(np.int64)
    counts = np.diff(bounds)
    schema = table.schema.with_metadata({_COUNTS: json.dumps(counts.tolist()).encode()})
    with pq.ParquetWriter(path, schema, compression="zstd", compression_level=1, write_page_index=False) as writer:
        for start, count in zip(bounds[:-1].tolist(), counts.tolist(), strict=True):
            if count:
                writer.write_table(
                    table.slice(start, count).replace_schema_metadata(schema.metadata), row_group_size=count
                )


def read_partition(paths: Sequence[Path], partition: int, columns: Sequence[str] | None = None) -> pa.Table:
    """One partition of all runs, in the order of ``paths``; an empty table if there is nothing in it."""
    parts = []
    schema = None
    for path in paths:
        with pq.ParquetFile(path) as file:
            schema = file.schema_arrow.remove_metadata()
            counts = json.loads((file.schema_arrow.metadata or {})[_COUNTS])
            if counts[partition]:
                group = sum(count > 0 for count in counts[:partition])
                parts.append(
                    file.read_row_group(group, columns=list(columns) if columns else None).replace_schema_metadata(None)
                )
    if parts:
        return pa.concat_tables(parts)
    assert schema is not None, "a reduction needs runs"
    empty = schema.empty_table()
    return empty.select(list(columns)) if columns else empty


def _cuts(partitions: int) -> Keys:
    """Where partitions 1, 2, … begin: equal shares of the range of 64 bits."""
    share = (1 << 64) // partitions
    return np.array([number * share for number in range(1, partitions)], np.uint64)
