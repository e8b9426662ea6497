"""The parts of a block that see one position at a time: norms and the plain feed-forward.

Shapes: D hidden_size, F intermediate_size; any leading dimensions.
Sources: RMSNorm (Zhang & Sennrich 2019), LayerNorm (Ba et al. 2016), SwiGLU and its kin (Shazeer 2020).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from groundup.model import fused
from groundup.model.config import ModelConfig


def gelu_tanh(x: Tensor) -> Tensor:
    """GELU by its tanh approximation (Hendrycks & Gimpel 2016, section 2), as GPT-2 computes it."""
    return F.gelu(x, approximate="tanh")


ACTIVATIONS: Final[dict[Literal["silu", "gelu", "gelu_tanh"], Callable[[Tensor], Tensor]]] = {
    "silu": F.silu,
    "gelu": F.gelu,
    "gelu_tanh": gelu_tanh,
}


class RMSNorm(nn.Module):
    """x / sqrt(mean(x²) + eps) * weight, over the last dimension; computed in the type of x."""

    def __init__(self, dim: int, eps: float) -> None:
        super().__init__()
        self.eps = eps
        self.weight = nn.Parameter(torch.ones(dim))

    def forward(self, x: Tensor) -> Tensor:
        if fused.usable(x, self):
            return fused.rms_norm(x, self.weight, self.eps)
        return F.rms_norm(x, (x.size(-1),), self.weight.to(x.dtype), self.eps)


class LayerNorm(nn.Module):
    """(x - mean) / sqrt(variance + eps) * weight + bias, over the last dimension; in and out in the type of x."""

    def __init__(self, dim: int, eps: float) -> None:
        super().__init__()
        self.eps = eps
        self.weight = nn.Parameter(torch.ones(dim))
        self.bias = nn.Parameter(torch.zeros(dim))

    def forward(self, x: Tensor) -> Tensor:
        weight, bias = self.weight.to(x.dtype), self.bias.to(x.dtype)
        return F.layer_norm(x, (x.size(-1),), weight, bias, self.eps).to(x.dtype)


def new_norm(config: ModelConfig) -> RMSNorm | LayerNorm:
    """The norm of the residual stream."""
    return (RMSNorm if config.norm == "rms" else LayerNorm)(config.hidden_size, config.norm_eps)


class MLP(nn.Module):
    """down(act(gate(x)) * up(x)), or down(act(up(x))) where there is no gate."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        D, F_, bias = config.hidden_size, config.intermediate_size, config.mlp_bias
        self.activation = ACTIVATIONS[config.activation]
        self.gate_proj = nn.Linear(D, F_, bias=bias) if config.gated else None
        self.up_proj = nn.Linear(D, F_, bias=bias)
        self.down_proj = nn.Linear(F_, D, bias=bias)

    def forward(self, x: Tensor) -> Tensor:
        gate, up, down = self.gate_proj, self.up_proj, self.down_proj
        if gate is None:
            hidden = self.activation(up(x))
        elif self.activation is F.silu and fused.usable(x, gate, up, down):
            return fused.swiglu(x, gate.weight, up.weight, down.weight)
        else:
            hidden = self.activation(gate(x)) * up(x)
        out: Tensor = down(hidden)
        return out
