"""Every parallel layout beside one process: the same losses and gradient norms, in fp32, step by step.

    python benchmarks/parallel.py [--quick] [--processes 2 4 8] [--steps N]

Each layout trains a small model (grouped heads, normalised queries and keys; four layers; Muon and AdamW) for 20 steps
on gloo processes of this machine, on the rows that one process trains on too. The figure is the largest relative
deviation of any step's loss or gradient norm; the target is 1e-5. ``ratio`` is the target over the deviation.
``--quick`` takes two processes and few steps. Seconds are of all steps, start-up of a layout included; on a machine
with fewer cores than processes they say nothing about speed.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any, Final

import torch
import torch.distributed as dist

from groundup.base.machine import cpu_name
from groundup.model.config import ModelConfig
from groundup.model.init import initialise
from groundup.model.transformer import Transformer
from groundup.train.engines.native import NativeEngine
from groundup.train.objective import NextToken
from groundup.train.parallel.layout import Layout, resolve
from groundup.train.settings import OptimizerConfig, ParallelConfig
from groundup.train.stream import TokenBatch

TARGET: Final = 1e-5
ROWS, LENGTH, VOCABULARY = 8, 32, 128
MODELS: Final[dict[str, dict[str, Any]]] = {
    "tied": {},
    "untied": {"tie_embeddings": False},
    "experts": {"num_experts": 8, "num_experts_per_token": 2},
}
INTERLEAVED: Final = {"schedule": "interleaved"}
LAYOUTS: Final[dict[int, list[tuple[str, dict[str, Any]]]]] = {
    2: [
        *((model, layout) for model in ("tied", "untied") for layout in (
            {}, {"shard": 2}, {"tensor": 2}, {"pipeline": 2}, {"pipeline": 2, **INTERLEAVED}, {"context": 2},
        )),
        ("tied", {"shard": 2, "activation_checkpointing": "full"}),
        ("tied", {"tensor": 2, "activation_checkpointing": "selective"}),
        ("experts", {"expert": 2}),
        ("experts", {"expert": 2, "shard": 2}),
        ("experts", {"tensor": 2}),
        ("experts", {"pipeline": 2}),
        ("experts", {"context": 2}),
    ],
    4: [
        ("tied", {}), ("tied", {"shard": 4}), ("tied", {"shard": 2}), ("tied", {"tensor": 2}),
        ("tied", {"shard": 2, "tensor": 2}), ("untied", {"shard": 2, "tensor": 2}), ("tied", {"pipeline": 2}),
        ("tied", {"pipeline": 4}), ("tied", {"pipeline": 2, "shard": 2}), ("untied", {"pipeline": 2, "shard": 2}),
        ("tied", {"pipeline": 2, "tensor": 2}), ("tied", {"pipeline": 2, "context": 2}), ("tied", {"context": 4}),
        ("tied", {"context": 2}), ("tied", {"context": 2, "shard": 2}), ("tied", {"context": 2, "tensor": 2}),
        ("experts", {"expert": 4}), ("experts", {"expert": 2}), ("experts", {"expert": 2, "shard": 4}),
        ("experts", {"expert": 2, "shard": 2}), ("experts", {"expert": 2, "tensor": 2}),
        ("experts", {"expert": 2, "pipeline": 2}), ("experts", {"expert": 2, "context": 2}),
    ],
    8: [
        ("tied", {"shard": 2, "tensor": 2}), ("tied", {"pipeline": 2, "tensor": 2}),
        ("tied", {"pipeline": 2, "shard": 2}), ("tied", {"pipeline": 2, "shard": 2, "tensor": 2}),
        ("untied", {"pipeline": 2, "shard": 2, "tensor": 2, **INTERLEAVED}),
        ("tied", {"pipeline": 2, "context": 2, "shard": 2}), ("tied", {"pipeline": 2, "context": 2, "tensor": 2}),
        ("tied", {"context": 2, "shard": 2, "tensor": 2}), ("tied", {"context": 2, "shard": 2}),
        ("experts", {"expert": 2, "shard": 4, "context": 2}), ("experts", {"expert": 2, "shard": 2, "tensor": 2}),
        ("experts", {"expert": 2, "pipeline": 2, "shard": 2}),
        ("experts", {"expert": 2, "pipeline": 2, "tensor": 2}),
    ],
}  # fmt: skip


def shape(model: str) -> ModelConfig:
    """The small model, by its kind."""
    return ModelConfig(
        vocab_size=VOCABULARY, num_layers=4, hidden_size=64, num_heads=8, num_kv_heads=2, head_dim=8,
        intermediate_size=96, max_seq_len=LENGTH, qk_norm=True, **MODELS[model],
    )  # fmt: skip


def train(model: str, layout: Layout, num_steps: int) -> list[float]:
    """Loss and gradient norm of every step."""
    plain = Transformer(shape(model))
    initialise(plain, 1)
    objective = NextToken(z_loss=1e-4, balance_loss=0.01)
    engine = NativeEngine(plain, objective, 3e-3, OptimizerConfig(weight_decay=0.1), "fp32", layout)
    curve: list[float] = []
    for step in range(num_steps):
        generator = torch.Generator().manual_seed(step)
        ids = torch.randint(0, 4, (ROWS, LENGTH + 1), generator=generator).cumsum(dim=1) % VOCABULARY
        # The experts' balance loss is of a micro-batch: with one row in each it is the same in every layout.
        parts = ids[engine.part.rank :: engine.part.size].split(1 if MODELS[model].get("num_experts") else 2)
        batches = [TokenBatch(rows[:, :-1], rows[:, 1:]) for rows in parts]
        sums = engine.forward_backward(batches, engine.weigh(batches))
        curve += [sums.loss, engine.clip(1.0)]
        engine.update(1.0 - step / (2 * num_steps))
    return curve


def follow_parent() -> None:
    """End this process when the one that started it is gone, however that ended."""
    parent = os.getppid()

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(1.0)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def work(rank: int, size: int, num_steps: int, folder: Path) -> None:
    """One process of ``size``: all their layouts, one after the other; process 0 writes down the deviations."""
    follow_parent()
    torch.set_num_threads(1)
    patience = datetime.timedelta(seconds=120)
    meet = f"file://{folder}/meet-{size}"
    dist.init_process_group("gloo", init_method=meet, rank=rank, world_size=size, timeout=patience)
    alone: dict[str, list[float]] = {}
    for model, chosen in LAYOUTS[size]:
        if model not in alone:
            alone[model] = train(model, Layout(), num_steps)
        layout = resolve(ParallelConfig(**chosen), size, shape(model), rows_per_step=ROWS)
        start = time.monotonic()
        curve = train(model, layout, num_steps)
        seconds = time.monotonic() - start
        deviations = [abs(ours - theirs) / abs(theirs) for ours, theirs in zip(curve, alone[model], strict=True)]
        told = " × ".join(f"{name} {value}" if isinstance(value, int) else value for name, value in chosen.items())
        row = {"layout": told or "replicate", "model": model, "deviations": deviations, "seconds": seconds}
        if rank == 0:
            with (folder / f"rows-{size}.jsonl").open("a") as file:
                print(json.dumps(row), file=file, flush=True)
    dist.destroy_process_group()


def start(size: int, num_steps: int, folder: Path) -> list[dict[str, Any]]:
    """The rows that ``size`` processes give; none of them is left behind."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    command = [sys.executable, __file__, "--steps", str(num_steps), "--folder", str(folder), "--size", str(size)]
    processes = [subprocess.Popen([*command, "--rank", str(rank)], env=environment) for rank in range(size)]
    try:
        codes = [process.wait(timeout=1800) for process in processes]
    finally:
        for process in processes:
            process.kill()
            process.wait()
    if any(codes):
        sys.exit(f"processes ended with {codes}; what they said stands above")
    return [json.loads(line) for line in (folder / f"rows-{size}.jsonl").read_text().splitlines()]


def main() -> None:
    """Parse, run, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="two processes, five steps")
    parser.add_argument("--processes", type=int, nargs="+", default=list(LAYOUTS), choices=list(LAYOUTS))
    parser.add_argument("--steps", type=int, default=20)
    for hidden in ("--rank", "--size"):
        parser.add_argument(hidden, type=int, help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.rank is not None:
        work(given.rank, given.size, given.steps, given.folder)
        return
    sizes, num_steps = ([2], 5) if given.quick else (given.processes, given.steps)
    results = []
    print(f"{'processes':>9}  {'layout':44}  {'model':8}  {'deviation':>9}  {'seconds':>7}")
    with tempfile.TemporaryDirectory() as folder:
        for size in sizes:
            for row in start(size, num_steps, Path(folder)):
                # NaN compares as smaller than anything: it must not hide behind a maximum.
                worst = max(value if value == value else float("inf") for value in row["deviations"])
                print(
                    f"{size:9}  {row['layout']:44}  {row['model']:8}  {worst:9.1e}  {row['seconds']:7.1f}", flush=True
                )
                results.append(_result(size, row, worst, num_steps))
    print(json.dumps({"benchmark": "parallel", "results": results}))
    sys.exit(any(result["ours"] > TARGET for result in results))


def _result(size: int, row: dict[str, Any], worst: float, num_steps: int) -> dict[str, Any]:
    ratio = TARGET / max(worst, 1e-12)
    return {
        "benchmark": "parallel", "workload": f"{size} processes, {row['layout']}, {row['model']}, {num_steps} steps",
        "machine": cpu_name(), "threads": size, "ours": worst, "peer": TARGET, "peer_name": "limit",
        "unit": "largest relative deviation of loss or gradient norm from one process", "ratio": ratio,
        "ratio_low": ratio, "ratio_high": ratio, "target": 1.0,
    }  # fmt: skip


if __name__ == "__main__":
    main()
