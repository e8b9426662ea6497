"""Tensor parallelism with sequence parallelism: every matrix is split, and the residual stream by positions.

Query, key, value, gate and up projections are split by their outputs, the projections back by their inputs, so a
block needs one gather before and one reduce-scatter after each of its two branches (Shoeybi et al. 2019, section 3).
Between the branches each process holds some positions of the stream and normalises these (Korthikanti et al. 2022,
section 4.2.2). Heads are split with the projections, the vocabulary for the embedding and the loss.

A mixture of experts is not split: each process sends the positions that it holds through whole experts, as processes
that see different rows do, and the gradients of experts and routers are summed (``place.gradient_sums``).

Weights become DTensors under their own names; nothing in the model's code knows of it.
"""

from __future__ import annotations

from functools import partial
from typing import Any, cast

from torch import Tensor, nn
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.tensor import DTensor, Partial, Replicate, Shard
from torch.distributed.tensor.parallel import (
    ColwiseParallel,
    ParallelStyle,
    PrepareModuleInput,
    RowwiseParallel,
    SequenceParallel,
    parallelize_module,
)

from groundup.model.layers import MLP
from groundup.model.transformer import Block, Transformer
from groundup.train.parallel.pipeline import Stage

_POSITIONS, _HEADS = Shard(1), 1


def apply_tensor(model: Transformer, mesh: DeviceMesh) -> None:
    """Split the weights of a model, or of a pipeline's part of one, over a one-dimensional mesh; in place."""
    embeds = not isinstance(model, Stage) or model.is_first
    parallelize_module(model, mesh, _edges(model), src_data_rank=None)
    for block in model.layers.children():
        parallelize_module(block, mesh, _block(cast(Block, block)), src_data_rank=None)
    if embeds:
        next(model.layers.children()).register_forward_pre_hook(partial(_cut_positions, mesh=mesh))
    if model.norm is not None:
        model.norm.register_forward_hook(_join_positions)


def _edges(model: Transformer) -> dict[str, ParallelStyle]:
    """What lies before and behind the blocks; a pipeline's part may lack some of it."""
    plan: dict[str, ParallelStyle] = {}
    if model.embed_tokens is not None:
        plan["embed_tokens"] = RowwiseParallel(input_layouts=Replicate(), output_layouts=Replicate())
    if model.norm is not None:
        plan["norm"] = SequenceParallel(use_local_output=False)
    if model.lm_head is not None:
        plan["lm_head"] = ColwiseParallel()
    return plan


def _block(block: Block) -> dict[str, ParallelStyle]:
    gathered = Replicate()
    plan: dict[str, ParallelStyle] = {
        "input_layernorm": SequenceParallel(use_local_output=True),
        "self_attn": PrepareModuleInput(
            input_layouts=(_POSITIONS, None), desired_input_layouts=(gathered, None), use_local_output=False
        ),
        "self_attn.q_proj": ColwiseParallel(),
        "self_attn.k_proj": ColwiseParallel(),
        "self_attn.v_proj": ColwiseParallel(),
        "self_attn.o_proj": RowwiseParallel(output_layouts=_POSITIONS),
    }
    if block.post_attention_layernorm is not None:
        plan["post_attention_layernorm"] = SequenceParallel(use_local_output=True)
    if block.self_attn.q_norm is not None:
        plan["self_attn.q_norm"] = SequenceParallel(sequence_dim=_HEADS, use_local_output=True)
        plan["self_attn.k_norm"] = SequenceParallel(sequence_dim=_HEADS, use_local_output=True)
    if isinstance(block.mlp, MLP):
        plan |= {
            "mlp": PrepareModuleInput(input_layouts=_POSITIONS, desired_input_layouts=gathered, use_local_output=False),
            "mlp.up_proj": ColwiseParallel(),
            "mlp.down_proj": RowwiseParallel(output_layouts=_POSITIONS),
        }
        if block.mlp.gate_proj is not None:
            plan["mlp.gate_proj"] = ColwiseParallel()
    return plan


def _cut_positions(_: nn.Module, args: tuple[Any, ...], mesh: DeviceMesh) -> tuple[Any, ...]:
    """The first block's input: this process's positions of the stream that all of them embedded."""
    x_BTD, *rest = args
    whole = DTensor.from_local(x_BTD, mesh, [Replicate()], run_check=False)
    return whole.redistribute(placements=[_POSITIONS]).to_local(), *rest


def _join_positions(_: nn.Module, __: tuple[Any, ...], hidden_BTD: Tensor) -> Tensor:
    """The last norm's output for all positions. The loss gives each process a share of its gradient."""
    assert isinstance(hidden_BTD, DTensor)
    # A copy, because FSDP hooks its own backward to the model's output and a view would hide it.
    return hidden_BTD.redistribute(placements=[Replicate()]).to_local(grad_placements=[Partial()]).clone()


def settle_gradients(model: nn.Module) -> None:
    """Sum gradients of weights that every process of the tensor axis holds but used for its own positions only."""
    for parameter in model.parameters():
        grad = parameter.grad
        if isinstance(parameter, DTensor) and isinstance(grad, DTensor) and grad.placements != parameter.placements:
            parameter.grad = grad.redistribute(placements=parameter.placements)
