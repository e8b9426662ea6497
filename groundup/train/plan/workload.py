"""What a training stage asks of a machine, as far as its configuration tells."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, Protocol, runtime_checkable

from groundup.artifact.record import Record
from groundup.artifact.stage import Node
from groundup.model.config import ModelConfig
from groundup.train.settings import EngineConfig, MethodName, ParallelConfig, PrecisionName


@dataclass(frozen=True)
class Workload:
    """The shape of a run. Numbers that depend on data not made yet are None."""

    model: ModelConfig
    seq_len: int
    rows_per_step: int
    """Rows of an optimizer step, over all processes."""
    rows_per_batch: int
    """Rows of a micro-batch, on one process."""
    num_steps: int | None
    method: MethodName = "adamw"
    precision: PrecisionName = "auto"
    parallel: ParallelConfig = field(default_factory=ParallelConfig)
    engine: EngineConfig = field(default_factory=EngineConfig)
    loss: Literal["cross_entropy", "log_probs"] = "cross_entropy"
    """How predictions are judged: without ever holding all logits, or answer by answer (preferences)."""
    copies_state: bool = True
    """Whether weights and moments are copied to the host while steps go on: for checkpoints, and by the dry run."""
    averages: bool = False
    """Whether a running mean of the weights is kept."""

    @property
    def step_tokens(self) -> int:
        """Tokens of an optimizer step."""
        return self.rows_per_step * self.seq_len


@runtime_checkable
class Trains(Protocol):
    """A stage configuration that can tell what its training asks for.

    ``records`` are those of artifacts already made, by digest: lengths in epochs need them.
    """

    def workload(self, node: Node, records: Mapping[str, Record]) -> Workload: ...


@runtime_checkable
class TrainsFamily(Protocol):
    """A stage configuration that trains several models, one after the other: all of them by name."""

    def family(self, node: Node, records: Mapping[str, Record]) -> Mapping[str, Workload]: ...
