"""Which arithmetic to train in, and the context that applies it from outside the model."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Final

import torch

from groundup.base.errors import RequestError
from groundup.base.machine import has_bf16
from groundup.train.fp8 import check_device
from groundup.train.settings import Arithmetic, PrecisionName

_TYPES: Final = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16, "fp8": torch.bfloat16}


def resolve(precision: PrecisionName, device: torch.device) -> Arithmetic:
    """``auto`` is bf16 where the hardware multiplies it natively, fp32 elsewhere.

    RequestError for fp16 and fp8 on a device that doesn't multiply them.
    """
    if precision == "fp16" and device.type == "cpu":
        raise RequestError("precision fp16 is for GPUs: CPUs multiply it slower than fp32; use bf16 or fp32")
    if precision == "fp8":
        check_device(device)
    if precision != "auto":
        return precision
    if device.type == "cuda":
        return "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "fp32"
    return "bf16" if has_bf16() else "fp32"


def compute_dtype(arithmetic: Arithmetic) -> torch.dtype:
    """The type of activations."""
    return _TYPES[arithmetic]


def autocast(arithmetic: Arithmetic, device: torch.device) -> AbstractContextManager[object]:
    """Matrix products and attention in the type of activations over fp32 weights, or everything in fp32."""
    return nullcontext() if arithmetic == "fp32" else torch.autocast(device.type, compute_dtype(arithmetic))


def default_device() -> torch.device:
    """The first CUDA device, or the CPU."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")
