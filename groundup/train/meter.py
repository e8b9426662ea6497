"""How fast a run goes, against what the machine can do.

Model FLOP/s counts the arithmetic that the model's mathematics asks for (PaLM, appendix B), nothing computed twice.
The ceiling is measured, not quoted: the matrix products of the model's own shapes, forward and both products of the
backward pass, in the training precision, on this machine, with as many threads. The utilisation (MFU) is their ratio.

Everything here depends on the clock, so it goes to ``speed.jsonl`` and never into what defines an artifact.
"""

from __future__ import annotations

import importlib
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import torch
from torch import Tensor

from groundup.base.files import read_json, sha256_json, write_json
from groundup.base.machine import WATTS_PER_CORE, cpu_name, peak_memory
from groundup.model.config import ModelConfig
from groundup.model.loss import CHUNK

_BUDGET_SECONDS: Final = 1.5
_REPEATS: Final = 5
_INTERVAL_SECONDS: Final = 1.0

Row = dict[str, float]


@dataclass(frozen=True)
class Product:
    """A matrix product of the model: ``rows`` tokens, from ``inputs`` to ``outputs`` wide, so many times a pass."""

    rows: int
    inputs: int
    outputs: int
    times: float

    @property
    def flops(self) -> float:
        """Of all of them, forward and backward."""
        return 6.0 * self.rows * self.inputs * self.outputs * self.times


def products(config: ModelConfig, tokens: int) -> list[Product]:
    """The matrix products of one pass over ``tokens`` positions, those of attention's scores left out."""
    width, heads = config.hidden_size, config.num_heads * config.head_dim
    kv = config.num_kv_heads * config.head_dim
    layers, experts = config.num_layers, max(1, config.num_experts)
    routed = max(1, tokens * max(1, config.num_experts_per_token) // experts)
    chunk = min(tokens, CHUNK)
    return [
        Product(tokens, width, heads, layers),
        Product(tokens, width, kv, 2 * layers),
        Product(tokens, heads, width, layers),
        Product(routed, width, config.intermediate_size, (1 + config.gated) * layers * experts),
        Product(routed, config.intermediate_size, width, layers * experts),
        Product(chunk, width, config.vocab_size, tokens / chunk),
    ]


def ceiling(config: ModelConfig, tokens: int, dtype: torch.dtype, device: torch.device, cache: Path) -> float:
    """FLOP/s of the model's matrix products, each taken at its best of a few tries; a second or two, then ``cache``.

    ``tokens`` are those of a micro-batch. The cache is a JSON file, keyed by machine, threads, type and shapes.
    """
    shapes = products(config, tokens)
    machine = torch.cuda.get_device_name(device) if device.type == "cuda" else cpu_name()
    facts = [machine, torch.get_num_threads(), str(dtype), torch.__version__, [vars(shape) for shape in shapes]]
    key = sha256_json(facts)
    try:
        known = read_json(cache)
        return float(known[key])
    except (OSError, ValueError, KeyError, TypeError):
        pass
    budget = _BUDGET_SECONDS / len(shapes)
    seconds = sum(_seconds(shape, dtype, device, budget) * shape.times for shape in shapes)
    found = sum(shape.flops for shape in shapes) / seconds
    write_json(cache, {key: found})
    return found


def _seconds(shape: Product, dtype: torch.dtype, device: torch.device, budget: float) -> float:
    """The best time of forward and both backward products of one shape."""
    source = torch.Generator(device=device).manual_seed(0)
    x = torch.randn(shape.rows, shape.inputs, generator=source, device=device, dtype=dtype)
    weight = torch.randn(shape.outputs, shape.inputs, generator=source, device=device, dtype=dtype)
    error = torch.randn(shape.rows, shape.outputs, generator=source, device=device, dtype=dtype)
    works: list[Callable[[], Tensor]] = [lambda: x @ weight.t(), lambda: error @ weight, lambda: error.t() @ x]
    return sum(_best(work, device, budget / len(works)) for work in works)


def _best(work: Callable[[], Tensor], device: torch.device, budget: float) -> float:
    work()
    best, end = float("inf"), time.perf_counter() + budget
    for done in range(_REPEATS):
        if done >= 2 and time.perf_counter() > end:
            break
        _finish(device)
        start = time.perf_counter()
        work()
        _finish(device)
        best = min(best, time.perf_counter() - start)
    return max(best, 1e-9)


def _finish(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


class Meter:
    """Counts tokens and time of this process's run; ``row`` once a second or so.

    ``flops_per_token`` is of forward and backward, ``ceiling`` in FLOP/s of all ``processes`` together.
    """

    def __init__(self, flops_per_token: float, ceiling: float, device: torch.device) -> None:
        self.flops_per_token, self.ceiling, self._device = flops_per_token, ceiling, device
        self._power = _gpu_energy(device)
        self._start = self._last = time.monotonic()
        self._energy_start = self._joules()
        self._tokens = self._tokens_before = 0
        self._paused = self._paused_before = 0.0

    def count(self, tokens: int) -> None:
        """A step of so many tokens is done."""
        self._tokens += tokens

    def pause(self, seconds: float) -> None:
        """Time that went into something else than training, such as validation."""
        self._paused += seconds

    def row(self, *, now: bool = False) -> Row | None:
        """Rates since the last row, if a second has passed or it is wanted ``now``; else None."""
        clock = time.monotonic()
        spent = clock - self._last - (self._paused - self._paused_before)
        done = self._tokens - self._tokens_before
        if not done or (clock - self._last < _INTERVAL_SECONDS and not now):
            return None
        self._last, self._tokens_before, self._paused_before = clock, self._tokens, self._paused
        rate = done / max(spent, 1e-9)
        return {
            "seconds": clock - self._start,
            "tokens_per_second": rate,
            "flops_per_second": rate * self.flops_per_token,
            "mfu": rate * self.flops_per_token / self.ceiling,
            "memory_bytes": self.memory(),
            "energy_joules": self._joules() - self._energy_start,
        }

    @property
    def tokens_per_second(self) -> float:
        """Over the whole run so far, pauses left out; 0 if nothing was done."""
        return self._tokens / max(1e-9, time.monotonic() - self._start - self._paused) if self._tokens else 0.0

    @property
    def mfu(self) -> float:
        """Over the whole run so far."""
        return self.tokens_per_second * self.flops_per_token / self.ceiling

    def memory(self) -> int:
        """The peak so far: of the device's memory, or of this process."""
        return torch.cuda.max_memory_allocated(self._device) if self._device.type == "cuda" else peak_memory()

    def _joules(self) -> float:
        return time.process_time() * WATTS_PER_CORE + (self._power() if self._power else 0.0)


def _gpu_energy(device: torch.device) -> Callable[[], float] | None:
    """A counter of the joules that a GPU has drawn, if NVIDIA's library is there to ask."""
    if device.type != "cuda":
        return None
    try:
        nvml = importlib.import_module("pynvml")
    except ImportError:
        return None
    try:
        nvml.nvmlInit()
        handle = nvml.nvmlDeviceGetHandleByUUID(f"GPU-{torch.cuda.get_device_properties(device).uuid}")
        nvml.nvmlDeviceGetTotalEnergyConsumption(handle)
    except nvml.NVMLError:  # cards before Volta don't count
        return None
    return lambda: float(nvml.nvmlDeviceGetTotalEnergyConsumption(handle)) / 1000
