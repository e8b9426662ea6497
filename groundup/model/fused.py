"""The parts of a block as single autograd functions, for training in bf16 on a CPU; the model calls them where it may.

On a CPU a step's time goes into matrix products, and then into what lies between them: autograd on plain operators
reads and writes the residual stream some twenty times a norm, casts every weight by itself, and keeps what could be
computed anew. Here each part is one function whose backward pass is written out, with no more passes over memory and
no more saved tensors than it needs. The equations, for a sum of losses L and dy = dL/dy:

    rms_norm       y = x r w, r = (mean(x²) + eps)^(-1/2), n = x r
                   dx = r (dy w - n mean(dy w n)),  dw = sum over rows of dy n
    linear         y_i = x W_iᵀ for several W_i: one product with all of them, stacked
                   dx = dy W,  dW = dyᵀ x
    rotate         (low, high) turned by an angle; backward turns dy by minus the angle
    swiglu         y = (silu(g) u) Wdᵀ, g = x Wgᵀ, u = x Wuᵀ; keeps g and u
                   with da = dy Wd:  du = da silu(g),  dg = da u silu'(g),  then as in linear

Weights are fp32 masters; their products are taken in the type of x, as under autocast. Norms compute in fp32.
Shapes: N rows, D width, F feed-forward width, O outputs. Attention itself is in ``groundup/model/fused_attention.py``.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, Final

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils._python_dispatch import is_traceable_wrapper_subclass

_ALLOWED: Final = ContextVar("fused functions are allowed", default=True)


@contextmanager
def disabled() -> Iterator[None]:
    """Keep the fused functions out: plain operators are what runs on a GPU, and what a plan for one must count."""
    token = _ALLOWED.set(False)
    try:
        yield
    finally:
        _ALLOWED.reset(token)


def usable(x: Tensor, *modules: nn.Module | None) -> bool:
    """Whether the fused functions may stand in for these modules' own calls on x.

    They may in training, for bf16 on a CPU, where every module is a plain one that nobody has replaced, hooked or
    sharded (parallelism, adapters and other arithmetic are applied from outside, and must be seen).
    """
    if (
        torch.compiler.is_compiling()  # first: the compiler can't read a context variable
        or not _ALLOWED.get()
        or x.dtype != torch.bfloat16
        or x.device.type != "cpu"
        or _is_wrapper(x)
    ):
        return False
    if not (torch.is_grad_enabled() and x.requires_grad):
        return False
    return all(_is_plain(module) for module in modules if module is not None)


def _is_plain(module: nn.Module) -> bool:
    hooked = module._forward_hooks or module._forward_pre_hooks or module._backward_hooks
    if isinstance(module, nn.Linear) and (type(module) is not nn.Linear or module.bias is not None):
        return False
    return not hooked and not any(_is_wrapper(weight) for weight in module.parameters())


def _is_wrapper(x: object) -> bool:
    """Whether x stands for a tensor that lies elsewhere, as a DTensor does."""
    return bool(is_traceable_wrapper_subclass(x))


def _wide(dtype: torch.dtype) -> torch.dtype:
    """The type that norms compute in."""
    return torch.promote_types(dtype, torch.float32)


class _RMSNorm(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight_D: Tensor, eps: float) -> Tensor:
        wide = x.to(_wide(x.dtype), copy=True)
        norm = torch.linalg.vector_norm(wide, dim=-1, keepdim=True)
        inverse = norm.square_().div_(x.size(-1)).add_(eps).rsqrt_()
        ctx.save_for_backward(x, inverse, weight_D)
        y = wide.mul_(inverse).mul_(weight_D)
        return y.to(x.dtype)

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> tuple[Tensor, Tensor | None, None]:
        x, inverse, weight_D = ctx.saved_tensors
        dy = grads[0].to(inverse.dtype, copy=True)
        normed = x.to(inverse.dtype, copy=True).mul_(inverse)
        dy_normed = dy * normed
        mean = (dy_normed @ weight_D.to(dy.dtype)).div_(x.size(-1))
        dx = dy.mul_(weight_D).addcmul_(normed, mean[..., None], value=-1).mul_(inverse)
        dw = dy_normed.sum(dim=tuple(range(x.ndim - 1))).to(weight_D.dtype) if ctx.needs_input_grad[1] else None
        return dx.to(x.dtype), dw, None


def rms_norm(x: Tensor, weight_D: Tensor, eps: float) -> Tensor:
    """x / sqrt(mean(x²) + eps) * weight over the last dimension, in the type of x; computed in fp32."""
    result: Tensor = _RMSNorm.apply(x, weight_D, eps)  # type: ignore[no-untyped-call]
    return result


def _stack(weights: Sequence[Tensor], dtype: torch.dtype) -> Tensor:
    """All weights (O_i, D) under one another, (sum of O_i, D), in another type: one pass over each."""
    stacked = torch.empty(sum(len(w) for w in weights), weights[0].size(1), dtype=dtype, device=weights[0].device)
    for part, weight in zip(torch.split(stacked, [len(w) for w in weights]), weights, strict=True):
        part.copy_(weight)
    return stacked


def _unstack(stacked: Tensor, sizes: Sequence[int], dtype: torch.dtype, wanted: Sequence[bool]) -> list[Tensor | None]:
    """The gradients of weights from that of their stack."""
    parts = torch.split(stacked, list(sizes))
    return [part.to(dtype) if needed else None for part, needed in zip(parts, wanted, strict=True)]


class _Linear(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x_ND: Tensor, *weights: Tensor) -> tuple[Tensor, ...]:
        stacked = _stack(weights, x_ND.dtype)
        ctx.save_for_backward(x_ND, stacked)
        ctx.sizes, ctx.weight_dtype = [len(weight) for weight in weights], weights[0].dtype
        return torch.split(x_ND @ stacked.t(), ctx.sizes, dim=1)

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> tuple[Tensor | None, ...]:
        x_ND, stacked = ctx.saved_tensors
        wants_x, *wanted = ctx.needs_input_grad
        dy = torch.cat(grads, dim=1)
        dx = dy @ stacked if wants_x else None
        dws = _unstack(dy.t() @ x_ND, ctx.sizes, ctx.weight_dtype, wanted) if any(wanted) else [None] * len(wanted)
        return dx, *dws


def linear(x: Tensor, *weights: Tensor) -> tuple[Tensor, ...]:
    """x (..., D) through each weight (O_i, D): one (..., O_i) for each, views of one result."""
    outs: tuple[Tensor, ...] = _Linear.apply(x.flatten(0, -2), *weights)  # type: ignore[no-untyped-call]
    return tuple(out.view(*x.shape[:-1], -1) for out in outs)


def _turn(x: Tensor, cos: Tensor, sin: Tensor, out: Tensor, sign: int) -> Tensor:
    """Write x (..., E), turned by ``sign`` times the angles, into ``out``."""
    half = x.size(-1) // 2
    cos, sin = cos[..., :half], sin[..., :half]
    low, high, out_low, out_high = x[..., :half], x[..., half:], out[..., :half], out[..., half:]
    torch.mul(low, cos, out=out_low).addcmul_(high, sin, value=-sign)
    torch.mul(high, cos, out=out_high).addcmul_(low, sin, value=sign)
    return out


class _Rotate(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x_BHTE: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        ctx.save_for_backward(cos, sin)
        return _turn(x_BHTE, cos, sin, torch.empty_like(x_BHTE, memory_format=torch.contiguous_format), 1)

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> tuple[Tensor, None, None]:
        cos, sin = ctx.saved_tensors
        (dy_BHTE,) = grads
        B, H, T, E = dy_BHTE.shape
        # Laid out as the projections are, whose backward pass comes next.
        return _turn(dy_BHTE, cos, sin, dy_BHTE.new_empty(B, T, H, E).transpose(1, 2), -1), None, None


def rotate(x_BHTE: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """``groundup.model.rotary.rotate``, for tables whose two halves are equal; the result is contiguous."""
    result: Tensor = _Rotate.apply(x_BHTE, cos, sin)  # type: ignore[no-untyped-call]
    return result


class _SwiGLU(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x_ND: Tensor, gate_FD: Tensor, up_FD: Tensor, down_DF: Tensor) -> Tensor:
        stacked, down = _stack((gate_FD, up_FD), x_ND.dtype), down_DF.to(x_ND.dtype)
        both = x_ND @ stacked.t()
        ctx.save_for_backward(x_ND, both, stacked, down)
        ctx.weight_dtype = gate_FD.dtype
        gate, up = both.chunk(2, dim=1)
        return F.silu(gate).mul_(up) @ down.t()

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> tuple[Tensor | None, ...]:
        x_ND, both, stacked, down = ctx.saved_tensors
        (dy,) = grads
        wants_x, *wanted, wants_down = ctx.needs_input_grad
        gate, up = both.chunk(2, dim=1)
        active = F.silu(gate)
        ddown = (dy.t() @ (active * up)).to(ctx.weight_dtype) if wants_down else None
        dhidden = dy @ down
        dboth = torch.empty_like(both)
        dgate, dup = dboth.chunk(2, dim=1)
        torch.mul(dhidden, active, out=dup)
        torch.ops.aten.silu_backward(dhidden.mul_(up), gate, grad_input=dgate)
        dx = dboth @ stacked if wants_x else None
        sizes = [len(stacked) // 2] * 2
        dws = _unstack(dboth.t() @ x_ND, sizes, ctx.weight_dtype, wanted) if any(wanted) else [None, None]
        return dx, *dws, ddown


def swiglu(x: Tensor, gate_FD: Tensor, up_FD: Tensor, down_DF: Tensor) -> Tensor:
    """down(silu(gate(x)) * up(x)) for x (..., D), in the type of x; keeps two numbers a feed-forward unit."""
    out_ND: Tensor = _SwiGLU.apply(x.flatten(0, -2), gate_FD, up_FD, down_DF)  # type: ignore[no-untyped-call]
    return out_ND.view_as(x)
