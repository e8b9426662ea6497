"""What to train on at each step, as a pure function of the step: resuming needs a step number and nothing else."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Final, Protocol, TypeVar

import numpy as np
import torch
from torch import Tensor

from groundup.base.errors import RequestError
from groundup.text.shards import Order, TokenStore

BatchT = TypeVar("BatchT")
RowT = TypeVar("RowT")


@dataclass(frozen=True)
class Part:
    """A share of the rows of every step: number ``rank`` of ``size``. Processes that split one row share a part."""

    rank: int = 0
    size: int = 1

    def of(self, rows: Sequence[RowT]) -> Sequence[RowT]:
        """This part's rows: every ``size``-th."""
        return rows[self.rank :: self.size]


WHOLE: Final = Part()


class Steps(Protocol[BatchT]):
    """All optimizer steps of a run. ``batches(step, part)`` gives the micro-batches of a part of one.

    The rows of a step don't depend on how many parts share them.
    """

    @property
    def num_steps(self) -> int: ...

    def batches(self, step: int, part: Part = WHOLE) -> list[BatchT]: ...


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

    def to(self, device: torch.device) -> TokenBatch:
        """The same batch on a device."""
        trained = None if self.trained is None else self.trained.to(device)
        return TokenBatch(self.inputs.to(device), self.targets.to(device), trained)


@dataclass(frozen=True)
class PackedSteps:
    """Next-token prediction over the rows of a token store, in its recorded order, epoch after epoch."""

    store: TokenStore
    seq_len: int
    rows_per_step: int
    rows_per_batch: int
    num_steps: int

    def __post_init__(self) -> None:
        order = self._order
        wanted = self.num_steps * self.rows_per_step
        if wanted > order.size:
            epochs, rows = order.shape
            raise RequestError(
                f"training would read {wanted * self.seq_len} tokens; the token store has an order for {epochs} epochs "
                f"of {rows * self.seq_len}: set its epochs to {-(-wanted // max(1, rows))}, or lower the horizon"
            )

    @property
    def _order(self) -> Order:
        if self.store.order is None:
            raise RequestError("the token store has no order of rows: it is not one to train on")
        return self.store.order

    def batches(self, step: int, part: Part = WHOLE) -> list[TokenBatch]:
        """The micro-batches of a step, ``rows_per_batch`` rows each (the last may have fewer)."""
        first = step * self.rows_per_step
        rows = self._order.reshape(-1)[first : first + self.rows_per_step][part.rank :: part.size]
        return [self._batch(rows[at : at + self.rows_per_batch]) for at in range(0, len(rows), self.rows_per_batch)]

    def _batch(self, rows: Order) -> TokenBatch:
        ids = torch.from_numpy(np.stack([self.store.row(int(row), self.seq_len) for row in rows]).astype(np.int64))
        return TokenBatch(ids[:, :-1], ids[:, 1:])
