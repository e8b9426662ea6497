"""The peak memory of training, part by part, for one process of any layout.

State that lasts (weights, gradients, moments) is arithmetic on the shape and the layout. What a step needs on top is
the largest of the moments of a step: somewhere in forward, at the loss, somewhere in backward, at the update; the
segments counted in ``activations`` are put together to these moments. Then comes what no tensor shows: gathered weights
and buffers of the layout, the allocator's waste, and the runtime itself.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final, Literal

from groundup.model.config import ModelConfig
from groundup.train.parallel.layout import Layout
from groundup.train.plan.activations import Kind, Segment, Segments, Share, trace
from groundup.train.plan.weights import Held, Weight, block_weights, end_weights, held, stored_numbers
from groundup.train.plan.workload import Workload
from groundup.train.plan.zero import zero_parts
from groundup.train.settings import Arithmetic

FP32: Final = 4

Device = Literal["cpu", "cuda"]


@dataclass(frozen=True)
class Memory:
    """Bytes of one process at the worst moment of a step, by part; ``moment`` says which that is."""

    parts: Mapping[str, int]
    moment: str
    rank: int

    @property
    def total(self) -> int:
        """All of it."""
        return sum(self.parts.values())


@dataclass(frozen=True)
class Moment:
    """A point of a step: what is kept for backward by kind, what is there for the moment, and gradients so far."""

    name: str
    kept: Mapping[str, int]
    temporary: int
    gradients: int

    @property
    def total(self) -> int:
        """All of it."""
        return sum(self.kept.values()) + self.temporary + self.gradients


def moments(
    chain: Sequence[tuple[str, Segment, int]], in_flight: int, accumulates: bool, tied: bool
) -> Iterator[Moment]:
    """The moments of a step over a chain of (name, segment, bytes of its weights' gradients as they are stored).

    ``in_flight`` micro-batches have run forward and wait for backward when the last of them does (pipeline);
    ``accumulates`` if there is a micro-batch whose gradients meet those of an earlier one; ``tied`` if both ends of
    the chain share a table.
    """
    waiting: Counter[str] = Counter()
    for _, segment, _ in chain:
        for kind, size in segment.kept.items():
            waiting[kind] += (in_flight - 1) * size
    everything = sum(gradient for _, _, gradient in chain)
    present = everything if accumulates else 0
    kept = Counter(waiting)
    for name, segment, _ in chain:
        yield Moment(f"forward of {name}", dict(kept), segment.forward, present)
        kept.update(segment.kept)
    done = waits = 0
    for name, segment, gradient in reversed(chain):
        kept.subtract(segment.kept)
        if accumulates:
            yield Moment(f"backward of {name}", dict(kept), segment.backward_again + waits, everything)
            if tied and name == "loss":
                waits = segment.gradients  # autograd adds up the uses of a weight before it meets earlier gradients
        else:
            yield Moment(
                f"backward of {name}", dict(kept), segment.backward - min(gradient, segment.gradients), done + gradient
            )
        done += gradient


_RUNTIME: Final[Mapping[Device, int]] = {"cpu": 385 * 2**20, "cuda": 1100 * 2**20}
"""What no tensor shows: Python, torch, its libraries and their work space; on a GPU its context, cuBLAS and NCCL."""

_CUDA_LIBRARIES: Final = 355 * 2**20
"""And what a torch that was built with CUDA loads on a machine without a GPU: its libraries' tables and relocations."""

_OTHERS: Final[Mapping[Device, int]] = {"cpu": 60 * 2**20, "cuda": 500 * 2**20}
"""And with several processes: threads and buffers of the communication library."""


def _runtime(device: Device, processes: int) -> int:
    import torch

    heavy = _CUDA_LIBRARIES if device == "cpu" and torch.version.cuda else 0
    return _RUNTIME[device] + heavy + (_OTHERS[device] if processes > 1 else 0)


_WASTE: Final[Mapping[tuple[Device, bool], float]] = {
    ("cpu", False): 0.05,
    ("cpu", True): 0.25,
    ("cuda", False): 0.04,
    ("cuda", True): 0.04,
}
"""What an allocator holds beyond what was asked of it, as a share of what comes and goes within a step; by device and
whether the arithmetic is fp32. On a CPU as measured with glibc 2.36 (benchmarks/plan_memory.py), whose aligned blocks
don't fit the holes that blocks of the same size leave."""

_MUON_BATCH: Final = 2**26
"""Numbers that Muon orthogonalises at once, at most (or one matrix, if that is larger)."""

_MUON_BYTES: Final = 11
"""Bytes for each of them while it does: the batch in fp32, and what five steps of Newton-Schulz hold in bf16."""


def predict(
    workload: Workload, layout: Layout, *, arithmetic: Arithmetic, device: Device, rank: int | None = None
) -> Memory:
    """The peak memory of ``rank``, or of the process that needs the most.

    Only the place in the pipeline tells processes apart.
    """
    segments = _segments(workload, layout, arithmetic, device)
    if rank is not None:
        return _of_rank(workload, layout, segments, arithmetic, device, rank)
    stride = layout.world_size // layout.pipeline
    ranks = range(0, layout.world_size, stride)
    found = [_of_rank(workload, layout, segments, arithmetic, device, at) for at in ranks]
    return max(found, key=lambda memory: memory.total)


def micro_batches(workload: Workload, layout: Layout) -> tuple[int, int]:
    """Rows of a micro-batch on one process, and how many of them make a step there."""
    rows = math.ceil(workload.rows_per_step / layout.parts)
    each = min(rows, workload.rows_per_batch)
    return each, math.ceil(rows / each)


def _segments(workload: Workload, layout: Layout, arithmetic: Arithmetic, device: Device) -> Segments:
    rows, _ = micro_batches(workload, layout)
    whole = trace(
        workload.model,
        rows,
        workload.seq_len // layout.context,
        arithmetic=arithmetic,
        device=device,
        share=Share(layout.tensor, layout.expert),
        checkpointing=layout.activation_checkpointing,
        loss=workload.loss,
    )
    return Segments(
        _split(whole.embed, layout, arithmetic),
        tuple(_split(block, layout, arithmetic) for block in whole.blocks),
        _split(whole.head, layout, arithmetic),
    )


def _split(segment: Segment, layout: Layout, arithmetic: Arithmetic) -> Segment:
    """A segment as the layout changes it: what is not kept at the end of forward is missing from all its moments.

    Gathered weights come in the arithmetic's type already, so autocast makes no copies. With tensor parallelism norms
    and residual stream hold a share of the positions only, but matrices keep their gathered input: half of what a
    norm keeps in bf16 is such an output, the rest is split.
    """
    saved: dict[Kind, float] = {}
    if layout.shards_weights and arithmetic != "fp32":
        saved["weight copies"] = 1.0
    if layout.tensor > 1:
        saved |= {"residual stream": 1 - 1 / layout.tensor, "norms": (1 - 1 / layout.tensor) / 2}
    gone = {kind: round(size * saved.get(kind, 0.0)) for kind, size in segment.kept.items()}
    less = sum(gone.values())
    return replace(
        segment,
        kept={kind: size - gone[kind] for kind, size in segment.kept.items()},
        forward=segment.forward - less,
        backward=segment.backward - less,
        backward_again=segment.backward_again - less,
    )


def _of_rank(
    workload: Workload, layout: Layout, segments: Segments, arithmetic: Arithmetic, device: Device, rank: int
) -> Memory:
    mine = held(workload.model, layout, rank)
    chain = _chain(workload.model, layout, segments, rank)
    _, batches = micro_batches(workload, layout)
    waiting = _in_flight(layout, rank, batches)
    gradients = sum(gradient for _, _, gradient in chain)
    tied = workload.model.tie_embeddings and layout.pipeline == 1
    update = Moment("update", {}, _update_bytes(workload, mine), gradients)
    worst = max([*moments(chain, waiting, batches > waiting, tied), update], key=lambda moment: moment.total)
    passing = sum(worst.kept.values()) + worst.temporary + worst.gradients
    optimizer = (4 if workload.method == "muon" else 8) * mine.matrices + 8 * mine.others
    weights = FP32 * mine.stored
    parts = {
        "weights": weights,
        "gradients": worst.gradients,
        "optimizer state": optimizer,
        "mean of weights": weights if workload.averages else 0,
        "checkpoint copy": weights + optimizer if workload.copies_state and device == "cpu" else 0,
        **{f"activations: {kind}": size for kind, size in sorted(worst.kept.items()) if size},
        "temporaries": worst.temporary,
        "gathered weights": _gathered(mine, layout, arithmetic),
        "gradient buckets": _buckets(mine, layout),
        "allocator": round(_WASTE[device, arithmetic == "fp32"] * passing),
        "runtime": _runtime(device, layout.world_size),
    }
    if workload.engine.name == "deepspeed":
        parts |= zero_parts(workload.engine, layout.world_size, mine.stored, worst.gradients, device)
    return Memory({name: size for name, size in parts.items() if size}, worst.name, rank)


def _in_flight(layout: Layout, rank: int, batches: int) -> int:
    """Micro-batches whose activations a process holds at once: one, or what the pipeline's schedule lets wait."""
    place = layout.coordinates(rank)["pipeline"]
    if layout.pipeline == 1:
        return 1
    if layout.chunks == 1:
        return min(batches, layout.pipeline - place)
    # Interleaved (Narayanan et al. 2021): stages of this process that wait, spread over its chunks.
    waiting = 2 * (layout.pipeline - place - 1) + (layout.chunks - 1) * layout.pipeline + 1
    return min(batches, math.ceil(waiting / layout.chunks))


def _update_bytes(workload: Workload, mine: Held) -> int:
    """What the optimizer needs beside its state while it moves the weights: nothing for AdamW."""
    if workload.method != "muon":
        return 0
    model = workload.model
    matrix = model.hidden_size * max(model.intermediate_size, model.hidden_size)
    at_once = min(mine.matrices, max(_MUON_BATCH, matrix))
    return FP32 * mine.matrices + _MUON_BYTES * at_once


def _buckets(mine: Held, layout: Layout) -> int:
    """Flat copies of gradients on their way to be summed over copies of the weights."""
    summed = layout.replicate * layout.context * layout.expert > 1
    return FP32 * mine.stored if summed and not layout.shards_weights else 0


def _chain(model: ModelConfig, layout: Layout, segments: Segments, rank: int) -> list[tuple[str, Segment, int]]:
    """The segments that a process computes, with the bytes of their gradients as stored."""
    block = FP32 * sum(stored_numbers(weight, layout, rank) for weight in block_weights(model))
    table = FP32 * stored_numbers(Weight(model.vocab_size, model.hidden_size, "rows"), layout, rank)
    ends = FP32 * sum(stored_numbers(weight, layout, rank) for weight in end_weights(model, layout, rank))
    stages = layout.stages(rank)
    first, last = 0 in stages, layout.num_stages - 1 in stages
    # A tied table's gradient arises at the loss, where backward begins; else each end makes its own.
    at_embedding = (ends if not last else 0 if model.tie_embeddings else table) if first else 0
    chain: list[tuple[str, Segment, int]] = []
    for stage in stages:
        if stage == 0:
            chain.append(("embedding", segments.embed, at_embedding))
        layers = layout.layers(stage, model.num_layers)
        chain += [(f"layer {layer}", segments.blocks[layer], block) for layer in layers]
        if stage == layout.num_stages - 1:
            chain.append(("loss", segments.head, ends - at_embedding))
    return chain


def _gathered(mine: Held, layout: Layout, arithmetic: Arithmetic) -> int:
    """Whole weights that FSDP holds at once: of the ends all the time, of two blocks (one in use, one on its way)."""
    if not layout.shards_weights:
        return 0
    size = FP32 if arithmetic == "fp32" else 2
    return size * (mine.ends + 2 * mine.block)
