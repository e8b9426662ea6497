"""What the jobs of encoding made becomes one store: ids, index and documents, a bounded piece at a time.

A mixture says how often a document is read. All documents come first, then those with a second copy, and so on, so that
the copies of a document lie far apart in the store.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from groundup.base.runner.jobs import Done
from groundup.text.store.megatron import Writer
from groundup.text.store.order import document_key
from groundup.text.store.store import SPLITS

DOCUMENTS: Final = "documents.parquet"
_FIELDS: Final[list[Any]] = [
    pa.field("id", pa.string()),
    pa.field("source", pa.string()),
    pa.field("url", pa.string()),
    pa.field("licence", pa.string()),
    pa.field("split", pa.string()),
    pa.field("copy", pa.int32()),
    pa.field("start", pa.int64()),
    pa.field("end", pa.int64()),
    pa.field("bytes", pa.int64()),
]
SCHEMA: Final = pa.schema(_FIELDS)
"""A row a document of the store, in its order: ``start`` to ``end`` are its ids in its split, ``bytes`` its text's."""

_AT_ONCE: Final = 1 << 22
"""Tokens in memory."""


@dataclass
class Split:
    """What a split of the store came to; 16 bytes a document."""

    tokens: int = 0
    bytes: int = 0
    by_source: dict[str, int] = field(default_factory=dict)
    documents: int = 0
    sizes: list[npt.NDArray[np.int64]] = field(default_factory=list)
    keyed: list[npt.NDArray[np.uint64]] = field(default_factory=list)

    @property
    def keys(self) -> npt.NDArray[np.uint64]:
        """The keys of the documents in the order: uint64 (documents,)."""
        return np.concatenate([np.zeros(0, np.uint64), *self.keyed])

    @property
    def offsets(self) -> npt.NDArray[np.int64]:
        """Where documents begin and end: int64 (documents + 1,)."""
        return np.concatenate([[0], np.cumsum(np.concatenate([np.zeros(0, np.int64), *self.sizes]))]).astype(np.int64)


def gather(
    jobs: Sequence[Done], folder: Path, dtype: np.dtype[Any], vocab_size: int, report: Callable[[int], None]
) -> dict[str, Split]:
    """Write the store's files into ``folder``; ``report`` is told of documents as they are written."""
    found = {}
    with pq.ParquetWriter(folder / DOCUMENTS, SCHEMA, compression="zstd") as documents:
        for split in SPLITS:
            total = Split()
            with Writer(folder / split, dtype, vocab_size) as writer:
                for job, number in _passes(jobs):
                    table = pq.read_table(job.file(f"{split}.parquet"))
                    wanted = np.flatnonzero(table["copies"].to_numpy() > number)
                    if not len(wanted):
                        continue
                    chosen = table.take(wanted)
                    documents.write_table(_rows(chosen, split, number, total.tokens))
                    sizes = table["tokens"].to_numpy()
                    ends = np.cumsum(sizes)
                    ids = np.memmap(job.file(f"{split}.ids"), dtype, "r")
                    for part in _bounded(sizes, wanted):
                        pieces = [ids[end - size : end] for end, size in zip(ends[part], sizes[part], strict=True)]
                        writer.add(np.concatenate(pieces), sizes[part])
                    _count(total, chosen, number)
                    report(len(wanted))
            found[split] = total
    return found


def _passes(jobs: Sequence[Done]) -> Iterator[tuple[Done, int]]:
    """Each job for the first copies, then each that has second copies, and so on."""
    most = max((int(job.facts["copies"]) for job in jobs), default=0)
    for number in range(most):
        for job in jobs:
            if int(job.facts["copies"]) > number:
                yield job, number


def _bounded(sizes: npt.NDArray[np.int64], wanted: npt.NDArray[np.int64]) -> Iterator[npt.NDArray[np.int64]]:
    """``wanted`` in parts of about ``_AT_ONCE`` tokens."""
    which = np.cumsum(sizes[wanted]) // _AT_ONCE
    yield from np.split(wanted, np.flatnonzero(np.diff(which)) + 1)


def _rows(chosen: pa.Table, split: str, number: int, position: int) -> pa.Table:
    count = chosen.num_rows
    ends = position + np.cumsum(chosen["tokens"].to_numpy())
    columns = {name: chosen[name] for name in ("id", "source", "url", "licence", "bytes")} | {
        "split": pa.array([split] * count),
        "copy": pa.array(np.full(count, number, np.int32)),
        "start": pa.array(ends - chosen["tokens"].to_numpy()),
        "end": pa.array(ends),
    }
    return pa.table(columns, schema=SCHEMA)


def _count(total: Split, chosen: pa.Table, number: int) -> None:
    keys = chosen["key"].to_numpy()
    if number:
        keys = np.array([document_key(str(name), number) for name in chosen["id"].to_pylist()], np.uint64)
    total.keyed.append(keys)
    total.sizes.append(chosen["tokens"].to_numpy())
    total.documents += chosen.num_rows
    total.tokens += int(pc.sum(chosen["tokens"]).as_py())
    total.bytes += int(pc.sum(chosen["bytes"]).as_py())
    for row in chosen.group_by("source", use_threads=False).aggregate([("tokens", "sum")]).to_pylist():
        total.by_source[row["source"]] = total.by_source.get(row["source"], 0) + row["tokens_sum"]
