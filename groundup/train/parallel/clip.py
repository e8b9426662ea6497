"""The global norm of a gradient whose parts lie on many processes, some of them more than once."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.tensor import DTensor, Replicate


def num_pieces(weight: Tensor) -> int:
    """Into how many different pieces a weight is cut."""
    if not isinstance(weight, DTensor):
        return 1
    placed = zip(weight.device_mesh.shape, weight.placements, strict=True)
    sizes = [size for size, placement in placed if not isinstance(placement, Replicate)]
    return math.prod(sizes)


def clip_gradients(weights: Iterable[nn.Parameter], max_norm: float, copies: Mapping[nn.Parameter, float]) -> float:
    """Scale the gradient to ``max_norm`` where it is longer; returns its norm before. The same on all processes.

    ``copies`` says how many processes hold the same piece of a weight; empty for a single process.
    """
    held = [weight for weight in weights if weight.grad is not None]
    grads = [_local(weight) for weight in held]
    if not grads:
        squares = torch.zeros((), dtype=torch.float64)
    else:
        norms = torch.stack(torch._foreach_norm(grads)).double()
        shares = torch.tensor([1.0 / copies.get(weight, 1.0) for weight in held], dtype=torch.float64)
        squares = (norms.square() * shares.to(norms.device)).sum()
    if copies:
        dist.all_reduce(squares)
    norm = float(squares.sqrt())
    if norm > max_norm:
        torch._foreach_mul_(grads, max_norm / (norm + 1e-6))
    return norm


def _local(weight: nn.Parameter) -> Tensor:
    assert weight.grad is not None
    return weight.grad.to_local() if isinstance(weight.grad, DTensor) else weight.grad
