"""Where metrics go besides the run's own JSON lines: TensorBoard always, services by name.

A tracker takes numbers by step. One that fails is told of once and left out from then on: a run doesn't end because a
dashboard is away. The libraries decide by their own settings whether they use the network (``WANDB_MODE=offline``,
``MLFLOW_TRACKING_URI=file:…``); without a name in ``loop.trackers`` none of them is imported.
"""

from __future__ import annotations

import importlib
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final, Protocol

from groundup.base.files import write_text
from groundup.train.settings import TrackerName

PROJECT: Final = "groundup"
_INTERVAL_SECONDS: Final = 0.5

Values = Mapping[str, float]


class Tracker(Protocol):
    """Takes the numbers of a step."""

    def log(self, step: int, values: Values) -> None: ...

    def close(self) -> None: ...


@dataclass(frozen=True)
class RunInfo:
    """What a service is told of a run: its name, its settings, and the folder that keeps its id over a restart."""

    name: str
    settings: Mapping[str, Any]
    folder: Path

    def remembered(self, service: str) -> str | None:
        """The id that the service gave this run before it was cut off."""
        path = self._id_file(service)
        return path.read_text(encoding="utf-8").strip() if path.is_file() else None

    def remember(self, service: str, identity: str) -> None:
        """Keep the id."""
        write_text(self._id_file(service), identity)

    def _id_file(self, service: str) -> Path:
        return self.folder / f"{service}.id"


class TensorBoard:
    """Event files in ``folder``; what an earlier attempt wrote from ``first_step`` on is hidden."""

    def __init__(self, folder: Path, first_step: int = 0) -> None:
        from torch.utils.tensorboard import SummaryWriter

        self._writer = SummaryWriter(str(folder), purge_step=first_step or None)

    def log(self, step: int, values: Values) -> None:
        """One scalar a value."""
        for name, value in values.items():
            self._writer.add_scalar(name, value, step)

    def close(self) -> None:
        """Write what is pending."""
        self._writer.close()


class _Wandb:
    def __init__(self, run: RunInfo) -> None:
        wandb = importlib.import_module("wandb")
        known = run.remembered("wandb")
        self._run = wandb.init(
            project=PROJECT, name=run.name, config=dict(run.settings), dir=str(run.folder), id=known, resume="allow"
        )
        run.remember("wandb", str(self._run.id))

    def log(self, step: int, values: Values) -> None:
        self._run.log(dict(values), step=step)

    def close(self) -> None:
        self._run.finish()


class _Mlflow:
    def __init__(self, run: RunInfo) -> None:
        self._mlflow = importlib.import_module("mlflow")
        self._mlflow.set_experiment(PROJECT)
        known = run.remembered("mlflow")
        started = self._mlflow.start_run(run_id=known, run_name=None if known else run.name)
        if known is None:
            run.remember("mlflow", str(started.info.run_id))
            self._mlflow.log_params({name: str(value)[:500] for name, value in run.settings.items()})

    def log(self, step: int, values: Values) -> None:
        self._mlflow.log_metrics(dict(values), step=step)

    def close(self) -> None:
        self._mlflow.end_run()


class _Trackio:
    def __init__(self, run: RunInfo) -> None:
        self._trackio = importlib.import_module("trackio")
        self._trackio.init(project=PROJECT, name=run.name, config=dict(run.settings), resume="allow")

    def log(self, step: int, values: Values) -> None:
        self._trackio.log(dict(values), step=step)

    def close(self) -> None:
        self._trackio.finish()


_SERVICES: Final[Mapping[TrackerName, Callable[[RunInfo], Tracker]]] = {
    "wandb": _Wandb,
    "mlflow": _Mlflow,
    "trackio": _Trackio,
}


class Trackers:
    """All trackers of a run. Step rows are thinned to two a second; everything else is passed on."""

    def __init__(self, trackers: Mapping[str, Tracker], note: Callable[[str], None]) -> None:
        self._trackers, self._note = dict(trackers), note
        self._last = 0.0

    @classmethod
    def start(
        cls, names: Sequence[TrackerName], run: RunInfo, first_step: int, note: Callable[[str], None]
    ) -> Trackers:
        """Open TensorBoard and the named services; whichever can't be opened is told of and left out."""
        made = cls({}, note)
        made._open("TensorBoard", lambda: TensorBoard(run.folder / "tensorboard", first_step))
        for name in names:
            made._open(name, partial(_SERVICES[name], run))
        return made

    def step(self, step: int, values: Values) -> None:
        """The numbers of a training step, unless some were passed on just now."""
        now = time.monotonic()
        if now - self._last >= _INTERVAL_SECONDS:
            self._last = now
            self.log(step, values)

    def log(self, step: int, values: Values) -> None:
        """Numbers that are rare."""
        self._each(lambda tracker: tracker.log(step, values))

    def close(self) -> None:
        """Finish all of them."""
        self._each(lambda tracker: tracker.close())

    def _open(self, name: str, opener: Callable[[], Tracker]) -> None:
        try:
            self._trackers[name] = opener()
        except Exception as error:
            self._left_out(name, error)

    def _each(self, action: Callable[[Tracker], None]) -> None:
        for name, tracker in list(self._trackers.items()):
            try:
                action(tracker)
            except Exception as error:
                del self._trackers[name]
                self._left_out(name, error)

    def _left_out(self, name: str, error: Exception) -> None:
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        self._note(f"{name} failed ({reason}): it gets no more metrics; training goes on")
