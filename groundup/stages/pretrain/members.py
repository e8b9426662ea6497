"""Several models trained one after the other, each by the pretrain stage in a folder of its own.

A finished member leaves a small file in scratch: a family that was cut off goes on behind the last one, inside a member
from its checkpoint.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from groundup.artifact.stage import Outcome, Task
from groundup.base.files import read_json, write_json
from groundup.base.units import human_time


@dataclass(frozen=True)
class Trained:
    """What a member's training handed back, and how long it took."""

    metrics: dict[str, Any]
    seconds: float
    device_joules: float


class Family:
    """The members of a family, trained by ``train`` in turn. ``flops`` is the arithmetic of each, by name."""

    def __init__(self, task: Task, flops: Mapping[str, float]) -> None:
        self._task, self._waiting = task, dict(flops)
        self._count, self._seconds_per_flop = len(flops), 0.0

    def train(self, name: str, work: Callable[[Task], Outcome], say: Callable[[Trained], str]) -> Trained | None:
        """Let ``work`` train a member, or read what it reached in an earlier attempt.

        ``say`` puts a freshly trained one into words. None on processes that only take part.
        """
        task, folder = self._task, self._folder(name)
        done = folder / "trained.json"
        if done.is_file():
            del self._waiting[name]
            return Trained(**read_json(done)) if task.world.is_main else None
        start = time.monotonic()
        payload, scratch = folder / "payload", folder / "scratch"
        if task.world.is_main:
            shutil.rmtree(payload, ignore_errors=True)
            payload.mkdir(parents=True)
        scratch.mkdir(parents=True, exist_ok=True)
        title = task.progress.title
        task.progress.title = f"{title} run {self._count - len(self._waiting) + 1}/{self._count}"
        try:
            outcome = work(replace(task, payload=payload, scratch=scratch, exhibits=[]))
        finally:
            task.progress.title = title
        seconds = time.monotonic() - start
        self._seconds_per_flop = seconds / self._waiting.pop(name)
        if not task.world.is_main:
            return None
        found = Trained(outcome.metrics, round(seconds, 1), outcome.device_joules)
        (payload / "metrics.jsonl").replace(self.log(name))
        write_json(done, asdict(found))
        shutil.rmtree(payload)
        shutil.rmtree(scratch)
        task.progress.note(f"{name}: {say(found)}; {self._left()}")
        return found

    def log(self, name: str) -> Path:
        """The ``metrics.jsonl`` of a finished member."""
        return self._folder(name) / "metrics.jsonl"

    def keep_logs(self) -> None:
        """Copy the logs of all members to ``runs/`` of the payload."""
        (self._task.payload / "runs").mkdir()
        for path in sorted((self._task.scratch / "runs").glob("*/metrics.jsonl")):
            shutil.copyfile(path, self._task.payload / "runs" / f"{path.parent.name}.jsonl")

    def _folder(self, name: str) -> Path:
        return self._task.scratch / "runs" / name

    def _left(self) -> str:
        """``9 to go, about 12:30``, at the speed of the latest one, the largest so far."""
        if not self._waiting:
            return "the last run"
        return f"{len(self._waiting)} to go, about {human_time(sum(self._waiting.values()) * self._seconds_per_flop)}"
