"""Batches prepared ahead by threads, within a buffer of bytes that is never exceeded: for stores that lie elsewhere.

What is read next is known for ever, so there is no cache and nothing is guessed: the byte ranges of the next batches
are fetched while the current one is trained on. The position counts tokens of the whole run, over all parts, so that a
run goes on at the very token with other batches or another number of processes.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Final, NamedTuple

from groundup.base.errors import RequestError
from groundup.base.units import human_bytes
from groundup.train.stream import WHOLE, PackedSteps, Part, TokenBatch

BUFFER: Final = 256 << 20

_READY: Final = 17
_PREPARING: Final = 60
_DOCUMENTS: Final = 8
"""Bytes a position: of a batch (two int64 and a flag), of one being prepared with its ids and their places, and of
document numbers, which count thrice while they are made."""


class _Ahead(NamedTuple):
    """A batch under way: the row of the run behind its last one, how many rows are this part's, and what becomes."""

    end: int
    rows: int
    future: Future[TokenBatch]


class Loader:
    """Iterates over the batches of ``steps``, ``rows`` of them at a time to ``part``, from ``position`` on.

    ``buffer`` bounds the bytes of all batches that are being prepared, are ready, or were handed out last; ``peak`` is
    the most there were. RequestError if two batches don't fit, or ``position`` isn't a whole number of rows.
    """

    def __init__(
        self, steps: PackedSteps, *, rows: int, part: Part = WHOLE, position: int = 0, buffer: int = BUFFER,
        threads: int = 2,
    ) -> None:  # fmt: skip
        if position % steps.seq_len or position < 0:
            raise RequestError(f"a position of {position} tokens is not a whole number of rows of {steps.seq_len}")
        self._steps, self._rows, self._part, self._threads = steps, rows, part, threads
        self._total = steps.num_steps * steps.rows_per_step
        self._buffer = buffer
        self.position, self.peak = position, 0
        least = self._preparing(rows) + rows * steps.seq_len * (_READY + _DOCUMENTS * steps.mask_documents)
        if least > buffer:
            raise RequestError(
                f"a batch of {rows} rows of {steps.seq_len} tokens and the one before it take {human_bytes(least)}, "
                f"the buffer has {human_bytes(buffer)}: raise the buffer, or take fewer rows"
            )

    def __iter__(self) -> Iterator[TokenBatch]:
        first, given = self.position // self._steps.seq_len, 0
        ahead: deque[_Ahead] = deque()
        pool = ThreadPoolExecutor(self._threads, "loader")
        try:
            while True:
                while first < self._total:
                    end = min(first + self._rows * self._part.size, self._total)
                    mine = len(self._part.of(range(first, end)))
                    # The batch that was handed out last counts: the caller's name for it still holds it.
                    held = given + sum(map(self._held, ahead)) + self._preparing(mine)
                    if held > self._buffer:
                        break
                    self.peak = max(self.peak, held)
                    ahead.append(_Ahead(end, mine, pool.submit(self._prepare, first, end)))
                    first = end
                if not ahead:
                    return
                given, batch = 0, ahead.popleft()
                found = batch.future.result()
                self.position = batch.end * self._steps.seq_len
                if batch.rows:
                    given = _bytes(found)
                    yield found
        finally:
            pool.shutdown(wait=True, cancel_futures=True)

    def _prepare(self, first: int, end: int) -> TokenBatch:
        return self._steps.batch(self._part.of(self._steps.rows_at(first, end - first)))

    def _held(self, one: _Ahead) -> int:
        done = one.future.done() and not one.future.exception()
        return _bytes(one.future.result()) if done else self._preparing(one.rows)

    def _preparing(self, rows: int) -> int:
        each = _PREPARING + 3 * _DOCUMENTS * self._steps.mask_documents
        return rows * self._steps.seq_len * each


def _bytes(batch: TokenBatch) -> int:
    tensors = (batch.inputs, batch.targets, batch.trained, batch.documents)
    return sum(tensor.nbytes for tensor in tensors if tensor is not None)
