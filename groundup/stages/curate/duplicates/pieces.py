"""Lines and paragraphs that stand in more than one document: found by key, struck from all but one.

Raffel et al. 2020 ("T5", section 2.2) keep one copy of each three-sentence span that occurs more than once in C4; the
released code (tfds ``c4_utils``, ``remove_duplicate_text``) does it by lines: MD5 of the stripped lower-cased line, the
copy stays whose page has the smallest MD5 of its URL, a line stays once in that page, and pages left with fewer than
three sentences go. Dolma strikes paragraphs, which are its lines, by a Bloom filter in the order of arrival. Here:

- map: :func:`pieces` and :func:`piece_rows`, a row for each piece (or run of ``window`` pieces) with its 128-bit key;
- reduce by key: :func:`repeated`, the rows whose text stays elsewhere;
- reduce by document: :func:`strike`, the texts without them, and a second look at what got short.

Pieces are compared with case folded and white space collapsed (C4: ``strip().lower()``, so inner spacing counts there).
Blank lines are layout, no text: they are never struck unless ``blanks`` is set, as they are in tfds.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from typing import Any, Final, Literal, NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from groundup.stages.curate.duplicates.exact import Keys, span_keys
from groundup.stages.curate.duplicates.minhash import mixed
from groundup.stages.curate.engine.columns import Texts, texts
from groundup.stages.curate.engine.operator import STEP, VERDICT, Operator, refuse, with_column

Ints = NDArray[np.int64]

_NEWLINE: Final = ord("\n")
_MIXER: Final = np.uint64(0x9E3779B97F4A7C15)


class Pieces(NamedTuple):
    """Spans of text: piece i of the batch is ``data[starts[i]:stops[i]]``; row r has ``offsets[r]`` to the next.

    ``data`` and positions are those of the column that they were cut from.
    """

    starts: Ints
    stops: Ints
    offsets: Ints


class PieceRows(NamedTuple):
    """One row a piece, or a run of pieces: its key and check, the row of the batch, the place of its first piece."""

    keys: Keys
    checks: Keys
    rows: Ints
    places: Ints


def pieces(rows: Texts, unit: Literal["line", "paragraph"] = "line", blanks: bool = False) -> Pieces:
    """The lines of each text, or its paragraphs: lines between blank lines, taken together.

    Where the unit is another (sentences), make :class:`Pieces` of its bounds; all else is the same.
    """
    starts, stops, offsets = _lines(rows)
    inked = _inked(rows.data, starts, stops)
    if unit == "line":
        chosen = np.ones(len(starts), bool) if blanks else inked
        return Pieces(starts[chosen], stops[chosen], _counted(chosen, offsets))
    first_of_row = np.zeros(len(starts), bool)
    first_of_row[offsets[:-1][np.diff(offsets) > 0]] = True
    before = np.concatenate([[False], inked[:-1]]) & ~first_of_row
    after = np.concatenate([inked[1:], [False]]) & ~np.concatenate([first_of_row[1:], [True]])[: len(starts)]
    opens, closes = inked & ~before, inked & ~after
    return Pieces(starts[opens], stops[closes], _counted(opens, offsets))


def piece_rows(rows: Texts, cut: Pieces, window: int = 1, min_bytes: int = 1) -> PieceRows:
    """The keys of all runs of ``window`` pieces; ``window`` 3 of sentences is C4's span.

    Pieces of fewer than ``min_bytes`` folded bytes have no row of their own (0: blank pieces too).
    """
    keys, sizes = span_keys(rows.data, cut.starts, cut.stops)
    owner = np.repeat(np.arange(len(cut.offsets) - 1), np.diff(cut.offsets))
    places = np.arange(len(keys), dtype=np.int64) - cut.offsets[owner]
    length = max(0, len(keys) - window + 1)
    run, total = keys[:length].copy(), sizes[:length].copy()
    for ahead in range(1, window):
        run = mixed(run * _MIXER + keys[ahead : ahead + length])
        total = total + sizes[ahead : ahead + length]
    inside = (owner[:length] == owner[window - 1 : window - 1 + length]) & (total >= min_bytes)
    return PieceRows(run[inside, 0], run[inside, 1], owner[:length][inside], places[:length][inside])


def priorities(names: Iterable[str]) -> Keys:
    """A document's claim to a piece: the first 64 bits of the MD5 of its URL, or id where it has none; the least wins.

    Hashed, so that no site wins by its name (tfds does the same).
    """
    packed = b"".join(hashlib.md5(name.encode(), usedforsecurity=False).digest()[:8] for name in names)
    return np.frombuffer(packed, ">u8").astype(np.uint64)


def repeated(
    keys: Keys, checks: Keys, priority: Keys, documents: NDArray[np.generic], places: Ints, within: bool = True
) -> NDArray[np.bool_]:
    """Which rows are copies of one that stays: (rows,) bool, for rows of whole keys in any order.

    The copy of the document of least priority stays, of equal ones that of the lesser document. ``within``: of its
    copies in that document only the first stays, too.
    """
    order = np.lexsort((places, documents, priority, checks, keys))
    first = np.ones(len(keys), bool)
    same = (keys[order][1:] == keys[order][:-1]) & (checks[order][1:] == checks[order][:-1])
    first[1:] = ~same
    leader = np.maximum.accumulate(np.where(first, np.arange(len(keys)), 0))
    gone = np.zeros(len(keys), bool)
    gone[order] = ~first if within else documents[order] != documents[order][leader]
    return gone


def struck_pieces(cut: Pieces, rows: Ints, places: Ints, window: int = 1) -> NDArray[np.bool_]:
    """Which pieces the copies cover: (pieces,) bool; a run of ``window`` pieces goes as a whole."""
    struck = np.zeros(len(cut.starts) + 1, np.int64)
    first = cut.offsets[rows] + places
    np.add.at(struck, first, 1)
    np.add.at(struck, np.minimum(first + window, len(cut.starts)), -1)
    return np.cumsum(struck[:-1]) > 0


def without(rows: Texts, cut: Pieces, struck: NDArray[np.bool_]) -> tuple[Texts, NDArray[np.bool_]]:
    """The texts without the pieces, each with what separates it from the next; and which rows changed, (rows,) bool.

    A text whose last piece goes ends where its last remaining one does.
    """
    count = len(rows.offsets) - 1
    changed = np.zeros(count, bool)
    gone = np.zeros(len(rows.data) + 1, np.int8)
    owner = np.repeat(np.arange(count), np.diff(cut.offsets))
    changed[owner[struck]] = True
    ends = rows.offsets[1:]
    for row in np.flatnonzero(changed).tolist():
        first, last = int(cut.offsets[row]), int(cut.offsets[row + 1])
        starts, stops, goes = cut.starts[first:last], cut.stops[first:last], struck[first:last]
        nexts = np.append(starts[1:], ends[row])
        np.add.at(gone, starts[goes], 1)  # at: empty pieces begin where the next one does
        np.add.at(gone, nexts[goes], -1)
        stay = np.flatnonzero(~goes)
        if len(stay) and stay[-1] + 1 < len(goes):  # the separator before the struck tail
            gone[stops[stay[-1]]] += 1
            gone[nexts[stay[-1]]] -= 1
    keep = np.cumsum(gone[:-1], dtype=np.int8) == 0
    low, high = int(rows.offsets[0]), int(rows.offsets[-1])
    left = np.concatenate([[0], np.cumsum(keep[low:high])]).astype(np.int64)
    return Texts(rows.data[low:high][keep[low:high]], left[rows.offsets - low]), changed


def strike(
    batch: pa.RecordBatch,
    cut: Pieces,
    struck: NDArray[np.bool_],
    step: str,
    recheck: Operator | None = None,
    column: str = "text",
) -> pa.RecordBatch:
    """The batch with texts rewritten; a text of which nothing is left goes by the rule ``nothing_left``.

    ``recheck`` decides again on the rows that changed (C4: three sentences); rows dropped before keep their verdict.
    """
    rewritten, changed = without(texts(batch, column), cut, struck)
    batch = with_column(batch, column, text_array(rewritten))
    if not changed.any():
        return batch
    empty = changed & (_blank(rewritten))
    batch = refuse(
        batch,
        step,
        ["nothing_left" if gone else None for gone in empty],
        ["all of it stands in other documents" if gone else None for gone in empty],
    )
    return batch if recheck is None else _rechecked(batch, changed, recheck)


def text_array(rows: Texts) -> pa.Array[Any]:
    """Texts as a column, large_string."""
    offsets: Any = np.ascontiguousarray(rows.offsets)
    data: Any = np.ascontiguousarray(rows.data)
    buffers = [None, pa.py_buffer(offsets), pa.py_buffer(data)]
    return pa.Array.from_buffers(pa.large_string(), len(rows.offsets) - 1, buffers)


def _rechecked(batch: pa.RecordBatch, changed: NDArray[np.bool_], recheck: Operator) -> pa.RecordBatch:
    at = np.flatnonzero(changed)
    part = recheck(batch.take(at))
    if part.schema.get_field_index(STEP) < 0:
        return batch
    for name in VERDICT:
        whole = batch.column(name).to_pylist()
        for row, value in zip(at.tolist(), part.column(name).to_pylist(), strict=True):
            whole[row] = value
        batch = with_column(batch, name, pa.array(whole, pa.string()))
    return batch


def _lines(rows: Texts) -> Pieces:
    low, high = int(rows.offsets[0]), int(rows.offsets[-1])
    breaks = np.flatnonzero(rows.data[low:high] == _NEWLINE) + low
    before = np.searchsorted(breaks, rows.offsets)
    inside = np.repeat(np.arange(len(rows.offsets) - 1), np.diff(before))
    offsets = before - before[0] + np.arange(len(rows.offsets))  # one line more than it has breaks
    starts, stops = np.empty(offsets[-1], np.int64), np.empty(offsets[-1], np.int64)
    at = np.arange(len(breaks)) + inside
    stops[at], starts[at + 1] = breaks, breaks + 1
    starts[offsets[:-1]], stops[offsets[1:] - 1] = rows.offsets[:-1], rows.offsets[1:]
    return Pieces(starts, stops, offsets.astype(np.int64))


def _inked(data: NDArray[np.uint8], starts: Ints, stops: Ints) -> NDArray[np.bool_]:
    """Which spans have a byte that is not ASCII white space or control."""
    if not len(starts):
        return np.zeros(0, bool)
    low, high = int(starts[0]), int(stops[-1])
    ink = np.concatenate([[0], np.cumsum(data[low:high] > 32)])
    return np.asarray(ink[stops - low] > ink[starts - low])


def _blank(rows: Texts) -> NDArray[np.bool_]:
    return ~_inked(rows.data, rows.offsets[:-1], rows.offsets[1:])


def _counted(chosen: NDArray[np.bool_], offsets: Ints) -> Ints:
    return np.concatenate([[0], np.cumsum(chosen)]).astype(np.int64)[offsets]
