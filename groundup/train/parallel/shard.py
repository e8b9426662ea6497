"""FSDP: a copy of the weights is spread over processes, and a block's gathered only while it computes.

ZeRO's third stage (Rajbhandari et al. 2020) as torch's ``fully_shard`` carries it out; with several copies each of
which is spread, gradients are also summed over the copies (hybrid sharding). Gradients are summed, never averaged:
the step's loss already carries its weight.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.fsdp import FSDPModule, MixedPrecisionPolicy, fully_shard

from groundup.model.attention import Context
from groundup.model.transformer import Transformer


def apply_shard(
    model: Transformer, mesh: DeviceMesh, dtype: torch.dtype, *, left_alone: Iterable[nn.Parameter], keep: bool = False
) -> None:
    """Spread every block and the rest of the model over the mesh: (shards,), or (copies, shards); in place.

    Weights stay fp32 where they rest; they are gathered in ``dtype``, and gradients summed in fp32. ``keep`` leaves
    blocks gathered between forward and backward: for pipelines, which would gather them for every micro-batch.
    """
    policy = MixedPrecisionPolicy(param_dtype=dtype, reduce_dtype=torch.float32)
    if dtype == torch.float32:
        policy = MixedPrecisionPolicy()
    ignored = set(left_alone)
    _hide_losses(model)
    for block in model.layers.children():
        fully_shard(block, mesh=mesh, mp_policy=policy, reshard_after_forward=not keep, ignored_params=ignored)
    # The output projection is used after the forward pass, by the loss: the root stays gathered until backward.
    fully_shard(model, mesh=mesh, mp_policy=policy, reshard_after_forward=False, ignored_params=ignored)
    for module in model.modules():
        if isinstance(module, FSDPModule):
            module.set_gradient_divide_factor(1.0)
            module.set_force_sum_reduction_for_comms(True)  # gloo has no other way to divide by one


class _Sink:
    """Hands on what is appended to it. FSDP rebuilds the lists among a module's inputs; this it leaves alone."""

    def __init__(self, into: list[Tensor]) -> None:
        self.append = into.append


def _hide_losses(model: Transformer) -> None:
    """Let every block append its balance loss to the caller's own list, and not to a copy made on the way."""
    plain = model.context

    def context(*args: Any, aux: list[Tensor] | None = None, **others: Any) -> Context:
        return replace(plain(*args, **others), aux=None if aux is None else _Sink(aux))  # type: ignore[arg-type]

    model.context = context  # type: ignore[method-assign]
