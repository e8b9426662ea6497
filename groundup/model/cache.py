"""Keys and values of the positions seen so far, so that a new token costs one position and not all of them."""

from __future__ import annotations

import torch
from torch import Tensor

from groundup.model.config import ModelConfig


class KVCache:
    """Room for ``capacity`` positions in each of ``batch`` rows; rows may hold different numbers of them.

    Shapes: B rows, K key-value heads, S capacity, E head_dim. Whatever lies beyond ``lengths`` is never attended to.
    """

    def __init__(
        self, config: ModelConfig, batch: int, capacity: int, dtype: torch.dtype, device: torch.device
    ) -> None:
        shape = (config.num_layers, batch, config.num_kv_heads, capacity, config.head_dim)
        self.keys = torch.zeros(shape, dtype=dtype, device=device)
        self.values = torch.zeros(shape, dtype=dtype, device=device)
        self.lengths = torch.zeros(batch, dtype=torch.long, device=device)

    @property
    def capacity(self) -> int:
        """Positions that a row can hold."""
        return self.keys.size(3)

    def positions(self, num_new: int) -> Tensor:
        """The positions (B, num_new) of the next ids, padding included."""
        return self.lengths[:, None] + torch.arange(num_new, device=self.lengths.device)

    def mask(self, num_new: int, window: int | None = None) -> Tensor:
        """Which of the S positions each new one may see, at most ``window`` back: bool (B, 1, num_new, S)."""
        seen = torch.arange(self.capacity, device=self.lengths.device)
        back = self.positions(num_new)[:, :, None] - seen
        allowed = back >= 0 if window is None else (back >= 0) & (back < window)
        return allowed[:, None]

    def extend(self, layer: int, keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
        """Write the new keys and values (B, K, T, E) of a layer behind the old; returns all (B, K, S, E)."""
        rows = torch.arange(keys.size(0), device=keys.device)[:, None]
        positions = self.positions(keys.size(2))
        self.keys[layer].transpose(1, 2)[rows, positions] = keys.transpose(1, 2).to(self.keys.dtype)
        self.values[layer].transpose(1, 2)[rows, positions] = values.transpose(1, 2).to(self.values.dtype)
        return self.keys[layer], self.values[layer]

    def advance(self, num_new: Tensor | int) -> None:
        """Count the new positions, one number for all rows or one for each (B,)."""
        self.lengths = self.lengths + num_new

    def repeat(self, rows: Tensor) -> KVCache:
        """A cache whose row i is a copy of row ``rows[i]``: several continuations of one context."""
        copy = object.__new__(KVCache)
        copy.keys, copy.values = self.keys[:, rows], self.values[:, rows]
        copy.lengths = self.lengths[rows]
        return copy
