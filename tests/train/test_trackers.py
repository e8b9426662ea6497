"""Trackers: what reaches the services' own calls; TensorBoard read back; one that fails does not end the run."""

from __future__ import annotations

import math
import sys
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from groundup.base.errors import RequestError
from groundup.train.settings import LoopConfig, TrackerName
from groundup.train.trackers import RunInfo, TensorBoard, Trackers


class Recorder(ModuleType):
    """Stands for a service's library: notes every call."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.calls: list[tuple[str, Any]] = []
        self.run = SimpleNamespace(
            id="run-7",
            log=lambda values, step: self.calls.append(("log", (values, step))),
            finish=self._plain("finish"),
        )
        self.info = SimpleNamespace(run_id="run-7")

    def _plain(self, name: str) -> Any:
        return lambda *args, **more: self.calls.append((name, more or args))

    def init(self, **more: Any) -> Any:
        self.calls.append(("init", more))
        return self.run

    def start_run(self, **more: Any) -> Any:
        self.calls.append(("start_run", more))
        return SimpleNamespace(info=self.info)

    def log(self, values: Mapping[str, float], step: int) -> None:
        self.calls.append(("log", (values, step)))

    def log_metrics(self, values: Mapping[str, float], step: int) -> None:
        self.calls.append(("log", (values, step)))

    def set_experiment(self, name: str) -> None:
        self.calls.append(("set_experiment", name))

    def log_params(self, values: Mapping[str, str]) -> None:
        self.calls.append(("log_params", values))

    def finish(self) -> None:
        self.calls.append(("finish", ()))

    def end_run(self) -> None:
        self.calls.append(("finish", ()))


def start(names: tuple[TrackerName, ...], folder: Path, notes: list[str] | None = None) -> Trackers:
    run = RunInfo("base", {"num_layers": 4, "rate_matrices": 0.02}, folder)
    return Trackers.start(names, run, 0, (notes if notes is not None else []).append)


@pytest.mark.parametrize("name", ["wandb", "mlflow", "trackio"])
def test_a_service_gets_settings_numbers_and_the_end(
    name: TrackerName, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    library = Recorder(name)
    monkeypatch.setitem(sys.modules, name, library)
    trackers = start((name,), tmp_path)
    trackers.log(3, {"loss": 2.5})
    trackers.close()
    kinds = [kind for kind, _ in library.calls]
    assert kinds[-2:] == ["log", "finish"]
    assert dict(library.calls)["log"] == ({"loss": 2.5}, 3)
    first = {key: value for _, call in library.calls if isinstance(call, dict) for key, value in call.items()}
    assert "base" in {first.get("name"), first.get("run_name")}
    assert "4" in repr(first)  # the settings


@pytest.mark.parametrize(("name", "key"), [("wandb", "id"), ("mlflow", "run_id")])
def test_a_resumed_run_goes_on_under_its_id(
    name: TrackerName, key: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    library = Recorder(name)
    monkeypatch.setitem(sys.modules, name, library)
    for want in (None, "run-7"):
        library.calls.clear()
        start((name,), tmp_path).close()
        began = next(more for kind, more in library.calls if kind in ("init", "start_run"))
        assert began[key] == want


def test_steps_are_thinned_and_the_rest_is_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    library = Recorder("trackio")
    monkeypatch.setitem(sys.modules, "trackio", library)
    trackers = start(("trackio",), tmp_path)
    for step in range(200):
        trackers.step(step, {"loss": 1.0})
    trackers.log(200, {"bits_per_byte": 1.0})
    trackers.close()
    logged = [more[1] for kind, more in library.calls if kind == "log"]
    assert logged[0] == 0
    assert logged[-1] == 200
    assert len(logged) < 50


def test_one_that_fails_is_told_of_once_and_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    library = Recorder("trackio")
    calls = []

    def broken(values: object, step: int) -> None:
        calls.append(step)
        raise ConnectionError("no route\nto host")

    library.log = broken  # type: ignore[method-assign]
    monkeypatch.setitem(sys.modules, "trackio", library)
    notes: list[str] = []
    trackers = start(("trackio",), tmp_path, notes)
    trackers.log(1, {"loss": 1.0})
    trackers.log(2, {"loss": 1.0})
    trackers.close()
    assert calls == [1]
    assert notes == ["trackio failed (no route to host): it gets no more metrics; training goes on"]


def test_one_that_can_not_start_does_not_end_the_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    keyless, working = Recorder("wandb"), Recorder("trackio")

    def refuses(**more: Any) -> None:
        raise RuntimeError("No API key configured.\nUse `wandb login` to log in.")

    keyless.init = refuses  # type: ignore[method-assign]
    monkeypatch.setitem(sys.modules, "wandb", keyless)
    monkeypatch.setitem(sys.modules, "trackio", working)
    monkeypatch.setitem(sys.modules, "mlflow", None)  # importing it fails
    notes: list[str] = []
    trackers = start(("wandb", "mlflow", "trackio"), tmp_path, notes)
    trackers.log(1, {"loss": 1.0})
    trackers.close()
    assert keyless.calls == []
    assert [kind for kind, _ in working.calls] == ["init", "log", "finish"]
    assert len(notes) == 2
    assert notes[0].startswith("wandb failed (No API key configured. Use")
    assert notes[1].startswith("mlflow failed (")


def test_a_missing_library_is_refused_before_anything_starts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(
        RequestError, match=r"artifact 'base': wandb is not installed; run: pip install 'groundup\[wandb\]'"
    ):
        LoopConfig(trackers=("wandb",)).check("artifact 'base'")


def test_nothing_is_imported_unasked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("wandb", "mlflow", "trackio"):
        monkeypatch.setitem(sys.modules, name, None)  # importing it would fail
    start((), tmp_path).close()


def test_tensorboard_files_hold_the_numbers(tmp_path: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    board = TensorBoard(tmp_path)
    for step in range(5):
        board.log(step, {"loss": 3.0 / (step + 1), "nan": math.nan})
    board.close()
    read = EventAccumulator(str(tmp_path))
    read.Reload()
    assert [(event.step, round(event.value, 4)) for event in read.Scalars("loss")] == [
        (step, round(3.0 / (step + 1), 4)) for step in range(5)
    ]
