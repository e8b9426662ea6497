"""Token stores in memory and orders on disk, for tests that need some data to train on."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from groundup.text.store import order
from groundup.text.store.packing import Packed, Packing
from groundup.text.store.store import TokenStore


def keys_of(documents: int) -> order.Keys:
    """Keys of documents without ids."""
    return np.array([order.document_key(str(number)) for number in range(documents)], np.uint64)


def memory_store(
    ids: Any, offsets: Sequence[int], seq_len: int, epochs: int, seed: int = 1, packing: Packing = "concat"
) -> TokenStore:
    """A store of documents at ``offsets`` with an order."""
    bounds = np.asarray(offsets, np.int64)
    made = order.make(bounds, keys_of(len(bounds) - 1), seq_len=seq_len, epochs=epochs, seed=seed, packing=packing)
    return TokenStore(np.asarray(ids), bounds, made)


def stream_store(ids: Any, seq_len: int, rows: Sequence[Sequence[int]]) -> TokenStore:
    """One long document, whose row r is ``ids[r * seq_len : (r + 1) * seq_len]``, in these orders, epoch by epoch."""
    epochs = [
        Packed(np.asarray(each, np.int64) * seq_len, np.full(len(each), seq_len, np.int32), np.arange(len(each) + 1))
        for each in rows
    ]
    return TokenStore(ids, np.asarray([0, len(ids)], np.int64), order.joined(epochs, seq_len))


def write_order(folder: Path, sizes: Sequence[int], seq_len: int, epochs: int, packing: Packing = "concat") -> int:
    """Write the order of documents of these sizes; how many rows its first epoch has."""
    offsets = np.cumsum([0, *sizes])
    packed = list(
        order.epochs_of(offsets, keys_of(len(sizes)), seq_len=seq_len, epochs=epochs, seed=1, packing=packing)
    )
    order.write(folder, iter(packed), seq_len, packing, {})
    return packed[0].num_rows
