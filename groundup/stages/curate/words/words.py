"""The words and the lines of a batch of texts: flat arrays with one entry a word or line, and the columns for them."""

from __future__ import annotations

from typing import Any, Final, NamedTuple, Self

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from groundup.stages.curate.engine.columns import Offsets, Texts, list_array, lists
from groundup.stages.curate.engine.operator import with_column
from groundup.stages.curate.words import kernels
from groundup.stages.curate.words.classes import table

WORD_COLUMNS: Final = ("words.starts", "words.ends", "words.chars", "words.hashes", "words.flags")
LINE_COLUMNS: Final = ("lines.starts", "lines.ends", "lines.chars", "lines.hashes")
SPLIT_COLUMNS: Final = WORD_COLUMNS + LINE_COLUMNS
"""Columns that only filters need: drop them before rows are written out."""

Skip = NDArray[np.bool_]


class Words(NamedTuple):
    """Row i has words ``bounds[i]`` to ``bounds[i + 1]``. Starts and ends are bytes from the beginning of the row."""

    starts: NDArray[np.int32]
    ends: NDArray[np.int32]
    chars: NDArray[np.int32]
    hashes: NDArray[np.uint64]
    flags: NDArray[np.uint8]
    bounds: Offsets

    @classmethod
    def empty(cls, count: int, rows: int) -> Self:
        """Arrays for ``count`` words, not filled."""
        starts, ends, chars = (np.empty(count, np.int32) for _ in range(3))
        bounds = np.zeros(rows + 1, np.int64)
        return cls(starts, ends, chars, np.empty(count, np.uint64), np.empty(count, np.uint8), bounds)

    def first(self, count: int) -> Self:
        """The first words only."""
        starts, ends, chars, hashes, flags, bounds = self
        return type(self)(starts[:count], ends[:count], chars[:count], hashes[:count], flags[:count], bounds)

    @classmethod
    def of(cls, batch: pa.RecordBatch) -> Self:
        """From the columns of a batch."""
        starts, ends, chars, hashes, flags = (lists(batch, name) for name in WORD_COLUMNS)
        return cls(starts.values, ends.values, chars.values, hashes.values, flags.values, starts.offsets)

    def on(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        """The batch with the words' columns."""
        values: tuple[NDArray[Any], ...] = (self.starts, self.ends, self.chars, self.hashes, self.flags)
        for name, column in zip(WORD_COLUMNS, values, strict=True):
            batch = with_column(batch, name, list_array(column, self.bounds))
        return batch


class Lines(NamedTuple):
    """What lies between line feeds, empty lines included; as :class:`Words`, without flags."""

    starts: NDArray[np.int32]
    ends: NDArray[np.int32]
    chars: NDArray[np.int32]
    hashes: NDArray[np.uint64]
    bounds: Offsets

    @classmethod
    def of(cls, batch: pa.RecordBatch) -> Self:
        """From the columns of a batch."""
        starts, ends, chars, hashes = (lists(batch, name) for name in LINE_COLUMNS)
        return cls(starts.values, ends.values, chars.values, hashes.values, starts.offsets)

    @classmethod
    def empty(cls, count: int, rows: int) -> Self:
        """Arrays for ``count`` lines, not filled."""
        starts, ends, chars = (np.empty(count, np.int32) for _ in range(3))
        return cls(starts, ends, chars, np.empty(count, np.uint64), np.zeros(rows + 1, np.int64))

    def first(self, count: int) -> Self:
        """The first lines only."""
        starts, ends, chars, hashes, bounds = self
        return type(self)(starts[:count], ends[:count], chars[:count], hashes[:count], bounds)

    def on(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        """The batch with the lines' columns."""
        values: tuple[NDArray[Any], ...] = (self.starts, self.ends, self.chars, self.hashes)
        for name, column in zip(LINE_COLUMNS, values, strict=True):
            batch = with_column(batch, name, list_array(column, self.bounds))
        return batch


def split_words(texts: Texts, skip: Skip, *, whitespace: bool) -> Words:
    """The words of every row: those between white space, or ours (see :mod:`.split`)."""
    rows = len(texts.offsets) - 1
    size = int(texts.offsets[-1] - texts.offsets[0])
    room = size // 3 + 16
    while True:
        words = Words.empty(room, rows)
        count = kernels.split_texts(texts, skip, table(), whitespace, words)
        if count >= 0:
            return words.first(count)
        room = size  # no text has more words than bytes


def split_lines(texts: Texts, skip: Skip) -> Lines:
    """The lines of every row; a skipped row has none, an empty text one."""
    rows = len(texts.offsets) - 1
    size = int(texts.offsets[-1] - texts.offsets[0])
    room = size // 16 + rows
    while True:
        lines = Lines.empty(room, rows)
        count = kernels.split_lines(texts, skip, lines)
        if count >= 0:
            return lines.first(count)
        room = size + rows
