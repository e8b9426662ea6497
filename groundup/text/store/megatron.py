"""Megatron's ``.bin``/``.idx`` pair: token ids of documents back to back, and where each document lies.

``NAME.idx``, all little-endian (Megatron-LM, ``megatron/core/datasets/indexed_dataset.py``): nine bytes "MMIDIDX" 0 0;
uint64 version, 1; uint8 type of the ids; uint64 number of sequences, S; uint64 number of document bounds, D + 1;
int32 (S,) lengths in ids; int64 (S,) places in ``NAME.bin`` in bytes; int64 (D + 1,) the sequence with which each
document begins, and S. Here a document is one sequence; those of other programs may have several.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

import numpy as np
import numpy.typing as npt

from groundup.base.errors import ArtifactError, DataError

Ids = npt.NDArray[Any]
Offsets = npt.NDArray[np.int64]

MAGIC: Final = b"MMIDIDX\x00\x00"
VERSION: Final = 1
DTYPES: Final[dict[int, np.dtype[Any]]] = {
    1: np.dtype("u1"),
    2: np.dtype("i1"),
    3: np.dtype("<i2"),
    4: np.dtype("<i4"),
    5: np.dtype("<i8"),
    6: np.dtype("<f8"),
    7: np.dtype("<f4"),
    8: np.dtype("<u2"),
}
"""The types that Megatron knows, by their code. Ids are in none of the two that are fractions."""

_HEADER: Final = struct.Struct("<9sQBQQ")
_SMALL_VOCABULARY: Final = 65_500
_LONGEST: Final = 2**31 - 1


def token_dtype(vocab_size: int) -> np.dtype[Any]:
    """The type that Megatron picks for a vocabulary: uint16 below 65,500 entries, int32 above."""
    return DTYPES[8] if vocab_size < _SMALL_VOCABULARY else DTYPES[4]


class Writer:
    """Writes ``path.bin`` as documents come and ``path.idx`` at the end; 4 bytes a document are kept in memory.

    A context manager. ``vocab_size`` is what ids must stay below.
    """

    def __init__(self, path: Path, dtype: np.dtype[Any], vocab_size: int | None = None) -> None:
        self._path, self._dtype = path, dtype
        self._limit = int(min(vocab_size or 2**63, np.iinfo(dtype).max + 1))
        self._data = path.with_suffix(".bin").open("wb")
        self._sizes: list[npt.NDArray[np.int32]] = []
        self.num_tokens = 0

    def add(self, ids: Ids, sizes: npt.NDArray[Any]) -> None:
        """Add documents: ``ids`` (n,) back to back, ``sizes`` (documents,) that sum to n.

        DataError at an id that the vocabulary doesn't have, or a document longer than an index can say.
        """
        assert int(sizes.sum()) == len(ids)
        if len(ids) and not (int(ids.min()) >= 0 and int(ids.max()) < self._limit):
            raise DataError(
                f"ids from {int(ids.min())} to {int(ids.max())} don't fit a vocabulary of {self._limit}: they were "
                "made with another tokenizer"
            )
        if len(sizes) and int(sizes.max()) > _LONGEST:
            raise DataError(f"a document of {int(sizes.max())} tokens is longer than {_LONGEST}, the most there can be")
        self._data.write(np.ascontiguousarray(ids, dtype=self._dtype).data)
        self._sizes.append(sizes.astype("<i4"))
        self.num_tokens += len(ids)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._data.close()
        if kind is None:
            sizes = np.concatenate([np.zeros(0, "<i4"), *self._sizes])
            write_index(self._path.with_suffix(".idx"), sizes, self._dtype)


def write_index(path: Path, sizes: npt.NDArray[Any], dtype: np.dtype[Any]) -> None:
    """Write the index of documents of these ``sizes`` (documents,), in tokens."""
    code = next(code for code, known in DTYPES.items() if known == dtype)
    starts = np.zeros(len(sizes), "<i8")
    np.cumsum(sizes[:-1], out=starts[1:], dtype=np.int64)
    with path.open("wb") as handle:
        handle.write(_HEADER.pack(MAGIC, VERSION, code, len(sizes), len(sizes) + 1))
        handle.write(sizes.astype("<i4").data)
        handle.write((starts * dtype.itemsize).data)
        handle.write(np.arange(len(sizes) + 1, dtype="<i8").data)


def write_store(path: Path, documents: Iterable[Sequence[int]], dtype: np.dtype[Any]) -> int:
    """Write documents one by one to ``path.bin`` and ``path.idx``; the number of tokens."""
    with Writer(path, dtype) as writer:
        for ids in documents:
            writer.add(np.asarray(ids, np.int64), np.asarray([len(ids)]))
    return writer.num_tokens


@dataclass(frozen=True)
class Index:
    """What an ``.idx`` says: the type of the ids, and that document i is ids ``offsets[i]`` to ``offsets[i + 1]``."""

    dtype: np.dtype[Any]
    offsets: Offsets

    @property
    def num_tokens(self) -> int:
        """Ids in the ``.bin``."""
        return int(self.offsets[-1])


def read_index(raw: bytes, name: str) -> Index:
    """Parse an index; ArtifactError, with its ``name``, if it is damaged or not one of token ids."""
    if raw[:9] != MAGIC:
        raise ArtifactError(f"{name} is not a Megatron index")
    if len(raw) < _HEADER.size:
        raise ArtifactError(f"{name} is clipped")
    _, version, code, count, bounds = _HEADER.unpack_from(raw)
    if version != VERSION or code not in DTYPES:
        raise ArtifactError(f"{name} is of a version or type that Megatron doesn't have ({version}, {code})")
    if len(raw) != _HEADER.size + count * 12 + bounds * 8 or not bounds:
        raise ArtifactError(f"{name} is clipped: it has {len(raw)} bytes, not those of {count} sequences")
    dtype = DTYPES[code]
    if dtype.kind == "f":
        raise ArtifactError(f"{name} is of {dtype.name} numbers, not of token ids")
    sizes = np.frombuffer(raw, "<i4", count, _HEADER.size)
    starts = np.frombuffer(raw, "<i8", count, _HEADER.size + 4 * count)
    documents = np.frombuffer(raw, "<i8", bounds, _HEADER.size + 12 * count)
    ends = np.zeros(count + 1, np.int64)
    np.cumsum(sizes, out=ends[1:])
    if (
        (sizes < 0).any()
        or not np.array_equal(starts, ends[:-1] * dtype.itemsize)
        or (documents[0], documents[-1]) != (0, count)
        or (np.diff(documents) < 0).any()
    ):
        raise ArtifactError(f"{name} is damaged: its sizes, places and documents contradict each other")
    return Index(dtype, ends if np.array_equal(documents, np.arange(count + 1)) else ends[documents])
