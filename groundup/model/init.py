"""Random weights to start from, each drawn from a seed of its own name.

So a process that holds some layers or some rows only can draw exactly its part of the same model.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from groundup.base.seeds import derive
from groundup.model.config import ModelConfig
from groundup.model.transformer import Transformer

DEVIATION = 0.02
"""Of the normal distribution that matrices are drawn from (GPT-2)."""


def initialise(model: Transformer, seed: int) -> None:
    """Fill every weight of a whole model in place, as ``initial_weight`` says."""
    with torch.no_grad():
        for name, weight in model.named_parameters():
            weight.copy_(initial_weight(name, weight.shape, model.config, seed))


def initial_weight(name: str, shape: tuple[int, ...], config: ModelConfig, seed: int) -> Tensor:
    """The weight of a full name such as ``layers.0.mlp.up_proj.weight``, fp32 on the CPU.

    Matrices are normal with deviation 0.02; those that add to the residual stream are scaled by
    1/sqrt(2 * num_layers), which keeps its variance independent of depth (GPT-2, Radford et al. 2019, section 2.3).
    Norms start at one, biases at zero.
    """
    if name.endswith("bias"):
        return torch.zeros(shape)
    if len(shape) == 1:
        return torch.ones(shape)
    adds = name.removesuffix(".weight").endswith(("o_proj", "down_proj"))
    deviation = DEVIATION / math.sqrt(2 * config.num_layers) if adds else DEVIATION
    generator = torch.Generator().manual_seed(derive(seed, name))
    return torch.randn(shape, generator=generator) * deviation
