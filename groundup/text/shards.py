"""The token store: Megatron's ``.bin``/``.idx`` pair, one document a sequence, and the recorded order of rows.

``NAME.bin`` holds the ids of all documents back to back (uint16, or int32 for vocabularies above 65,500);
``NAME.idx`` their sizes and byte offsets (Megatron-LM, ``megatron/core/datasets/indexed_dataset.py``). Each
document ends with the end-of-text id.

For training the documents are packed back to back and cut into rows: row r is positions [r * seq_len, (r + 1) *
seq_len], the last of which is only a target and the first input of the next row. ``order.npy`` (int32, epochs by
rows) is the shuffled order in which the rows are read, so that a batch mixes many documents.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from groundup.base.errors import ArtifactError
from groundup.base.seeds import derive

_MAGIC: Final = b"MMIDIDX\x00\x00"
_CODES: Final[dict[int, np.dtype[Any]]] = {4: np.dtype("<i4"), 8: np.dtype("<u2")}

Ids = npt.NDArray[Any]
Order = npt.NDArray[np.int32]


def token_dtype(vocab_size: int) -> np.dtype[Any]:
    """The type that Megatron picks for a vocabulary: uint16 below 65,500 entries, int32 above."""
    return _CODES[8] if vocab_size < 65_500 else _CODES[4]


def write_store(path: Path, documents: Iterable[list[int]], dtype: np.dtype[Any]) -> int:
    """Write ``path.bin`` and ``path.idx``; returns the number of tokens."""
    sizes: list[int] = []
    with path.with_suffix(".bin").open("wb") as handle:
        for ids in documents:
            handle.write(np.asarray(ids, dtype=dtype).tobytes())
            sizes.append(len(ids))
    lengths = np.asarray(sizes, dtype="<i4")
    starts = np.zeros(len(sizes), dtype="<i8")
    np.cumsum(lengths[:-1], out=starts[1:], dtype=np.int64)
    code = next(code for code, known in _CODES.items() if known == dtype)
    with path.with_suffix(".idx").open("wb") as handle:
        handle.write(_MAGIC + struct.pack("<QB", 1, code) + struct.pack("<QQ", len(sizes), len(sizes) + 1))
        handle.write(lengths.tobytes() + (starts * dtype.itemsize).tobytes())
        handle.write(np.arange(len(sizes) + 1, dtype="<i8").tobytes())
    return int(lengths.sum(dtype=np.int64))


def num_rows(num_tokens: int, seq_len: int) -> int:
    """Whole rows in a stream; the last target needs one more token than the inputs."""
    return max(0, (num_tokens - 1) // seq_len)


def shuffled_rows(rows: int, epochs: int, seed: int) -> Order:
    """The order of rows in each epoch, int32 (epochs, rows): a sort by a hash of (seed, epoch, row).

    Being keyed, the order doesn't depend on how many workers read it. The hash is splitmix64 (Steele et al. 2014).
    """
    order = np.empty((epochs, rows), dtype=np.int32)
    for epoch in range(epochs):
        mixed = np.arange(1, rows + 1, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)
        mixed += np.uint64(derive(seed, "order", epoch))
        for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
            mixed = (mixed ^ (mixed >> np.uint64(shift))) * np.uint64(factor)
        order[epoch] = np.argsort(mixed ^ (mixed >> np.uint64(31)), kind="stable")
    return order


@dataclass(frozen=True)
class TokenStore:
    """Documents of token ids, memory-mapped. ``ids`` is flat; document i is ids[offsets[i]:offsets[i+1]].

    ``order`` is that of rows, None for a store that isn't trained on.
    """

    ids: Ids
    offsets: npt.NDArray[np.int64]
    order: Order | None

    @classmethod
    def open(cls, folder: Path, split: str = "train") -> TokenStore:
        """Open ``folder/split.bin``; ArtifactError if the pair is damaged."""
        index = folder / f"{split}.idx"
        try:
            raw = index.read_bytes()
            if raw[:9] != _MAGIC:
                raise ArtifactError(f"{index} is not a Megatron index")
            version, code = struct.unpack_from("<QB", raw, 9)
            count, bounds = struct.unpack_from("<QQ", raw, 18)
            if version != 1 or code not in _CODES or len(raw) != 34 + count * 12 + bounds * 8:
                raise ArtifactError(f"{index} is clipped or of another version")
            sizes = np.frombuffer(raw, dtype="<i4", count=count, offset=34)
            starts = np.frombuffer(raw, dtype="<i8", count=count, offset=34 + 4 * count)
            data = folder / f"{split}.bin"
            empty = np.empty(0, dtype=_CODES[code])
            ids = np.memmap(data, dtype=_CODES[code], mode="r") if data.stat().st_size else empty
            order_file = folder / "order.npy"
            order = np.load(order_file) if split == "train" and order_file.is_file() else None
        except (OSError, EOFError, struct.error, ValueError) as error:
            raise ArtifactError(f"the token store in {folder} can't be read: {error}") from error
        offsets = np.zeros(count + 1, dtype=np.int64)
        np.cumsum(sizes, out=offsets[1:])
        if offsets[-1] != len(ids):
            raise ArtifactError(f"{data} holds {len(ids)} tokens, its index says {offsets[-1]}")
        if (sizes < 0).any() or not np.array_equal(starts, offsets[:-1] * ids.itemsize):
            raise ArtifactError(f"{index} is damaged: its sizes and offsets contradict each other")
        return cls(ids, offsets, order)

    @property
    def num_tokens(self) -> int:
        """Tokens in one epoch, end-of-text ids included."""
        return len(self.ids)

    @property
    def num_documents(self) -> int:
        """Documents in the store."""
        return len(self.offsets) - 1

    def document(self, index: int) -> Ids:
        """The ids of one document, its closing end-of-text id included."""
        return self.ids[self.offsets[index] : self.offsets[index + 1]]

    def row(self, index: int, seq_len: int) -> Ids:
        """The seq_len + 1 ids of a row."""
        return self.ids[index * seq_len : (index + 1) * seq_len + 1]

    def training_tokens(self, seen: int, seq_len: int) -> Ids:
        """The ids that a run of ``seen`` tokens has read, each once, in the order of its first epoch or the store."""
        rows = num_rows(self.num_tokens, seq_len)
        if self.order is None or seen >= rows * seq_len:
            return self.ids[: rows * seq_len + 1]
        return np.concatenate([self.row(int(r), seq_len)[:-1] for r in self.order[0][: -(-seen // seq_len)]])[:seen]
