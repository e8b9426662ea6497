"""Micro-batches brought into the form that a layout computes: padded, split along rows, cut anew for a pipeline.

Padding goes behind a row's tokens and under it: positions that no other sees and targets that don't count.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import fields, replace
from typing import TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor

from groundup.base.errors import RequestError
from groundup.train.stream import TokenBatch

_B = TypeVar("_B")


def held_positions(length: int, rank: int, size: int) -> Tensor:
    """Which positions of rows of ``length`` a process holds, int64 (T,): two pieces, one from each end.

    >>> held_positions(8, 0, 2).tolist(), held_positions(8, 1, 2).tolist()
    ([0, 1, 6, 7], [2, 3, 4, 5])
    """
    pieces = torch.arange(length).view(2 * size, -1)
    return torch.cat([pieces[rank], pieces[2 * size - 1 - rank]])


def tokens_of(batch: object, why: str) -> TokenBatch:
    """The batch, if its loss is a sum over single targets; RequestError, with ``why`` that is needed, otherwise."""
    if not isinstance(batch, TokenBatch):
        raise RequestError(f"parallel: {why} a loss of single targets, not one of {type(batch).__name__}")
    return batch


def pad_positions(batch: _B, multiple: int) -> _B:
    """The batch with rows of a multiple of ``multiple`` positions."""
    tokens = getattr(batch, "tokens", None)
    if isinstance(tokens, TokenBatch):  # a batch of pairs wraps one of rows
        return replace(batch, tokens=pad_positions(tokens, multiple))  # type: ignore[type-var]
    if not isinstance(batch, TokenBatch) or batch.inputs.size(1) % multiple == 0:
        return batch
    rows, length = batch.inputs.shape
    return pad(batch, rows, -(-length // multiple) * multiple)  # type: ignore[return-value]


def pad(batch: TokenBatch, num_rows: int, length: int) -> TokenBatch:
    """The batch grown to (num_rows, length); what is added doesn't count."""
    rows, positions = batch.inputs.shape
    if (rows, positions) == (num_rows, length):
        return batch
    counted = torch.ones_like(batch.targets, dtype=torch.bool) if batch.trained is None else batch.trained
    return _each(
        replace(batch, trained=counted), lambda values: F.pad(values, (0, length - positions, 0, num_rows - rows))
    )


def at_positions(batch: TokenBatch, positions: Tensor) -> TokenBatch:
    """The batch at some positions of every row."""
    return _each(batch, lambda values: values[:, positions])


def recut(batches: Sequence[TokenBatch], rows: int, count: int, length: int) -> list[TokenBatch]:
    """The rows of all batches in ``count`` batches of (rows, length); those at the end may be empty of targets."""
    longest = [pad(batch, len(batch.inputs), length) for batch in batches]
    if any(batch.trained is not None for batch in longest):
        longest = [
            batch if batch.trained is not None else replace(batch, trained=torch.ones_like(batch.targets).bool())
            for batch in longest
        ]
    whole = {
        field.name: torch.cat([getattr(batch, field.name) for batch in longest])
        for field in fields(TokenBatch)
        if isinstance(getattr(longest[0], field.name), Tensor)
    }
    joined = pad(replace(longest[0], **whole), count * rows, length)
    return [_rows(joined, at * rows, (at + 1) * rows) for at in range(count)]


def _rows(batch: TokenBatch, first: int, end: int) -> TokenBatch:
    return _each(batch, lambda values: values[first:end])


def _each(batch: TokenBatch, change: Callable[[Tensor], Tensor]) -> TokenBatch:
    values = {field.name: getattr(batch, field.name) for field in fields(batch)}
    return replace(batch, **{name: change(value) for name, value in values.items() if isinstance(value, Tensor)})
