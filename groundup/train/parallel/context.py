"""Context parallelism: every row is split over processes, which gather one another's keys and values.

Each process holds two pieces of every row, the i-th and the i-th from the end of 2c equal ones, so that under a causal
mask all have equally much to look at. Queries stay where they are; keys and values, which grouped heads keep small,
are gathered for one layer at a time, and their gradients summed back to their owners (Dubey et al. 2024, section
3.3.2, "Context parallelism for long sequences"). What is left out: passing keys around a ring, which hides
communication better at great lengths but needs its own attention kernels.

Shapes: T positions held here, S positions of the whole row, c processes.
"""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache, partial
from typing import Any

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils._python_dispatch import _disable_current_modes

from groundup.model.attention import Context, Core
from groundup.model.transformer import Transformer
from groundup.train.parallel.batches import held_positions
from groundup.train.parallel.collectives import all_gather, reduce_scatter
from groundup.train.parallel.pipeline import Stage


def apply_context(model: Transformer, group: dist.ProcessGroup) -> None:
    """Put an attention over all processes' keys in the place of every layer's own; in place.

    The model is then called with the ids that this process holds, and with documents numbered over whole rows.
    """
    for module in list(model.modules()):
        for name, child in list(module.named_children()):
            if isinstance(child, Core):
                setattr(module, name, SplitCore(child.window, group))
    plain = model.context

    def split_context(x_BTD: Tensor, *args: Any, documents_BT: Tensor | None = None, **others: Any) -> Context:
        # The model would number the documents of the piece alone.
        return replace(plain(x_BTD, *args, **others), documents=documents_BT)

    model.context = split_context  # type: ignore[method-assign]
    if not isinstance(model, Stage):
        model.register_forward_pre_hook(partial(_with_positions, group=group), with_kwargs=True)


def positions_here(length: int, group: dist.ProcessGroup, device: torch.device) -> Tensor:
    """Where the ``length`` positions that this process holds of every row stand in it: int64 (1, length)."""
    rank, size = dist.get_rank(group), dist.get_world_size(group)
    return held_positions(length * size, rank, size).to(device)[None]


def _with_positions(
    _: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], group: dist.ProcessGroup
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    if kwargs.get("positions_BT") is None:
        kwargs = {**kwargs, "positions_BT": positions_here(args[0].size(1), group, args[0].device)}
    return args, kwargs


class _GatherRows(torch.autograd.Function):
    """(…, T, E) here and there to (…, S, E) in the order of positions; gradients are summed back."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, group: dist.ProcessGroup) -> Tensor:
        ctx.group = group
        firsts, lasts = all_gather(x, group).chunk(2, dim=-2)
        return torch.cat([*firsts, *lasts.flip(0)], dim=-2)

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Any) -> tuple[Tensor, None]:
        (grad,) = grad_outputs
        size = dist.get_world_size(ctx.group)
        firsts, lasts = grad.chunk(2, dim=-2)
        owners = zip(firsts.chunk(size, dim=-2), reversed(lasts.chunk(size, dim=-2)), strict=True)
        pieces = torch.stack([torch.cat(pair, dim=-2) for pair in owners])
        return reduce_scatter(pieces, ctx.group), None


def gather_rows(x: Tensor, group: dist.ProcessGroup) -> Tensor:
    """The whole rows (…, S, E) from what each process holds of them (…, T, E); differentiable."""
    whole: Tensor = _GatherRows.apply(x, group)  # type: ignore[no-untyped-call]
    return whole


@lru_cache(maxsize=8)
def _causal(num_queries: int, num_keys: int, device: torch.device) -> Tensor:
    """Causality for queries that are the last of the keys: a mask, or what CUDA's kernels know without one."""
    if device.type == "cpu":
        return torch.ones(num_queries, num_keys, dtype=torch.bool).tril_(num_keys - num_queries)
    from torch.nn.attention.bias import causal_lower_right

    with _disable_current_modes():  # it is a tensor subclass, which selective checkpointing's mode can't make
        bias: Tensor = causal_lower_right(num_queries, num_keys)
    return bias


class SplitCore(nn.Module):
    """Attention of the positions held here over all positions of the row."""

    def __init__(self, window: int | None, group: dist.ProcessGroup) -> None:
        super().__init__()
        self.window, self.group = window, group

    def forward(self, q_BHTE: Tensor, k_BKTE: Tensor, v_BKTE: Tensor, context: Context) -> Tensor:
        """(B, H, T, E)."""
        k_BKSE, v_BKSE = gather_rows(torch.stack([k_BKTE, v_BKTE]), self.group)
        rank, size = dist.get_rank(self.group), dist.get_world_size(self.group)
        piece = q_BHTE.size(2) // 2
        documents_BS = None
        if context.documents is not None:
            documents_BS = gather_rows(context.documents[:, :, None], self.group)[:, :, 0]
        outs = []
        for q, index in zip(q_BHTE.chunk(2, dim=2), (rank, 2 * size - 1 - rank), strict=True):
            end = (index + 1) * piece
            grouped = q.size(1) != k_BKSE.size(1)
            bias = self._bias(end - piece, end, documents_BS, q.device)
            k, v = k_BKSE[:, :, :end], v_BKSE[:, :, :end]
            outs.append(F.scaled_dot_product_attention(q, k, v, attn_mask=bias, enable_gqa=grouped))
        return torch.cat(outs, dim=2)

    def _bias(self, start: int, end: int, documents_BS: Tensor | None, device: torch.device) -> Tensor:
        """What the positions from ``start`` to ``end`` may see of those before ``end``."""
        if documents_BS is None and (self.window is None or self.window >= end):
            return _causal(end - start, end, device)
        at, seen = torch.arange(start, end, device=device)[:, None], torch.arange(end, device=device)
        mask = seen <= at
        if self.window is not None:
            mask &= at - seen < self.window
        if documents_BS is None:
            return mask
        same = documents_BS[:, start:end, None] == documents_BS[:, None, :end]
        return (mask & same)[:, None]
