"""Which words a vocabulary is learned from: the most frequent, within what memory holds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

Ints = NDArray[np.int64]


@dataclass(frozen=True)
class Limits:
    """At most ``words`` of them; and ``room`` bytes, where a word of n bytes takes ``a_word + n * a_byte``."""

    words: int
    room: int
    a_word: int
    a_byte: int

    def first(self, costs: Ints) -> int:
        """How many words from the first one on have room."""
        return min(self.words, int(np.searchsorted(np.cumsum(costs), self.room, side="right")))

    def costs(self, sizes: Ints) -> Ints:
        """What words of so many bytes take."""
        return self.a_word + sizes * self.a_byte


def choose(paths: Sequence[Path], limits: Limits) -> pa.Table:
    """The words (large_binary) and counts (int64) of the most frequent words of all files.

    Each file has its words most frequent first. Of words that are equally frequent where the room ends, those of
    earlier files go first, which are those with smaller keys. The counts of twice the words that are chosen are in
    memory at a time, and then those words.
    """
    tables = [pq.read_table(path, columns=["word", "count"]).slice(0, take) for path, take in _takes(paths, limits)]
    table = pa.concat_tables(tables)
    return table.sort_by([("count", "descending"), ("word", "ascending")])


def _takes(paths: Sequence[Path], limits: Limits) -> list[tuple[Path, int]]:
    """How many words from the first one on each file gives."""
    counts, costs = np.zeros(0, np.int64), np.zeros(0, np.int64)
    cut = False
    for path in paths:
        more, sizes = _columns(path)
        counts, costs = np.concatenate([counts, more]), np.concatenate([costs, limits.costs(sizes)])
        order = np.argsort(-counts, kind="stable")
        counts, costs = counts[order], costs[order]
        kept = limits.first(costs)
        cut = cut or kept < len(counts)
        counts, costs = counts[: kept + 1], costs[: kept + 1]  # the first that has no room shows where the end is
    if not cut:
        return [(path, pq.read_metadata(path).num_rows) for path in paths]
    least = int(counts[-1])
    words, room = limits.words, limits.room
    found = []
    for path in paths:
        here, sizes = _columns(path)
        above = int(np.searchsorted(-here, -least, side="left"))
        words, room = words - above, room - int(limits.costs(sizes[:above]).sum())
        found.append(above)
    for number, path in enumerate(paths):
        here, sizes = _columns(path)
        equal = limits.costs(sizes[here == least])
        more_of = Limits(words, room, limits.a_word, limits.a_byte).first(equal)
        found[number] += more_of
        words, room = words - more_of, room - int(equal[:more_of].sum())
        if more_of < len(equal):
            break
    return list(zip(paths, found, strict=True))


def _columns(path: Path) -> tuple[Ints, Ints]:
    """(counts, sizes in bytes) of the words of a file."""
    table: Any = pq.read_table(path, columns=["count", "size"])
    return table.column("count").to_numpy(), table.column("size").to_numpy().astype(np.int64)
