"""A crew does the jobs of a stage and says how far they are."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from groundup.base.progress import Progress
from groundup.base.runner.executor import ExecutorName, run_jobs
from groundup.base.runner.jobs import Done, Job, Work
from groundup.base.units import human_bytes


@dataclass
class Crew:
    """Workers that do one kind of job after the other; ``home`` is where results lie, on storage that all share."""

    home: Path
    progress: Progress
    workers: int
    executor: ExecutorName = "local"

    def do(self, phase: str, work: Work, jobs: Sequence[Job], unit: str = "B") -> list[Done]:
        """The results of all jobs, in their order; ``unit`` is what their sizes count.

        The progress line has the workers and the largest process so far. It begins before the first job ends, which
        may have to compile its kernels.
        """
        total = sum(job.size for job in jobs)
        finished = peak = 0

        def report(number: int, done: Done) -> None:
            nonlocal finished, peak
            finished += jobs[number].size
            peak = max(peak, done.peak_memory)
            facts = {"workers": self.workers, "peak memory": human_bytes(peak)}
            self.progress.update(phase, finished, total, unit, **facts)

        self.progress.update(phase, 0, total, unit)
        return run_jobs(work, jobs, self.home, workers=self.workers, executor=self.executor, report=report)
