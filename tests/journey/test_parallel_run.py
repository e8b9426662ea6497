"""A run that is killed goes on, on any number of processes, as if nothing had happened."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

RECIPE = """
name: r
artifacts:
  pages:
    stage: source
    files:
      - {path: examples/stories.jsonl.gz, licence: CDLA-Sharing-1.0, origin: TinyStories sample, limit: 120}
  corpus: {stage: curate, pages: [pages], filters: [], decontaminate: []}
  tokenizer: {stage: tokenizer, corpus: corpus, vocab_size: 512}
  tokens: {stage: tokens, corpus: corpus, tokenizer: tokenizer, max_seq_len: 64}
  base:
    stage: pretrain
    tokens: tokens
    tokenizer: tokenizer
    depth: 2
    hidden_size: 64
    num_heads: 2
    batch_tokens: 512
    micro_batch_tokens: 128
    horizon: 60 steps
    validation_tokens: 2048
    loop: {precision: fp32, threads: 1, validate_every: 20, checkpoint_every: 1000, checkpoint_every_steps: 4}
"""
VARIABLES = {**os.environ, "OMP_NUM_THREADS": "1"}


@dataclass(frozen=True)
class Finished:
    """What a run left: the log row by row, and the hash of everything but times."""

    rows: list[dict[str, Any]]
    payload: str
    said: str


@pytest.fixture(scope="module")
def recipe(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("parallel") / "r.yaml"
    path.write_text(RECIPE)
    return path


def command(recipe: Path, workspace: Path, nproc: int, *overrides: str) -> list[str]:
    start = [sys.executable, "-m", "groundup", "run", str(recipe), *overrides]
    return [*start, "-w", str(workspace), "--nproc", str(nproc)]


def finish(recipe: Path, workspace: Path, nproc: int) -> Finished:
    done = subprocess.run(command(recipe, workspace, nproc), env=VARIABLES, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr
    assert list((workspace / "partial").iterdir()) == []
    (log,) = workspace.glob("artifacts/*/metrics.jsonl")
    record = json.loads((log.parent / "record.json").read_text())
    return Finished([json.loads(line) for line in log.read_text().splitlines()], record["payload"], done.stderr)


@pytest.fixture(scope="module")
def undisturbed(recipe: Path) -> Finished:
    """One process, never killed."""
    return finish(recipe, recipe.parent / "one", 1)


@pytest.fixture(scope="module")
def data(recipe: Path, undisturbed: Finished) -> Path:
    """A workspace with everything made but the model."""
    folder = recipe.parent / "data"
    shutil.copytree(recipe.parent / "one", folder)
    (model,) = folder.glob("artifacts/*/model.safetensors")
    shutil.rmtree(model.parent)
    return folder


def ranks(launcher: int) -> dict[int, int]:
    """The processes that a launcher started, by rank."""
    found = {}
    for pid in Path(f"/proc/{launcher}/task/{launcher}/children").read_text().split():
        variables = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
        found |= {int(one[5:]): int(pid) for one in variables if one.startswith(b"RANK=")}
    return found


def kill_after(arguments: list[str], workspace: Path, step: int, kill: Callable[[int], None]) -> tuple[int, str]:
    """Start a run, ``kill`` it (given the launcher) once there is a checkpoint of ``step``; exit code and stderr."""
    with subprocess.Popen(
        arguments,
        env=VARIABLES,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as process:
        while not any(workspace.glob(f"partial/*/scratch/step-{step:09d}/checkpoint.json")):
            assert process.poll() is None, process.communicate()[1]
            time.sleep(0.005)
        pids = list(ranks(process.pid).values())
        killed = time.monotonic()
        kill(process.pid)
        _, said = process.communicate(timeout=60)
        assert time.monotonic() - killed < 60
        while any(Path(f"/proc/{pid}").exists() for pid in pids):
            assert time.monotonic() - killed < 60
            time.sleep(0.05)
        return process.returncode, said


@pytest.fixture(scope="module")
def killed(recipe: Path, data: Path) -> tuple[Path, str]:
    """The workspace of a run on two processes of which one was killed in the middle, and what it said."""
    workspace = recipe.parent / "killed"
    shutil.copytree(data, workspace)
    start = command(recipe, workspace, 2)
    code, said = kill_after(start, workspace, 12, lambda launcher: os.kill(ranks(launcher)[1], signal.SIGKILL))
    assert code == 1
    return workspace, said


def worst(one: list[dict[str, Any]], other: list[dict[str, Any]], name: str) -> float:
    """The largest relative difference of a value between two logs, which must tell of the same steps."""
    pairs = [(row, twin) for row, twin in zip(one, other, strict=True) if name in row]
    assert len(pairs) >= 4
    assert all(row["step"] == twin["step"] and row["tokens"] == twin["tokens"] for row, twin in pairs)
    return max(float(abs(row[name] - twin[name]) / abs(row[name])) for row, twin in pairs)


def resumed_at(said: str) -> int:
    found = re.search(r"resuming at step (\d+) of 60", said)
    assert found, said
    return int(found[1])


def test_the_killed_rank_is_named(killed: tuple[Path, str]) -> None:
    lines = [line for line in killed[1].splitlines() if line.startswith("groundup: error")]
    assert len(lines) == 1
    assert re.search(r"rank 1 \(\S+, process \d+\) was killed by SIGKILL", lines[0])


def test_the_same_number_of_processes_goes_on_to_the_last_bit(
    recipe: Path, data: Path, killed: tuple[Path, str], tmp_path: Path
) -> None:
    shutil.copytree(data, tmp_path / "whole")
    whole = finish(recipe, tmp_path / "whole", 2)
    shutil.copytree(killed[0], tmp_path / "resumed")
    resumed = finish(recipe, tmp_path / "resumed", 2)
    assert resumed_at(resumed.said) >= 12
    assert resumed.rows == whole.rows
    assert resumed.payload == whole.payload


def test_other_numbers_of_processes_go_on_with_the_same_batches_and_losses(
    recipe: Path, undisturbed: Finished, killed: tuple[Path, str], tmp_path: Path
) -> None:
    """Two, of which one is killed; then four that shard the model, killed with their launcher; then one."""
    workspace = tmp_path / "workspace"
    shutil.copytree(killed[0], workspace)
    start = command(recipe, workspace, 4, "base.parallel.shard=2", "base.parallel.tensor=2")
    code, _ = kill_after(start, workspace, 32, lambda launcher: os.killpg(launcher, signal.SIGKILL))
    assert code == -signal.SIGKILL
    last = finish(recipe, workspace, 1)
    assert resumed_at(last.said) >= 32
    for name in ("loss", "bits_per_byte", "learning_rate"):
        assert worst(undisturbed.rows, last.rows, name) < 1e-5, name
    assert worst(undisturbed.rows, last.rows, "gradient_norm") < 1e-5


def test_a_layout_that_makes_no_sense_is_refused_and_nothing_is_lost(
    recipe: Path, killed: tuple[Path, str], tmp_path: Path
) -> None:
    workspace = tmp_path / "workspace"
    shutil.copytree(killed[0], workspace)
    start = command(recipe, workspace, 2, "base.parallel.shard=3")
    done = subprocess.run(start, env=VARIABLES, capture_output=True, text=True, timeout=240)
    assert done.returncode == 2
    errors = [line for line in done.stderr.splitlines() if line.startswith("groundup: error: ")]
    assert len(errors) == 1
    assert "base (pretrain): parallel: " in errors[0]
    assert "shard 3" in errors[0]
    assert any(workspace.glob("partial/*/scratch/step-*/checkpoint.json"))
