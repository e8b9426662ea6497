"""Expert parallelism: each process holds some experts of every layer, and tokens travel to theirs and back.

Two exchanges of tokens a layer (GShard, Lepikhin et al. 2020, section 3.2), each process sending every other exactly
the rows that it needs: no token is dropped and none is padded, so the result is that of one process.

Shapes: N tokens, A experts a token, M = N*A places here, R rows received, X experts in all, L of them here.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

from groundup.model.experts import Experts, MoE, expert_shares
from groundup.model.transformer import Transformer


def apply_experts(model: Transformer, group: dist.ProcessGroup) -> None:
    """Keep this process's experts of every layer, and exchange tokens within the group; in place."""
    rank, size = dist.get_rank(group), dist.get_world_size(group)
    for module in model.modules():
        if isinstance(module, MoE):
            for name, weight in list(module.experts.named_parameters()):
                kept = weight.detach().chunk(size)[rank].clone()
                setattr(module.experts, name, nn.Parameter(kept, requires_grad=weight.requires_grad))
            module.dispatch = SplitDispatch(group)  # type: ignore[assignment]


def apply_balance(model: Transformer, everyone: dist.ProcessGroup, apart: dist.ProcessGroup | None) -> None:
    """Judge the balance of experts over all processes that split a row (``everyone``); in place.

    ``apart`` are those of them that compute losses of their own, of targets that only they hold.
    """
    for module in model.modules():
        if isinstance(module, MoE):
            module.balance = SplitBalance(everyone, apart)  # type: ignore[assignment]


def expert_weights(model: nn.Module) -> dict[str, nn.Parameter]:
    """The stacked weights of experts, by name."""
    return _weights_of(model, Experts)


def mixture_weights(model: nn.Module) -> dict[str, nn.Parameter]:
    """The weights of experts and their routers, by name."""
    return _weights_of(model, MoE)


def _weights_of(model: nn.Module, kind: type[nn.Module]) -> dict[str, nn.Parameter]:
    return {
        f"{path}.{name}": weight
        for path, module in model.named_modules()
        if isinstance(module, kind)
        for name, weight in module.named_parameters()
    }


class _Exchange(torch.autograd.Function):
    """Rows to their processes; gradients back along the same ways."""

    @staticmethod
    def forward(
        ctx: Any, rows: Tensor, sent: Sequence[int], received: Sequence[int], group: dist.ProcessGroup
    ) -> Tensor:
        ctx.sent, ctx.received, ctx.group = sent, received, group
        return _exchange(rows, sent, received, group)

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Any) -> tuple[Tensor, None, None, None]:
        (grad,) = grad_outputs
        return _exchange(grad, ctx.received, ctx.sent, ctx.group), None, None, None


def _exchange(rows: Tensor, sent: Sequence[int], received: Sequence[int], group: dist.ProcessGroup) -> Tensor:
    out = rows.new_empty(sum(received), *rows.shape[1:])
    dist.all_to_all_single(out, rows.contiguous(), list(received), list(sent), group=group)
    return out


class SplitDispatch(nn.Module):
    """What ``groundup.model.experts.Dispatch`` does, with experts that live on several processes."""

    def __init__(self, group: dist.ProcessGroup) -> None:
        super().__init__()
        self.group = group

    def forward(self, x_ND: Tensor, chosen_NA: Tensor, weights_NA: Tensor, experts: nn.Module) -> Tensor:
        """The weighted sum (N, D) of each token's chosen experts; chosen_NA int64 holds their numbers."""
        size = dist.get_world_size(self.group)
        num_local = len(experts.gate_proj)  # type: ignore[arg-type]
        per_token = chosen_NA.size(1)
        places_M = chosen_NA.flatten()
        order_M = places_M.argsort(stable=True)  # by expert, and so by process
        sent_PL = torch.bincount(places_M, minlength=size * num_local).view(size, num_local)
        received_PL = torch.empty_like(sent_PL)
        dist.all_to_all_single(received_PL, sent_PL, group=self.group)
        sent, received = sent_PL.sum(dim=1).tolist(), received_PL.sum(dim=1).tolist()
        rows_RD: Tensor = _Exchange.apply(x_ND[order_M // per_token], sent, received, self.group)  # type: ignore[no-untyped-call]
        # Rows come process by process and, within each, expert by expert: regroup them by expert.
        expert_R = torch.arange(num_local, device=rows_RD.device).repeat(size).repeat_interleave(received_PL.flatten())
        order_R = expert_R.argsort(stable=True)
        done_RD = experts(rows_RD[order_R], received_PL.sum(dim=0))[order_R.argsort()]
        back_MD: Tensor = _Exchange.apply(done_RD, received, sent, self.group)  # type: ignore[no-untyped-call]
        out_NAD = back_MD[order_M.argsort()].view(len(x_ND), per_token, -1)
        return (out_NAD * weights_NA[:, :, None].to(out_NAD.dtype)).sum(dim=1)


class _MeanOver(torch.autograd.Function):
    """The mean of a tensor over ``everyone``; its gradient is summed over those that compute losses apart."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, everyone: dist.ProcessGroup, apart: dist.ProcessGroup | None) -> Tensor:
        ctx.size, ctx.apart = dist.get_world_size(everyone), apart
        mean: Tensor = x / ctx.size
        dist.all_reduce(mean, group=everyone)
        return mean

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Any) -> tuple[Tensor, None, None]:
        grad = grad_outputs[0] / ctx.size
        if ctx.apart is not None:
            dist.all_reduce(grad, group=ctx.apart)
        return grad, None, None


class SplitBalance(nn.Module):
    """What ``groundup.model.experts.Balance`` does, for tokens of which each process holds equally many."""

    def __init__(self, everyone: dist.ProcessGroup, apart: dist.ProcessGroup | None) -> None:
        super().__init__()
        self.everyone, self.apart = everyone, apart

    def forward(self, odds_NX: Tensor, chosen_NA: Tensor) -> Tensor:
        """A scalar, fp32, the same on all processes."""
        mine = torch.stack(expert_shares(odds_NX, chosen_NA))
        both: Tensor = _MeanOver.apply(mine, self.everyone, self.apart)  # type: ignore[no-untyped-call]
        return odds_NX.size(1) * (both[0] * both[1]).sum()
