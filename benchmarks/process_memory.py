"""The memory of a process and of all that it starts, sampled from outside (Linux)."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


class Peak:
    """Resident bytes at their most over all that was watched: of any one process, and ``together`` of all at a time.

    What processes share counts for each, so together they took no more than that.
    """

    def __init__(self) -> None:
        self.bytes = self.together = 0

    @contextmanager
    def watching(self, pid: int) -> Iterator[None]:
        """Watch a process and all that it starts, meanwhile."""
        over = threading.Event()

        def watch() -> None:
            while not over.wait(0.2):
                sizes = [resident(one) for one in family(pid)]
                self.bytes, self.together = max([self.bytes, *sizes]), max(self.together, sum(sizes))

        watcher = threading.Thread(target=watch)
        watcher.start()
        try:
            yield
        finally:
            over.set()
            watcher.join()


def family(pid: int) -> list[int]:
    """A process and all that it started."""
    found = [pid]
    for one in found:
        for path in Path(f"/proc/{one}/task").glob("*/children"):
            try:
                found += [int(child) for child in path.read_text().split()]
            except OSError:
                continue
    return found


def resident(pid: int) -> int:
    """Resident bytes of a process; 0 if it is gone."""
    try:
        for line in Path(f"/proc/{pid}/status").read_text().splitlines():
            if line.startswith("VmRSS:"):
                return int(line.split()[1]) * 1024
    except OSError:
        return 0
    return 0
