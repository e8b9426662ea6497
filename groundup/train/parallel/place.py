"""A model put onto the processes of a layout: every kind of parallelism applied, in the one order that works."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
import torch.distributed as dist
from torch import nn

from groundup.model.transformer import Transformer
from groundup.train.parallel.clip import num_pieces
from groundup.train.parallel.context import apply_context
from groundup.train.parallel.experts import apply_balance, apply_experts, expert_weights, mixture_weights
from groundup.train.parallel.layout import Layout
from groundup.train.parallel.mesh import Mesh
from groundup.train.parallel.pipeline import Stage, split_stages
from groundup.train.parallel.recompute import apply_recompute
from groundup.train.parallel.reduce import GradientSum
from groundup.train.parallel.shard import apply_shard
from groundup.train.parallel.tensor import apply_tensor


@dataclass(frozen=True)
class Placed:
    """What one process holds of a model: the whole, or some stages of it, with weights that may be split further."""

    parts: tuple[Transformer, ...]
    mesh: Mesh

    @property
    def layout(self) -> Layout:
        """The layout it was placed in."""
        return self.mesh.layout

    def weights(self) -> Iterator[tuple[str, nn.Parameter]]:
        """All weights held here by their global names, each once."""
        for part in self.parts:
            yield from part.named_parameters()

    def experts(self) -> dict[str, nn.Parameter]:
        """The weights of which this process holds its own experts only."""
        if self.layout.expert == 1:
            return {}
        return {name: weight for part in self.parts for name, weight in expert_weights(part).items()}

    def copies(self) -> dict[nn.Parameter, float]:
        """How many processes hold the same piece of each weight."""
        split_by_expert = set(self.experts().values())
        in_stage = self.layout.world_size // self.layout.pipeline
        found: dict[nn.Parameter, float] = {}
        for name, weight in self.weights():
            pieces = num_pieces(weight) * (self.layout.expert if weight in split_by_expert else 1)
            on_both_ends = self.layout.pipeline > 1 and self._is_tied(name)
            found[weight] = in_stage / pieces * (2 if on_both_ends else 1)
        return found

    def _is_tied(self, name: str) -> bool:
        return name == "embed_tokens.weight" and self.parts[0].config.tie_embeddings


def place(model: Transformer, mesh: Mesh, dtype: torch.dtype = torch.float32) -> Placed:
    """Put a model, the same on all processes, onto those of ``mesh``. The model given is used up.

    ``dtype`` is that of the arithmetic: sharded weights travel in it. Works on meta tensors too.
    """
    layout = mesh.layout
    parts: list[Transformer] = [model]
    if layout.pipeline > 1:
        parts = list(split_stages(model, layout, dist.get_rank()))
    for part in parts:
        if (group := mesh.group("context")) is not None:
            apply_context(part, group)
        if (group := mesh.group("expert")) is not None:
            apply_experts(part, group)
        if (group := mesh.group("context", "tensor")) is not None:
            apply_balance(part, group, mesh.group("context"))
        if (tensor := mesh.along("tensor")) is not None:
            apply_tensor(part, tensor)
        apply_recompute(part, layout.activation_checkpointing)
        if layout.shards_weights:
            shards = mesh.copies_and_shards(("replicate",), ("shard", "context", "expert"))
            alone = expert_weights(part).values() if layout.expert > 1 else ()
            apply_shard(part, shards, dtype, left_alone=alone, keep=isinstance(part, Stage))
    return Placed(tuple(parts), mesh)


def gradient_sums(placed: Placed) -> list[GradientSum]:
    """Who sums the gradients of weights that several processes hold whole, beyond what FSDP sums itself."""
    mesh = placed.mesh
    experts = placed.experts()
    sums = []
    dense = [weight for name, weight in placed.weights() if name not in experts]
    if not placed.layout.shards_weights and (group := mesh.group("replicate", "context", "expert")) is not None:
        sums.append(GradientSum(dense, group))
    if experts and (group := mesh.group("replicate", "shard", "context")) is not None:
        sums.append(GradientSum(experts.values(), group))
    mixtures = [weight for part in placed.parts for weight in mixture_weights(part).values()]
    if mixtures and (group := mesh.group("tensor")) is not None:
        sums.append(GradientSum(mixtures, group, early=False))
    return sums
