"""DeepSpeed's ZeRO gives our engine's curve. The proof is benchmarks/zero.py; here its quick form, if possible."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from groundup.base.errors import RequestError
from groundup.train.settings import EngineConfig, OptimizerConfig, ParallelConfig

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
        zero.check("base", ParallelConfig(tensor=2), OptimizerConfig(method="adamw"))
    with pytest.raises(RequestError, match=r"base: .*optimizer\.method=adamw"):
        zero.check("base", ParallelConfig(), OptimizerConfig(method="muon"))
