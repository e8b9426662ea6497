"""What a run writes down: ``metrics.jsonl``, which a resumed run repeats bit for bit, and ``speed.jsonl``, which holds
whatever depends on the clock. Only the main process writes; all can read when it is done.

Numbers that are not finite are ``null`` there, since JSON has no others, and NaN again when read.

``metrics.jsonl`` has three kinds of lines: a training step has a ``loss``; an ``event`` says what was wrong with a step
and what was done; the others are validations.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import IO, Any

from groundup.train.trackers import Trackers

Row = dict[str, float]
Event = dict[str, Any]


class Journal:
    """The files of a run in ``folder``. ``resume`` cuts off what was written after a checkpoint."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.metrics, self.speed = folder / "metrics.jsonl", folder / "speed.jsonl"
        self._files: dict[Path, IO[str]] = {}
        self._trackers: Trackers | None = None

    def resume(self, lengths: Mapping[str, int], start_trackers: Callable[[], Trackers]) -> None:
        """Cut both files to the lengths that ``sizes`` gave, and open them and the trackers (main process only)."""
        self.folder.mkdir(parents=True, exist_ok=True)
        for path in (self.metrics, self.speed):
            path.touch()
            with path.open("r+b") as handle:
                handle.truncate(min(path.stat().st_size, int(lengths.get(path.name, 0))))
            self._files[path] = path.open("a", encoding="utf-8")
        self._trackers = start_trackers()

    def sizes(self) -> dict[str, int]:
        """The lengths of the files in bytes."""
        for handle in self._files.values():
            handle.flush()
        return {path.name: path.stat().st_size for path in self._files}

    @property
    def paths(self) -> tuple[Path, ...]:
        """The files that are open."""
        return tuple(self._files)

    def step(self, row: Row) -> None:
        """A training step."""
        self._write(self.metrics, row)
        if self._trackers is not None:
            self._trackers.step(int(row["step"]), _numbers(row))

    def validation(self, row: Row) -> None:
        """A validation."""
        self._write(self.metrics, row)
        if self._trackers is not None:
            self._trackers.log(int(row["step"]), _numbers(row))

    def event(self, row: Event) -> None:
        """Something that was wrong, and what was done."""
        self._write(self.metrics, row)

    def rates(self, step: int, row: Row) -> None:
        """How fast the last steps went."""
        self._write(self.speed, {"step": step, **row})
        if self._trackers is not None:
            self._trackers.log(step, row)

    def close(self) -> None:
        """Flush and close everything."""
        for handle in self._files.values():
            handle.close()
        self._files.clear()
        if self._trackers is not None:
            self._trackers.close()
            self._trackers = None

    def read(self) -> tuple[list[Row], list[Row], list[Event], list[Row]]:
        """Steps, validations, events and rates, oldest first."""
        rows = _lines(self.metrics)
        steps = [row for row in rows if "loss" in row]
        events = [row for row in rows if "event" in row]
        return steps, [row for row in rows if "loss" not in row and "event" not in row], events, _lines(self.speed)

    def _write(self, path: Path, row: Mapping[str, Any]) -> None:
        if path in self._files:
            self._files[path].write(as_line(row))


def _numbers(row: Row) -> dict[str, float]:
    return {name: value for name, value in row.items() if name != "step"}


def as_line(row: Mapping[str, Any]) -> str:
    """A row as a line of a file.

    >>> as_line({"step": 3, "loss": math.nan})
    '{"step": 3, "loss": null}\\n'
    """
    lost = {name: None for name, value in row.items() if isinstance(value, float) and not math.isfinite(value)}
    return json.dumps({**row, **lost}, allow_nan=False) + "\n"


def _lines(path: Path) -> list[dict[str, Any]]:
    if not path.is_file():
        return []
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    return [{name: math.nan if value is None else value for name, value in row.items()} for row in rows]
