"""Which process holds what: pure arithmetic, so that a plan for 4,096 processes needs none of them.

A layout is a box of processes with six axes, the slowest first:

    pipeline   stages: each holds some of the blocks
    replicate  copies of the whole that see different rows (data parallel)
    shard      processes that see different rows and share the storage of one copy (FSDP)
    context    processes that split every row
    expert     processes that see different rows and split the experts among them
    tensor     processes that split every matrix; neighbours, since they talk the most

``ParallelConfig.expert`` doesn't add processes: its axis is cut out of ``shard``, or out of ``replicate`` where
nothing is sharded. The kinds are those of Llama 3's training (Dubey et al. 2024, section 3.3.2) and, for experts,
of GShard (Lepikhin et al. 2020).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from groundup.base.errors import RequestError
from groundup.model.config import ModelConfig
from groundup.train.settings import Checkpointing, ParallelConfig

AXES: Final = ("pipeline", "replicate", "shard", "context", "expert", "tensor")


@dataclass(frozen=True)
class Layout:
    """The sizes of the axes, and what else decides who computes what. Made by ``resolve``, which refuses nonsense."""

    pipeline: int = 1
    replicate: int = 1
    shard: int = 1
    context: int = 1
    expert: int = 1
    tensor: int = 1
    chunks: int = 1
    """Stages that each process of the pipeline holds."""
    shards_weights: bool = False
    """Whether a copy of the weights is spread over the processes that share it (FSDP)."""
    activation_checkpointing: Checkpointing = "none"

    @property
    def sizes(self) -> tuple[int, ...]:
        """The size of each axis, in the order of ``AXES``."""
        return tuple(getattr(self, axis) for axis in AXES)

    @property
    def world_size(self) -> int:
        """Processes in all."""
        return math.prod(self.sizes)

    @property
    def parts(self) -> int:
        """Into how many parts the rows of a step are split."""
        return self.replicate * self.shard * self.expert

    @property
    def num_stages(self) -> int:
        """Stages of the pipeline."""
        return self.pipeline * self.chunks

    @property
    def sequence_multiple(self) -> int:
        """Rows are padded to a multiple of this, so that each process gets equally many positions."""
        return self.tensor * (2 * self.context if self.context > 1 else 1)

    def coordinates(self, rank: int) -> Mapping[str, int]:
        """Where a process stands on each axis.

        >>> Layout(replicate=2, tensor=2).coordinates(3)["tensor"]
        1
        """
        found = {}
        for axis, size in reversed(list(zip(AXES, self.sizes, strict=True))):
            rank, found[axis] = divmod(rank, size)
        return {axis: found[axis] for axis in AXES}

    def part(self, rank: int) -> int:
        """Which part of the rows a process computes. Processes that split rows or matrices share a part."""
        at = self.coordinates(rank)
        return (at["replicate"] * self.shard + at["shard"]) * self.expert + at["expert"]

    def stages(self, rank: int) -> tuple[int, ...]:
        """The stages that a process holds: every ``pipeline``-th, so that the stages form a ring."""
        return tuple(range(self.coordinates(rank)["pipeline"], self.num_stages, self.pipeline))

    def layers(self, stage: int, num_layers: int) -> range:
        """The blocks of a stage. Where they don't divide evenly the middle stages take one more.

        The first stage also embeds, and the last one predicts; so these two are the last to get an extra block.

        >>> [list(Layout(pipeline=3).layers(stage, 4)) for stage in range(3)]
        [[0], [1, 2], [3]]
        """
        fewest, extra = divmod(num_layers, self.num_stages)
        middle = sorted(range(self.num_stages), key=lambda at: (at in (0, self.num_stages - 1), at))
        sizes = [fewest + (middle.index(at) < extra) for at in range(self.num_stages)]
        first = sum(sizes[:stage])
        return range(first, first + sizes[stage])

    def describe(self) -> str:
        """The axes larger than one, for people.

        >>> Layout(shard=4, tensor=2, shards_weights=True).describe()
        'shard 4 × tensor 2'
        """
        return " × ".join(f"{axis} {size}" for axis, size in zip(AXES, self.sizes, strict=True) if size > 1) or "single"


def resolve(
    config: ParallelConfig,
    world_size: int,
    model: ModelConfig,
    *,
    rows_per_step: int | None = None,
    in_pairs: bool = False,
) -> Layout:
    """The layout of ``world_size`` processes; RequestError with the reason if it makes no sense.

    ``rows_per_step`` is checked if it is known. ``in_pairs`` says that the loss joins several rows (preferences).
    """
    others = config.pipeline * config.shard * config.context * config.tensor
    replicate = config.replicate or max(1, world_size // others)
    if replicate * others != world_size:
        names = ("replicate", "pipeline", "shard", "context", "tensor")
        sizes = " × ".join(f"{name} {getattr(config, name)}" for name in names if (getattr(config, name) or 1) > 1)
        needed = f"{replicate * others}" if config.replicate else f"a multiple of {others}"
        raise _refusal(f"{sizes} needs {needed} processes, but there are {world_size}")
    _check_tensor(config, model)
    _check_pipeline(config, model, in_pairs)
    _check_context(config, model, in_pairs)
    _check_expert(config, model, replicate)
    sharded = config.shard > 1
    layout = Layout(
        pipeline=config.pipeline,
        replicate=replicate if sharded else replicate // config.expert,
        shard=config.shard // config.expert if sharded else 1,
        context=config.context,
        expert=config.expert,
        tensor=config.tensor,
        chunks=config.chunks if config.schedule == "interleaved" else 1,
        shards_weights=sharded,
        activation_checkpointing=config.activation_checkpointing,
    )
    if rows_per_step is not None and rows_per_step < layout.parts:
        raise _refusal(
            f"replicate times shard splits a step into {layout.parts} parts, but it has only {rows_per_step} rows: "
            "raise batch_tokens, or split by tensor, pipeline or context instead"
        )
    return layout


def _refusal(reason: str) -> RequestError:
    return RequestError(f"parallel: {reason}")


def _check_tensor(config: ParallelConfig, model: ModelConfig) -> None:
    if config.tensor == 1:
        return
    names = ("num_heads", "num_kv_heads", "vocab_size")
    for name in names if model.num_experts else (*names, "intermediate_size"):  # experts are not split by tensor
        if getattr(model, name) % config.tensor:
            raise _refusal(f"tensor {config.tensor} does not divide {name} {getattr(model, name)}")


def _check_pipeline(config: ParallelConfig, model: ModelConfig, in_pairs: bool) -> None:
    if config.schedule == "interleaved" and config.pipeline == 1:
        raise _refusal("the interleaved schedule needs pipeline 2 or more")
    if config.pipeline == 1:
        return
    stages = config.pipeline * (config.chunks if config.schedule == "interleaved" else 1)
    if model.num_layers < stages:
        raise _refusal(f"the pipeline has {stages} stages, but the model only {model.num_layers} layers")
    if in_pairs:
        raise _refusal("pipeline needs a loss of single rows; preference pairs join two: use shard or tensor")


def _check_context(config: ParallelConfig, model: ModelConfig, in_pairs: bool) -> None:
    if config.context > 1 and in_pairs:
        raise _refusal("context splits rows, but preference pairs need the sum over whole ones: use shard or tensor")
    multiple = config.tensor * (2 * config.context if config.context > 1 else 1)
    if model.max_seq_len % multiple:
        raise _refusal(
            f"max_seq_len {model.max_seq_len} is not a multiple of {multiple}, into which context {config.context} "
            f"and tensor {config.tensor} split every row"
        )


def _check_expert(config: ParallelConfig, model: ModelConfig, replicate: int) -> None:
    if config.expert == 1:
        return
    if not model.num_experts:
        raise _refusal(f"expert {config.expert}, but the model has no experts")
    if model.num_experts % config.expert:
        raise _refusal(f"expert {config.expert} does not divide num_experts {model.num_experts}")
    name, size = ("shard", config.shard) if config.shard > 1 else ("replicate", replicate)
    if size % config.expert:
        raise _refusal(f"expert {config.expert} does not divide {name} {size}, whose processes hold the experts")
