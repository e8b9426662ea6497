"""The meter: it counts the arithmetic it says, measures a plausible ceiling, and remembers it."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from groundup.model.config import ModelConfig
from groundup.model.init import initialise
from groundup.model.loss import linear_cross_entropy
from groundup.model.transformer import Transformer
from groundup.train import meter
from groundup.train.meter import Meter, ceiling, products

CPU = torch.device("cpu")
CONFIG = ModelConfig(
    vocab_size=256, num_layers=3, hidden_size=64, num_heads=4, num_kv_heads=2, head_dim=16,
    intermediate_size=96, max_seq_len=32,
)  # fmt: skip


def test_the_products_are_those_that_the_model_computes() -> None:
    """Forward and backward of the real model, by torch's own counter, attention's scores taken off."""
    model = Transformer(CONFIG)
    initialise(model, 1)
    ids = torch.randint(256, (2, 32))
    with FlopCounterMode(display=False) as counter:
        hidden = model(ids)
        linear_cross_entropy(hidden.flatten(0, 1), model.output_weight, ids.flatten()).backward()
    by_kind = counter.get_flop_counts()["Global"]
    counted = sum(value for kind, value in by_kind.items() if "attention" not in str(kind) and "bmm" not in str(kind))
    assert sum(product.flops for product in products(CONFIG, 64)) == pytest.approx(counted, rel=0.02)


def test_the_ceiling_is_measured_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cache = tmp_path / "ceiling.json"
    found = ceiling(CONFIG, 256, torch.float32, CPU, cache)
    big = torch.randn(512, 512)
    start = time.perf_counter()
    for _ in range(5):
        big @ big
    rate = 5 * 2 * 512**3 / (time.perf_counter() - start)
    assert 0.005 * rate < found < 20 * rate
    monkeypatch.setattr(meter, "_seconds", None)  # a second measurement would fail
    assert ceiling(CONFIG, 256, torch.float32, CPU, cache) == found
    monkeypatch.setattr(meter, "_seconds", lambda *_: 1.0)
    assert ceiling(CONFIG, 128, torch.float32, CPU, cache) != found  # other shapes
    cache.write_text("nonsense")
    assert ceiling(CONFIG, 256, torch.float32, CPU, cache) != found
    assert len(json.loads(cache.read_text())) == 1


def test_measuring_touches_no_random_state(tmp_path: Path) -> None:
    before = torch.get_rng_state()
    ceiling(CONFIG, 64, torch.float32, CPU, tmp_path / "c.json")
    assert torch.equal(torch.get_rng_state(), before)


def test_rates_leave_pauses_out(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [100.0]
    monkeypatch.setattr(meter.time, "monotonic", lambda: clock[0])
    made = Meter(flops_per_token=10.0, ceiling=1000.0, device=CPU)
    assert made.row(now=True) is None  # nothing done yet
    made.count(60)
    clock[0] = 100.5
    assert made.row() is None  # too soon
    clock[0] = 104.0
    made.pause(2.0)
    row = made.row()
    assert row is not None
    assert row["seconds"] == 4.0
    assert row["tokens_per_second"] == pytest.approx(30.0)
    assert row["flops_per_second"] == pytest.approx(300.0)
    assert row["mfu"] == pytest.approx(0.3)
    assert row["memory_bytes"] > 2**20
    made.count(10)
    clock[0] = 105.0
    again = made.row()
    assert again is not None
    assert again["tokens_per_second"] == pytest.approx(10.0)
    assert made.tokens_per_second == pytest.approx(70 / 3)
    assert made.mfu == pytest.approx(700 / 3 / 1000)
