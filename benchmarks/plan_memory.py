"""Predicted beside measured peak memory: real training steps in fresh processes, on several shapes and layouts.

    python benchmarks/plan_memory.py [--quick] [--only WORD]

Each case trains two steps by the product's own loop, in processes of its own, and reads the peak of their resident
memory (the kernel's VmHWM). ``growth`` leaves out what the process held before the model was made: Python, torch and
the code, the same for every case. Prints a table, and one JSON object as its last line; ``ours`` is the largest
deviation.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist

import groundup.stages.pretrain.run  # noqa: F401  what a real run has loaded
from groundup.base.machine import cores, cpu_name, peak_memory, reset_peak_memory
from groundup.base.progress import Silent
from groundup.model.config import ModelConfig
from groundup.model.init import initialise
from groundup.model.transformer import Transformer
from groundup.train.loop import train
from groundup.train.objective import NextToken
from groundup.train.parallel.layout import resolve
from groundup.train.plan.memory import predict
from groundup.train.plan.workload import Workload
from groundup.train.settings import LoopConfig, OptimizerConfig, ParallelConfig
from groundup.train.stream import WHOLE, Part, TokenBatch

TARGET = 0.10
STEPS = 2


@dataclass(frozen=True)
class Case:
    """One training to measure. ``batches`` micro-batches of ``rows`` rows make a step of one process."""

    name: str
    shape: dict[str, Any]
    rows: int
    batches: int = 1
    precision: str = "bf16"
    method: str = "adamw"
    parallel: dict[str, Any] | None = None
    processes: int = 1


def llama(layers: int, width: int, vocab: int, length: int, **others: Any) -> dict[str, Any]:
    """A Llama shape with heads of 64 and a feed-forward of 8/3."""
    heads = max(1, width // 64)
    plain = {
        "vocab_size": vocab,
        "num_layers": layers,
        "hidden_size": width,
        "num_heads": heads,
        "num_kv_heads": heads,
        "head_dim": width // heads,
        "intermediate_size": -(-width * 8 // 3 // 64) * 64,
        "max_seq_len": length,
    }
    return plain | others


SMALL = llama(4, 256, 4096, 256)
MIDDLE = llama(6, 384, 8192, 256)
WIDE = llama(3, 768, 16_384, 256, num_kv_heads=4, tie_embeddings=False)
EXPERTS = llama(4, 256, 4096, 256, num_experts=8, num_experts_per_token=2)
GPT2 = llama(
    6, 384, 8192, 256, positions="learned", norm="layer", activation="gelu_tanh", gated=False, qkv_bias=True,
    output_bias=True, mlp_bias=True,
)  # fmt: skip

CASES = (
    Case("small, 1,024 tokens", SMALL, rows=4),
    Case("small, 4,096 tokens", SMALL, rows=16),
    Case("small, fp32", SMALL, rows=8, precision="fp32"),
    Case("small, 3 micro-batches", SMALL, rows=8, batches=3),
    Case("middle, 2,048 tokens", MIDDLE, rows=8),
    Case("middle, Muon", MIDDLE, rows=4, method="muon"),
    Case("middle, checkpointing full", MIDDLE, rows=8, parallel={"activation_checkpointing": "full"}),
    Case("middle, checkpointing selective", MIDDLE, rows=8, parallel={"activation_checkpointing": "selective"}),
    Case("middle, fp32, 2 micro-batches", MIDDLE, rows=4, batches=2, precision="fp32"),
    Case("wide, untied, grouped heads", WIDE, rows=4),
    Case("experts", EXPERTS, rows=4),
    Case("GPT-2 shape", GPT2, rows=4),
    Case("replicate 2", MIDDLE, rows=4, processes=2, parallel={}),
    Case("shard 2", MIDDLE, rows=4, processes=2, parallel={"shard": 2}),
    Case("shard 4", MIDDLE, rows=2, processes=4, parallel={"shard": 4}),
    Case("replicate 2 x shard 2", MIDDLE, rows=2, processes=4, parallel={"replicate": 2, "shard": 2}),
    Case("tensor 2", MIDDLE, rows=4, processes=2, parallel={"tensor": 2}),
    Case("tensor 2 x shard 2", MIDDLE, rows=2, processes=4, parallel={"tensor": 2, "shard": 2}),
    Case("pipeline 2", MIDDLE, rows=2, batches=2, processes=2, parallel={"pipeline": 2}),
    Case("context 2", MIDDLE, rows=4, processes=2, parallel={"context": 2}),
)
QUICK = ("small, 1,024 tokens", "small, fp32", "shard 2")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="three cases")
    parser.add_argument("--only", help="cases whose name holds this word")
    parser.add_argument("--worker", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker:
        work(json.loads(options.worker))
        return
    chosen = [case for case in CASES if not options.quick or case.name in QUICK]
    wanted = [case for case in chosen if not options.only or options.only in case.name]
    if not wanted:
        parser.error(f"no case has {options.only!r} in its name")
    print(f"{'case':<34} {'predicted':>10} {'measured':>10} {'total':>7} {'growth':>7}")
    results = []
    for case in wanted:
        row = measure(case)
        results.append(row)
        print(
            f"{row['workload']:<34} {row['predicted'] / 2**20:>6.0f} MiB {row['measured'] / 2**20:>6.0f} MiB "
            f"{row['deviation']:>+7.1%} {row['growth_deviation']:>+7.1%}",
            flush=True,
        )
    worst = max(abs(row["deviation"]) for row in results)
    ratio = round(TARGET / worst, 3)
    whole = {
        "benchmark": "plan_memory",
        "workload": f"{len(results)} trainings",
        "machine": cpu_name(),
        "threads": cores(),
        "ours": round(worst, 4),
        "peer": TARGET,
        "peer_name": "limit",
        "unit": "largest deviation of the predicted peak",
        "ratio": ratio,
        "ratio_low": ratio,
        "ratio_high": ratio,
        "target": 1.0,
        "results": results,
    }
    print(json.dumps(whole))


def measure(case: Case) -> dict[str, Any]:
    """Train a case in fresh processes; the fullest of them counts."""
    with tempfile.TemporaryDirectory() as folder:
        processes = []
        for rank in range(case.processes):
            world = {"RANK": str(rank), "WORLD_SIZE": str(case.processes), "LOCAL_RANK": str(rank)}
            threads = {"OMP_NUM_THREADS": str(max(1, cores() // case.processes))}
            task = json.dumps({**case.__dict__, "folder": folder})
            command = [sys.executable, __file__, "--worker", task]
            processes.append(
                subprocess.Popen(command, env=os.environ | world | threads, stdout=subprocess.PIPE, text=True)
            )
        outputs = [process.communicate(timeout=600)[0] for process in processes]
    if any(process.returncode for process in processes):
        sys.exit(f"{case.name}: a process failed")
    rows = [json.loads(output.splitlines()[-1]) for output in outputs]
    worst = max(rows, key=lambda row: row["measured"])
    predicted, grown = worst["predicted"], worst["measured"] - worst["before"]
    return {
        "workload": case.name,
        "processes": case.processes,
        "predicted": predicted,
        "measured": worst["measured"],
        "deviation": round(predicted / worst["measured"] - 1, 4),
        "growth_deviation": round((predicted - worst["before"]) / grown - 1, 4),
        "before": worst["before"],
        "parts": worst["parts"],
        "moment": worst["moment"],
    }


@dataclass(frozen=True)
class Random:
    """Random tokens for the loop: ``rows`` rows a micro-batch, ``batches`` of them a step of each part."""

    shape: ModelConfig
    rows: int
    batches_each: int
    num_steps: int = STEPS
    fingerprint: str = "random"

    def batches(self, step: int, part: Part = WHOLE) -> list[TokenBatch]:
        """The micro-batches of a part of a step."""
        generator = torch.Generator().manual_seed(step)
        size = (self.batches_each, self.rows, self.shape.max_seq_len + 1)
        ids = torch.randint(self.shape.vocab_size, size, generator=generator)
        return [TokenBatch(rows[:, :-1], rows[:, 1:]) for rows in ids]

    def heaviest(self, part: Part = WHOLE) -> int:
        """All steps weigh the same."""
        return 0


def work(task: dict[str, Any]) -> None:
    """One process of a case: real training by the product's loop; prints what it took."""
    rank, size = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
    shape = ModelConfig(**task["shape"])
    parallel = ParallelConfig(**(task["parallel"] or {}))
    layout = resolve(parallel, size, shape)
    workload = Workload(
        model=shape,
        seq_len=shape.max_seq_len,
        rows_per_step=task["rows"] * task["batches"] * layout.parts,
        rows_per_batch=task["rows"],
        num_steps=STEPS,
        method=task["method"],
        parallel=parallel,
    )
    folder = Path(task["folder"])
    before = resident()
    reset_peak_memory()
    if size > 1:
        dist.init_process_group("gloo", store=dist.FileStore(str(folder / "store"), size), rank=rank, world_size=size)
    model = Transformer(shape)
    initialise(model, 1)
    optimizer = OptimizerConfig(method=task["method"], weight_decay=0.0)
    loop = LoopConfig(precision=task["precision"], threads=max(1, cores() // size))
    steps = Random(shape, task["rows"], task["batches"])
    train(
        model, steps, NextToken(), 1e-3, optimizer, loop, folder=folder / "run", progress=Silent(), layout=layout
    )  # fmt: skip
    measured = peak_memory()
    memory = predict(workload, layout, arithmetic=task["precision"], device="cpu", rank=rank)
    row = {"before": before, "measured": measured, "predicted": memory.total}
    print(json.dumps({**row, "parts": dict(memory.parts), "moment": memory.moment}), flush=True)
    if dist.is_initialized():
        dist.barrier()
        dist.destroy_process_group()


def resident() -> int:
    """Bytes of this process that are in memory now."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


if __name__ == "__main__":
    main()
