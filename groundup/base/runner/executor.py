"""Where jobs run: in this process, in worker processes of this machine, or on Ray. The results are the same.

Worker processes are spawned: forking one that runs threads can lock up. A worker that dies (killed, out of memory)
takes down its pool; what was finished stays finished, the pool is started again, and only a job that was under way at
three deaths in a row ends the run.
"""

from __future__ import annotations

import multiprocessing
import multiprocessing.connection
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import Any, Final, Literal

from groundup.base.errors import ResourceError, missing_extra
from groundup.base.runner.jobs import Done, Job, Work, carry_out

ExecutorName = Literal["local", "ray"]

_DEATHS: Final = 3
_AHEAD: Final = 2
"""Jobs handed out a worker: one under way and one waiting."""

_work: Work | None = None
_home: Path | None = None

Report = Callable[[int, Done], None]
"""Called with the number of a finished job and its result, in the order in which they finish."""


def run_jobs(
    work: Work, jobs: Sequence[Job], home: Path, *, workers: int, executor: ExecutorName = "local", report: Report
) -> list[Done]:
    """Do all jobs; their results in the order of ``jobs``.

    ``home`` is where results lie, on storage that all workers share. ResourceError if workers keep dying.
    """
    home.mkdir(parents=True, exist_ok=True)
    results: dict[int, Done] = {}
    if executor == "ray":
        found = _on_ray(work, jobs, home, workers)
    elif workers == 1 or len(jobs) == 1:
        found = ((number, carry_out(work, job, home)) for number, job in enumerate(jobs))
    else:
        found = _in_processes(work, jobs, home, workers)
    for number, done in found:
        results[number] = done
        report(number, done)
    return [results[number] for number in range(len(jobs))]


def _in_processes(work: Work, jobs: Sequence[Job], home: Path, workers: int) -> Iterator[tuple[int, Done]]:
    waiting = list(range(len(jobs)))
    deaths = 0
    while waiting:
        finished: set[int] = set()
        try:
            for number, done in _one_pool(work, jobs, waiting, home, workers):
                finished.add(number)
                yield number, done
        except BrokenProcessPool:
            deaths = 1 if finished else deaths + 1
            if deaths >= _DEATHS:
                raise ResourceError(
                    f"worker processes were killed {_DEATHS} times in a row, most likely for want of memory; "
                    "set workers to 1 and run again: what is finished is kept"
                ) from None
        waiting = [number for number in waiting if number not in finished]


def _one_pool(
    work: Work, jobs: Sequence[Job], waiting: Sequence[int], home: Path, workers: int
) -> Iterator[tuple[int, Done]]:
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, context, _start, (work, home)) as pool:
        queue = iter(waiting)
        under_way: dict[Future[Done], int] = {}
        try:
            while True:
                while len(under_way) < workers * _AHEAD and (number := next(queue, None)) is not None:
                    under_way[pool.submit(_do, jobs[number])] = number
                if not under_way:
                    return
                for future in wait(under_way, return_when=FIRST_COMPLETED).done:
                    yield under_way.pop(future), future.result()
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def _start(work: Work, home: Path) -> None:
    global _work, _home
    _work, _home = work, home
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    """A killed parent can't tell its workers to stop, and they would wait for work for ever."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    multiprocessing.connection.wait([parent.sentinel])
    os._exit(1)


def _do(job: Job) -> Done:
    assert _work is not None and _home is not None
    return carry_out(_work, job, _home)


def _on_ray(work: Work, jobs: Sequence[Job], home: Path, workers: int) -> Iterator[tuple[int, Done]]:
    """Tasks of Ray; what they make lies in ``home``, so nothing but manifests goes through Ray's object store."""
    ray = _ray()
    if not ray.is_initialized():
        address = os.environ.get("RAY_ADDRESS")
        quiet = {"log_to_driver": False, "configure_logging": False}
        if address:
            ray.init(address=address, **quiet)
        else:
            ray.init(num_cpus=workers, include_dashboard=False, **quiet)
    shared = ray.put(work)
    task = ray.remote(max_retries=_DEATHS)(carry_out)
    queue = iter(range(len(jobs)))
    under_way: dict[Any, int] = {}
    while True:
        while len(under_way) < workers * _AHEAD and (number := next(queue, None)) is not None:
            under_way[task.remote(shared, jobs[number], home.resolve())] = number
        if not under_way:
            return
        ready, _ = ray.wait(list(under_way), num_returns=1)
        for reference in ready:
            number = under_way.pop(reference)
            try:
                yield number, ray.get(reference)
            except ray.exceptions.WorkerCrashedError:
                raise ResourceError(
                    f"a worker of Ray was killed {_DEATHS} times, most likely for want of memory; run again: what is "
                    "finished is kept"
                ) from None


def _ray() -> Any:
    try:
        import ray
    except ImportError:
        raise missing_extra("ray", "ray") from None
    return ray
