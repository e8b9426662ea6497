"""The loop's health: bad steps are skipped, rewound or given up, alike after a restart."""

from __future__ import annotations

import json
import math
import os
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from loop_runs import FP32, Cut, CutAt, fresh, steps_of, weights
from torch import Tensor

from groundup.base.errors import DataError
from groundup.base.progress import Silent
from groundup.model.transformer import Transformer
from groundup.train.loop import History, train
from groundup.train.objective import next_token
from groundup.train.output import write_logs
from groundup.train.settings import HealthConfig, OptimizerConfig
from groundup.train.stream import TokenBatch


@pytest.fixture(autouse=True)
def _nobody_pulls_the_plug(monkeypatch: pytest.MonkeyPatch) -> None:
    """Hundreds of small checkpoints: waiting for the disk each time would take minutes."""
    monkeypatch.setattr(os, "fsync", lambda handle: None)


@dataclass
class Spoiled:
    """Losses multiplied at some steps (one micro-batch a step, no dry run)."""

    factors: dict[int, float]
    step: int = -1

    def __call__(self, model: Transformer, batch: TokenBatch) -> tuple[Tensor, Mapping[str, float]]:
        total, values = next_token(model, batch)
        self.step += 1
        return total * self.factors.get(self.step, 1.0), values


def spoiled(folder: Path, factors: dict[int, float], health: HealthConfig, first: int = 0, **more: object) -> History:
    settings = CALM.model_copy(update={"health": health, **more})
    return train(
        fresh(), steps_of(6, 40), Spoiled(factors, first - 1), 1e-3, OptimizerConfig(warmup=0.0), settings,
        folder=folder, progress=Silent(),
    )  # fmt: skip


CALM = FP32.model_copy(update={"dry_run": False, "checkpoint_every_steps": None, "checkpoint_every": 1e9})
QUICK = HealthConfig(window=16, rewind_every=5)


def test_a_step_that_is_not_finite_is_skipped_and_many_are_an_error(tmp_path: Path) -> None:
    history = spoiled(tmp_path / "one", {3: math.nan}, QUICK)
    assert math.isnan(history.steps[3]["loss"])
    assert history.model is not None
    assert torch.isfinite(weights(history.model)).all()
    assert history.steps[-1]["loss"] < history.steps[0]["loss"]
    assert [(e["step"], e["event"], e["action"]) for e in history.events] == [(3, "non_finite", "skip")]
    with pytest.raises(DataError, match="not finite for 10 steps up to 11; lower learning_rate"):
        spoiled(tmp_path / "many", dict.fromkeys(range(2, 40), math.inf), QUICK)


def test_a_skipped_step_changes_no_weight(tmp_path: Path) -> None:
    each = {"checkpoint_keep": 99, "checkpoint_every_steps": 1}
    spoiled(tmp_path, {20: 50.0}, QUICK, **each)
    states = [load_file(tmp_path / f"step-{step:09d}") for step in (20, 21, 22)]
    assert torch.equal(states[0], states[1])
    assert not torch.equal(states[1], states[2])


def load_file(folder: Path) -> Tensor:
    """The weights of a checkpoint, read by torch alone."""
    from torch.distributed.checkpoint import FileSystemReader
    from torch.distributed.checkpoint.state_dict_loader import _load_state_dict_from_keys

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        state = _load_state_dict_from_keys({"model"}, storage_reader=FileSystemReader(folder))
    return torch.cat([state["model"][name].flatten() for name in sorted(state["model"])])


def test_the_log_is_json_where_a_loss_is_not_a_number(tmp_path: Path) -> None:
    def no_constant(name: str) -> None:
        raise AssertionError(f"{name} is not JSON")

    history = spoiled(tmp_path / "run", {3: math.nan, 5: math.inf}, QUICK)
    write_logs(history, tmp_path / "payload")
    for folder in ("run", "payload"):
        lines = (tmp_path / folder / "metrics.jsonl").read_text().splitlines()
        rows = [row for row in (json.loads(line, parse_constant=no_constant) for line in lines) if "loss" in row]
        assert [row["step"] for row in rows if row["loss"] is None] == [3, 5]


def test_rewinding_into_the_same_dead_end_is_given_up(tmp_path: Path) -> None:
    """Each rewind is followed by a sane step, so bad ones are never in a row."""
    health = HealthConfig(window=16, rewind_every=5, non_finite="rewind", patience=3)
    factors = dict.fromkeys(range(1, 40, 2), math.nan)
    with pytest.raises(DataError, match="going back to step 0 does not help: step 5 is bad again"):
        spoiled(tmp_path, factors, health)
    rows = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    events = [(row["step"], row["action"], row.get("to_step")) for row in rows if "event" in row]
    assert events == [(1, "rewind", 0), (3, "rewind", 0), (5, "stop", None)]


@pytest.mark.parametrize("action", ["skip", "rewind", "stop", "record"])
def test_a_spike_is_dealt_with_as_asked(action: str, tmp_path: Path) -> None:
    health = QUICK.model_copy(update={"loss_spike": action})
    if action == "stop":
        with pytest.raises(DataError, match=r"the loss of step 23 lies .* deviations above the steps before"):
            spoiled(tmp_path, {23: 50.0}, health)
        return
    history = spoiled(tmp_path, {23: 50.0}, health, checkpoint_keep=99, checkpoint_every_steps=1)
    (event,) = history.events
    assert (event["step"], event["event"], event["action"]) == (23, "loss_spike", action)
    after = load_file(tmp_path / "step-000000024")
    if action == "rewind":
        assert event["to_step"] == 15  # at least a whole span back
        assert torch.equal(after, load_file(tmp_path / "step-000000015"))
    else:
        assert torch.equal(after, load_file(tmp_path / "step-000000023")) == (action == "skip")


@pytest.mark.parametrize("action", ["skip", "rewind"])
@pytest.mark.parametrize("cut", [18, 24, 33])
def test_health_decides_alike_after_a_restart(action: str, cut: int, tmp_path: Path) -> None:
    health = QUICK.model_copy(update={"loss_spike": action})
    factors = {20: 50.0, 23: 40.0, 30: math.nan, 36: 30.0}
    want = spoiled(tmp_path / "whole", factors, health)
    with pytest.raises(Cut):
        cut_off(tmp_path / "cut", factors, health, cut)
    got = spoiled(tmp_path / "cut", factors, health, first=cut)
    assert [event["step"] for event in want.events] == [20, 23, 30, 36]
    assert repr(got.events) == repr(want.events)
    assert repr(got.steps) == repr(want.steps)
    assert got.model is not None
    assert want.model is not None
    assert torch.equal(weights(got.model), weights(want.model))


def cut_off(folder: Path, factors: dict[int, float], health: HealthConfig, cut: int) -> None:
    """Run into a validation that dies before step ``cut``."""
    settings = CALM.model_copy(update={"health": health, "validate_every": cut})
    train(
        fresh(), steps_of(6, 40), Spoiled(factors), 1e-3, OptimizerConfig(warmup=0.0), settings, folder=folder,
        progress=Silent(), validate=CutAt([2]),
    )  # fmt: skip
