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
import torch
from torch import Tensor

from groundup.base.errors import DataError, RequestError
from groundup.base.seeds import derive
from groundup.text.store.order import Order, row_order
from groundup.text.store.store import Rows, TokenStore
from groundup.train.mixture import Numbers, counts, interleave, position

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

    @cached_property
    def order(self) -> Order:
        """The order of its rows; RequestError if it has none."""
        return self.store.need_order(self.name)


@dataclass(frozen=True)
class PackedSteps:
    """Next-token prediction over the rows of token stores, each in its recorded order, epoch after epoch.

    ``store`` is one store or several sources. Weights count rows, after packing: of any run of rows, each source
    has its share to within a row or so. ``mask_documents`` keeps the documents of a row apart. With an ``order_seed``
    the rows of each recorded epoch are read in another order, so that a run shorter than an epoch reads other rows.

    RequestError if a source has too few rows, no order, or rows of another length. DataError at a batch with an id
    beyond ``vocab_size``.
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
            order = source.order
            which = f" {source.name!r}" if source.name else ""
            if order.seq_len != self.seq_len:
                raise RequestError(f"the token store{which} has rows of {order.seq_len} tokens, not {self.seq_len}")
            if rows > order.num_rows:
                epochs, each = order.num_epochs, max(1, order.num_rows // order.num_epochs)
                raise RequestError(
                    f"training would read {rows * self.seq_len} tokens{f' of{which}' if which else ''}; the token "
                    f"store has an order for {epochs} epochs of {each * self.seq_len}: set its epochs to "
                    f"{-(-rows // each)}, or lower the horizon"
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
        shape = (self.seq_len, self.rows_per_step, self._weights, self.mask_documents, self.order_seed)
        whole = hashlib.sha256(repr(shape).encode())
        for source in self.sources:
            order = source.order
            for array in (source.store.ids, source.store.offsets, order.starts, order.lengths, order.rows):
                whole.update(f"{len(array)} {array.dtype}".encode() + _sample(array))
        return whole.hexdigest()

    @cached_property
    def _orders(self) -> tuple[Numbers | None, ...]:
        """The rows of each source as they are read, epoch after epoch: int64 (rows,); None if as recorded."""
        if self.order_seed is None:
            return (None,) * len(self.sources)
        found = []
        for number, (source, read) in enumerate(zip(self.sources, self.rows_read(), strict=True)):
            epochs = source.order.epochs
            count = max(1, int(np.searchsorted(epochs, read)))
            seed = derive(self.order_seed, "source", number)
            parts = [epochs[at] + row_order(int(epochs[at + 1] - epochs[at]), seed, at) for at in range(count)]
            found.append(np.concatenate(parts))
        return tuple(found)

    def rows_at(self, first: int, count: int) -> list[tuple[int, int]]:
        """Rows ``first`` to ``first + count`` of the whole run, as (source, row of all its epochs)."""
        chosen, rows = self.row_numbers(first, count)
        return list(zip(chosen.tolist(), rows.tolist(), strict=True))

    def row_numbers(self, first: int, count: int) -> tuple[Numbers, Numbers]:
        """The same as arrays: source and row of all its epochs, int64 (count,) each."""
        chosen, rows = interleave(self._weights, first, count)
        for source, order in enumerate(self._orders):
            if order is not None:
                mine = chosen == source
                rows[mine] = order[rows[mine]]
        return chosen, rows

    def rows_of(self, step: int) -> list[tuple[int, int]]:
        """The rows of a step, over all parts: (source, row of all its epochs)."""
        return self.rows_at(step * self.rows_per_step, self.rows_per_step)

    def rows_read(self) -> list[int]:
        """How many rows of each source the whole run reads."""
        return counts(self._weights, self.num_steps * self.rows_per_step)

    def steps_of(self, source: int, rows: Numbers) -> Numbers:
        """The step that reads each of a source's rows (n,), -1 if none does: the inverse of ``rows_of``."""
        order = self._orders[source]
        places = np.asarray(rows)
        if order is not None:
            inverse = np.full(self.sources[source].order.num_rows, self.sources[source].order.num_rows)
            inverse[order] = np.arange(len(order))
            places = inverse[places]
        read = self.rows_read()[source]
        steps = [
            position(self._weights, source, place) // self.rows_per_step if place < read else -1
            for place in places.tolist()
        ]
        return np.array(steps, np.int64)

    def tokens_read(self) -> int:
        """Tokens that the whole run is trained on: all positions of its rows but padding."""
        found = zip(self.sources, self._orders, self.rows_read(), strict=True)
        return sum(source.order.tokens_of(np.arange(n) if order is None else order[:n]) for source, order, n in found)

    def unique_tokens(self) -> int:
        """Tokens read at least once, counting a source that is read through as all of its tokens."""
        total = 0
        for source, order, read in zip(self.sources, self._orders, self.rows_read(), strict=True):
            if read >= source.order.rows_in_epoch:
                total += source.store.num_tokens
            else:
                total += source.order.tokens_of(np.arange(read) if order is None else order[:read])
        return total

    def batches(self, step: int, part: Part = WHOLE) -> list[TokenBatch]:
        """The micro-batches of a step, ``rows_per_batch`` rows each (the last may have fewer)."""
        rows = part.of(self.rows_of(step))
        return [self.batch(rows[at : at + self.rows_per_batch]) for at in range(0, len(rows), self.rows_per_batch)]

    def heaviest(self, part: Part = WHOLE) -> int:
        """All steps weigh the same."""
        return 0

    def batch(self, rows: Sequence[tuple[int, int]]) -> TokenBatch:
        """The batch of some rows, given as (source, row of all its epochs)."""
        chosen, numbers = np.array([s for s, _ in rows]), np.array([row for _, row in rows])
        found = []
        for source in np.unique(chosen).tolist():
            places = np.flatnonzero(chosen == source)
            part = self.sources[source].store.rows(numbers[places], documents=self.mask_documents)
            self._check_vocabulary(part)
            found.append((places, part))
        if len(found) == 1:
            return _to_batch(found[0][1])
        order = np.argsort(np.concatenate([places for places, _ in found]))
        return _to_batch(_joined([part for _, part in found], order))

    def _check_vocabulary(self, rows: Rows) -> None:
        most = max(int(rows.inputs.max()), int(rows.targets.max()))
        if self.vocab_size is not None and most >= self.vocab_size:
            raise DataError(
                f"the token store holds id {most}, the model knows {self.vocab_size}: the store was made with another "
                "tokenizer, or is damaged"
            )


def _to_batch(rows: Rows) -> TokenBatch:
    inputs, targets = (torch.from_numpy(ids.astype(np.int64)) for ids in (rows.inputs, rows.targets))
    return TokenBatch(
        inputs,
        targets,
        None if rows.trained is None else torch.from_numpy(rows.trained),
        None if rows.documents is None else torch.from_numpy(rows.documents),
    )


def _joined(parts: Sequence[Rows], order: Numbers) -> Rows:
    """The rows of several stores, in another order."""
    trained, documents = None, None
    if any(part.trained is not None for part in parts):
        masks = [np.ones(part.inputs.shape, bool) if part.trained is None else part.trained for part in parts]
        trained = np.concatenate(masks)[order]
    if parts[0].documents is not None:
        documents = np.concatenate([part.documents for part in parts if part.documents is not None])[order]
    inputs, targets = (np.concatenate([getattr(part, name) for part in parts])[order] for name in ("inputs", "targets"))
    return Rows(inputs, targets, trained, documents)


def _sample(array: Any) -> bytes:
    """Some of a long array, spread over it; of one that lies elsewhere its two ends."""
    if isinstance(array, np.ndarray):
        return np.ascontiguousarray(array[:: max(1, len(array) // _SAMPLED)]).tobytes()
    ends: bytes = array[: _SAMPLED // 16].tobytes() + array[-_SAMPLED // 16 :].tobytes()
    return ends
