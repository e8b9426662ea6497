"""A placed model as validation sees it: ids in, hidden states out, whatever lies between."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor
from torch.distributed.fsdp import FSDPModule
from torch.distributed.tensor import DTensor

from groundup.model.attention import document_numbers
from groundup.train.parallel.batches import held_positions
from groundup.train.parallel.context import gather_rows
from groundup.train.parallel.pipeline import Pipeline, Request
from groundup.train.parallel.place import Placed


class Measured:
    """Calls like a ``Transformer``, on all processes at once with the same ids, without gradients.

    On a pipeline only the last stage has the hidden states; elsewhere they and the weights are zeros, and what is
    measured there is replaced by ``agree``.
    """

    def __init__(
        self, placed: Placed, pipeline: Pipeline | None, precision: Callable[[], AbstractContextManager[object]]
    ) -> None:
        self.config = placed.parts[0].config
        self._placed, self._pipeline, self._precision = placed, pipeline, precision
        self._device = next(weight for _, weight in placed.weights()).device

    @property
    def output_weight(self) -> Tensor:
        """The output projection (V, D), or a process's share of it as a DTensor."""
        if self._pipeline is not None and not self._pipeline.holds_last:
            return torch.zeros((), device=self._device).expand(self.config.vocab_size, self.config.hidden_size)
        return self._placed.parts[-1].output_weight

    def logits(self, hidden: Tensor) -> Tensor:
        """Unnormalised log-probabilities (..., V), fp32."""
        weight = self.output_weight
        whole = weight.full_tensor() if isinstance(weight, DTensor) else weight
        return F.linear(hidden, whole.to(hidden.dtype)).float()

    def __call__(
        self, ids_BT: Tensor, *, documents_BT: Tensor | None = None, positions_BT: Tensor | None = None
    ) -> Tensor:
        """Hidden states (B, T, D) of whole rows."""
        length = ids_BT.size(1)
        padding = -length % self._placed.layout.sequence_multiple
        if padding:
            ids_BT = F.pad(ids_BT, (0, padding))
            documents_BT = None if documents_BT is None else F.pad(documents_BT, (0, padding))
            positions_BT = None if positions_BT is None else F.pad(positions_BT, (0, padding))
        group = self._placed.mesh.group("context")
        if group is None:
            return self._hidden(ids_BT, documents_BT, positions_BT)[:, :length]
        here = held_positions(ids_BT.size(1), dist.get_rank(group), dist.get_world_size(group)).to(ids_BT.device)
        if documents_BT is not None:
            documents_BT = document_numbers(documents_BT)[:, here]
        positions_BT = here[None] if positions_BT is None else positions_BT[:, here]
        hidden = self._hidden(ids_BT[:, here], documents_BT, positions_BT)
        return gather_rows(hidden, group)[:, :length]

    def _hidden(self, ids_BT: Tensor, documents_BT: Tensor | None, positions_BT: Tensor | None) -> Tensor:
        if self._pipeline is None:
            hidden: Tensor = self._placed.parts[0](ids_BT, documents_BT=documents_BT, positions_BT=positions_BT)
            return hidden
        found = self._pipeline.forward(Request(ids_BT, documents_BT, positions_BT, None, self._precision()))
        if found is None:
            return torch.zeros(*ids_BT.shape, self.config.hidden_size, device=ids_BT.device)
        return found

    def agree(self, row: dict[str, float]) -> dict[str, float]:
        """What the last stage measured, on every process of a pipeline; and gathered weights are let go."""
        for part in self._placed.parts:
            if isinstance(part, FSDPModule):
                part.reshard()
        if self._pipeline is None:
            return row
        said: list[Any] = [row]
        dist.broadcast_object_list(said, group=self._pipeline.group, group_src=self._placed.layout.pipeline - 1)
        found: dict[str, float] = said[0]
        return found
