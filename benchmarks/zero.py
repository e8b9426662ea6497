"""DeepSpeed's ZeRO beside our own engine: the same loss curve, and checkpoints that any stage can read.

    python benchmarks/zero.py            two processes on the CPU
    python benchmarks/zero.py --quick    fewer settings

Each line trains a tiny model for 20 steps (fp32, AdamW, clipping, micro-batches, one step thrown away), compares loss
and gradient norm with our engine in one process, then writes the state, reads it back under another stage and goes on.
The figure is the largest relative difference; the target is 1e-5. Needs DeepSpeed: pip install 'groundup[deepspeed]'.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import math
import os
import subprocess
import sys
from collections.abc import Sequence
from typing import Any

STEPS, RESUMED, THROWN = 20, 4, 7
TARGET = 1e-5
SETTINGS = ((0, "none"), (1, "none"), (2, "none"), (3, "none"), (1, "optimizer"), (2, "optimizer"), (3, "all"))
QUICK = ((1, "none"), (3, "none"), (3, "all"))


def main() -> int:
    """Start the processes, or be one of them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="fewer settings")
    args = parser.parse_args()
    if importlib.util.find_spec("deepspeed") is None:
        print("deepspeed is not installed; run: pip install 'groundup[deepspeed]'", file=sys.stderr)
        return 2
    if "RANK" in os.environ:
        work(QUICK if args.quick else SETTINGS)
        return 0
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", __file__]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "DS_ACCELERATOR": "cpu", "PYTHONWARNINGS": "ignore"}
    done = subprocess.run([*command, *sys.argv[1:]], env=environment, capture_output=True, text=True, timeout=900)
    rows = [json.loads(line) for line in done.stdout.splitlines() if line.startswith('{"stage"')]
    if done.returncode or not rows:
        print(done.stderr[-3000:], file=sys.stderr)
        return 1
    for row in rows:
        print(
            f"ZeRO {row['stage']}  offload {row['offload']:<10} tied {row['tied']!s:<6} "
            f"curve {row['curve']:.1e}  resumed on stage {row['next_stage']}: {row['resumed']:.1e}"
        )
    worst = max(max(row["curve"], row["resumed"]) for row in rows)
    summary = {
        "benchmark": "zero",
        "workload": "loss and gradient norm over 20 steps, tiny model, fp32, AdamW, 2 processes, CPU",
        "threads": 1,
        "ours": worst,
        "peer_name": "own engine, one process",
        "unit": "largest relative difference",
        "target": TARGET,
        "results": rows,
    }
    print(json.dumps(summary))
    return 0 if worst <= TARGET else 1


def work(settings: Sequence[tuple[int, str]]) -> None:
    """What each process does; the first one prints a JSON line for each setting."""
    import torch.distributed as dist

    from groundup.train.engines.deepspeed import DeepSpeedEngine
    from groundup.train.engines.native import NativeEngine
    from groundup.train.objective import next_token
    from groundup.train.settings import EngineConfig, OptimizerConfig

    dist.init_process_group("gloo")
    adamw = OptimizerConfig(method="adamw", weight_decay=0.1)
    for tied in (True, False):
        reference = NativeEngine(fresh(tied), next_token, 1e-2, adamw, "fp32")
        want = train(reference, 0, STEPS)
        want_later = train(reference, STEPS, STEPS + RESUMED)
        for stage, offload in settings:
            zero = EngineConfig(name="deepspeed", stage=stage, offload=offload)  # type: ignore[arg-type]
            engine = DeepSpeedEngine(fresh(tied), next_token, 1e-2, adamw, "fp32", zero)
            curve = deviation(want, train(engine, 0, STEPS))
            state = engine.state()
            after = (stage + 1) % 4
            other = DeepSpeedEngine(
                fresh(tied, seed=2), next_token, 1e-2, adamw, "fp32", EngineConfig(name="deepspeed", stage=after)
            )  # type: ignore[arg-type]
            other.load_state(state)
            resumed = deviation(want_later, train(other, STEPS, STEPS + RESUMED))
            if engine.is_main:
                row = {"stage": stage, "offload": offload, "tied": tied, "curve": curve}
                print(json.dumps({**row, "next_stage": after, "resumed": resumed}), flush=True)
    dist.destroy_process_group()


def fresh(tied: bool, seed: int = 1) -> Any:
    """A tiny model with what could go wrong in it: grouped heads, QK-norm, tied embeddings."""
    from groundup.model.config import ModelConfig
    from groundup.model.init import initialise
    from groundup.model.transformer import Transformer

    model = Transformer(
        ModelConfig(
            vocab_size=64,
            num_layers=2,
            hidden_size=32,
            num_heads=4,
            num_kv_heads=2,
            head_dim=8,
            intermediate_size=48,
            max_seq_len=16,
            qk_norm=True,
            tie_embeddings=tied,
        )
    )
    initialise(model, seed)
    return model


def train(engine: Any, first: int, last: int) -> list[tuple[float, float]]:
    """Loss and gradient norm of each step; the gradient of one step is thrown away."""
    rows = []
    for step in range(first, last):
        batches = batches_of(step, engine.part)
        sums = engine.forward_backward(batches, engine.weigh(batches))
        norm = engine.clip(0.5)
        if step == THROWN:
            engine.discard()
        else:
            engine.update(1 - step / (2 * STEPS))
        rows.append((sums.loss, norm))
    return rows


def batches_of(step: int, part: Any) -> list[Any]:
    """Eight rows of ids that go up, in micro-batches of two."""
    import torch

    from groundup.train.stream import TokenBatch

    ids = torch.cumsum(torch.randint(3, (8, 17), generator=torch.Generator().manual_seed(step)), 1) % 64
    mine = ids[part.rank :: part.size]
    return [TokenBatch(mine[at : at + 2, :-1], mine[at : at + 2, 1:]) for at in range(0, len(mine), 2)]


def deviation(want: Sequence[tuple[float, float]], got: Sequence[tuple[float, float]]) -> float:
    """The largest relative difference; infinite if a value isn't finite."""
    pairs = [pair for one, other in zip(want, got, strict=True) for pair in zip(one, other, strict=True)]
    if not all(math.isfinite(value) for pair in pairs for value in pair):
        return math.inf
    return max(abs(one - other) / abs(one) for one, other in pairs)


if __name__ == "__main__":
    sys.exit(main())
