"""How fast a run goes, against what the machine can do.

Model FLOP/s counts the arithmetic that the model's mathematics asks for (PaLM, appendix B), nothing computed twice.
The ceiling is measured, not quoted: the matrix products of the model's own shapes, forward and both products of the
backward pass, in the training precision, on this machine, with as many threads. The utilisation (MFU) is their ratio.

Everything here depends on the clock, so it goes to ``speed.jsonl`` and never into what defines an artifact.
"""

from __future__ import annotations

import ctypes
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
from groundup.train.together import Together

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
    """Counts tokens, time and energy of a run; ``row`` once a second or so. All processes call the same methods.

    ``flops_per_token`` is of forward and backward, ``ceiling`` in FLOP/s of all processes ``together``. Energy is that
    of all of them: CPU seconds times an assumed draw, and what the GPUs count themselves.
    """

    def __init__(
        self, flops_per_token: float, ceiling: float, device: torch.device, together: Together | None = None
    ) -> None:
        self.flops_per_token, self.ceiling, self._device = flops_per_token, ceiling, device
        self._together = together or Together()
        self._device_energy = _gpu_energy(device) if device.type == "cuda" else None
        self._start = self._last = time.monotonic()
        self._cpu_start, self._device_start = time.process_time(), self._device_now()
        self._steps, self._next = 0, 1
        self._tokens = self._tokens_before = 0
        self._paused = self._paused_before = 0.0

    def count(self, tokens: int) -> None:
        """A step of so many tokens, of all processes, is done."""
        self._tokens += tokens
        self._steps += 1

    def pause(self, seconds: float) -> None:
        """Time that went into something else than training, such as validation."""
        self._paused += seconds

    def row(self, *, now: bool = False) -> Row | None:
        """Rates since the last row, if a second has passed or it is wanted ``now``; else None."""
        clock = time.monotonic()
        spent = clock - self._last - (self._paused - self._paused_before)
        done = self._tokens - self._tokens_before
        if not done or not (now or self._is_time(clock)):
            return None
        rate = done / max(spent, 1e-9)
        energy = self._energy(clock)
        self._last, self._tokens_before, self._paused_before = clock, self._tokens, self._paused
        self._steps = 0
        return {
            "seconds": clock - self._start,
            "tokens_per_second": rate,
            "flops_per_second": rate * self.flops_per_token,
            "mfu": rate * self.flops_per_token / self.ceiling,
            "memory_bytes": self.memory(),
            "energy_joules": energy,
        }

    def _is_time(self, clock: float) -> bool:
        """Whether a row is due. Clocks differ, and a row takes all processes: several of them count steps instead."""
        return clock - self._last >= _INTERVAL_SECONDS if self._together.alone else self._steps >= self._next

    def _energy(self, clock: float) -> float:
        """Joules so far, of all processes; on the way they agree in how many steps the next row is due."""
        own = (time.process_time() - self._cpu_start) * WATTS_PER_CORE + self._device_now() - self._device_start
        each = max(1, round(self._steps * _INTERVAL_SECONDS / max(clock - self._last, 1e-9)))
        told = self._together.gather((own, each))
        self._next = told[0][1]
        return sum(joules for joules, _ in told)

    def device_joules(self) -> float:
        """What the GPUs of all processes drew so far; 0 where there are none, or none that counts."""
        return sum(self._together.gather(self._device_now() - self._device_start))

    @property
    def counts_device(self) -> bool:
        """Whether nothing is left out of the energy: there is no GPU, or it counts its own."""
        return self._device.type != "cuda" or self._device_energy is not None

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

    def _device_now(self) -> float:
        return self._device_energy() if self._device_energy is not None else 0.0


def _gpu_energy(device: torch.device) -> Callable[[], float] | None:
    """A counter of the joules that a GPU has drawn; None if it keeps none (cards before Volta, slices of a card).

    Asks NVML, a C library that comes with NVIDIA's driver, without a Python package in between.
    """
    try:
        nvml = ctypes.CDLL("libnvidia-ml.so.1")
    except OSError:
        return None
    handle, millijoules = ctypes.c_void_p(), ctypes.c_ulonglong()
    name = f"GPU-{torch.cuda.get_device_properties(device).uuid}".encode()
    if nvml.nvmlInit_v2() or nvml.nvmlDeviceGetHandleByUUID(name, ctypes.byref(handle)):
        return None

    def joules() -> float:
        nvml.nvmlDeviceGetTotalEnergyConsumption(handle, ctypes.byref(millijoules))
        return millijoules.value / 1000

    return joules if joules() else None
