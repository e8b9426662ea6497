"""How fast rows come out of a token store: shuffled pieces, packed, as batches of tensors, on two threads.

    python benchmarks/loader.py [--quick]

Workloads: a warm local store of short and of long documents, back to back and best-fit; and one that lies behind
fsspec (in memory, so that it is our own work that is measured). The peer is the bare loop that small trainers use: rows
cut from a memory-mapped file one after the other and turned into int64, on one thread, with nothing shuffled, packed or
checked. The target is 20 million tokens a second.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from groundup.base.machine import cpu_name
from groundup.text.store import order
from groundup.text.store.megatron import Writer, token_dtype
from groundup.text.store.packing import Packing
from groundup.text.store.store import TokenStore
from groundup.train.loader import Loader
from groundup.train.stream import PackedSteps

VOCAB = 50_000
SEQ_LEN = 2048
ROWS = 16
TARGET = 20e6
BUFFER = 64 << 20


def make_store(folder: Path, tokens: int, length: int, packing: Packing) -> None:
    """A store of documents of geometrically distributed lengths."""
    chance = np.random.default_rng(1)
    sizes = chance.geometric(1 / length, max(1, tokens // length))
    with Writer(folder / "train", token_dtype(VOCAB), VOCAB) as writer:
        for part in np.array_split(sizes, max(1, len(sizes) // 10_000)):
            writer.add(chance.integers(0, VOCAB, int(part.sum())), part)
    offsets = np.concatenate([[0], np.cumsum(sizes)])
    keys = chance.integers(0, 2**63, len(sizes)).astype(np.uint64)
    packed = order.epochs_of(offsets, keys, seq_len=SEQ_LEN, epochs=1, seed=1, packing=packing)
    order.write(folder, packed, SEQ_LEN, packing, {})


def steps_of(store: TokenStore) -> PackedSteps:
    """One epoch."""
    return PackedSteps(store, SEQ_LEN, ROWS, ROWS, store.need_order().num_rows // ROWS, vocab_size=VOCAB)


def loaded(store: TokenStore) -> tuple[float, int]:
    """Tokens a second through the loader, and the peak of its buffer in bytes."""
    loader, start, tokens = Loader(steps_of(store), rows=ROWS, buffer=BUFFER, threads=2), time.perf_counter(), 0
    for batch in loader:
        tokens += batch.inputs.numel()
    return tokens / (time.perf_counter() - start), loader.peak


def bare(path: Path) -> float:
    """Tokens a second of the bare loop."""
    start, tokens = time.perf_counter(), 0
    data = np.memmap(path, np.uint16, "r")
    each = ROWS * SEQ_LEN
    for at in range(0, len(data) - each - 1, each):
        rows = [data[at + row * SEQ_LEN : at + (row + 1) * SEQ_LEN + 1].astype(np.int64) for row in range(ROWS)]
        whole = torch.from_numpy(np.stack(rows))
        tokens += whole[:, :-1].numel()
    return tokens / (time.perf_counter() - start)


def measure(name: str, store: TokenStore, path: Path, pairs: int) -> dict[str, Any]:
    """Alternate between ours and the bare loop."""
    loaded(store), bare(path)
    ours, theirs, peaks = [], [], []
    for _ in range(pairs):
        speed, peak = loaded(store)
        ours.append(speed)
        peaks.append(peak)
        theirs.append(bare(path))
    ratios = sorted(a / b for a, b in zip(ours, theirs, strict=True))
    return {
        "benchmark": "loader", "workload": name, "machine": cpu_name(), "threads": 2,
        "ours": round(statistics.median(ours)), "peer": round(statistics.median(theirs)),
        "peer_name": "a bare loop over the file", "unit": "tokens/s",
        "ratio": round(statistics.median(ratios), 3),
        "ratio_low": round(ratios[0], 3), "ratio_high": round(ratios[-1], 3),
        "target": TARGET, "reached": statistics.median(ours) >= TARGET, "buffer": BUFFER, "peak": max(peaks),
    }  # fmt: skip


def to_memory(folder: Path) -> str:
    """The store copied to fsspec's file system in memory."""
    import fsspec

    files = fsspec.filesystem("memory")
    for path in folder.rglob("*"):
        if path.is_file():
            files.pipe_file(f"/loader/{path.relative_to(folder)}", path.read_bytes())
    return "memory://loader"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="a smaller store and fewer pairs")
    options = parser.parse_args()
    torch.set_num_threads(1)
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    tokens, pairs = (8_000_000, 3) if options.quick else (64_000_000, 7)
    open_: Callable[[Path | str], TokenStore] = TokenStore.open
    results = []
    cases: tuple[tuple[str, int, Packing], ...] = (
        ("documents of 150 tokens, concat", 150, "concat"),
        ("documents of 700 tokens, concat", 700, "concat"),
        ("documents of 700 tokens, best-fit", 700, "best-fit"),
        ("documents of 20,000 tokens, concat", 20_000, "concat"),
    )
    for name, length, packing in cases:
        with tempfile.TemporaryDirectory() as home:
            folder = Path(home)
            make_store(folder, tokens, length, packing)
            results.append(measure(name, open_(folder), folder / "train.bin", pairs))
            if (length, packing) == (700, "concat"):
                remote = open_(to_memory(folder))
                results.append(measure(f"{name}, through fsspec", remote, folder / "train.bin", pairs))
    print(f"{'workload':<52}{'ours M/s':>10}{'peer M/s':>10}{'ratio':>8}{'peak MiB':>10}")
    for row in results:
        print(
            f"{row['workload']:<52}{row['ours'] / 1e6:>10.1f}{row['peer'] / 1e6:>10.1f}{row['ratio']:>8}"
            f"{row['peak'] / 2**20:>10.1f}"
        )
    print(json.dumps({"benchmark": "loader", "results": results}))


if __name__ == "__main__":
    main()
