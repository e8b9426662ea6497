"""Counting the pieces of text, which is all that learning a tokenizer needs of it."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from groundup.base.errors import ResourceError
from groundup.text.bpe.columns import Texts, chunks
from groundup.text.bpe.count_kernels import count_rows
from groundup.text.bpe.splitter import Splitter
from groundup.text.bpe.table import PieceTable
from groundup.text.bpe.table_kernels import bytes_of_keys, read_keys

_BINARY: Final[Any] = pa.binary()
WORDS: Final = pa.schema([("word", _BINARY), ("count", pa.int64())])
_MOST_BYTES: Final = 2**31 - 1


class WordCounter:
    """Counts pieces. A word is the UTF-8 of a piece, as it is before byte-level spelling.

    Not for several threads at a time.
    """

    def __init__(self, splitter: Splitter) -> None:
        self._splitter = splitter
        self._table = PieceTable(width=3)

    def __len__(self) -> int:
        """Different words so far."""
        return len(self._table)

    @property
    def nbytes(self) -> int:
        """Memory now, in bytes. While the table grows, it needs up to three times as much for a moment."""
        return self._table.nbytes

    def add(self, texts: Any, weight: int = 1) -> None:
        """Count the pieces of a column of strings (Array or ChunkedArray; nulls are empty), each ``weight`` times."""
        for chunk in chunks(self._splitter.prepared(texts)):
            self._add(chunk, weight)

    def _add(self, texts: Texts, weight: int) -> None:
        chain = self._splitter.chain()
        position = np.array([0, -1], np.int64)
        while True:
            needed = count_rows(texts, self._splitter.split, self._table.table, chain, position, weight)
            if not needed:
                return
            self._table.make_room(needed)

    def table(self) -> pa.Table:
        """word: binary, count: int64, sorted by the bytes of the words. ResourceError above 2 GiB of words.

        Needs about twice the words' bytes, and 40 bytes a word, beside what the counter holds.
        """
        total = bytes_of_keys(self._table.table)
        if total > _MOST_BYTES:
            raise ResourceError(f"{len(self):,} words in memory are too many for one table; count less text at a time")
        slots = np.empty(len(self), np.int64)
        data: Any = np.empty(total, np.uint8)
        offsets: Any = np.zeros(len(self) + 1, np.int32)
        read_keys(self._table.table, slots, data, offsets)
        words = pa.Array.from_buffers(_BINARY, len(self), [None, pa.py_buffer(offsets), pa.py_buffer(data)])
        counts = pa.array(self._table.table.slots[slots, 2].astype(np.int64))
        order = pc.sort_indices(words)
        return pa.Table.from_arrays([words.take(order), counts.take(order)], schema=WORDS)

    def clear(self) -> None:
        """Forget all words, and give the memory back."""
        self._table.clear()
