"""The order in which a token store is read: which pieces of documents stand in which row, epoch by epoch.

A document longer than ``chunk`` tokens is cut into *pieces* of that length; where the first cut is made is drawn anew
in each epoch by a hash, so that a text that is read again is read in other parts (docs/LOG.md, 2026-11-25). The pieces
of an epoch are sorted by a hash of (seed, epoch, document, number of the piece) and packed into rows of ``seq_len``
tokens (``packing.py``). Being keyed, cuts and order depend on nothing but these: not on workers, processes or what else
is in the corpus. The hash is splitmix64 (Steele et al. 2014). Pieces, not whole documents, because the chapters of a
book side by side in many rows of a batch make training swing (docs/LOG.md, 2026-11-23).

A piece is where inputs lie; its targets lie one further. A document's inputs are the end-of-text id that stands before
it in the store and all of its ids but the last: so every id of a document, the first and the closing one too, is a
target once an epoch, behind the very context that it has when a text is begun. Before the first document, at place -1,
stands the last id of the store, which is an end-of-text id as well.

On disk, in ``order/``, memory-mapped when it is read: ``starts.npy`` int64 and ``lengths.npy`` int32, the *segments*
(pieces, or parts of them) of all rows of all epochs, one after the other, by their first position in the store's ids;
``rows.npy`` int64 (rows + 1,), the first segment of each row; ``epochs.npy`` int64 (epochs + 1,), the first row of each
epoch; ``order.json``, how it was made.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from groundup.base.errors import ArtifactError
from groundup.base.files import write_json
from groundup.base.seeds import derive
from groundup.text.store.packing import Packed, Packing, concatenate, fit_best

Numbers = npt.NDArray[np.int64]
Keys = npt.NDArray[np.uint64]

FOLDER: Final = "order"
FORMAT: Final = 1

_GAMMA: Final = np.uint64(0x9E3779B97F4A7C15)
_ARRAYS: Final = {"starts": np.int64, "lengths": np.int32, "rows": np.int64, "epochs": np.int64}


@dataclass(frozen=True)
class Order:
    """All rows of all epochs: row r is the segments ``rows[r]`` to ``rows[r + 1]``; a row may end in padding.

    ``starts`` int64 and ``lengths`` int32 (segments,), ``rows`` int64 (rows + 1,), ``epochs`` int64 (epochs + 1,).
    """

    seq_len: int
    starts: Numbers
    lengths: npt.NDArray[np.int32]
    rows: Numbers
    epochs: Numbers
    packing: Packing = "concat"

    @property
    def num_rows(self) -> int:
        """Rows in all epochs."""
        return len(self.rows) - 1

    @property
    def num_epochs(self) -> int:
        """Epochs that were written down."""
        return len(self.epochs) - 1

    @property
    def rows_in_epoch(self) -> int:
        """Rows of the first epoch; with ``best-fit`` another may have a few more or less."""
        return int(self.epochs[1] - self.epochs[0])

    def segments(self, rows: Numbers) -> tuple[Numbers, Numbers]:
        """The segments of ``rows`` (n,), in turn, and of which of the n each is: int64 (segments,) both."""
        first, counts = self.rows[rows], self.rows[rows + 1] - self.rows[rows]
        return ranges(first, counts), np.repeat(np.arange(len(rows)), counts)

    def tokens_of(self, rows: Numbers) -> int:
        """How many tokens stand in these rows, padding left out; back to back there is none."""
        if self.packing == "concat":
            return len(rows) * self.seq_len
        chosen, _ = self.segments(rows)
        return int(self.lengths[chosen].sum(dtype=np.int64))

    def row_of(self, segments: Numbers) -> Numbers:
        """The row in which each segment stands."""
        found: Numbers = np.searchsorted(self.rows, segments, side="right") - 1
        return found

    @classmethod
    def open(cls, read: Callable[[str], Any], where: str) -> Order:
        """Read an order; ``read`` gives ``order.json`` as bytes and an array by name. ArtifactError if damaged."""
        try:
            about = json.loads(read("order.json"))
            arrays = {name: read(f"{name}.npy") for name in _ARRAYS}
            if about["format"] != FORMAT:
                raise ArtifactError(
                    f"the order of {where} is of format {about['format']}: it was made by another version"
                )
            order = cls(int(about["seq_len"]), **arrays, packing=about["packing"])
        except (OSError, EOFError, ValueError, KeyError, TypeError) as error:
            raise ArtifactError(f"the order of {where} can't be read: {error}") from None
        order._check(where)
        return order

    def _check(self, where: str) -> None:
        fine = (
            all(getattr(self, name).dtype == dtype and getattr(self, name).ndim == 1 for name, dtype in _ARRAYS.items())
            and len(self.rows) > 0
            and len(self.epochs) > 1
            and len(self.starts) == len(self.lengths) == self.rows[-1]
            and (int(self.rows[0]), int(self.epochs[0]), int(self.epochs[-1])) == (0, 0, self.num_rows)
            and not (np.diff(self.epochs) < 0).any()
        )
        if not fine:
            raise ArtifactError(f"the order of {where} is damaged: its parts contradict each other")


def ranges(first: Numbers, counts: Numbers) -> Numbers:
    """All whole numbers from each ``first`` on, as many as ``counts`` says.

    >>> ranges(np.array([5, 20]), np.array([3, 2])).tolist()
    [5, 6, 7, 20, 21]
    """
    behind = np.cumsum(counts)
    total = int(behind[-1]) if len(behind) else 0
    return np.repeat(first - (behind - counts), counts) + np.arange(total)


def document_key(name: str, copy: int = 0) -> int:
    """The 63 bits by which a document is sorted: a hash of its id and, in a mixture, of which copy of it this is."""
    return derive(copy, "document", name)


def hashed(keys: Keys, seed: int) -> Keys:
    """splitmix64's hash of each of the ``keys`` uint64 (n,) with a seed."""
    mixed = keys + np.uint64(seed)
    for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
        mixed = (mixed ^ (mixed >> np.uint64(shift))) * np.uint64(factor)
    found: Keys = mixed ^ (mixed >> np.uint64(31))
    return found


def shuffled(keys: Keys, seed: int, epoch: int) -> Numbers:
    """The order of pieces with these ``keys`` uint64 (n,) in an epoch: int64 (n,)."""
    return np.argsort(hashed(keys, derive(seed, "order", epoch)), kind="stable")


def row_order(rows: int, seed: int, epoch: int) -> Numbers:
    """Another order of the rows of one epoch than the recorded one: int64 (rows,)."""
    return shuffled(np.arange(1, rows + 1, dtype=np.uint64) * _GAMMA, seed, epoch)


@dataclass(frozen=True)
class Pieces:
    """Documents cut into pieces: ``starts`` int64, ``lengths`` int32 and ``keys`` uint64, (pieces,) each."""

    starts: Numbers
    lengths: npt.NDArray[np.int32]
    keys: Keys

    @classmethod
    def cut(cls, offsets: Numbers, keys: Keys, chunk: int, seed: int, epoch: int) -> Pieces:
        """Cut documents that lie at ``offsets`` (documents + 1,) and have ``keys`` (documents,) for an epoch."""
        sizes = np.diff(offsets)
        first = (hashed(keys, derive(seed, "cut", epoch)) % np.uint64(chunk)).astype(np.int64) + 1
        first = np.where(sizes <= chunk, sizes, first)
        counts = (sizes > 0) + -(-(sizes - first) // chunk)
        document, number = np.repeat(np.arange(len(sizes)), counts), ranges(np.zeros_like(counts), counts)
        begin, end = offsets[document] - 1, offsets[document + 1] - 1
        ends = np.minimum(end, begin + first[document] + number * chunk)
        starts = np.maximum(begin, begin + first[document] + (number - 1) * chunk)
        return cls(starts, (ends - starts).astype(np.int32), keys[document] + number.astype(np.uint64) * _GAMMA)


def make(
    offsets: Numbers, keys: Keys, *, seq_len: int, epochs: int, seed: int, packing: Packing = "concat", chunk: int = 0
) -> Order:
    """The order of documents at ``offsets`` (documents + 1,) with ``keys`` uint64 (documents,), in memory.

    ``chunk`` is the longest piece, a row if 0.
    """
    packed = list(epochs_of(offsets, keys, seq_len=seq_len, epochs=epochs, seed=seed, packing=packing, chunk=chunk))
    return joined(packed, seq_len, packing)


def joined(epochs: Sequence[Packed], seq_len: int, packing: Packing = "concat") -> Order:
    """The order of epochs that were packed one by one."""
    segments = np.cumsum([0, *(len(epoch.starts) for epoch in epochs)])
    rows = [epoch.rows[:-1] + before for epoch, before in zip(epochs, segments[:-1], strict=True)]
    return Order(
        seq_len,
        np.concatenate([epoch.starts for epoch in epochs]),
        np.concatenate([epoch.lengths for epoch in epochs]),
        np.concatenate([*rows, segments[-1:]]),
        np.cumsum([0, *(epoch.num_rows for epoch in epochs)]),
        packing,
    )


def epochs_of(
    offsets: Numbers, keys: Keys, *, seq_len: int, epochs: int, seed: int, packing: Packing, chunk: int = 0
) -> Iterator[Packed]:
    """The rows of each epoch, one epoch in memory at a time: up to 160 bytes a piece while it is made."""
    pack = concatenate if packing == "concat" else fit_best
    for epoch in range(epochs):
        pieces = Pieces.cut(offsets, keys, chunk or seq_len, seed, epoch)
        chosen = shuffled(pieces.keys, seed, epoch)
        starts, lengths = pieces.starts[chosen], pieces.lengths[chosen]
        del pieces, chosen  # packing takes more than these
        yield pack(starts, lengths, seq_len)


def write(folder: Path, epochs: Iterator[Packed], seq_len: int, packing: Packing, about: dict[str, Any]) -> None:
    """Write ``folder/order/``; one epoch is in memory at a time. ``about`` is put down in ``order.json``."""
    home = folder / FOLDER
    home.mkdir()
    segments, rows = 0, [0]
    with _Column(home, "starts") as starts, _Column(home, "lengths") as lengths, _Column(home, "rows") as firsts:
        for epoch in epochs:
            starts.add(epoch.starts)
            lengths.add(epoch.lengths)
            firsts.add(epoch.rows[:-1] + segments)
            segments += len(epoch.starts)
            rows.append(rows[-1] + epoch.num_rows)
        firsts.add(np.array([segments]))
    np.save(home / "epochs.npy", np.array(rows, np.int64))
    write_json(home / "order.json", {"format": FORMAT, "seq_len": seq_len, "packing": packing, **about})


class _Column:
    """A ``.npy`` file that grows: its header has room for any length (NumPy's format, version 1.0)."""

    def __init__(self, folder: Path, name: str) -> None:
        self._dtype: np.dtype[Any] = np.dtype(_ARRAYS[name])
        self._handle = (folder / f"{name}.npy").open("wb")
        self._length = 0
        self._header()

    def add(self, values: npt.NDArray[Any]) -> None:
        self._handle.write(np.ascontiguousarray(values, self._dtype).data)
        self._length += len(values)

    def __enter__(self) -> _Column:
        return self

    def __exit__(self, *_: object) -> None:
        self._handle.seek(0)
        self._header()
        self._handle.close()

    def _header(self) -> None:
        text = f"{{'descr': '{self._dtype.str}', 'fortran_order': False, 'shape': ({self._length},), }}"
        self._handle.write(b"\x93NUMPY\x01\x00" + (118).to_bytes(2, "little") + text.ljust(117).encode() + b"\n")
