"""One progress line with rate and time left: live on a terminal, a plain line now and then elsewhere.

Long work can show more: a panel with a curve and figures on a terminal, the same plain line elsewhere.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, TextIO

from groundup.base.units import human_count, human_time

if TYPE_CHECKING:
    from groundup.base.dashboard import Dashboard

_PLAIN_INTERVAL = 10.0
_LIVE_INTERVAL = 0.1
_PANEL_INTERVAL = 0.25
_PLAIN_FACTS = 4


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
        self._phase_done = self._done = 0.0
        self._last = 0.0
        self._width = 0
        self._dashboard: Dashboard | None = None

    def update(self, phase: str, done: float, total: float, unit: str, **values: object) -> None:
        """Report ``done`` of ``total`` units in ``phase``; ``values`` are shown as ``name value``."""
        if not self._is_time(phase, done, _LIVE_INTERVAL):
            return
        self.end_panel()
        parts = [self.title, phase, *self._how_far(done, total, unit)]
        parts += [f"{name} {value}" for name, value in values.items()]
        self._show("  ".join(part for part in parts if part), final=False)

    def panel(
        self,
        phase: str,
        done: float,
        total: float,
        unit: str,
        *,
        curve: Sequence[float],
        facts: Mapping[str, str],
        events: Sequence[str] = (),
    ) -> None:
        """``update`` with more to see on a terminal: a curve, more figures, and what happened.

        ``end_panel`` gives the terminal back. Elsewhere this is one plain line, of the first few ``facts``.
        """
        if not self._live:
            self.update(phase, done, total, unit, **dict(list(facts.items())[:_PLAIN_FACTS]))
            return
        if not self._is_time(phase, done, _PANEL_INTERVAL):
            return
        from groundup.base.dashboard import Dashboard, View

        if self._dashboard is None:
            self._clear()
            self._dashboard = Dashboard(self._stream)
        title = "  ".join(part for part in (self.title, phase) if part)
        progress = "  ".join(self._how_far(done, total, unit))
        self._dashboard.show(View(title, done / total if total else 0.0, progress, curve, facts, events))

    def end_panel(self) -> None:
        """Leave the panel, if there is one, as it stands."""
        if self._dashboard is not None:
            self._dashboard.close()
            self._dashboard = None

    def _is_time(self, phase: str, done: float, interval: float) -> bool:
        """Whether to show something again; a new phase, or the same from its start, begins its rate anew."""
        now = time.monotonic()
        if phase != self._phase or done < self._done:
            self._phase, self._phase_start, self._phase_done = phase, now, done
            self._last = 0.0 if self._live else now - _PLAIN_INTERVAL + 2.0
        self._done = done
        if now - self._last < (interval if self._live else _PLAIN_INTERVAL):
            return False
        self._last = now
        return True

    def _how_far(self, done: float, total: float, unit: str) -> list[str]:
        parts = [f"{human_count(done)}/{human_count(total)} {unit}"]
        moved, spent = done - self._phase_done, time.monotonic() - self._phase_start
        if moved > 0 and spent > 0.5:
            rate = moved / spent
            parts += [f"{human_count(rate)} {unit}/s", f"{human_time((total - done) / rate)} left"]
        return parts

    def note(self, text: str) -> None:
        """A lasting line."""
        line = f"{self.title}  {text}" if self.title else text
        if self._dashboard is not None:
            self._dashboard.print(line)
        else:
            self._show(line, final=True)

    def _clear(self) -> None:
        """Take the live line away."""
        self._stream.write("\r" + " " * self._width + "\r")
        self._width = 0

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

    def panel(self, *_: object, **__: object) -> None:
        pass

    def _show(self, line: str, final: bool) -> None:
        pass
