"""Training speed on a CPU beside transformers (eager, compiled) and litgpt (eager, compiled), on the same batches.

    python benchmarks/train.py [--quick] [--workload 7M ...] [--rounds N] [--peers FOLDER] [--text FILE]

Every side trains the same Llama shape (tied embeddings, 4 rows of 512 tokens) in bf16 autocast over fp32 weights, on
the same token ids, with torch's fused AdamW on all weights and without clipping; each run is a process of its own with
a cold compiler, and its figure is batch tokens over the median step. In the first round all four peers run; the two
fastest go on to the others, which alternate with ours. A ratio is of one round: ours over the faster peer there.

Our side is the product's own engine on its own model and loss, no compiler in use. The ceiling is what bf16 products of
the model's own shapes reach (forward and both of backward, each at its best), measured in every round beside ours; our
share of it is of one round as well.
``--quick`` is one round of few steps for the smallest shape; its figures show only that everything runs.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from groundup.base.machine import cores, cpu_name, keep_freed_memory, peak_memory
from groundup.model.config import ModelConfig

ROOT = Path(__file__).parents[1]
BATCH, SEQ = 4, 512
LEARNING_RATE, BETAS, WEIGHT_DECAY = 3e-4, (0.9, 0.95), 0.1

Figures = dict[str, Any]


@dataclass(frozen=True)
class Workload:
    """A Llama shape: heads of 64, as many key-value heads, tied embeddings."""

    layers: int
    hidden: int
    ffn: int
    vocab: int
    steps: int
    target: float

    def flags(self, steps: int) -> list[str]:
        """The shape as the peers' scripts take it."""
        heads = self.hidden // 64
        values = {
            "layers": self.layers, "hidden": self.hidden, "heads": heads, "kv-heads": heads, "ffn": self.ffn,
            "vocab": self.vocab, "seq": SEQ, "batch": BATCH, "steps": steps, "threads": cores(),
        }  # fmt: skip
        return ["--tie", "--autocast", *(text for name, value in values.items() for text in (f"--{name}", str(value)))]

    def config(self) -> ModelConfig:
        """The shape as ours."""
        return ModelConfig(
            vocab_size=self.vocab, num_layers=self.layers, hidden_size=self.hidden, num_heads=self.hidden // 64,
            num_kv_heads=self.hidden // 64, head_dim=64, intermediate_size=self.ffn, max_seq_len=SEQ,
        )  # fmt: skip


WORKLOADS = {
    "7M": Workload(layers=6, hidden=256, ffn=768, vocab=8192, steps=12, target=1.3),
    "30M": Workload(layers=8, hidden=512, ffn=1408, vocab=8192, steps=8, target=1.2),
    "125M": Workload(layers=14, hidden=768, ffn=2048, vocab=32768, steps=4, target=1.1),
}
PEERS = {
    "transformers": ["train_hf.py"],
    "transformers --compile": ["train_hf.py", "--compile"],
    "litgpt": ["train_litgpt.py"],
    "litgpt --compile": ["train_litgpt.py", "--compile"],
}
WARMUP = 2


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="one short round of the smallest shape")
    parser.add_argument("--workload", nargs="+", choices=list(WORKLOADS), help="default all")
    parser.add_argument("--rounds", type=int, help="default 5; 1 with --quick")
    parser.add_argument("--peers", type=Path, default=ROOT.parent / "shared" / "peers", help="the kit of peer scripts")
    parser.add_argument("--text", type=Path, default=ROOT / "examples" / "books.jsonl.gz", help="to take tokens from")
    parser.add_argument("--child", choices=["ours", "ceiling"], help=argparse.SUPPRESS)
    parser.add_argument("--ids", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--steps", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        name = options.workload[0]
        figures = ours(WORKLOADS[name], options.ids, options.steps) if options.child == "ours" else ceiling(name)
        print(json.dumps(figures))
        return
    check_peers(options.peers)
    names = options.workload or (["7M"] if options.quick else list(WORKLOADS))
    rounds = options.rounds or (1 if options.quick else 5)
    results = [measure(name, rounds, options) for name in names]
    print(json.dumps({"results": results}))


def check_peers(kit: Path) -> None:
    """Exit with what to do if a peer is not there."""
    home = Path(os.environ.get("PEERS_HOME") or kit)
    for group in ("hf", "lit"):
        if not (home / ".venvs" / group / ".ready").exists():
            sys.exit(
                f"the peer environment {home / '.venvs' / group} is missing: run `{kit / 'setup'} hf lit` "
                "(PEERS_HOME=/absolute/folder, for it and for this script, puts it elsewhere), or give --peers"
            )


def measure(name: str, rounds: int, options: argparse.Namespace) -> Figures:
    """All rounds of one workload; prints its table and returns its result."""
    workload = WORKLOADS[name]
    steps = 2 if options.quick else workload.steps
    runs: dict[str, list[Figures]] = {}
    going = list(PEERS)
    with tempfile.TemporaryDirectory() as folder:
        ids = Path(folder) / "ids"
        write_ids(options.text, workload, ids)
        for number in range(rounds):
            order = ["ceiling", "ours", *going]
            for side in order if number % 2 == 0 else reversed(order):
                print(f"{name} round {number + 1} of {rounds}: {side}", file=sys.stderr, flush=True)
                runs.setdefault(side, []).append(run(side, name, workload, steps, ids, options))
            going = sorted(going, key=lambda peer: -runs[peer][0]["tokens_per_s"])[:2]
    return report(name, workload, runs, going)


def write_ids(text: Path, workload: Workload, path: Path) -> None:
    """Token ids of the text by a tokenizer learnt from it, as raw little-endian uint16.

    A million words support no tokenizer as large as the largest table; its last rows are then never read.
    """
    import gzip

    import numpy as np

    from groundup.text.learned import train_bpe

    with gzip.open(text, "rt", encoding="utf-8") as lines:
        texts = [json.loads(line)["text"] for line in lines]
    tokenizer = train_bpe(texts, min(workload.vocab, 16_384))
    needed = (workload.steps + WARMUP) * BATCH * (SEQ + 1)
    found: list[int] = []
    for one in texts:
        found += tokenizer.encode(one)
        if len(found) >= needed:
            break
    np.array(found[:needed], dtype="<u2").tofile(path)


def run(side: str, name: str, workload: Workload, steps: int, ids: Path, options: argparse.Namespace) -> Figures:
    """The figures of one side, from a process of its own."""
    if side in PEERS:
        script, *flags = PEERS[side]
        command = [sys.executable, str(options.peers / script), *flags, "--ids", str(ids), *workload.flags(steps)]
    else:
        command = [sys.executable, __file__, "--child", side, "--workload", name, "--ids", str(ids)]
        command += ["--steps", str(steps)]
    threads = {f"{library}_NUM_THREADS": str(cores()) for library in ("OMP", "MKL")}
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, **threads})
    if done.returncode:
        sys.exit(f"{' '.join(command)} failed:\n{done.stderr[-2000:]}")
    figures: Figures = json.loads(done.stdout.splitlines()[-1])
    return figures


def ours(workload: Workload, ids: Path, steps: int) -> Figures:
    """The same steps by the product's engine, model and loss."""
    import numpy as np
    import torch

    from groundup.model.init import initialise
    from groundup.model.transformer import Transformer
    from groundup.train.engines.native import NativeEngine
    from groundup.train.objective import next_token
    from groundup.train.settings import OptimizerConfig
    from groundup.train.stream import TokenBatch

    torch.set_num_threads(cores())
    keep_freed_memory()
    model = Transformer(workload.config())
    initialise(model, 0)
    optimizer = OptimizerConfig(method="adamw", weight_decay=WEIGHT_DECAY, beta1=BETAS[0], beta2=BETAS[1])
    engine: NativeEngine[TokenBatch] = NativeEngine(model, next_token, LEARNING_RATE, optimizer, "bf16")
    shape = (WARMUP + steps, BATCH, SEQ + 1)
    rows = torch.from_numpy(np.fromfile(ids, dtype="<u2", count=int(np.prod(shape))).astype(np.int64)).view(shape)
    taken, losses = [], []
    for row in rows:
        start = time.perf_counter()
        batch = TokenBatch(row[:, :-1], row[:, 1:])
        losses.append(engine.forward_backward([batch], batch.weight).loss)
        engine.update(1.0)
        taken.append(time.perf_counter() - start)
    return {
        "tokens_per_s": BATCH * SEQ / statistics.median(taken[WARMUP:]),
        "peak_rss_mb": peak_memory() / 2**20,
        "loss_first": losses[0],
        "loss_last": losses[-1],
        "compile_s": 0.0,
    }


def ceiling(name: str) -> Figures:
    """FLOP/s of the products of the model's shapes alone."""
    import torch

    from groundup.train import meter

    torch.set_num_threads(cores())
    keep_freed_memory()
    with tempfile.TemporaryDirectory() as folder:
        rate = meter.ceiling(
            WORKLOADS[name].config(), BATCH * SEQ, torch.bfloat16, torch.device("cpu"), Path(folder) / "ceiling.json"
        )
    return {"flops": rate}


def report(name: str, workload: Workload, runs: dict[str, list[Figures]], fastest: list[str]) -> Figures:
    """Print the table of a workload; the result names the peer that was fastest by its median."""
    from groundup.model.count import training_flops_per_token

    def median(side: str, figure: str) -> float:
        return statistics.median(run[figure] for run in runs[side])

    flops = training_flops_per_token(workload.config(), SEQ)
    best = max(fastest, key=lambda peer: median(peer, "tokens_per_s"))
    top = median("ceiling", "flops")
    print(f"\n{name}: {workload.layers} layers, {workload.hidden} wide, feed-forward {workload.ffn}, vocabulary "
          f"{workload.vocab}, {BATCH} x {SEQ} tokens; ceiling {top / 1e9:.0f} GFLOP/s")  # fmt: skip
    print(f"{'':<24} {'tokens/s':>9} {'low':>7} {'high':>7} {'GFLOP/s':>8} {'of ceiling':>10} {'peak MB':>8} "
          f"{'compile s':>9} {'first loss':>10}")  # fmt: skip
    for side in ("ours", *PEERS):
        rates = [run["tokens_per_s"] for run in runs[side]]
        rate = statistics.median(rates)
        print(f"{side:<24} {rate:>9.0f} {min(rates):>7.0f} {max(rates):>7.0f} {rate * flops / 1e9:>8.0f} "
              f"{rate * flops / top:>10.1%} {median(side, 'peak_rss_mb'):>8.0f} {median(side, 'compile_s'):>9.0f} "
              f"{runs[side][0]['loss_first']:>10.3f}")  # fmt: skip
    ratios = [
        mine["tokens_per_s"] / max(runs[peer][number]["tokens_per_s"] for peer in fastest)
        for number, mine in enumerate(runs["ours"])
    ]
    rate = median("ours", "tokens_per_s")
    shares = sorted(
        mine["tokens_per_s"] * flops / products["flops"]
        for mine, products in zip(runs["ours"], runs["ceiling"], strict=True)
    )
    share = statistics.median(shares)
    result = {
        "benchmark": "train",
        "workload": name,
        "machine": cpu_name(),
        "threads": cores(),
        "ours": round(rate, 1),
        "peer": round(median(best, "tokens_per_s"), 1),
        "peer_name": best,
        "unit": "tokens/s",
        "ratio": round(statistics.median(ratios), 3),
        "ratio_low": round(min(ratios), 3),
        "ratio_high": round(max(ratios), 3),
        "target": workload.target,
        "peak_memory_mb": round(median("ours", "peak_rss_mb")),
        "peer_peak_memory_mb": {peer: round(median(peer, "peak_rss_mb")) for peer in PEERS},
        "model_flops_share_of_ceiling": round(share, 3),
        "share_low": round(shares[0], 3),
        "share_high": round(shares[-1], 3),
        "share_target": 0.65,
    }
    print(f"ratio {result['ratio']} ({result['ratio_low']} to {result['ratio_high']}) to {best}")
    print(f"share of the ceiling {share:.1%} ({shares[0]:.1%} to {shares[-1]:.1%})\n")
    return result


if __name__ == "__main__":
    main()
