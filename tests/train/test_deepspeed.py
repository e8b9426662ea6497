"""DeepSpeed's ZeRO gives our engine's curve. The proof is benchmarks/zero.py; here its quick form, if possible."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from functools import partial
from pathlib import Path
from unittest.mock import Mock

import pytest

from groundup.base.errors import RequestError
from groundup.base.progress import Silent
from groundup.model.config import ModelConfig
from groundup.model.transformer import Transformer
from groundup.train.loop import train
from groundup.train.parallel.layout import Layout
from groundup.train.settings import EngineConfig, LoopConfig, OptimizerConfig, ParallelConfig

BENCHMARK = Path(__file__).parents[2] / "benchmarks" / "zero.py"


def test_zero_gives_the_same_curve_and_reads_its_own_state() -> None:
    python = os.environ.get("GROUNDUP_DEEPSPEED_PYTHON") or sys.executable
    if python == sys.executable and importlib.util.find_spec("deepspeed") is None:
        pytest.skip("deepspeed is not installed (pip install 'groundup[deepspeed]', or set GROUNDUP_DEEPSPEED_PYTHON)")
    done = subprocess.run([python, str(BENCHMARK), "--quick"], capture_output=True, text=True, timeout=500)
    assert done.returncode == 0, done.stderr[-2000:]
    summary = json.loads(done.stdout.splitlines()[-1])
    assert len(summary["results"]) == 6
    assert summary["ours"] < summary["target"]


@pytest.mark.parametrize("stage, offload", [(0, "optimizer"), (0, "all"), (2, "all")])
def test_offload_needs_something_that_is_split(stage: int, offload: str) -> None:
    with pytest.raises(RequestError, match="needs stage"):
        EngineConfig.parse({"name": "deepspeed", "stage": stage, "offload": offload}, "engine")


def test_what_zero_cannot_do_is_refused_before_anything_starts() -> None:
    assert EngineConfig.parse({"name": "native"}, "engine") == EngineConfig.model_validate("native") == EngineConfig()
    with pytest.raises(RequestError, match="are for deepspeed"):
        EngineConfig.parse({"stage": 2}, "engine")
    zero = EngineConfig.model_validate("deepspeed")
    with pytest.raises(RequestError, match=r"base: .*deepspeed splits by its own stages"):
        zero.check("base", ParallelConfig(tensor=2), OptimizerConfig(method="adamw"), LoopConfig())
    with pytest.raises(RequestError, match=r"base: .*optimizer\.method=adamw"):
        zero.check("base", ParallelConfig(), OptimizerConfig(method="muon"), LoopConfig())
    adamw = OptimizerConfig(method="adamw")
    with pytest.raises(RequestError, match=r"base: .*leave loop\.average out"):
        zero.check("base", ParallelConfig(), adamw, LoopConfig(average=0.99))
    with pytest.raises(RequestError, match=r"base: precision fp8"):
        zero.check("base", ParallelConfig(), adamw, LoopConfig(precision="fp8"))
    EngineConfig().check("base", ParallelConfig(), adamw, LoopConfig(average=0.99, precision="fp8"))


def test_the_loop_lets_zero_compute_activations_anew(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """What the engine is handed has every block wrapped, as our own engine would have it."""
    seen: list[Transformer] = []

    def engine(model: Transformer, *_: object) -> None:
        seen.append(model)
        raise InterruptedError

    monkeypatch.setattr("groundup.train.engines.deepspeed.DeepSpeedEngine", engine)
    shape = ModelConfig.from_depth(2, 64, 8)
    for what, wrapped in (("none", False), ("full", True)):
        with pytest.raises(InterruptedError):
            train(
                Transformer(shape), Mock(), Mock(), 1e-3, OptimizerConfig(), LoopConfig(), folder=tmp_path,
                progress=Silent(), layout=Layout(activation_checkpointing=what),  # type: ignore[arg-type]
                engine=EngineConfig(name="deepspeed"),
            )  # fmt: skip
        assert [isinstance(block.forward, partial) for block in seen[-1].layers.children()] == [wrapped] * 2
