"""One progress line with rate and time left: live on a terminal, a plain line now and then elsewhere."""

from __future__ import annotations

import sys
import time
from typing import TextIO

from groundup.base.units import human_count, human_time

_PLAIN_INTERVAL = 10.0
_LIVE_INTERVAL = 0.1


class Progress:
    """Prints where a stage stands. Writes to stderr, so that stdout stays free for results.

    ``title`` is shown first, such as ``[5/9] base: pretrain``.
    """

    def __init__(self, title: str = "", stream: TextIO | None = None) -> None:
        self.title = title
        self._stream = stream if stream is not None else sys.stderr
        self._live = self._stream.isatty()
        self._start = time.monotonic()
        self._phase = ""
        self._phase_start = self._start
        self._phase_done = 0.0
        self._last = 0.0
        self._width = 0

    def update(self, phase: str, done: float, total: float, unit: str, **values: object) -> None:
        """Report ``done`` of ``total`` units in ``phase``; ``values`` are shown as ``name value``."""
        now = time.monotonic()
        if phase != self._phase:
            self._phase, self._phase_start, self._phase_done = phase, now, done
            self._last = 0.0 if self._live else now - _PLAIN_INTERVAL + 2.0
        if now - self._last < (_LIVE_INTERVAL if self._live else _PLAIN_INTERVAL):
            return
        self._last = now
        moved, spent = done - self._phase_done, now - self._phase_start
        parts = [self.title, phase, f"{human_count(done)}/{human_count(total)} {unit}"]
        if moved > 0 and spent > 0.5:
            rate = moved / spent
            parts += [f"{human_count(rate)} {unit}/s", f"{human_time((total - done) / rate)} left"]
        parts += [f"{name} {value}" for name, value in values.items()]
        self._show("  ".join(part for part in parts if part), final=False)

    def note(self, text: str) -> None:
        """A lasting line."""
        self._show(f"{self.title}  {text}" if self.title else text, final=True)

    def _show(self, line: str, final: bool) -> None:
        if not self._live:
            print(line, file=self._stream, flush=True)
            return
        pad = " " * max(0, self._width - len(line))
        self._stream.write(f"\r{line}{pad}" + ("\n" if final else ""))
        self._stream.flush()
        self._width = 0 if final else len(line)


class Silent(Progress):
    """Progress that says nothing: for tests and for code that calls stages directly."""

    def _show(self, line: str, final: bool) -> None:
        pass
