"""What to train on at each step, as a pure function of the step: resuming needs a step number and nothing else.

A step's rows are fixed by their global index, so they are the same for any number of processes; the position in the
data is counted in tokens.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final, Protocol, TypeVar

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from groundup.base.errors import DataError, RequestError
from groundup.base.seeds import derive
from groundup.text.shards import Order, TokenStore, shuffled_rows
from groundup.train.mixture import counts, interleave

BatchT = TypeVar("BatchT")
RowT = TypeVar("RowT")

_SAMPLED: Final = 65_536


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

    ``heaviest(part)`` is a step whose largest micro-batch no other step exceeds: what fits there fits everywhere. The
    rows of a step don't depend on how many parts share them. ``fingerprint`` names the data and its order: a
    checkpoint of one is refused by another.
    """

    @property
    def num_steps(self) -> int: ...

    @property
    def fingerprint(self) -> str: ...

    def batches(self, step: int, part: Part = WHOLE) -> list[BatchT]: ...

    def heaviest(self, part: Part = WHOLE) -> int: ...


@dataclass(frozen=True)
class TokenBatch:
    """Token ids int64 (B, T) with the ids that follow them; ``trained`` bool (B, T) says which targets count.

    ``documents`` int64 (B, T) numbers the documents that are packed into a row, where they must not see each other.
    """

    inputs: Tensor
    targets: Tensor
    trained: Tensor | None = None
    documents: Tensor | None = None

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
        documents = None if self.documents is None else self.documents.to(device)
        return TokenBatch(self.inputs.to(device), self.targets.to(device), trained, documents)


@dataclass(frozen=True)
class PairBatch:
    """Preference pairs: rows 2i chosen and 2i+1 rejected, ids (2P, T), ``trained`` marks the answers' targets.

    ``reference`` fp64 (2P,) holds the log-probability of each answer under the model that training started from.
    """

    tokens: TokenBatch
    reference: Tensor

    @property
    def weight(self) -> int:
        """Pairs."""
        return len(self.reference) // 2

    @property
    def num_tokens(self) -> int:
        """Positions computed, padding included."""
        return self.tokens.num_tokens

    def to(self, device: torch.device) -> PairBatch:
        """The same batch on a device."""
        return PairBatch(self.tokens.to(device), self.reference.to(device))


@dataclass(frozen=True)
class Source:
    """A token store that takes part in a mixture, with its share of the rows."""

    name: str
    store: TokenStore
    weight: float


@dataclass(frozen=True)
class PackedSteps:
    """Next-token prediction over the rows of token stores, each in its recorded order, epoch after epoch.

    ``store`` is one store or several sources. Weights count rows, after packing: of any run of rows, each source
    has its share to within a row or so. ``mask_documents`` keeps the documents of a row apart. With an ``order_seed``
    the rows of each recorded epoch are read in another order, so that a run shorter than an epoch reads other rows.

    RequestError if a source has too few rows, or no order. DataError at a batch with an id beyond ``vocab_size``.
    """

    store: TokenStore | Sequence[Source]
    seq_len: int
    rows_per_step: int
    rows_per_batch: int
    num_steps: int
    mask_documents: bool = False
    vocab_size: int | None = None
    order_seed: int | None = None

    def __post_init__(self) -> None:
        wanted = counts(self._weights, self.num_steps * self.rows_per_step)
        for source, rows in zip(self.sources, wanted, strict=True):
            order = _order(source)
            if rows > order.size:
                epochs, each = order.shape
                which = f" of {source.name!r}" if source.name else ""
                raise RequestError(
                    f"training would read {rows * self.seq_len} tokens{which}; the token store has an order for "
                    f"{epochs} epochs of {each * self.seq_len}: set its epochs to {-(-rows // max(1, each))}, or lower "
                    "the horizon"
                )

    @cached_property
    def sources(self) -> tuple[Source, ...]:
        """The stores that rows come from."""
        return (Source("", self.store, 1.0),) if isinstance(self.store, TokenStore) else tuple(self.store)

    @cached_property
    def _weights(self) -> tuple[float, ...]:
        return tuple(source.weight for source in self.sources)

    @cached_property
    def fingerprint(self) -> str:
        """A hash of shape and weights, and of samples of every store's tokens, documents and order."""
        whole = hashlib.sha256(repr((self.seq_len, self.rows_per_step, self._weights, self.mask_documents)).encode())
        for source, order in zip(self.sources, self._orders, strict=True):
            for array in (source.store.ids, source.store.offsets, order):
                sample = np.ascontiguousarray(array[:: max(1, len(array) // _SAMPLED)])
                whole.update(f"{len(array)} {sample.dtype}".encode() + sample.tobytes())
        return whole.hexdigest()

    @cached_property
    def _orders(self) -> tuple[npt.NDArray[np.int32], ...]:
        """The rows of each source as they are read, epoch after epoch: int32 (rows,)."""
        if self.order_seed is None:
            return tuple(_order(source).reshape(-1) for source in self.sources)
        found = []
        for number, (source, read) in enumerate(zip(self.sources, self.rows_read(), strict=True)):
            recorded = _order(source)
            recorded = recorded[: max(1, -(-read // max(1, recorded.shape[1])))]
            keyed = shuffled_rows(recorded.shape[1], len(recorded), derive(self.order_seed, "source", number))
            found.append(np.take_along_axis(recorded, keyed, axis=1).reshape(-1))
        return tuple(found)

    def rows_of(self, step: int) -> list[tuple[int, int]]:
        """The rows of a step, over all parts: (source, row of its store)."""
        first = step * self.rows_per_step
        chosen, places = interleave(self._weights, first, self.rows_per_step)
        return [(s, int(self._orders[s][place])) for s, place in zip(chosen.tolist(), places.tolist(), strict=True)]

    def rows_read(self) -> list[int]:
        """How many rows of each source the whole run reads."""
        return counts(self._weights, self.num_steps * self.rows_per_step)

    def batches(self, step: int, part: Part = WHOLE) -> list[TokenBatch]:
        """The micro-batches of a step, ``rows_per_batch`` rows each (the last may have fewer)."""
        rows = part.of(self.rows_of(step))
        return [self._batch(rows[at : at + self.rows_per_batch]) for at in range(0, len(rows), self.rows_per_batch)]

    def heaviest(self, part: Part = WHOLE) -> int:
        """All steps weigh the same."""
        return 0

    def _batch(self, rows: Sequence[tuple[int, int]]) -> TokenBatch:
        stores = [source.store for source in self.sources]
        ids = _stack([stores[s].row(row, self.seq_len) for s, row in rows])
        documents = (
            _stack([_documents(stores[s], row, self.seq_len) for s, row in rows]) if self.mask_documents else None
        )
        if self.vocab_size is not None and int(ids.max()) >= self.vocab_size:
            raise DataError(
                f"the token store holds id {int(ids.max())}, the model knows {self.vocab_size}: the store was made "
                "with another tokenizer, or is damaged"
            )
        return TokenBatch(ids[:, :-1], ids[:, 1:], documents=documents)


def _stack(rows: Sequence[npt.NDArray[Any]]) -> Tensor:
    return torch.from_numpy(np.stack(rows).astype(np.int64))


def _documents(store: TokenStore, row: int, seq_len: int) -> npt.NDArray[np.int64]:
    """Which document each input of a row belongs to, counted from 0 within the row."""
    places = np.arange(row * seq_len, (row + 1) * seq_len)
    numbers = np.searchsorted(store.offsets, places, side="right")
    result: npt.NDArray[np.int64] = numbers - numbers[0]
    return result


def _order(source: Source) -> Order:
    if source.store.order is None:
        which = f" {source.name!r}" if source.name else ""
        raise RequestError(f"the token store{which} has no order of rows: it is not one to train on")
    return source.store.order
