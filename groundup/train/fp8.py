"""Linear layers whose matrix products are taken in 8-bit floating point, applied to a model from outside.

Each operand is scaled so that its largest entry is the largest of its format, rounded to 8 bits, and multiplied; sums
are kept in higher precision and the product is scaled back (Micikevicius et al. 2022, FP8 formats for deep learning,
section 4). Weights and activations have 3 bits of mantissa (e4m3), gradients 2 bits and a wider range (e5m2). One scale
a tensor, taken from the tensor itself at each use: the coarsest and the fastest way, without a history to keep.

    y = x Wᵀ        in e4m3 x e4m3
    dx = dy W       in e5m2 x e4m3
    dW = dyᵀ x      in e5m2 x e4m3

Weights stay fp32 masters. For the backward pass x and W are kept in 8 bits, which halves what a bf16 linear keeps. The
embedding, the output projection, routers and experts are left alone. Rounding is cheap only when it is compiled into
the kernels around it: compile the blocks of such a model.

Shapes: N rows, I inputs, O outputs; the hardware wants all three divisible by 16.
"""

from __future__ import annotations

from typing import Any, Final

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from groundup.base.errors import RequestError
from groundup.model.transformer import Block, Transformer
from groundup.train.settings import Arithmetic

_WEIGHT: Final = torch.float8_e4m3fn
_GRADIENT: Final = torch.float8_e5m2
_MULTIPLE: Final = 16
_LEAST_CAPABILITY: Final = (8, 9)
_TINY: Final = 1e-12


def quantise(x: Tensor, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """x in an 8-bit type, and the fp32 scalar to multiply it by to get x back.

    >>> eighths, inverse = quantise(torch.tensor([1.0, -2.0, 0.5]), torch.float8_e4m3fn)
    >>> eighths.float(), inverse * 448
    (tensor([ 224., -448.,  112.]), tensor(2.))
    """
    largest = torch.finfo(dtype).max
    scale = largest / x.abs().amax().float().clamp(min=_TINY)
    return (x.float() * scale).clamp(-largest, largest).to(dtype), scale.reciprocal()


def _product(left: Tensor, right: Tensor, scales: tuple[Tensor, Tensor], dtype: torch.dtype, *, fast: bool) -> Tensor:
    """left @ right, scaled back; left is row-major and right column-major, as the hardware takes them."""
    out: Tensor = torch._scaled_mm(
        left, right, scale_a=scales[0], scale_b=scales[1], out_dtype=dtype, use_fast_accum=fast
    )
    return out


def _column_major(x: Tensor) -> Tensor:
    return x.t().contiguous().t()


class _Fp8Linear(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x_NI: Tensor, weight_OI: Tensor) -> Tensor:
        x8, x_scale = quantise(x_NI, _WEIGHT)
        weight8, weight_scale = quantise(weight_OI, _WEIGHT)
        ctx.save_for_backward(x8, x_scale, weight8, weight_scale)
        ctx.weight_dtype = weight_OI.dtype
        return _product(x8, weight8.t(), (x_scale, weight_scale), x_NI.dtype, fast=True)

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> tuple[Tensor | None, Tensor | None]:
        x8, x_scale, weight8, weight_scale = ctx.saved_tensors
        (dy_NO,) = grads
        dy8, dy_scale = quantise(dy_NO, _GRADIENT)
        dx = dw = None
        if ctx.needs_input_grad[0]:
            dx = _product(dy8, _column_major(weight8), (dy_scale, weight_scale), dy_NO.dtype, fast=False)
        if ctx.needs_input_grad[1]:
            dw = _product(dy8.t().contiguous(), _column_major(x8), (dy_scale, x_scale), dy_NO.dtype, fast=False)
            dw = dw.to(ctx.weight_dtype)
        return dx, dw


class Fp8Linear(nn.Linear):
    """A linear layer in fp8. Rows that don't divide by 16, as in generation, take the plain product."""

    def forward(self, x: Tensor) -> Tensor:
        """x (..., I) in bf16, or in whatever autocast makes of it: (..., O)."""
        if torch.is_autocast_enabled(x.device.type):
            x = x.to(torch.get_autocast_dtype(x.device.type))
        if x.numel() // x.size(-1) % _MULTIPLE or x.dtype == torch.float32:
            return F.linear(x, self.weight, self.bias)
        out_NO: Tensor = _Fp8Linear.apply(x.flatten(0, -2), self.weight)  # type: ignore[no-untyped-call]
        out = out_NO.view(*x.shape[:-1], -1)
        return out if self.bias is None else out + self.bias.to(out.dtype)


def check_device(device: torch.device) -> None:
    """RequestError if a device has no fp8 matrix products."""
    if device.type != "cuda" or torch.cuda.get_device_capability(device) < _LEAST_CAPABILITY:
        name = torch.cuda.get_device_name(device) if device.type == "cuda" else "a CPU"
        raise RequestError(
            f"fp8 needs an NVIDIA GPU of compute capability 8.9 or newer (Ada, Hopper, Blackwell); this is {name}: "
            "set precision to bf16"
        )


def check_arithmetic(arithmetic: Arithmetic, tensor: int) -> None:
    """RequestError if fp8 is asked for where tensor parallelism splits the linear layers."""
    if arithmetic == "fp8" and tensor > 1:
        raise RequestError("precision fp8 computes whole linear layers: leave out parallel.tensor, or use bf16")


def apply_fp8(model: Transformer) -> int:
    """Let the linear layers of all blocks compute in fp8, in place; how many. Parameters keep names and identity."""
    changed = 0
    for block in model.layers.children():
        assert isinstance(block, Block)
        for parent in (block.self_attn, block.mlp):
            for name, linear in list(parent.named_children()):
                if type(linear) is not nn.Linear or name == "router" or _is_odd(linear):
                    continue
                new = Fp8Linear(linear.in_features, linear.out_features, bias=linear.bias is not None, device="meta")
                new.weight, new.bias = linear.weight, linear.bias
                setattr(parent, name, new)
                changed += 1
    return changed


def _is_odd(linear: nn.Linear) -> bool:
    return bool(linear.in_features % _MULTIPLE or linear.out_features % _MULTIPLE)
