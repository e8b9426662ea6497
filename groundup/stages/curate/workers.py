"""Pages through worker processes: results in the order of the pages, at most a few batches in flight."""

from __future__ import annotations

import multiprocessing
import multiprocessing.connection
import os
import threading
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from typing import Any, Final

from groundup.base.errors import ResourceError
from groundup.stages.curate.config import CurateConfig
from groundup.stages.curate.document import Document, process
from groundup.text.overlap import OverlapIndex

BATCH_BYTES: Final = 1 << 20
WORTH_A_POOL: Final = 2 << 20
"""Bytes of compressed pages from which starting processes (more than a second each) pays."""

Page = Mapping[str, Any]

_state: tuple[CurateConfig, OverlapIndex] | None = None


def process_all(pages: Iterable[Page], config: CurateConfig, index: OverlapIndex, workers: int) -> Iterator[Document]:
    """``process`` for each page, in order. Processes are spawned: forking one that runs threads can lock up."""
    if workers == 1:
        for page in pages:
            yield process(page, config, index)
        return
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, context, _start, (config, index)) as pool:
        pending: deque[Future[list[Document]]] = deque()
        try:
            for batch in _batches(pages):
                pending.append(pool.submit(_process_batch, batch))
                if len(pending) > workers * 2:
                    yield from pending.popleft().result()
            while pending:
                yield from pending.popleft().result()
        except BrokenProcessPool:
            raise ResourceError(
                "a worker process was killed, most likely for want of memory; set workers to 1 and run again"
            ) from None


def _start(config: CurateConfig, index: OverlapIndex) -> None:
    global _state
    _state = config, index
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    """A killed parent can't tell its workers to stop, and they would wait for work for ever."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    multiprocessing.connection.wait([parent.sentinel])
    os._exit(1)


def _process_batch(batch: list[Page]) -> list[Document]:
    assert _state is not None
    config, index = _state
    return [process(page, config, index) for page in batch]


def _batches(pages: Iterable[Page]) -> Iterator[list[Page]]:
    batch: list[Page] = []
    size = 0
    for page in pages:
        batch.append(page)
        size += len(page["content"])
        if size >= BATCH_BYTES:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch
