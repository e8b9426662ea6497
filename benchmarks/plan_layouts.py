"""Sharded sizes as the plan counts them, beside those that the parallel code makes: 405B parameters, 4,096 processes.

    python benchmarks/plan_layouts.py [--quick]

One real process plays some of the 4,096 (torch's "fake" process group); the model lies on the meta device, so nothing
is computed and nothing stored, but every weight is split as in a real run. Prints a table, and one JSON object as its
last line; ``ours`` is the number of weights held whose size differs from the plan's.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from typing import Any

from groundup.base.machine import cores, cpu_name

LLAMA_405B: dict[str, Any] = {
    "vocab_size": 128_256, "num_layers": 126, "hidden_size": 16_384, "num_heads": 128, "num_kv_heads": 8,
    "head_dim": 128, "intermediate_size": 53_248, "max_seq_len": 8192, "rope_theta": 500_000.0, "tie_embeddings": False,
}  # fmt: skip
MIXTRAL: dict[str, Any] = {
    "vocab_size": 32_000, "num_layers": 32, "hidden_size": 4096, "num_heads": 32, "num_kv_heads": 8, "head_dim": 128,
    "intermediate_size": 14_336, "max_seq_len": 8192, "num_experts": 8, "num_experts_per_token": 2,
    "tie_embeddings": False,
}  # fmt: skip

LAYOUTS: tuple[tuple[dict[str, Any], int, dict[str, int], tuple[int, ...]], ...] = (
    (LLAMA_405B, 4096, {"tensor": 8, "pipeline": 8, "shard": 64}, (0, 4095)),
    (LLAMA_405B, 4096, {"shard": 4096}, (0, 4095)),
    (LLAMA_405B, 4096, {"replicate": 8, "shard": 512}, (77,)),
    (LLAMA_405B, 4096, {"tensor": 8, "shard": 512}, (8, 2049)),
    (LLAMA_405B, 4096, {"tensor": 8, "pipeline": 16, "replicate": 4, "shard": 8}, (0, 1500)),
    (LLAMA_405B, 4096, {"tensor": 8, "context": 4, "pipeline": 8, "shard": 16}, (0, 3000)),
    (MIXTRAL, 64, {"shard": 64}, (0, 63)),
    (MIXTRAL, 64, {"shard": 64, "expert": 8}, (0, 63)),
)
QUICK = (0, 7)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="two layouts")
    parser.add_argument("--worker", nargs=2, type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker:
        print(json.dumps(build(*options.worker)))
        return
    print(f"{'layout':<58} {'rank':>5} {'stored':>14} {'plan':>14} {'seconds':>8}")
    results = []
    for index in QUICK if options.quick else range(len(LAYOUTS)):
        _, world, _, ranks = LAYOUTS[index]
        for rank in ranks[: 1 if options.quick else None]:
            command = [sys.executable, __file__, "--worker", str(index), str(rank)]
            done = subprocess.run(command, capture_output=True, text=True, env=os.environ | {"OMP_NUM_THREADS": "1"})
            if done.returncode:
                sys.exit(done.stderr)
            row = json.loads(done.stdout.splitlines()[-1])
            results.append(row)
            name = f"{row['workload']} of {world}"
            print(f"{name:<58} {rank:>5} {row['real']:>14,} {row['plan']:>14,} {row['seconds']:>8.1f}", flush=True)
    wrong = sum(row["real"] != row["plan"] or row["real_matrices"] != row["plan_matrices"] for row in results)
    whole = {
        "benchmark": "plan_layouts",
        "workload": f"{len(results)} processes of layouts of up to 4,096",
        "machine": cpu_name(),
        "threads": cores(),
        "ours": wrong,
        "peer": 0,
        "peer_name": "limit",
        "unit": "processes whose stored weights differ from the plan",
        "ratio": 0.0 if wrong else 1.0,
        "ratio_low": 0.0 if wrong else 1.0,
        "ratio_high": 0.0 if wrong else 1.0,
        "target": 1.0,
        "results": results,
    }
    print(json.dumps(whole))


def build(index: int, rank: int) -> dict[str, Any]:
    """Place a model as process ``rank`` of a layout, and count what it stores."""
    import torch
    import torch.distributed as dist
    from torch.distributed.tensor import DTensor
    from torch.testing._internal.distributed.fake_pg import FakeStore

    from groundup.model.config import ModelConfig
    from groundup.model.transformer import Transformer
    from groundup.train.optim import kind_of
    from groundup.train.parallel.layout import resolve
    from groundup.train.parallel.mesh import Mesh
    from groundup.train.parallel.place import place
    from groundup.train.plan.weights import held
    from groundup.train.settings import ParallelConfig

    shape, world, sizes, _ = LAYOUTS[index]
    config = ModelConfig(**shape)
    layout = resolve(ParallelConfig(**sizes), world, config)
    start = time.monotonic()
    dist.init_process_group("fake", store=FakeStore(), rank=rank, world_size=world)
    with torch.device("meta"):
        model = Transformer(config)
    placed = place(model, Mesh(layout, "cpu"), torch.bfloat16)
    matrices = others = 0
    for name, weight in placed.weights():
        size = (weight.to_local() if isinstance(weight, DTensor) else weight).numel()
        if kind_of(name, weight) == "matrices":
            matrices += size
        else:
            others += size
    dist.destroy_process_group()
    plan = held(config, layout, rank)
    return {
        "workload": layout.describe(),
        "rank": rank,
        "real": matrices + others,
        "plan": plan.stored,
        "real_matrices": matrices,
        "plan_matrices": plan.matrices,
        "seconds": time.monotonic() - start,
    }


if __name__ == "__main__":
    main()
