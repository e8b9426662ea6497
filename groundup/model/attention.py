"""Causal grouped-query attention, over a plain sequence, packed documents, a sliding window or a cache.

Shapes: B batch, T new positions, S positions seen so far, D hidden_size, H query heads, K key-value heads,
E head_dim. Heads are counted from tensors, never from the configuration, so that a shard of them works alike.

Sources: Vaswani et al. 2017; grouped queries (Ainslie et al. 2023); QK-norm (Dehghani et al. 2023; Qwen3);
sliding window (Beltagy et al. 2020; Mistral); FlexAttention (Dong et al. 2024).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cache
from typing import Any, Final

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.attention.flex_attention import BlockMask, create_block_mask, flex_attention

from groundup.base.errors import RequestError
from groundup.model import fused
from groundup.model.cache import KVCache
from groundup.model.config import ModelConfig
from groundup.model.fused_attention import causal_attention
from groundup.model.layers import RMSNorm
from groundup.model.rotary import rotate

_FLEX_HEAD_DIM: Final = 16
"""The narrowest head that FlexAttention's kernels take."""

_SHORT: Final = 64
"""Sequences below this are not worth the several calls of our own attention in training on a CPU."""


@dataclass(frozen=True)
class Context:
    """What all layers share in one call: where positions stand, and which of the S each of the T may see.

    ``cos`` and ``sin`` are (T, E) or (B, 1, T, E), None without rotary positions; ``documents`` (B, T) counts the
    documents packed into a row, int64 from 0. The rest follows from these (``with_masks``): ``mask`` for layers that
    see all and ``window_mask`` for the others, bool and broadcastable to (B, H, T, S) or FlexAttention's own, None
    for plain causality; or ``runs``, the lengths of the documents to be computed one by one.
    """

    cos: Tensor | None = None
    sin: Tensor | None = None
    cache: KVCache | None = None
    documents: Tensor | None = None
    aux: list[Tensor] | None = None
    mask: Tensor | BlockMask | None = None
    window_mask: Tensor | BlockMask | None = None
    runs: tuple[int, ...] | None = None


class Core(nn.Module):
    """softmax(Q Kᵀ / sqrt(E)) V over what each position may see. Context parallelism puts its own in this place."""

    def __init__(self, window: int | None) -> None:
        super().__init__()
        self.window = window

    def forward(self, q_BHTE: Tensor, k_BKSE: Tensor, v_BKSE: Tensor, context: Context) -> Tensor:
        """(B, H, T, E); queries are the last T of the S positions, or stand where the context's cache says."""
        mask = context.mask if self.window is None else context.window_mask
        if context.runs is not None:
            return _run_by_run(q_BHTE, k_BKSE, v_BKSE, context.runs, self.window)
        if isinstance(mask, BlockMask):
            grouped = q_BHTE.size(1) != k_BKSE.size(1)
            out: Tensor = _flex(q_BHTE.device.type)(q_BHTE, k_BKSE, v_BKSE, block_mask=mask, enable_gqa=grouped)
            return out
        return _attend(q_BHTE, k_BKSE, v_BKSE, mask)


class Attention(nn.Module):
    """Project to queries, keys and values, let positions look at each other, project back."""

    def __init__(self, config: ModelConfig, layer: int) -> None:
        super().__init__()
        self.layer, self.head_dim = layer, config.head_dim
        width, kv_width = config.num_heads * config.head_dim, config.num_kv_heads * config.head_dim
        self.q_proj = nn.Linear(config.hidden_size, width, bias=config.qkv_bias)
        self.k_proj = nn.Linear(config.hidden_size, kv_width, bias=config.qkv_bias)
        self.v_proj = nn.Linear(config.hidden_size, kv_width, bias=config.qkv_bias)
        self.o_proj = nn.Linear(width, config.hidden_size, bias=config.output_bias)
        self.q_norm = RMSNorm(config.head_dim, config.norm_eps) if config.qk_norm else None
        self.k_norm = RMSNorm(config.head_dim, config.norm_eps) if config.qk_norm else None
        self.core = Core(config.window(layer))

    def forward(self, x_BTD: Tensor, context: Context) -> Tensor:
        B, T, _ = x_BTD.shape
        projections = self.q_proj, self.k_proj, self.v_proj
        if fused.usable(x_BTD, *projections):
            outs = fused.linear(x_BTD, *(projection.weight for projection in projections))
        else:
            outs = tuple(projection(x_BTD) for projection in projections)
        q_BHTE, k_BKSE, v_BKSE = (out.view(B, T, -1, self.head_dim).transpose(1, 2) for out in outs)
        if self.q_norm is not None and self.k_norm is not None:
            q_BHTE, k_BKSE = self.q_norm(q_BHTE), self.k_norm(k_BKSE)
        if context.cos is not None and context.sin is not None:
            turn = fused.rotate if fused.usable(q_BHTE) else rotate
            q_BHTE, k_BKSE = (turn(x_BHTE, context.cos, context.sin) for x_BHTE in (q_BHTE, k_BKSE))
        if context.cache is not None:
            k_BKSE, v_BKSE = context.cache.extend(self.layer, k_BKSE, v_BKSE)
        out_BHTE = self.core(q_BHTE, k_BKSE, v_BKSE, context)
        merged: Tensor = self.o_proj(out_BHTE.transpose(1, 2).reshape(B, T, -1))
        return merged


def _attend(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None) -> Tensor:
    """One fused call; without a mask, causal over as many keys as queries."""
    if mask is None and q.size(2) >= _SHORT and fused.usable(q):
        return causal_attention(q, k, v)
    grouped = q.size(1) != k.size(1)
    return F.scaled_dot_product_attention(q, k, v, attn_mask=mask, is_causal=mask is None, enable_gqa=grouped)


def _run_by_run(q_BHTE: Tensor, k_BKTE: Tensor, v_BKTE: Tensor, runs: tuple[int, ...], window: int | None) -> Tensor:
    """Each document by itself: nothing outside it is even read."""
    B, _, T, _ = q_BHTE.shape
    # Split, whose gradient is one concatenation: each slice's would be as large as the whole.
    pieces = (torch.split(x.transpose(1, 2).flatten(0, 1), list(runs)) for x in (q_BHTE, k_BKTE, v_BKTE))
    out = []
    for length, *qkv in zip(runs, *pieces, strict=True):
        q, k, v = (x_LHE.transpose(0, 1)[None] for x_LHE in qkv)
        out.append(_attend(q, k, v, banded(length, window, q.device))[0].transpose(0, 1))
    return torch.cat(out).view(B, T, *out[0].shape[1:]).transpose(1, 2)


def with_masks(context: Context, x_BTD: Tensor, config: ModelConfig) -> Context:
    """Complete a context with what each position may see; of x only the shape and the device are read.

    On a GPU, windows and documents are FlexAttention's, which skips what nobody sees. On a CPU documents are computed
    one by one, which costs less than a mask even where they have 16 tokens. RequestError for documents with a cache.
    """
    T, window, cache, numbers_BT = x_BTD.size(1), config.sliding_window, context.cache, context.documents
    if cache is not None:
        if numbers_BT is not None:
            raise RequestError("packed documents can't be continued from a cache; feed them one a row")
        return replace(context, mask=cache.mask(T), window_mask=None if window is None else cache.mask(T, window))
    if window is not None and window >= T:
        window = None
    if numbers_BT is None and window is None:
        return context
    if x_BTD.is_cuda and config.head_dim >= _FLEX_HEAD_DIM:
        mask = None if numbers_BT is None else flex_mask(numbers_BT, T, None, x_BTD.device)
        limited = mask if window is None else flex_mask(numbers_BT, T, window, x_BTD.device)
        return replace(context, mask=mask, window_mask=limited)
    if numbers_BT is None:
        return replace(context, window_mask=banded(T, window, x_BTD.device))
    return replace(context, runs=document_runs(numbers_BT))


def banded(length: int, window: int | None, device: torch.device) -> Tensor | None:
    """Causal and at most ``window`` back, bool (T, T); None where plain causality says the same."""
    if window is None or window >= length:
        return None
    seen = torch.ones(length, length, dtype=torch.bool, device=device)
    return seen.tril_().triu_(1 - window)


def document_numbers(documents_BT: Tensor) -> Tensor:
    """Documents counted along each row, int64 (B, T): a new one begins wherever the given number changes."""
    changes = documents_BT[:, 1:] != documents_BT[:, :-1]
    return F.pad(changes.cumsum(dim=1), (1, 0))


def document_runs(numbers_BT: Tensor) -> tuple[int, ...]:
    """The lengths of all documents, row after row."""
    B, T = numbers_BT.shape
    across_N = (numbers_BT + torch.arange(B, device=numbers_BT.device)[:, None] * T).flatten()
    return tuple(torch.unique_consecutive(across_N, return_counts=True)[1].tolist())


def flex_mask(numbers_BT: Tensor | None, length: int, window: int | None, device: torch.device) -> BlockMask:
    """Which positions each may see: of its document, not after it, at most ``window`` back."""

    def seen(b: Tensor, _: Tensor, q: Tensor, k: Tensor) -> Tensor:
        allowed = q >= k
        if window is not None:
            allowed = allowed & (q - k < window)
        if numbers_BT is not None:
            allowed = allowed & (numbers_BT[b, q] == numbers_BT[b, k])
        return allowed

    rows = None if numbers_BT is None else numbers_BT.size(0)
    return create_block_mask(seen, rows, None, length, length, device=str(device))


@cache
def _flex(device: str) -> Any:
    """FlexAttention; on a GPU compiled, without which it would hold all scores in memory."""
    return torch.compile(flex_attention) if device == "cuda" else flex_attention
