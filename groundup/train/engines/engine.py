"""The seam between the loop and what carries out a step: the loop knows steps, an engine knows arithmetic.

The loop never touches torch.distributed. Every number that an engine hands back covers the whole step, over all
processes, so that the loop takes the same decisions on each of them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, Self, TypeVar

import torch
from torch import Tensor

from groundup.model.transformer import Transformer
from groundup.train.settings import Arithmetic
from groundup.train.stream import Part


class Batch(Protocol):
    """What training needs to know of a micro-batch."""

    @property
    def weight(self) -> int: ...

    @property
    def num_tokens(self) -> int: ...

    def to(self, device: torch.device) -> Self: ...


B = TypeVar("B", bound=Batch)

Objective = Callable[[Transformer, B], tuple[Tensor, Mapping[str, float | Tensor]]]
"""(model, micro-batch) to (sum of losses over its ``weight`` targets, sums of further values to report)."""

Validate = Callable[[Transformer], dict[str, float]]


@dataclass(frozen=True)
class Sums:
    """What a step's forward passes give: the mean loss over all its targets, and further values, likewise means."""

    loss: float
    values: Mapping[str, float]


class Engine(Protocol):
    """A model in training. ``part`` says which rows to hand in; ``is_main`` which process writes and speaks."""

    part: Part
    is_main: bool
    device: torch.device
    precision: Arithmetic

    def weigh(self, batches: Sequence[Any]) -> int:
        """The number of targets in a step, over all parts."""

    def forward_backward(self, batches: Sequence[Any], weight: int) -> Sums:
        """Forward and backward over this part's micro-batches; leaves the gradient of (sum of losses / weight)."""

    def clip(self, max_norm: float) -> float:
        """Scale the gradient down to ``max_norm`` if it is longer; its global norm before that."""

    def update(self, factor: float) -> None:
        """One optimizer step at each group's peak learning rate times ``factor``; then the gradient is gone."""

    def discard(self) -> None:
        """Drop the gradient."""

    def validate(self, measure: Validate) -> dict[str, float]:
        """``measure`` on the model as it is, without gradients, in the training precision; equal on all processes."""

    def state(self) -> dict[str, Any]:
        """Model and optimizer for a checkpoint: tensors may be sharded (torch.distributed.checkpoint)."""

    def load_state(self, state: dict[str, Any]) -> None:
        """Take over what ``state`` gave, read back from a checkpoint."""

    def whole_model(self) -> Transformer | None:
        """The plain model with all weights: on the main process; None elsewhere."""
