"""The token store: Megatron's ``.bin``/``.idx`` pair, one document a sequence, and the recorded order of documents.

``NAME.bin`` holds the ids of all documents back to back (uint16, or int32 for vocabularies above 65,500);
``NAME.idx`` their sizes and byte offsets (Megatron-LM, ``megatron/core/datasets/indexed_dataset.py``). Each
document ends with the end-of-text id. ``order.npy`` (int32, epochs by documents) is the shuffled order in which
training reads them.
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


def shuffled_order(document_ids: list[str], epochs: int, seed: int) -> Order:
    """The order of documents in each epoch: a keyed sort on (seed, epoch, document id), int32 (epochs, documents)."""
    order = np.empty((epochs, len(document_ids)), dtype=np.int32)
    for epoch in range(epochs):
        keys = np.asarray([derive(seed, "order", epoch, name) for name in document_ids], dtype=np.int64)
        order[epoch] = np.argsort(keys, kind="stable")
    return order


@dataclass(frozen=True)
class TokenStore:
    """Documents of token ids, memory-mapped. ``ids`` is flat; document i is ids[offsets[i]:offsets[i+1]]."""

    ids: Ids
    offsets: npt.NDArray[np.int64]
    order: Order

    @classmethod
    def open(cls, folder: Path, split: str = "train") -> TokenStore:
        """Open ``folder/split.bin``; ArtifactError if the pair is damaged. Held-out stores have no order."""
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
            data = folder / f"{split}.bin"
            empty = np.empty(0, dtype=_CODES[code])
            ids = np.memmap(data, dtype=_CODES[code], mode="r") if data.stat().st_size else empty
            order_file = folder / "order.npy"
            order = np.load(order_file) if split == "train" and order_file.is_file() else None
        except (OSError, struct.error, ValueError) as error:
            raise ArtifactError(f"the token store in {folder} can't be read: {error}") from error
        offsets = np.zeros(count + 1, dtype=np.int64)
        np.cumsum(sizes, out=offsets[1:])
        if offsets[-1] != len(ids):
            raise ArtifactError(f"{data} holds {len(ids)} tokens, its index says {offsets[-1]}")
        if order is None:
            order = np.arange(count, dtype=np.int32)[None]
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

    def epoch_tokens(self, epoch: int) -> Ids:
        """All ids of an epoch in the order in which training reads them."""
        return np.concatenate([self.document(int(index)) for index in self.order[epoch]])
