"""Sorted runs on disk: how rows of all units meet by key without ever being in memory together.

A map step writes one file a job, its rows sorted by key and cut at fixed places of the key's range: partition p is
batch p. A reduce step reads one partition of every file, and that is all of the keys in its range. The number of
partitions follows from the amount of data alone, so memory is bounded and results don't depend on workers.

The files are Arrow's (https://arrow.apache.org/docs/format/Columnar.html#ipc-file-format), whose footer has 24 bytes a
batch. That of a Parquet file describes every column of every row group, and a reduction of all partitions would read as
many times as many of them as there are units: the work would grow with the third power of the corpus.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

Keys = NDArray[np.uint64]

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


def write_run(path: Path, table: pa.Table, keys: Keys, partitions: int) -> None:
    """Write a table as a run: rows ordered by ``keys`` ((rows,) uint64), equal keys in their order."""
    order = np.argsort(keys, kind="stable")
    cuts = _cuts(partitions)
    bounds = np.concatenate([[0], np.searchsorted(keys[order], cuts), [len(keys)]]).astype(np.int64)
    with run_writer(path, table.schema) as run:
        run.write(table.take(order), bounds)


class RunWriter:
    """Writes the partitions of a run, one after the other."""

    def __init__(self, schema: pa.Schema, writer: Any) -> None:
        self._empty = pa.RecordBatch.from_pylist([], schema=schema)
        self._writer = writer

    def write(self, table: pa.Table, bounds: NDArray[np.int64]) -> None:
        """The next partitions: the i-th of them is rows ``bounds[i]`` to ``bounds[i + 1]``."""
        for start, stop in zip(bounds[:-1].tolist(), bounds[1:].tolist(), strict=True):
            batches = table.slice(start, stop - start).combine_chunks().to_batches()
            self._writer.write_batch(batches[0] if batches else self._empty)


@contextmanager
def run_writer(path: Path, schema: pa.Schema) -> Iterator[RunWriter]:
    """A run that is written a few partitions at a time, so that it need not be in memory."""
    schema = schema.remove_metadata()
    options = pa.ipc.IpcWriteOptions(compression=pa.Codec("zstd", compression_level=1), use_threads=False)
    with pa.OSFile(str(path), "wb") as file, pa.ipc.new_file(file, schema, options=options) as writer:
        yield RunWriter(schema, writer)


def gather_runs(
    paths: Sequence[Path],
    schema: pa.Schema,
    by: tuple[str, str],
    bounds: NDArray[np.int64],
    path: Path,
    at_once: int,
) -> None:
    """Write the rows of Parquet files as one run, ordered by two columns of numbers, ``by``.

    Partition p is the rows whose first number is ``bounds[p]`` or more and below ``bounds[p + 1]``. So a reader of one
    partition opens one file, where it would else open those of all jobs. The files must be in that order, too; about
    ``at_once`` rows, or those of one partition, are in memory at a time.
    """
    first, partitions = by[0], len(bounds) - 1
    rows = sum(pq.read_metadata(one).num_rows for one in paths)
    each = max(1, partitions * at_once // max(1, rows))
    with run_writer(path, schema) as run:
        for low in range(0, partitions, each):
            cuts = bounds[low : low + each + 1]
            only: Any = [(first, ">=", int(cuts[0])), (first, "<", int(cuts[-1]))]
            parts = [pq.read_table(one, filters=only, schema=schema) for one in paths]
            table = pa.concat_tables([schema.empty_table(), *parts])
            table = table.sort_by([(name, "ascending") for name in by])
            run.write(table, np.searchsorted(table.column(first).to_numpy(), cuts))


def read_parts(paths: Sequence[Path], partition: int) -> list[pa.Table]:
    """One partition of each run, in the order of ``paths``."""
    options = pa.ipc.IpcReadOptions(use_threads=False)
    parts = []
    for path in paths:
        with pa.OSFile(str(path), "rb") as file, pa.ipc.open_file(file, options=options) as run:
            parts.append(pa.Table.from_batches([run.get_batch(partition)]))
    return parts


def read_partition(paths: Sequence[Path], partition: int) -> pa.Table:
    """One partition of all runs, in the order of ``paths``; an empty table if there is nothing in it."""
    parts = read_parts(paths, partition)
    assert parts, "a reduction needs runs"
    return pa.concat_tables(parts)


def _cuts(partitions: int) -> Keys:
    """Where partitions 1, 2, … begin: equal shares of the range of 64 bits."""
    share = (1 << 64) // partitions
    return np.array([number * share for number in range(1, partitions)], np.uint64)
