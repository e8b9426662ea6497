"""Cross-entropy whose output projection is split over processes by the entries of the vocabulary.

Each process computes the logits of its entries, a chunk of positions at a time, and hands round three numbers a
position: the largest logit, the log of the sum of exponentials, and the target's logit where it holds it. So neither
all logits of a position nor those of all positions ever exist in one place (Shoeybi et al. 2019, section 3, gathers
the sums; the gradient at hand in the forward pass is that of ``groundup.model.loss``).

Shapes: N positions, D hidden_size, V vocab_size, W entries held here.
"""

from __future__ import annotations

from typing import Any, Final

import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed.tensor import DTensor, Shard

from groundup.model import loss
from groundup.train.parallel.collectives import all_gather

_CHUNK: Final = 1024
"""Positions a chunk."""


def linear_cross_entropy(hidden_ND: Tensor, weight_VD: Tensor, targets_N: Tensor) -> Tensor:
    """``groundup.model.loss.linear_cross_entropy``, for a weight that may be split by entries (a DTensor)."""
    return penalised_cross_entropy(hidden_ND, weight_VD, targets_N, 0.0)[0]


def penalised_cross_entropy(
    hidden_ND: Tensor, weight_VD: Tensor, targets_N: Tensor, z_loss: float
) -> tuple[Tensor, Tensor]:
    """``groundup.model.loss.penalised_cross_entropy``, for a weight that may be split by entries (a DTensor).

    With a split weight every process of the group hands in the same positions and gets the same sum; its gradient
    of ``hidden_ND`` is this process's share, to be summed over the group by whoever gathered the hidden states.
    """
    if not isinstance(weight_VD, DTensor):
        return loss.penalised_cross_entropy(hidden_ND, weight_VD, targets_N, z_loss)
    local_WD, first, group = _split(weight_VD)
    result: tuple[Tensor, Tensor] = _SplitCrossEntropy.apply(hidden_ND, local_WD, targets_N, first, group, z_loss)  # type: ignore[no-untyped-call]
    return result


def target_log_probs(hidden_ND: Tensor, weight_VD: Tensor, targets_N: Tensor) -> Tensor:
    """``groundup.model.loss.target_log_probs``, for a weight that may be split by entries (a DTensor): fp32 (N,)."""
    if not isinstance(weight_VD, DTensor):
        return loss.target_log_probs(hidden_ND, weight_VD, targets_N)
    local_WD, first, group = _split(weight_VD)
    result: Tensor = _SplitLogProbs.apply(hidden_ND, local_WD, targets_N, first, group)  # type: ignore[no-untyped-call]
    return result


def _split(weight_VD: DTensor) -> tuple[Tensor, int, dist.ProcessGroup]:
    """The entries held here (W, D), the number of the first of them, and the group that holds the others."""
    assert weight_VD.placements == (Shard(0),), f"the output projection is not split by entries: {weight_VD.placements}"
    mesh = weight_VD.device_mesh
    # DTensor cuts like torch.chunk: equal pieces, the last ones shorter.
    width = -(-weight_VD.size(0) // mesh.size())
    return weight_VD.to_local(), min(mesh.get_local_rank() * width, weight_VD.size(0)), mesh.get_group()


def _log_norm_and_target(
    logits_NW: Tensor, targets_N: Tensor, first: int, group: dist.ProcessGroup
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Over all entries: log of the sum of exponentials (N, 1) and the target's logit (N, 1), both fp32.

    And where the target lies here: its column (N, 1), and whether it does (N, 1).
    """
    column = (targets_N - first)[:, None]
    held = (column >= 0) & (column < logits_NW.size(1))
    column = column.clamp(0, logits_NW.size(1) - 1)
    target = logits_NW.gather(1, column).masked_fill(~held, 0.0)
    mine = torch.cat([logits_NW.logsumexp(dim=1, keepdim=True), target], dim=1)
    everyone = all_gather(mine, group)
    return everyone[:, :, :1].logsumexp(dim=0), everyone[:, :, 1:].sum(dim=0), column, held


class _SplitCrossEntropy(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        hidden_ND: Tensor,
        weight_WD: Tensor,
        targets_N: Tensor,
        first: int,
        group: dist.ProcessGroup,
        z_loss: float,
    ) -> tuple[Tensor, Tensor]:
        weight = weight_WD.to(hidden_ND.dtype)
        wanted = ctx.needs_input_grad[0] or ctx.needs_input_grad[1]
        grad_hidden = torch.empty_like(hidden_ND) if wanted else None
        grad_weight = torch.zeros_like(weight_WD, dtype=torch.float32) if wanted else None
        total = torch.zeros((), dtype=torch.float32, device=hidden_ND.device)
        penalty = torch.zeros_like(total)
        for start in range(0, len(hidden_ND), _CHUNK):
            hidden, targets = hidden_ND[start : start + _CHUNK], targets_N[start : start + _CHUNK]
            logits = (hidden @ weight.t()).float()
            log_norm, target, column, held = _log_norm_and_target(logits, targets, first, group)
            total += (log_norm - target).sum()
            penalty += z_loss * log_norm.square().sum()
            if grad_hidden is None or grad_weight is None:
                continue
            error = logits.sub_(log_norm).exp_()  # softmax, in place
            if z_loss:
                error *= 1 + 2 * z_loss * log_norm
            error.scatter_add_(1, column, -held.to(error.dtype))
            error = error.to(hidden.dtype)
            grad_hidden[start : start + _CHUNK] = error @ weight
            grad_weight += error.t() @ hidden
        ctx.save_for_backward(grad_hidden, grad_weight)
        ctx.weight_dtype = weight_WD.dtype
        ctx.mark_non_differentiable(penalty)
        return total + penalty, penalty

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Any) -> tuple[Tensor | None, ...]:
        grad_hidden, grad_weight = ctx.saved_tensors
        scale, _ = grad_outputs
        scaled = grad_hidden * scale.to(grad_hidden.dtype)
        return scaled, (grad_weight * scale).to(ctx.weight_dtype), None, None, None, None


class _SplitLogProbs(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, hidden_ND: Tensor, weight_WD: Tensor, targets_N: Tensor, first: int, group: dist.ProcessGroup
    ) -> Tensor:
        weight = weight_WD.to(hidden_ND.dtype)
        logits = (hidden_ND @ weight.t()).float()
        log_norm, target, column, held = _log_norm_and_target(logits, targets_N, first, group)
        softmax = logits.sub_(log_norm).exp_()
        ctx.save_for_backward(hidden_ND, weight, softmax, column, held)
        ctx.weight_dtype = weight_WD.dtype
        return (target - log_norm)[:, 0]

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Any) -> tuple[Tensor | None, ...]:
        hidden, weight, softmax, column, held = ctx.saved_tensors
        (grad_N,) = grad_outputs
        error = -softmax
        error.scatter_add_(1, column, held.to(error.dtype))
        error = (error * grad_N[:, None]).to(hidden.dtype)
        return error @ weight, (error.t() @ hidden).to(ctx.weight_dtype), None, None, None
