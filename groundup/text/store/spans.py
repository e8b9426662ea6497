"""An index of a token store by which any stretch of 20 tokens, or more, of a text is found in the documents.

Of every 13 8-grams in a row one is kept (winnowing, ``spans_kernels.py``), so a stretch of 13 + 8 - 1 = 20 tokens that
a text and a document have in common holds one that is kept: its hash is looked up, and the tokens are compared. On
average two of 14 places are kept. A suffix array (infini-gram; Liu et al. 2024, 2401.17377; used by OLMoTrace,
2504.07096) finds the shorter ones too, at 7 bytes a token with the ids of 2 bytes themselves, against 3.2 here, and a
sort of all suffixes; what is given up is the promise for less than 20.

A folder, little-endian: ``spans.json``; ``starts.bin`` int64 (2^bits + 1,), where the entries begin whose hashes have
the same first ``bits``; ``keys.bin`` uint32 (entries,), the 32 bits behind those; ``places.bin``, uint32 or uint64
(entries,), where the 8-gram stands in the store; ``counts.bin`` int64 (vocab,), how often each id is there. Entries are
sorted by hash, equal ones by place. An entry is 8 bytes below 2^32 tokens: 1.2 bytes a token in all.

Building reads the store once and writes the entries to files by the first bits of their hashes, which are then sorted
one by one in memory; a file that is too large, as of one phrase repeated for ever, is split further, and never sorted
where all its hashes are equal.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Final, Literal

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, ValidationError

from groundup.base.errors import ArtifactError
from groundup.base.files import sync_file, sync_folder, write_json
from groundup.text.store.megatron import Ids
from groundup.text.store.spans_kernels import Hashes, Numbers, hash_grams, look_up, sort_pairs, winnow

GRAM: Final = 8
"""Tokens of a k-gram: nothing shorter is ever found."""
WINDOW: Final = 13
"""k-grams in a row of which one is kept."""
PROMISE: Final = 20
"""Every common stretch of so many tokens is found."""
assert GRAM + WINDOW - 1 == PROMISE, "a stretch must hold a whole window of k-grams"

ABOUT: Final = "spans.json"
_CHUNK: Final = 1 << 22
"""Tokens that are looked at together. It decides which of equal entries are kept, so it is a part of the format."""
_LIMIT: Final = 3 << 20
"""Entries that are sorted in memory: about 120 MB."""
_SPLIT: Final = 6
"""Bits by which a file that is too large is split."""
_MOST_FILES: Final = 8
"""As bits: files that are open while the store is read."""
_BUCKET: Final = 5
"""As bits: entries that share a bucket, on average."""

Report = Callable[[int, int], None]


class About(BaseModel):
    """``spans.json``. ``store`` is the digest of the artifact that was indexed, ``tokens`` how many it has."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    format: Literal[1] = 1
    store: str
    gram: int = GRAM
    window: int = WINDOW
    tokens: int
    entries: int
    bits: int
    vocab: int
    place: Literal["<u4", "<u8"]


@dataclass(frozen=True)
class Spans:
    """An index, memory-mapped. ``counts`` int64 (vocab,) says how often each id is in the store."""

    about: About
    starts: Numbers
    keys: npt.NDArray[np.uint32]
    places: npt.NDArray[Any]
    counts: Numbers

    @classmethod
    def open(cls, folder: Path, store: str, tokens: int) -> Spans:
        """The index of the store with this digest and number of tokens; ArtifactError if it is damaged or another's."""
        remedy = f"delete {folder}, it is made again at the next use"
        try:
            about = About.model_validate_json((folder / ABOUT).read_bytes())
        except (OSError, ValidationError):
            raise ArtifactError(f"the index {folder} is damaged, or of another version: {remedy}") from None
        if (about.gram, about.window) != (GRAM, WINDOW):
            raise ArtifactError(f"the index {folder} is of {about.gram}-grams, not of {GRAM}-grams: {remedy}")
        if (about.store, about.tokens) != (store, tokens):
            raise ArtifactError(
                f"the index {folder} is of the store {about.store[:12]} with {about.tokens} tokens, not of "
                f"{store[:12]} with {tokens}: {remedy}"
            )
        shapes = _shapes(about)
        for name, (dtype, length) in shapes.items():
            path = folder / name
            if not path.is_file() or path.stat().st_size != np.dtype(dtype).itemsize * length:
                raise ArtifactError(f"the index {folder} is clipped: {name} is not of {length} entries; {remedy}")
        starts, keys, places, counts = (_mapped(folder / name, dtype) for name, (dtype, _) in shapes.items())
        if starts[0] != 0 or starts[-1] != about.entries or (np.diff(starts) < 0).any():
            raise ArtifactError(f"the index {folder} is damaged: its buckets contradict each other; {remedy}")
        return cls(about, starts, keys, places, counts)

    def look_up(self, hashes: Hashes) -> tuple[Numbers, Numbers]:
        """Of each hash (q,), the first of its entries and the one behind the last: int64 (q,) each."""
        low, high = np.zeros(len(hashes), np.int64), np.zeros(len(hashes), np.int64)
        look_up(hashes, self.starts, self.keys, self.about.bits, low, high)
        return low, high


def grams_of(ids: npt.NDArray[np.int64]) -> Hashes:
    """The hashes of all k-grams of a text's ids (n,): uint64 (n - 7,), none if it is shorter than that."""
    out = np.empty(max(0, len(ids) - GRAM + 1), np.uint64)
    hash_grams(ids, GRAM, out)
    return out


def build(
    folder: Path, ids: Ids, offsets: Numbers, stops: npt.NDArray[np.bool_], store: str, report: Report | None = None
) -> About:
    """Index documents: ``ids`` (n,), of which document i is ``offsets[i]`` to ``offsets[i + 1]``, into ``folder``.

    No span goes across the ids in ``stops``, bool (vocab,), or from one document to the next. The folder is whole or
    absent: it is made beside and renamed. The same store gives the same bytes. Memory is about 250 MB, and
    ``report`` is told the tokens done and all there are.
    """
    beside = folder.with_name(f".{folder.name}.tmp")
    shutil.rmtree(beside, ignore_errors=True)
    beside.mkdir(parents=True)
    try:
        place: Literal["<u4", "<u8"] = "<u4" if len(ids) < 2**32 else "<u8"
        writer = _Builder(beside, np.dtype([("hash", "<u8"), ("place", place)]), len(ids), report or (lambda *_: None))
        counts, files = writer.spool(ids, offsets, stops)
        entries = sum(path.stat().st_size for path in files) // writer.row.itemsize
        bits = min(24, max(1, int(entries).bit_length() - _BUCKET))
        starts = writer.settle_all(files, entries, bits)
        starts.tofile(beside / "starts.bin")
        counts.tofile(beside / "counts.bin")
        about = About(store=store, tokens=len(ids), entries=entries, bits=bits, vocab=len(stops), place=place)
        for name in _shapes(about):
            sync_file(beside / name)
        write_json(beside / ABOUT, about.model_dump())
        sync_folder(beside)
        shutil.rmtree(folder, ignore_errors=True)
        beside.rename(folder)
        sync_folder(folder.parent)
    finally:
        shutil.rmtree(beside, ignore_errors=True)
    return about


@dataclass(frozen=True)
class _Builder:
    """Makes the files of an index in ``folder``; ``row`` is an entry on the way: its hash and place."""

    folder: Path
    row: np.dtype[Any]
    tokens: int
    report: Report

    def spool(self, ids: Ids, offsets: Numbers, stops: npt.NDArray[np.bool_]) -> tuple[Numbers, list[Path]]:
        """Read the store once: how often each id is there, and files of entries by the first bits of their hashes."""
        wanted = max(1, 2 * self.tokens // (WINDOW + 1) * 2 // _LIMIT)
        bits = min(_MOST_FILES, (wanted - 1).bit_length())
        counts, last = np.zeros(len(stops), np.int64), -1
        hashes, places = np.empty(_CHUNK + PROMISE, np.uint64), np.empty(_CHUNK + PROMISE, np.int64)
        files = [self.folder / f"{number:03d}.spool" for number in range(1 << bits)]
        handles = [path.open("wb") for path in files]
        try:
            for first in range(0, self.tokens, _CHUNK):
                limit = min(_CHUNK, self.tokens - first)
                part = ids[first : first + limit + PROMISE - 1]
                fresh = (
                    first == 0 or _is_stop(ids[first - 1], stops) or offsets[np.searchsorted(offsets, first)] == first
                )
                found = winnow(
                    part, first, limit, bool(fresh), last, GRAM, WINDOW, offsets, stops, counts, hashes, places
                )
                last = int(places[found - 1]) if found else last
                self._spread(hashes[:found], places[:found], 64 - bits, bits, handles)
                self.report(int(0.8 * (first + limit)), self.tokens)
        finally:
            for handle in handles:
                handle.close()
        return counts, files

    def _spread(
        self, hashes: Hashes, places: npt.NDArray[Any], shift: int, bits: int, handles: Sequence[BinaryIO]
    ) -> None:
        """Append entries to the file that ``bits`` of their hashes from ``shift`` on name, in their order."""
        which = ((hashes >> np.uint64(shift)) & np.uint64((1 << bits) - 1) if bits else hashes * np.uint64(0)).astype(
            "u2"
        )
        order = np.argsort(which, kind="stable")
        rows = np.empty(len(hashes), self.row)
        rows["hash"], rows["place"] = hashes[order], places[order]
        ends = np.cumsum(np.bincount(which, minlength=1 << bits))
        for number, end in enumerate(ends.tolist()):
            first = int(ends[number - 1]) if number else 0
            if end > first:
                handles[number].write(rows[first:end].tobytes())

    def settle_all(self, files: list[Path], entries: int, bits: int) -> Numbers:
        """Sort the files one after the other into ``keys.bin`` and ``places.bin``; where each bucket begins."""
        sizes, done = np.zeros((1 << bits) + 1, np.int64), 0
        with (self.folder / "keys.bin").open("wb") as keys, (self.folder / "places.bin").open("wb") as places:
            for path in files:
                for rows in self._settled(path, 64 - (len(files).bit_length() - 1), 32 - bits):
                    buckets = (rows["hash"] >> np.uint64(64 - bits)).astype(np.int64)
                    least = int(buckets[0])
                    inside = np.bincount(buckets - least)
                    sizes[least + 1 : least + 1 + len(inside)] += inside
                    keys.write((rows["hash"] >> np.uint64(32 - bits)).astype("<u4").tobytes())
                    places.write(rows["place"].tobytes())
                    done += len(rows)
                    self.report(int(self.tokens * (0.8 + 0.2 * done / entries)), self.tokens)
        return np.cumsum(sizes).astype("<i8")

    def _settled(self, path: Path, high: int, low: int) -> Iterator[npt.NDArray[Any]]:
        """The entries of a file, of hashes that agree from bit ``high`` on, ordered by the bits from ``low`` on."""
        count = path.stat().st_size // self.row.itemsize
        if count <= _LIMIT or high <= low:
            with path.open("rb") as handle:
                while len(rows := np.fromfile(handle, self.row, _LIMIT)):
                    if high > low:
                        hashes, places = rows["hash"].copy(), rows["place"].copy()
                        sort_pairs(hashes, places, low, high)
                        rows["hash"], rows["place"] = hashes, places
                    yield rows
            path.unlink()
            return
        bits = min(_SPLIT, high - low)
        parts = [path.with_suffix(f".{number:02d}{path.suffix}") for number in range(1 << bits)]
        outs = [part.open("wb") for part in parts]
        try:
            with path.open("rb") as handle:
                while len(rows := np.fromfile(handle, self.row, _LIMIT)):
                    self._spread(rows["hash"], rows["place"], high - bits, bits, outs)
        finally:
            for out in outs:
                out.close()
        path.unlink()
        for part in parts:
            yield from self._settled(part, high - bits, low)


def _is_stop(token: Any, stops: npt.NDArray[np.bool_]) -> bool:
    return not 0 <= token < len(stops) or bool(stops[token])


def _shapes(about: About) -> dict[str, tuple[str, int]]:
    """The files of an index: the type of their numbers, and how many there are."""
    return {
        "starts.bin": ("<i8", (1 << about.bits) + 1),
        "keys.bin": ("<u4", about.entries),
        "places.bin": (about.place, about.entries),
        "counts.bin": ("<i8", about.vocab),
    }


def _mapped(path: Path, dtype: str) -> npt.NDArray[Any]:
    return np.asarray(np.memmap(path, dtype, "r")) if path.stat().st_size else np.empty(0, dtype)
