"""What the machine offers: memory, cores, the processor's name (Linux /proc; other systems say what they can)."""

from __future__ import annotations

import ctypes
import os
import platform
import re
import resource
from pathlib import Path
from typing import Final

_M_TRIM_THRESHOLD: Final = -1  # malloc.h
_M_MMAP_THRESHOLD: Final = -3

WATTS_PER_CORE: Final = 6.0
"""Assumed draw of one busy core with its share of the package: servers and laptops lie between 4 and 10 W."""

_OUT_OF_MEMORY: Final = re.compile("not enough memory|can't allocate memory|out of memory", re.IGNORECASE)
"""How torch words it, on CPU and CUDA, in a RuntimeError."""


def cores() -> int:
    """The number of cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def available_memory() -> int:
    """Bytes that can be taken now: the least of the kernel's estimate, the control group's and the process's limit."""
    limits = [_meminfo("MemAvailable"), _cgroup_room()]
    soft, _ = resource.getrlimit(resource.RLIMIT_AS)
    if soft != resource.RLIM_INFINITY:
        limits.append(max(0, soft - _status("VmSize")))
    known = [limit for limit in limits if limit is not None]
    return min(known) if known else 2**63


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error says that memory could not be had."""
    return isinstance(error, MemoryError) or (
        isinstance(error, RuntimeError) and bool(_OUT_OF_MEMORY.search(str(error)))
    )


def cpu_name() -> str:
    """The processor's model name."""
    for line in _lines("/proc/cpuinfo"):
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def reset_peak_memory() -> None:
    """Start a new peak of resident memory for this process (Linux; elsewhere the peak covers the whole process)."""
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        return


def peak_memory() -> int:
    """The peak resident memory of this process in bytes, since ``reset_peak_memory``."""
    return _status("VmHWM") or resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def _lines(path: str) -> list[str]:
    try:
        return Path(path).read_text().splitlines()
    except OSError:
        return []


def _meminfo(name: str) -> int | None:
    for line in _lines("/proc/meminfo"):
        if line.startswith(f"{name}:"):
            return int(line.split()[1]) * 1024
    return None


def _status(name: str) -> int:
    for line in _lines("/proc/self/status"):
        if line.startswith(f"{name}:"):
            return int(line.split()[1]) * 1024
    return 0


def _cgroup_room() -> int | None:
    for base, limit, used in (
        ("/sys/fs/cgroup", "memory.max", "memory.current"),
        ("/sys/fs/cgroup/memory", "memory.limit_in_bytes", "memory.usage_in_bytes"),
    ):
        values = [_lines(f"{base}/{name}") for name in (limit, used)]
        if all(values) and values[0][0].isdigit() and values[1][0].isdigit():
            return max(0, int(values[0][0]) - int(values[1][0]))
    return None


def has_bf16() -> bool:
    """Whether the processor multiplies bfloat16 natively (x86 AVX512_BF16 or AMX, Arm BF16)."""
    for line in _lines("/proc/cpuinfo"):
        if line.startswith(("flags", "Features")):
            return bool({"avx512_bf16", "amx_bf16", "bf16"} & set(line.split()))
    return False


def keep_freed_memory() -> None:
    """Tell glibc to keep large freed blocks for the next allocation instead of returning them to the kernel.

    A training step frees and takes the same tens of MiB over and over; page faults on fresh memory cost about a
    tenth of its time. Does nothing with another C library.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):
        return
    mallopt(_M_MMAP_THRESHOLD, 2**30)
    mallopt(_M_TRIM_THRESHOLD, 2**31 - 1)
