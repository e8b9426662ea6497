"""What to train on at each step, as a pure function of the step: resuming needs a step number and nothing else."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Protocol, TypeVar

import numpy as np
import torch
from torch import Tensor

from groundup.base.errors import RequestError
from groundup.text.shards import TokenStore

BatchT = TypeVar("BatchT")


class Steps(Protocol[BatchT]):
    """All optimizer steps of a run. ``batches(step)`` gives the micro-batches that make up one."""

    @property
    def num_steps(self) -> int: ...

    def batches(self, step: int) -> list[BatchT]: ...


@dataclass(frozen=True)
class TokenBatch:
    """Token ids int64 (B, T) with the ids that follow them; ``trained`` bool (B, T) says which targets count."""

    inputs: Tensor
    targets: Tensor
    trained: Tensor | None = None

    @cached_property
    def weight(self) -> int:
        """How many targets count."""
        return self.targets.numel() if self.trained is None else int(self.trained.sum())

    @property
    def num_tokens(self) -> int:
        """Positions computed, padding included."""
        return self.inputs.numel()


@dataclass(frozen=True)
class PackedSteps:
    """Next-token prediction over a token store: documents in the recorded order, back to back, cut into rows.

    Row r holds positions [r * seq_len, (r + 1) * seq_len] of the stream; the last position is only a target, and
    the first input of the next row. Epochs follow each other without a gap.
    """

    store: TokenStore
    seq_len: int
    rows_per_step: int
    rows_per_batch: int
    num_steps: int

    def __post_init__(self) -> None:
        available = self.store.num_tokens * len(self.store.order)
        wanted = self.num_steps * self.rows_per_step * self.seq_len + 1
        if wanted > available:
            epochs = -(-wanted // max(1, self.store.num_tokens))
            raise RequestError(
                f"training would read {wanted} tokens; the token store holds {len(self.store.order)} epochs of "
                f"{self.store.num_tokens}: set epochs of the tokens stage to {epochs}, or lower the horizon"
            )

    def batches(self, step: int) -> list[TokenBatch]:
        """The micro-batches of a step, ``rows_per_batch`` rows each (the last may have fewer)."""
        first = step * self.rows_per_step
        rows = range(first, first + self.rows_per_step)
        return [self._batch(rows[at : at + self.rows_per_batch]) for at in range(0, len(rows), self.rows_per_batch)]

    def _batch(self, rows: range) -> TokenBatch:
        flat = self._read(rows.start * self.seq_len, len(rows) * self.seq_len + 1)
        inputs = flat[:-1].view(len(rows), self.seq_len)
        targets = flat[1:].view(len(rows), self.seq_len)
        return TokenBatch(inputs, targets)

    def _read(self, start: int, count: int) -> Tensor:
        """``count`` ids of the endless stream from position ``start``, int64."""
        parts: list[np.ndarray] = []
        while count > 0:
            epoch, position = divmod(start, self.store.num_tokens)
            ends = self._ends(epoch)
            place = int(np.searchsorted(ends, position, side="right"))
            document = self.store.document(int(self.store.order[epoch][place]))
            part = document[len(document) - (int(ends[place]) - position) :][:count]
            parts.append(part)
            start, count = start + len(part), count - len(part)
        return torch.from_numpy(np.concatenate(parts).astype(np.int64))

    def _ends(self, epoch: int) -> np.ndarray:
        """Where each document of an epoch ends in its stream, int64."""
        if epoch not in self._all_ends:
            self._all_ends.clear()
            self._all_ends[epoch] = np.cumsum(np.diff(self.store.offsets)[self.store.order[epoch]])
        return self._all_ends[epoch]

    @cached_property
    def _all_ends(self) -> dict[int, np.ndarray]:
        return {}
