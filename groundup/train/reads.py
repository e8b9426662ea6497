"""What many steps read of which documents, as arrays: the inverse of training, a piece of the run at a time."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, NamedTuple

import numpy as np

from groundup.train.mixture import Numbers
from groundup.train.stream import PackedSteps

AT_ONCE: Final = 1 << 20
"""Segments of rows in memory, of about 150 bytes each while they are added up."""


class Reads(NamedTuple):
    """Tokens that steps read of documents: int64 (n,) each, by step, source, document and epoch, each of these once.

    ``document`` counts the documents of the source's training split; ``epoch`` is the source's own, from 0. A document
    that is begun in one epoch's last row and goes on in the next epoch's first may be read in both by one step.
    """

    step: Numbers
    source: Numbers
    document: Numbers
    epoch: Numbers
    tokens: Numbers


def reads(steps: PackedSteps, first: int, last: int) -> Reads:
    """What the steps ``first`` to ``last`` (exclusive) read."""
    each = steps.rows_per_step
    chosen, rows = steps.row_numbers(first * each, (last - first) * each)
    parts = []
    for number, source in enumerate(steps.sources):
        places = np.flatnonzero(chosen == number)
        if not len(places):
            continue
        order, numbers = source.order, rows[places]
        segments, which = order.segments(numbers)
        epochs = np.searchsorted(order.epochs, numbers, side="right") - 1
        columns = (
            first + places[which] // each,
            np.full(len(segments), number),
            source.store.documents_at(np.asarray(order.starts[segments])),
            epochs[which],
            order.lengths[segments].astype(np.int64),
        )
        parts.append(columns)
    if not parts:
        return Reads(*(np.zeros(0, np.int64) for _ in Reads._fields))
    return _added(Reads(*(np.concatenate(column) for column in zip(*parts, strict=True))))


def all_reads(steps: PackedSteps, at_once: int = AT_ONCE) -> Iterator[tuple[int, Reads]]:
    """(the step behind them, reads) of the whole run, in order: about ``at_once`` segments in memory at a time."""
    each = max(len(source.order.starts) / max(1, source.order.num_rows) for source in steps.sources)
    stride = max(1, int(at_once / max(1.0, each * steps.rows_per_step)))
    for first in range(0, steps.num_steps, stride):
        last = min(first + stride, steps.num_steps)
        yield last, reads(steps, first, last)


def _added(found: Reads) -> Reads:
    """Sorted by all but the tokens, which are added up."""
    order = np.lexsort((found.epoch, found.document, found.source, found.step))
    step, source, document, epoch, tokens = (column[order] for column in found)
    new = np.ones(len(order), bool)
    new[1:] = (np.diff(step) | np.diff(source) | np.diff(document) | np.diff(epoch)) != 0
    heads = np.flatnonzero(new)
    sums = np.add.reduceat(tokens, heads) if len(heads) else tokens
    return Reads(step[heads], source[heads], document[heads], epoch[heads], sums)
