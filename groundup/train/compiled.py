"""torch.compile, applied to a model from outside: one block after the other, all of which share one compilation.

Whole blocks and nothing larger, so that compiling takes the time of one, and so that what wraps blocks (recomputation,
sharding) works as without. On a GPU it fuses what lies between matrix products; fp8 needs it to be fast at all. On a
CPU it takes a C++ compiler, and the functions of ``groundup/model/fused.py``, which it replaces, are faster.
"""

from __future__ import annotations

import importlib.util

import torch

from groundup.model.transformer import Transformer
from groundup.train.settings import CompileName


def compile_blocks(model: Transformer, when: CompileName, device: torch.device, *, backend: str = "inductor") -> bool:
    """Compile every block when it is first called, in place; whether that was done. No name changes.

    ``auto`` compiles on a GPU with Triton, which generates its kernels.
    """
    worthwhile = device.type == "cuda" and importlib.util.find_spec("triton") is not None
    if when == "off" or (when == "auto" and not worthwhile):
        return False
    for block in model.layers.children():
        block.compile(backend=backend)
    return True
