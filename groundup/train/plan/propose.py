"""The simplest layout that fits, or the first thing that doesn't.

Techniques are added one at a time, the least trouble first: copies (DDP), sharded weights (FSDP, within a node before
across nodes), tensor parallel within a node, experts, context for long rows, pipeline. With each, smaller micro-batches
and then activation checkpointing are tried before the next. It is the order of Llama 3's report (Dubey et al. 2024,
section 3.3.2), from the inside out.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Final

from groundup.base.errors import RequestError
from groundup.base.units import human_bytes
from groundup.train.fp8 import check_arithmetic
from groundup.train.parallel.layout import Layout, resolve
from groundup.train.plan.machine import Machine
from groundup.train.plan.memory import Memory, micro_batches, predict
from groundup.train.plan.workload import Workload
from groundup.train.settings import ParallelConfig

ROOM: Final = 0.92
"""Share of a device's memory that a plan may fill: the rest is for what differs between versions and batches."""


@dataclass(frozen=True)
class Proposal:
    """A layout, how a step is cut into micro-batches under it, and the memory of its fullest process."""

    parallel: ParallelConfig
    layout: Layout
    rows_per_batch: int
    memory: Memory
    fits: bool


def assess(workload: Workload, machine: Machine, world_size: int) -> Proposal:
    """The workload's own layout on ``world_size`` processes; RequestError if it makes no sense there."""
    layout = _resolved(workload, workload.parallel, world_size, machine)
    return _weigh(workload, workload.parallel, layout, machine)


def propose(workload: Workload, machine: Machine, world_size: int) -> Proposal:
    """The first layout that fits; if none does, the one that comes nearest."""
    nearest: Proposal | None = None
    reason = ""
    for parallel in _candidates(workload, machine, world_size):
        try:
            layout = _resolved(workload, parallel, world_size, machine)
        except RequestError as error:
            reason = reason or str(error)
            continue
        for checkpointing in ("none", "full"):
            lighter = parallel.model_copy(update={"activation_checkpointing": checkpointing})
            found = _largest(workload, lighter, replace(layout, activation_checkpointing=checkpointing), machine)
            if found.fits:
                return found
            if nearest is None or found.memory.total < nearest.memory.total:
                nearest = found
    if nearest is None:
        raise RequestError(f"no layout of {world_size} processes suits this model: {reason}")
    return nearest


def _resolved(workload: Workload, parallel: ParallelConfig, world_size: int, machine: Machine) -> Layout:
    check_arithmetic(machine.arithmetic(workload.precision), parallel.tensor)
    in_pairs = workload.loss == "log_probs"
    items = workload.rows_per_step // 2 if in_pairs else workload.rows_per_step
    return resolve(parallel, world_size, workload.model, rows_per_step=items, in_pairs=in_pairs)


def _weigh(workload: Workload, parallel: ParallelConfig, layout: Layout, machine: Machine) -> Proposal:
    arithmetic = machine.arithmetic(workload.precision)
    memory = predict(workload, layout, arithmetic=arithmetic, device=machine.device)
    rows, _ = micro_batches(workload, layout)
    return Proposal(parallel, layout, rows, memory, memory.total <= ROOM * machine.memory)


def _largest(workload: Workload, parallel: ParallelConfig, layout: Layout, machine: Machine) -> Proposal:
    """The largest micro-batch that fits, of the whole one halved and halved again; else that of one row."""

    def halved(times: int) -> Proposal:
        return _weigh(replace(workload, rows_per_batch=max(1, full >> times)), parallel, layout, machine)

    full, _ = micro_batches(workload, layout)
    last = (full - 1).bit_length()
    found = halved(0)
    if found.fits or last == 0:
        return found
    found = halved(last)
    if not found.fits:
        return found
    too_large, fits = 0, last
    while fits - too_large > 1:
        between = (too_large + fits) // 2
        tried = halved(between)
        if tried.fits:
            fits, found = between, tried
        else:
            too_large = between
    return found


def _candidates(workload: Workload, machine: Machine, world_size: int) -> Iterator[ParallelConfig]:
    node = min(machine.devices, world_size)
    yield ParallelConfig()
    if world_size == 1 or workload.engine.name == "deepspeed":  # whose stages are chosen by hand
        return
    tensors = _divisors(node)
    num_experts = workload.model.num_experts
    experts = [size for size in _divisors(world_size) if num_experts and num_experts % size == 0]
    pipelines = [size for size in _divisors(world_size) if size <= min(workload.model.num_layers, 64)]
    contexts = [size for size in _divisors(world_size) if size <= 64 and workload.seq_len // size >= 4096]
    spread = itertools.product([1, *pipelines], [1, *contexts], [1, *experts], [1, *tensors])
    found = [
        ParallelConfig(shard=shard, tensor=tensor, expert=expert, context=context, pipeline=pipeline)
        for pipeline, context, expert, tensor in spread
        if world_size % (pipeline * context * tensor) == 0
        for shard in _shards(world_size // (pipeline * context * tensor), max(1, node // tensor), expert)
    ]
    yield from sorted(found, key=_trouble)


def _shards(left: int, in_node: int, expert: int) -> Iterator[int]:
    """How wide to shard what is left: within the node, a few nodes, everything."""
    size = max(2, in_node, expert)
    while size < left:
        if left % size == 0 and size % expert == 0:
            yield size
        size *= 2
    if left > 1 and left % expert == 0:
        yield left


def _trouble(parallel: ParallelConfig) -> tuple[int, ...]:
    """Techniques first, then how heavy each is used, the most troublesome kind first."""
    kinds = (parallel.pipeline, parallel.context, parallel.expert, parallel.tensor)
    return (sum(size > 1 for size in kinds), *kinds, parallel.shard)


def _divisors(number: int) -> list[int]:
    return [size for size in range(2, number + 1) if number % size == 0]


def remedy(memory: Memory, room: int) -> str:
    """The first part that goes beyond ``room`` when parts are added up, and what to change."""
    total = 0
    for part, size in memory.parts.items():
        total += size
        if total > room:
            return f"{part} ({human_bytes(size)}) is the first that doesn't fit: {_advice(part)}"
    return ""


def _advice(part: str) -> str:
    if part in {"weights", "gradients", "optimizer state", "gradient buckets"}:
        return "shard over more devices (--nodes, --gpus), or make the model smaller"
    if part == "gathered weights":
        return "split matrices as well (parallel.tensor), or make the model narrower"
    if part.startswith(("activations", "temporaries", "allocator")):
        return "lower micro_batch_tokens, or set parallel.activation_checkpointing to full"
    return "take a machine with more memory"
