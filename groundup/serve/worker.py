"""One generation at a time, in a thread of its own, in the order in which they were asked for.

The event loop stays free to accept, refuse and cancel. Batching several requests into one pass would serve more
people at once; a queue serves each of them as fast as the machine can, and is what a laptop needs.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from collections.abc import AsyncIterator, Callable, Generator
from concurrent.futures import ThreadPoolExecutor
from typing import Generic, TypeVar

T = TypeVar("T")


class Busy(Exception):  # noqa: N818 - an answer to the caller, not a fault
    """Too many requests are waiting; ``seconds`` is a guess at when it is worth asking again."""

    def __init__(self, seconds: int) -> None:
        super().__init__(f"the model is busy; try again in {seconds} s")
        self.seconds = seconds


class Job(Generic[T]):
    """A running or waiting generation: iterate over what it yields, or ``cancel`` it."""

    def __init__(self, work: Callable[[], Generator[T, None, None]]) -> None:
        self._work = work
        self._loop = asyncio.get_running_loop()
        self._items: asyncio.Queue[tuple[T] | Exception | None] = asyncio.Queue()
        self._cancelled = threading.Event()

    @property
    def cancelled(self) -> bool:
        """Whether nobody waits for this any more."""
        return self._cancelled.is_set()

    def cancel(self) -> None:
        """Stop before the next item; whoever iterates sees the end. Safe to call twice, and after the end."""
        self._cancelled.set()
        self._send(None)

    async def __aiter__(self) -> AsyncIterator[T]:
        while (item := await self._items.get()) is not None:
            if isinstance(item, Exception):
                raise item
            yield item[0]

    def run(self) -> None:
        """Do the work, in the worker's thread."""
        try:
            if not self.cancelled:
                with contextlib.closing(self._work()) as items:
                    for item in items:
                        if self._cancelled.is_set():
                            break
                        self._send((item,))
        except Exception as error:
            self._send(error)
        finally:
            self._send(None)

    def _send(self, item: tuple[T] | Exception | None) -> None:
        with contextlib.suppress(RuntimeError):  # the loop is closed: nobody is listening any more
            self._loop.call_soon_threadsafe(self._items.put_nowait, item)


class Worker:
    """Runs jobs one after another. ``start`` is called on the event loop."""

    def __init__(self, max_waiting: int) -> None:
        self._max_waiting = max_waiting
        self._executor = ThreadPoolExecutor(1, thread_name_prefix="groundup-generate")
        self._jobs: set[Job[object]] = set()
        self._lock = threading.Lock()
        self._seconds = 1.0  # of the last job that ran

    @property
    def pending(self) -> int:
        """Jobs that run or wait and that somebody still wants."""
        with self._lock:
            return sum(not job.cancelled for job in self._jobs)

    def start(self, work: Callable[[], Generator[T, None, None]]) -> Job[T]:
        """Queue a job; ``Busy`` if one runs and ``max_waiting`` wait already."""
        if (pending := self.pending) > self._max_waiting:
            raise Busy(min(60, max(1, round(pending * self._seconds))))
        job = Job(work)
        with self._lock:
            self._jobs.add(job)  # type: ignore[arg-type]  # only cancelled through this set
        self._executor.submit(self._run, job).add_done_callback(lambda _: self._forget(job))
        return job

    def close(self) -> None:
        """Cancel everything and wait for the thread to end."""
        with self._lock:
            jobs = list(self._jobs)
        for job in jobs:
            job.cancel()
        self._executor.shutdown(wait=True, cancel_futures=True)

    def _run(self, job: Job[T]) -> None:
        start = time.monotonic()
        job.run()
        self._seconds = time.monotonic() - start

    def _forget(self, job: Job[T]) -> None:
        with self._lock:
            self._jobs.discard(job)
