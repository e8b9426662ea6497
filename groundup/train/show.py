"""What a person sees while a run goes on."""

from __future__ import annotations

import math
from typing import Final

from groundup.base.progress import Progress
from groundup.base.units import human_bytes, human_count
from groundup.train.journal import Event, Row

_POINTS: Final = 1024
_EVENTS_SHOWN: Final = 3
_HIDDEN: Final = frozenset({"learning_rate", "gradient_norm", "update_norm"})
_ACTIONS: Final = {
    "skip": "skipped",
    "rewind": "went back",
    "stop": "stopped",
    "record": "noted",
    "accept": "taken as the new level",
}


class Show:
    """Keeps what the panel shows up to date: a curve of bounded length, the last figures, the last events."""

    def __init__(self, progress: Progress, num_steps: int) -> None:
        self._progress, self._num_steps = progress, num_steps
        self._curve: list[float] = []
        self._stride, self._sum, self._held = 1, 0.0, 0
        self._rates: Row = {}
        self._checked: Row = {}
        self._events: list[str] = []

    def step(self, step: int, row: Row, rates: Row | None) -> None:
        """After a training step."""
        self._rates = rates or self._rates
        self._extend(row["loss"])
        facts = {name.replace("_", " "): f"{value:.3f}" for name, value in row.items() if name not in _HIDDEN}
        facts |= {name: f"{value:.3f}" for name, value in self._checked.items()}
        if self._rates:
            facts["tokens/s"] = human_count(self._rates["tokens_per_second"])
            facts["MFU"] = f"{self._rates['mfu']:.0%}"
            facts["memory"] = human_bytes(self._rates["memory_bytes"])
        facts |= {"rate": f"{row['learning_rate']:.2g}", "gradient": f"{row['gradient_norm']:.2f}"}
        self._progress.panel(
            "training", step + 1, self._num_steps, "steps", curve=self._curve, facts=facts, events=self._events
        )

    def validation(self, row: Row) -> None:
        """After a validation."""
        labels = {name: name.replace("_", " ") for name in row}
        self._checked = {label if "held" in label else f"held-out {label}": row[name] for name, label in labels.items()}

    def event(self, event: Event) -> None:
        """Something that was wrong: a lasting line, and one in the panel."""
        line = f"step {event['step']}: {event['event'].replace('_', ' ')}"
        if "deviation" in event:
            line += f", {event['deviation']} deviations up"
        line += f": {_ACTIONS[event['action']]}"
        if "to_step" in event:
            line += f" to step {event['to_step']}"
        self._events = [*self._events, line][-_EVENTS_SHOWN:]
        self._progress.note(line)

    def _extend(self, loss: float) -> None:
        """One more point; when there are many, neighbours are joined."""
        if not math.isfinite(loss):
            return
        self._sum, self._held = self._sum + loss, self._held + 1
        if self._held < self._stride:
            return
        self._curve.append(self._sum / self._held)
        self._sum, self._held = 0.0, 0
        if len(self._curve) >= _POINTS:
            pairs = zip(self._curve[::2], self._curve[1::2], strict=True)
            self._curve = [(a + b) / 2 for a, b in pairs]
            self._stride *= 2
