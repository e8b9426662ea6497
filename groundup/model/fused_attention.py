"""Causal attention by matrix products over blocks of queries, forward and backward, for training on a CPU.

torch's fused attention computes its backward pass at a fifth of the speed of a bf16 matrix product on a CPU. Here the
scores of a block of queries against all keys up to its end are one batched product, so that a little more than half
of the square is computed, and each step of the backward pass is one product too (Vaswani et al. 2017, section 3.2.1;
backward as in Dao et al. 2022, FlashAttention, appendix B.2):

    S = Q Kᵀ / sqrt(E) + mask,  P = softmax(S),  O = P V
    dV = Pᵀ dO,  dP = dO Vᵀ,  dS = P (dP - rowsum(P dP)),  dQ = dS K / sqrt(E),  dK = dSᵀ Q / sqrt(E)

Scores are rounded to the type of the queries, as in eager attention under autocast; softmax and sums are fp32. The
probabilities of short sequences are kept for the backward pass; those of long ones, which grow with the square of the
length, are computed again.

Shapes: B batch, T positions, H query heads, K key-value heads, G = H/K queries that share a key, E head_dim; Q
positions in a block of queries, S the positions up to its end, A = B*K batched products.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any, Final

import torch
from torch import Tensor

_BLOCK: Final = 128
_LONGEST_KEPT: Final = 1024
"""Sequences up to this keep their probabilities: H*T bytes a position, about what a feed-forward keeps at T = 1024."""


def _blocks(length: int) -> Iterator[tuple[int, int]]:
    return ((start, min(start + _BLOCK, length)) for start in range(0, length, _BLOCK))


def _rows(x_BHTE: Tensor, num_kv_heads: int, start: int, end: int) -> Tensor:
    """The positions from start to end of all heads that share a key, under one another: (A, G*Q, E)."""
    B, H, _, E = x_BHTE.shape
    return x_BHTE[:, :, start:end].reshape(B * num_kv_heads, H // num_kv_heads * (end - start), E)


def _probabilities(q_ARE: Tensor, k_ASE: Tensor, groups: int, mask_QQ: Tensor) -> Tensor:
    """softmax(Q Kᵀ / sqrt(E)), (A, G*Q, S): the queries are the last positions of the keys."""
    num_queries, num_keys = q_ARE.size(1) // groups, k_ASE.size(1)
    nothing = q_ARE.new_empty(()).expand(len(q_ARE), q_ARE.size(1), num_keys)  # not read, as beta is 0
    scores = torch.baddbmm(nothing, q_ARE, k_ASE.transpose(1, 2), beta=0, alpha=1 / math.sqrt(q_ARE.size(2)))
    # Only among its own positions can a query see one that comes later.
    own = scores.view(len(scores), groups, num_queries, num_keys)[..., num_keys - num_queries :]
    own.add_(mask_QQ[:num_queries, :num_queries])
    return torch.softmax(scores, dim=-1)


def _mask(like: Tensor) -> Tensor:
    """-inf above the diagonal of a block, 0 elsewhere: (_BLOCK, _BLOCK), in the type of the queries."""
    return like.new_full((_BLOCK, _BLOCK), -math.inf).triu_(1)


class _CausalAttention(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, q_BHTE: Tensor, k_BKTE: Tensor, v_BKTE: Tensor) -> Tensor:
        B, H, T, E = q_BHTE.shape
        K = k_BKTE.size(1)
        k_ATE, v_ATE = k_BKTE.reshape(B * K, T, E), v_BKTE.reshape(B * K, T, E)
        out_BHTE = q_BHTE.new_empty(B, T, H, E).transpose(1, 2)
        kept, mask_QQ = [], _mask(q_BHTE)
        for start, end in _blocks(T):
            odds = _probabilities(_rows(q_BHTE, K, start, end), k_ATE[:, :end], H // K, mask_QQ)
            out_BHTE[:, :, start:end] = (odds @ v_ATE[:, :end]).view(B, H, end - start, E)
            kept.append(odds)
        ctx.save_for_backward(q_BHTE, k_ATE, v_ATE, *(kept if T <= _LONGEST_KEPT else ()))
        return out_BHTE

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> tuple[Tensor, Tensor, Tensor]:
        (dout_BHTE,) = grads
        q_BHTE, k_ATE, v_ATE, *kept = ctx.saved_tensors
        B, H, T, E = q_BHTE.shape
        K = len(k_ATE) // B
        dq_BHTE = torch.empty_like(q_BHTE)
        sums = torch.promote_types(q_BHTE.dtype, torch.float32)
        dk_ATE, dv_ATE = torch.empty_like(k_ATE, dtype=sums), torch.empty_like(v_ATE, dtype=sums)
        mask_QQ = _mask(q_BHTE)
        # From the end: the last block of queries sees all keys, so that its products are where the sums begin.
        for number, (start, end) in reversed(list(enumerate(_blocks(T)))):
            q, k, v = _rows(q_BHTE, K, start, end), k_ATE[:, :end], v_ATE[:, :end]
            dout = _rows(dout_BHTE, K, start, end)
            odds = kept[number] if kept else _probabilities(q, k, H // K, mask_QQ)
            add = Tensor.copy_ if end == T else Tensor.add_
            add(dv_ATE[:, :end], odds.transpose(1, 2) @ dout)
            dodds = dout @ v.transpose(1, 2)
            dscores = torch.ops.aten._softmax_backward_data(dodds, odds, -1, odds.dtype)
            dq_BHTE[:, :, start:end] = (dscores @ k).view(B, H, end - start, E)
            add(dk_ATE[:, :end], dscores.transpose(1, 2) @ q)
        scale = 1 / math.sqrt(E)
        dk_BKTE, dv_BKTE = (dx.to(q_BHTE.dtype).view(B, K, T, E) for dx in (dk_ATE.mul_(scale), dv_ATE))
        return dq_BHTE.mul_(scale), dk_BKTE, dv_BKTE


def causal_attention(q_BHTE: Tensor, k_BKTE: Tensor, v_BKTE: Tensor) -> Tensor:
    """softmax(Q Kᵀ / sqrt(E)) V where each position sees itself and those before it: (B, H, T, E), heads innermost."""
    result: Tensor = _CausalAttention.apply(q_BHTE, k_BKTE, v_BKTE)  # type: ignore[no-untyped-call]
    return result
