"""What the training loop itself costs: everything in a step but forward, backward, clipping and optimizer.

    python benchmarks/loop_overhead.py [--quick]

The quickstart's model trains on random tokens with everything on that a user gets: batches read ahead, health, log,
TensorBoard, the live panel (drawn for a terminal that isn't there), background checkpoints, update norms. Each round
gives the share of the wall time that the engine did not have. Validation is left out: it is no part of a step. A bare
loop over the same engine calls, run in turn with it, shows besides what background threads take from the engine.

Prints a table, and one JSON object as its last line; the target is a share of 2 %.
"""

from __future__ import annotations

import argparse
import io
import json
import statistics
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from groundup.base.machine import cores, cpu_name, keep_freed_memory
from groundup.base.progress import Progress
from groundup.model.config import ModelConfig
from groundup.model.init import initialise
from groundup.model.transformer import Transformer
from groundup.text.store.order import make as make_order
from groundup.text.store.store import TokenStore
from groundup.train.engines.engine import Sums
from groundup.train.engines.native import NativeEngine
from groundup.train.loop import Plan, fit
from groundup.train.objective import NextToken
from groundup.train.settings import LoopConfig, OptimizerConfig, Rates
from groundup.train.stream import PackedSteps, TokenBatch

TARGET = 0.02
SEQ_LEN, VOCAB, ROWS = 256, 4096, 4


class Timed(NativeEngine[TokenBatch]):
    """The engine, with the seconds spent inside it."""

    spent = 0.0

    def forward_backward(self, batches: Sequence[TokenBatch], weight: int) -> Sums:
        start = time.perf_counter()
        found = super().forward_backward(batches, weight)
        self.spent += time.perf_counter() - start
        return found

    def clip(self, max_norm: float) -> float:
        start = time.perf_counter()
        found = super().clip(max_norm)
        self.spent += time.perf_counter() - start
        return found

    def update(self, factor: float) -> None:
        start = time.perf_counter()
        super().update(factor)
        self.spent += time.perf_counter() - start


class Terminal(io.StringIO):
    """A terminal that nobody looks at."""

    def isatty(self) -> bool:
        return True


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="fewer and shorter rounds")
    parser.add_argument("--threads", type=int, default=cores(), help="CPU threads (all cores)")
    options = parser.parse_args()
    rounds, num_steps = (3, 60) if options.quick else (7, 200)
    torch.set_num_threads(options.threads)
    keep_freed_memory()
    shares, ratios, step_times = [], [], []
    print(f"{'round':<6} {'ms a step':>10} {'outside the engine':>20} {'bare loop / ours':>18}")
    for number in range(rounds):
        share, ours = with_loop(num_steps)
        bare = without(num_steps)
        shares.append(share)
        ratios.append(bare / ours)
        step_times.append(ours)
        print(f"{number:<6} {ours * 1e3:>10.2f} {share:>20.2%} {bare / ours:>18.3f}")
    share = statistics.median(shares)
    result = {
        "benchmark": "loop_overhead",
        "workload": f"quickstart shape, {ROWS * SEQ_LEN} tokens a step, {num_steps} steps",
        "machine": cpu_name(),
        "threads": options.threads,
        "ours": round(share, 5),
        "peer": TARGET,
        "peer_name": "limit",
        "unit": "share of a step outside forward, backward and optimizer",
        "ratio": round(TARGET / share, 3),
        "ratio_low": round(TARGET / max(shares), 3),
        "ratio_high": round(TARGET / min(shares), 3),
        "target": 1.0,
        "milliseconds_a_step": round(statistics.median(step_times) * 1e3, 2),
        "bare_over_ours": round(statistics.median(ratios), 4),
    }
    print(json.dumps(result))


def steps_of(num_steps: int) -> PackedSteps:
    """Random tokens."""
    count = num_steps * ROWS * SEQ_LEN + 1
    ids = np.random.default_rng(1).integers(0, VOCAB, count).astype(np.uint16)
    offsets = np.append(np.arange(0, count, 400), count)
    keys = np.arange(len(offsets) - 1, dtype=np.uint64)
    store = TokenStore(ids, offsets, make_order(offsets, keys, seq_len=SEQ_LEN, epochs=1, seed=1))
    return PackedSteps(store, SEQ_LEN, ROWS, 16, num_steps, vocab_size=VOCAB)


def engine() -> Timed:
    """The quickstart's model, ready to train."""
    model = Transformer(ModelConfig.from_depth(4, VOCAB, SEQ_LEN, hidden_size=192))
    initialise(model, 1)
    objective = NextToken(1e-4, 0.0, torch.ones(VOCAB, dtype=torch.long))
    return Timed(model, objective, Rates.of(5e-3), OptimizerConfig(), "auto")


def with_loop(num_steps: int) -> tuple[float, float]:
    """Share of the time outside the engine, and seconds a step; a checkpoint falls into it, as every 15 s."""
    trained, steps = engine(), steps_of(num_steps)
    loop = LoopConfig(checkpoint_every_steps=max(1, num_steps // 2), dry_run=False)
    with tempfile.TemporaryDirectory() as folder:
        marks: dict[int, tuple[float, float]] = {}
        plan: Plan[Any] = Plan(
            Marked(steps, trained, marks), Rates.of(5e-3), OptimizerConfig(), loop, trained.model.config, SEQ_LEN
        )
        fit(trained, plan, folder=Path(folder), progress=Progress("base: pretrain", Terminal()))
    # Step n is computed after the batches of step n + 1 were asked for; the first few steps warm up.
    (start, spent_before), (end, spent_after) = marks[10], marks[num_steps - 1]
    total, spent = end - start, spent_after - spent_before
    return (total - spent) / total, total / (num_steps - 1 - 10)


class Marked:
    """Steps that note the time, and the engine's, at which each was asked for."""

    def __init__(self, inner: PackedSteps, trained: Timed, marks: dict[int, tuple[float, float]]) -> None:
        self._inner, self._trained, self._marks = inner, trained, marks
        self.num_steps, self.fingerprint = inner.num_steps, inner.fingerprint

    def batches(self, step: int, part: Any = None) -> list[TokenBatch]:
        self._marks.setdefault(step, (time.perf_counter(), self._trained.spent))
        return self._inner.batches(step, part)

    def heaviest(self, part: Any = None) -> int:
        return 0


def without(num_steps: int) -> float:
    """Seconds a step of the bare engine calls."""
    trained, steps = engine(), steps_of(num_steps)
    start = 0.0
    for step in range(num_steps - 1):
        if step == 10:
            start = time.perf_counter()
        batches = steps.batches(step)
        trained.forward_backward(batches, trained.weigh(batches))
        trained.clip(1.0)
        trained.update(1.0)
    return (time.perf_counter() - start) / (num_steps - 1 - 10)


if __name__ == "__main__":
    main()
