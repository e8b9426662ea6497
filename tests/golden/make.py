"""Golden curves: 50 steps of a small model with each optimizer, every loss and gradient norm at full precision.

    python tests/golden/make.py          compare, and say how far this machine is from what is stored
    python tests/golden/make.py --write  store anew: after a change of mathematics that is meant

The text is the beginning of the first book of examples/books.jsonl.gz (public domain, see examples/SOURCES.md), read
as bytes. Everything is fp32 on one thread.
"""

from __future__ import annotations

import argparse
import gzip
import hashlib
import json
import tempfile
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch

from groundup.base.progress import Silent
from groundup.model.config import ModelConfig
from groundup.model.init import initialise
from groundup.model.transformer import Transformer
from groundup.text.store.order import joined, row_order
from groundup.text.store.packing import Packed
from groundup.text.store.store import TokenStore
from groundup.train.loop import train
from groundup.train.objective import next_token
from groundup.train.settings import LoopConfig, MethodName, OptimizerConfig, Rates
from groundup.train.stream import PackedSteps

HERE: Final = Path(__file__).parent
BOOKS: Final = HERE.parents[1] / "examples" / "books.jsonl.gz"
NUM_BYTES: Final = 100_000
METHODS: Final[tuple[MethodName, ...]] = ("adamw", "muon")
RATES: Final = Rates(matrices=0.004, embeddings=0.01, output=0.005, vectors=0.005)
SHAPE: Final = ModelConfig(
    vocab_size=256, num_layers=2, hidden_size=64, num_heads=4, num_kv_heads=2, head_dim=16,
    intermediate_size=160, max_seq_len=64, qk_norm=True, tie_embeddings=False,
)  # fmt: skip


def text() -> bytes:
    """The corpus."""
    with gzip.open(BOOKS, "rt", encoding="utf-8") as lines:
        book = json.loads(next(lines))
    return str(book["text"]).encode()[:NUM_BYTES]


def curve(method: MethodName, **changes: object) -> list[tuple[float, float]]:
    """Loss and gradient norm of each step; ``changes`` are fields of the optimizer's settings, or ``peak``."""
    data = np.frombuffer(text(), dtype=np.uint8).astype(np.uint16)
    seq_len = SHAPE.max_seq_len
    rows = row_order((len(data) - 1) // seq_len, 1, 0)
    epoch = Packed(rows * seq_len, np.full(len(rows), seq_len, np.int32), np.arange(len(rows) + 1))
    store = TokenStore(data, np.asarray([0, len(data)]), joined([epoch], seq_len))
    model = Transformer(SHAPE)
    initialise(model, 1)
    peak = changes.pop("peak", 1.0)
    assert isinstance(peak, float)
    rates = Rates(*(peak * rate for rate in (RATES.matrices, RATES.embeddings, RATES.output, RATES.vectors)))
    config = OptimizerConfig(
        method=method, weight_decay=1.0, schedule="cosine", warmup=0.1, final_factor=0.1, momentum=0.95, beta1=0.9,
        beta2=0.95, gradient_clip=1.0,
    )  # fmt: skip
    with tempfile.TemporaryDirectory() as folder:
        history = train(
            model, PackedSteps(store, seq_len, 8, 8, 50), next_token, rates, config.model_copy(update=changes),
            LoopConfig(precision="fp32", threads=1), folder=Path(folder), progress=Silent(),
        )  # fmt: skip
    return [(row["loss"], row["gradient_norm"]) for row in history.steps]


def stored(method: MethodName) -> dict[str, Any]:
    """What is kept: ``text_sha256``, and ``curve`` as pairs of hexadecimal floats."""
    kept: dict[str, Any] = json.loads((HERE / f"{method}.json").read_text())
    return {**kept, "curve": [(float.fromhex(loss), float.fromhex(norm)) for loss, norm in kept["curve"]]}


def write(method: MethodName, rows: list[tuple[float, float]]) -> None:
    """Store a curve."""
    kept = {
        "text_sha256": hashlib.sha256(text()).hexdigest(),
        "torch": torch.__version__,
        "columns": ["loss", "gradient_norm"],
        "curve": [[loss.hex(), norm.hex()] for loss, norm in rows],
    }
    (HERE / f"{method}.json").write_text(json.dumps(kept, indent=1) + "\n")


def deviation(ours: list[tuple[float, float]], golden: list[tuple[float, float]]) -> tuple[float, float]:
    """The largest relative difference of the losses, and of the gradient norms."""
    assert len(ours) == len(golden)
    pairs = list(zip(ours, golden, strict=True))
    return tuple(max(abs(a[at] - b[at]) / abs(b[at]) for a, b in pairs) for at in (0, 1))  # type: ignore[return-value]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--write", action="store_true", help="store the curves that this machine computes")
    options = parser.parse_args()
    for method in METHODS:
        rows = curve(method)
        if (HERE / f"{method}.json").exists():
            loss, norm = deviation(rows, stored(method)["curve"])
            print(f"{method:<6} loss within {loss:.1e}, gradient norm within {norm:.1e} of what is stored")
        if options.write:
            write(method, rows)
        print(f"{method:<6} loss {rows[0][0]:.4f} to {rows[-1][0]:.4f}")


if __name__ == "__main__":
    main()
