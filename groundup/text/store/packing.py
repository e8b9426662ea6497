"""Pieces of documents put into rows of equal length: back to back, or whole with as little padding as can be.

- ``concat``: pieces follow each other and are cut where a row ends, so that no position is padding. A piece that is as
  long as a row gets a row by itself, and only shorter ones are joined: else every row of a book would begin in the
  middle of one piece and end in the middle of another, and half of its context would be gone. What doesn't fill the
  last row of an epoch is left over, less than a row and other pieces in every epoch.
- ``best-fit``: no piece is ever cut. Best-fit decreasing: from the longest piece to the shortest, each goes into the
  fullest row that still has room for it (Ding et al. 2024, "Fewer Truncations Improve Language Modeling",
  arXiv:2404.10830, algorithm 1), within a window of the shuffled order, so that memory is bounded and which pieces
  meet stays a matter of chance. Rows end in padding, which is not trained on.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

import numpy as np
import numpy.typing as npt

Numbers = npt.NDArray[np.int64]
Lengths = npt.NDArray[np.int32]
Packing = Literal["concat", "best-fit"]

WINDOW: Final = 65_536
"""Pieces that are packed together by best-fit: the more, the less padding, and the more memory."""


@dataclass(frozen=True)
class Packed:
    """The rows of an epoch: ``starts`` int64 and ``lengths`` int32 (segments,), ``rows`` int64 (rows + 1,)."""

    starts: Numbers
    lengths: Lengths
    rows: Numbers

    @property
    def num_rows(self) -> int:
        """Rows in the epoch."""
        return len(self.rows) - 1


@dataclass(frozen=True)
class Waste:
    """What packing costs in an epoch. ``positions`` are those of all rows, ``padding`` of them hold no token.

    ``left_over`` tokens are in no row. Of ``documents``, ``long`` have more tokens than a row and are in several of
    necessity; ``cut`` are in several though a row would have held them.
    """

    positions: int
    padding: int
    left_over: int
    documents: int
    long: int
    cut: int


def waste(packed: Packed, offsets: Numbers, seq_len: int) -> Waste:
    """Count the waste in an epoch of documents at ``offsets`` (documents + 1,)."""
    tokens, positions = int(packed.lengths.sum(dtype=np.int64)), packed.num_rows * seq_len
    document = np.searchsorted(offsets, packed.starts + 1, side="right") - 1
    parts, sizes = np.bincount(document, minlength=len(offsets) - 1), np.diff(offsets)
    return Waste(
        positions=positions,
        padding=positions - tokens,
        left_over=int(offsets[-1]) - tokens,
        documents=len(sizes),
        long=int((sizes > seq_len).sum()),
        cut=int(((parts > 1) & (sizes <= seq_len)).sum()),
    )


def concatenate(starts: Numbers, lengths: Lengths, seq_len: int) -> Packed:
    """Pieces (n,) of at most ``seq_len`` tokens, in shuffled order, back to back. A row is where its last piece was.

    >>> packed = concatenate(np.array([0, 10, 20, 30]), np.array([3, 4, 2, 3], np.int32), seq_len=4)
    >>> packed.starts.tolist(), packed.lengths.tolist(), packed.rows.tolist()
    ([10, 0, 20, 21, 30], [4, 3, 1, 1, 3], [0, 1, 3, 5])
    """
    whole = np.flatnonzero(lengths == seq_len)
    short = np.flatnonzero(lengths < seq_len)
    ends = np.cumsum(lengths[short], dtype=np.int64)
    begins = ends - lengths[short]
    rows = int(ends[-1]) // seq_len if len(ends) else 0
    # A short piece spans at most two rows: it is one segment, or the two beside a row's end.
    first, last = begins // seq_len, (ends - 1) // seq_len
    split = np.flatnonzero(first != last)
    bounds = last[split] * seq_len
    order = np.argsort(np.concatenate([begins, bounds]), kind="stable")
    places = np.concatenate([begins, bounds])[order]
    sources = np.concatenate([starts[short], starts[short][split] + bounds - begins[split]])[order]
    sizes = np.diff(np.append(places, ends[-1:] if len(ends) else [0])).astype(np.int32)
    row = places // seq_len
    kept = row < rows
    # The k-th joined row is full with the piece that reaches its end.
    done = short[np.searchsorted(ends, np.arange(1, rows + 1) * seq_len)]
    rank = np.empty(len(whole) + rows, np.int64)
    rank[np.argsort(np.concatenate([whole, done]), kind="stable")] = np.arange(len(whole) + rows)
    of_row = np.concatenate([rank[: len(whole)], rank[len(whole) :][row[kept]]])
    chosen = np.argsort(of_row, kind="stable")
    counts = np.bincount(of_row, minlength=len(rank))
    return Packed(
        np.concatenate([starts[whole], sources[kept]])[chosen],
        np.concatenate([lengths[whole], sizes[kept]])[chosen],
        np.concatenate([[0], np.cumsum(counts)]).astype(np.int64),
    )


def fit_best(starts: Numbers, lengths: Lengths, seq_len: int, window: int = WINDOW) -> Packed:
    """Pieces (n,) of at most ``seq_len`` tokens, in shuffled order, whole, ``window`` of them at a time.

    The rows of a window come in the order of the first of their pieces, and so do the pieces in a row.
    """
    from groundup.text.store.packing_kernels import best_fit

    parts, counts = [np.zeros(0, np.int64)], [np.zeros(0, np.int64)]
    for at in range(0, len(lengths), window):
        here = lengths[at : at + window].astype(np.int64)
        rows = best_fit(here, np.argsort(-here, kind="stable"), seq_len)
        # Number the rows anew by their first piece: else each window would begin with its longest documents.
        _, first, row = np.unique(rows, return_index=True, return_inverse=True)
        rank = np.empty(len(first), np.int64)
        rank[np.argsort(first)] = np.arange(len(first))
        parts.append(at + np.argsort(rank[row], kind="stable"))
        counts.append(np.bincount(rank[row]))
    chosen = np.concatenate(parts)
    ends = np.concatenate([[0], np.cumsum(np.concatenate(counts))])
    return Packed(starts[chosen], lengths[chosen], ends.astype(np.int64))
