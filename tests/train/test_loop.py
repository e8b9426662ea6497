"""The loop: what it computes does not depend on how a step is split, nor on where it was cut off."""

from __future__ import annotations

import json
import math
import multiprocessing
import os
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from loop_runs import CONFIG, FP32, Cut, CutAt, fresh, loss_of, run, steps_of, weights
from torch import Tensor
from torch.nn import functional as F

from groundup.base.errors import ArtifactError, ResourceError
from groundup.base.progress import Silent
from groundup.model.transformer import Transformer
from groundup.text.store.store import TokenStore
from groundup.train import checkpoint
from groundup.train.engines import native
from groundup.train.loop import train
from groundup.train.objective import NextToken, next_token
from groundup.train.settings import OptimizerConfig
from groundup.train.stream import WHOLE, PackedSteps, Part, TokenBatch


@pytest.fixture(autouse=True)
def _nobody_pulls_the_plug(monkeypatch: pytest.MonkeyPatch) -> None:
    """Hundreds of small checkpoints: waiting for the disk each time would take minutes."""
    monkeypatch.setattr(os, "fsync", lambda handle: None)


@pytest.mark.parametrize("rows_per_batch", [1, 2, 4, 5])
def test_loss_gradient_and_weights_do_not_depend_on_the_split(rows_per_batch: int, tmp_path: Path) -> None:
    whole, split = fresh(), fresh()
    one = run(tmp_path / "whole", whole, steps_of(6), settings=FP32)
    other = run(tmp_path / "split", split, steps_of(rows_per_batch), settings=FP32)
    for row, same in zip(one.steps, other.steps, strict=True):
        assert row == pytest.approx(same, rel=1e-4)
    torch.testing.assert_close(weights(whole), weights(split), atol=1e-4, rtol=1e-3)
    assert one.steps[-1]["loss"] < one.steps[0]["loss"] - 0.5  # and it learns


def test_a_masked_step_weighs_every_target_alike(tmp_path: Path) -> None:
    """Micro-batches with different numbers of answers: the mean is over targets, not over batches."""

    @dataclass(frozen=True)
    class Uneven:
        num_steps: int
        parts: int
        fingerprint: str = "uneven"

        def batches(self, step: int, part: Part = WHOLE) -> list[TokenBatch]:
            batch = steps_of(6).batches(step)[0]
            trained = torch.zeros(6, 8, dtype=torch.bool)
            for row in range(6):
                trained[row, : row + 1] = True
            size = 6 // self.parts
            return [
                TokenBatch(batch.inputs[at : at + size], batch.targets[at : at + size], trained[at : at + size])
                for at in range(0, 6, size)
            ]

        def heaviest(self, part: Part = WHOLE) -> int:
            return 0

    models = []
    for parts in (1, 3):
        model = fresh()
        history = train(
            model, Uneven(3, parts), next_token, 1e-3, OptimizerConfig(), FP32, folder=tmp_path / str(parts),
            progress=Silent(),
        )  # fmt: skip
        models.append((weights(model), history.steps[0]["loss"]))
    torch.testing.assert_close(models[0][0], models[1][0], atol=1e-5, rtol=1e-4)
    batch = Uneven(1, 1).batches(0)[0]
    model = fresh()
    log_probs = F.log_softmax(model.logits(model(batch.inputs)), dim=-1).gather(2, batch.targets[..., None])[..., 0]
    assert batch.trained is not None
    want = -(log_probs * batch.trained).sum() / batch.trained.sum()
    assert models[0][1] == pytest.approx(want.item(), rel=1e-5)


@pytest.mark.parametrize(
    ("changes", "turns"),
    [
        ({}, [2]),
        ({}, [1, 3, 4, 5]),
        ({"precision": "bf16"}, [3]),
        ({"average": 0.9}, [3, 5]),
        ({"checkpoint_in_background": False}, [2]),
        ({"dry_run": False}, [4]),
    ],
    ids=["early", "often", "bf16", "average", "foreground", "no dry run"],
)
def test_a_run_that_was_cut_off_ends_with_the_same_bits(
    changes: dict[str, object], turns: list[int], tmp_path: Path
) -> None:
    settings = FP32.model_copy(update=changes)
    want = run(tmp_path / "whole", fresh(), steps_of(), settings=settings, validate=loss_of)
    validate = CutAt(turns)
    for _ in turns:
        with pytest.raises(Cut):
            run(tmp_path / "cut", fresh(), steps_of(), settings=settings, validate=validate)
    got = run(tmp_path / "cut", fresh(), steps_of(), settings=settings, validate=validate)
    assert got.model is not None
    assert want.model is not None
    assert torch.equal(weights(got.model), weights(want.model))
    assert got.steps == want.steps
    assert got.validations == want.validations
    assert [row["step"] for row in got.validations] == [0, 4, 8, 12]


def test_nothing_is_lost_when_a_validation_fails(tmp_path: Path) -> None:
    """The state is saved before it is validated."""
    rarely = FP32.model_copy(update={"checkpoint_every_steps": None, "checkpoint_every": 1e9})
    with pytest.raises(Cut):
        run(tmp_path, fresh(), steps_of(), settings=rarely, validate=CutAt([3]))
    seen: list[int] = []
    run(tmp_path, fresh(), Watched(steps_of(), seen), settings=rarely, validate=loss_of)  # type: ignore[arg-type]
    assert set(seen) == {0, 8, 9, 10, 11}  # step 0 is the dry run's


@dataclass(frozen=True)
class Watched:
    """Steps that write down which ones are asked for."""

    inner: PackedSteps
    seen: list[int]
    heavy: int = 0

    @property
    def num_steps(self) -> int:
        return self.inner.num_steps

    @property
    def fingerprint(self) -> str:
        return self.inner.fingerprint

    def batches(self, step: int, part: Part = WHOLE) -> list[TokenBatch]:
        self.seen.append(step)
        return self.inner.batches(step, part)

    def heaviest(self, part: Part = WHOLE) -> int:
        return self.heavy


def _die_in_the_second_validation(folder: str) -> None:
    """A run whose process is gone in an instant, on a disk that takes its time."""
    real, turns = checkpoint.save_sharded, []

    def slow(*args: Any, **more: Any) -> Any:
        time.sleep(0.5)
        return real(*args, **more)

    def dies(model: Transformer) -> dict[str, float]:
        turns.append(1)
        if len(turns) == 3:
            os._exit(137)
        return loss_of(model)

    checkpoint.save_sharded = slow
    rarely = FP32.model_copy(update={"checkpoint_every_steps": None, "checkpoint_every": 1e9})
    run(Path(folder), fresh(), steps_of(), settings=rarely, validate=dies)


def test_what_kills_a_validation_finds_the_step_saved(tmp_path: Path) -> None:
    process = multiprocessing.get_context("spawn").Process(target=_die_in_the_second_validation, args=(str(tmp_path),))
    process.start()
    process.join(120)
    assert process.exitcode == 137
    assert [path.name for path in sorted(tmp_path.glob("step-*"))] == ["step-000000004", "step-000000008"]


def test_the_heaviest_step_is_tried_first(tmp_path: Path) -> None:
    seen: list[int] = []
    run(tmp_path, fresh(), Watched(steps_of(), seen, heavy=7))  # type: ignore[arg-type]
    assert seen[0] == 7
    assert seen.count(7) == 2


def test_the_dry_run_leaves_no_trace(tmp_path: Path) -> None:
    one, two = (
        run(tmp_path / str(dry), fresh(), steps_of(), settings=FP32.model_copy(update={"dry_run": dry}))
        for dry in (True, False)
    )
    assert one.model is not None
    assert two.model is not None
    assert torch.equal(weights(one.model), weights(two.model))
    assert one.steps == two.steps


def test_too_little_memory_shows_at_once_and_says_what_to_change(tmp_path: Path) -> None:
    calls = []

    def greedy(model: Transformer, batch: TokenBatch) -> tuple[Tensor, Mapping[str, float]]:
        calls.append(1)
        raise RuntimeError("[enforce fail at alloc_cpu.cpp:127] DefaultCPUAllocator: can't allocate memory: you tried")

    with pytest.raises(ResourceError, match=r"fewer than 32 tokens at once \(micro_batch_tokens\).*groundup plan"):
        train(fresh(), steps_of(), greedy, 1e-2, OptimizerConfig(), FP32, folder=tmp_path, progress=Silent())
    assert calls == [1]
    assert not (tmp_path / "metrics.jsonl").exists()


@pytest.mark.parametrize(
    ("change", "what"), [("model", "model"), ("rate", "optimizer"), ("data", "data"), ("length", "data")]
)
def test_a_checkpoint_of_another_run_is_refused(change: str, what: str, tmp_path: Path) -> None:
    run(tmp_path, fresh(), steps_of())
    model, steps, optimizer = fresh(), steps_of(), OptimizerConfig(warmup=0.25)
    if change == "model":
        model = Transformer(CONFIG.model_copy(update={"intermediate_size": 56}))
    if change == "rate":
        optimizer = OptimizerConfig(warmup=0.25, beta1=0.7)
    if change == "data":
        other = TokenStore(steps.store.ids[::-1], steps.store.offsets, steps.store.order)  # type: ignore[union-attr]
        steps = PackedSteps(other, 8, 6, 4, 12)
    if change == "length":
        steps = steps_of(num_steps=13)
    with pytest.raises(ArtifactError, match=f"is a checkpoint of another {what}"):
        train(model, steps, next_token, 1e-2, optimizer, FP32, folder=tmp_path, progress=Silent())


def test_the_log_has_a_row_a_step_and_the_schedule_in_it(tmp_path: Path) -> None:
    history = run(tmp_path, fresh(), steps_of(), validate=loss_of)
    rows = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert [row for row in rows if "loss" in row] == history.steps
    assert [row["step"] for row in history.steps] == list(range(12))
    assert [row["tokens"] for row in history.steps] == [48 * (step + 1) for step in range(12)]
    assert [row["learning_rate"] for row in history.steps][:3] == pytest.approx([1e-2 / 3, 2e-2 / 3, 1e-2])
    assert [row["step"] for row in history.steps if "update_norm" in row] == [0, 5, 10]
    speed = [json.loads(line) for line in (tmp_path / "speed.jsonl").read_text().splitlines()]
    assert speed == history.speed
    assert speed[-1]["step"] == 11
    assert 0 < speed[-1]["mfu"] < 1


def test_the_update_norm_is_the_share_of_the_weights_that_moved(tmp_path: Path) -> None:
    before = weights(fresh())
    history = run(tmp_path, fresh(), steps_of(num_steps=1))
    assert history.model is not None
    moved = (weights(history.model) - before).norm() / before.norm()
    assert history.steps[0]["update_norm"] == pytest.approx(moved.item(), rel=1e-5)


def test_bits_per_byte_of_a_step_are_exact(tmp_path: Path) -> None:
    """Two bytes for ids below 32, three above; what the rows of the step stand for, counted by hand."""
    sizes = torch.where(torch.arange(64) < 32, 2, 3)
    history = train(
        fresh(), steps_of(), NextToken(bytes_of=sizes), 1e-2, OptimizerConfig(), FP32, folder=tmp_path,
        progress=Silent(),
    )  # fmt: skip
    for step, row in enumerate(history.steps):
        targets = torch.cat([batch.targets.flatten() for batch in steps_of().batches(step)])
        want = row["loss"] * len(targets) / math.log(2) / sizes[targets].sum().item()
        assert row["bits_per_byte"] == pytest.approx(want, rel=1e-6)


def test_gradients_are_clipped_to_their_norm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    norms = []
    real = native.build_optimizer

    def spied(*args: object, **more: object) -> torch.optim.Optimizer:
        made = real(*args, **more)  # type: ignore[arg-type]
        made.register_step_pre_hook(
            lambda opt, *_: norms.append(
                torch.cat([p.grad.flatten() for g in opt.param_groups for p in g["params"]]).norm().item()
            )
        )
        return made

    monkeypatch.setattr(native, "build_optimizer", spied)
    history = train(
        fresh(), steps_of(6), next_token, 1e-2, OptimizerConfig(gradient_clip=0.25), FP32, folder=tmp_path,
        progress=Silent(),
    )  # fmt: skip
    assert 0.2 < max(norms) <= 0.25 * 1.001
    assert history.steps[0]["gradient_norm"] > 0.25
