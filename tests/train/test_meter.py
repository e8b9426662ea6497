"""The meter: it counts the arithmetic it says, measures a plausible ceiling, and remembers it."""

from __future__ import annotations

import ctypes
import json
import multiprocessing
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from groundup.model.config import ModelConfig
from groundup.model.init import initialise
from groundup.model.loss import linear_cross_entropy
from groundup.model.transformer import Transformer
from groundup.train import meter
from groundup.train.meter import Meter, ceiling, products
from groundup.train.together import Together

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


class Driver:
    """Stands for NVML: one card, by its name, that has drawn so much."""

    def __init__(self, name: bytes, joules: float) -> None:
        self.name, self.joules = name, joules

    def nvmlInit_v2(self) -> int:  # noqa: N802
        return 0

    def nvmlDeviceGetHandleByUUID(self, name: bytes, handle: Any) -> int:  # noqa: N802
        handle._obj.value = 77
        return int(name != self.name)

    def nvmlDeviceGetTotalEnergyConsumption(self, handle: ctypes.c_void_p, into: Any) -> int:  # noqa: N802
        assert handle.value == 77
        into._obj.value = int(self.joules * 1000)
        return 0


@pytest.mark.parametrize("known", [True, False])
def test_a_gpu_is_asked_for_its_energy_or_named_as_left_out(known: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    driver = Driver(b"GPU-1-2", 500.0)
    monkeypatch.setattr(meter.ctypes, "CDLL", lambda name: driver)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda device: SimpleNamespace(uuid="1-2" if known else 3))
    monkeypatch.setattr(torch.cuda, "max_memory_allocated", lambda device: 0)
    made = Meter(1.0, 1.0, torch.device("cuda"))
    assert made.counts_device == known
    driver.joules += 250.0
    assert made.device_joules() == (250.0 if known else 0.0)
    made.count(1)
    row = made.row(now=True)
    assert row is not None
    assert (row["energy_joules"] >= 250.0) == known


def test_no_driver_is_no_energy(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> None:
        raise OSError(name)

    monkeypatch.setattr(meter.ctypes, "CDLL", missing)
    assert not Meter(1.0, 1.0, torch.device("cuda")).counts_device
    assert Meter(1.0, 1.0, CPU).counts_device


def _metered(rank: int, size: int, folder: str, results: Any) -> None:
    """Count steps with one process busy and the other idle."""
    import torch.distributed as dist

    torch.set_num_threads(1)
    dist.init_process_group("gloo", rank=rank, world_size=size, store=dist.FileStore(f"{folder}/meet", size))
    try:
        made, rows = Meter(1.0, 1.0, CPU, Together()), []
        for step in range(40):
            until = time.process_time() + 0.02
            while rank == 1 and time.process_time() < until:
                pass
            dist.barrier()  # a step is one for all
            made.count(10)
            rows.append(made.row(now=step == 39))
        spent = (time.process_time() - made._cpu_start) * meter.WATTS_PER_CORE
        results.put((rank, spent, [row and row["energy_joules"] for row in rows]))
    finally:
        dist.destroy_process_group()


def test_energy_is_that_of_all_processes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    context = multiprocessing.get_context("spawn")
    results = context.Queue()
    workers = [context.Process(target=_metered, args=(rank, 2, str(tmp_path), results)) for rank in range(2)]
    for worker in workers:
        worker.start()
    found = {rank: (spent, rows) for rank, spent, rows in (results.get(timeout=120) for _ in workers)}
    for worker in workers:
        worker.join(30)
        assert worker.exitcode == 0
    (idle, first), (busy, second) = found[0], found[1]
    assert first == second
    assert busy > 40 * 0.02 * meter.WATTS_PER_CORE
    assert first[-1] == pytest.approx(idle + busy, rel=0.1)
    assert 2 <= len([row for row in first if row is not None]) < 30
