"""Which arithmetic to train in, and the context that applies it from outside the model."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Literal

import torch

from groundup.base.machine import has_bf16
from groundup.train.settings import PrecisionName


def resolve(precision: PrecisionName, device: torch.device) -> Literal["fp32", "bf16"]:
    """``auto`` is bf16 where the hardware multiplies it natively, fp32 elsewhere."""
    if precision != "auto":
        return precision
    if device.type == "cuda":
        return "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "fp32"
    return "bf16" if has_bf16() else "fp32"


def autocast(precision: Literal["fp32", "bf16"], device: torch.device) -> AbstractContextManager[object]:
    """Matrix products and attention in bf16 over fp32 weights, or everything in fp32."""
    return torch.autocast(device.type, torch.bfloat16) if precision == "bf16" else nullcontext()


def default_device() -> torch.device:
    """The first CUDA device, or the CPU."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")
