"""Cross-entropy straight from hidden states, a chunk at a time: the logits of all positions never exist at once.

The gradient is computed in the forward pass, while a chunk's probabilities are at hand, as in Liger
(Hsu et al. 2024, section 3.2) and Apple's cut cross-entropy (Wijmans et al. 2024). This is right because a sum of
cross-entropies reaches the parameters through one scalar: the backward pass only has to scale.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

CHUNK = 1024
"""Positions a chunk: 1024 rows of 4,096 fp32 logits are 16 MiB, which stays near the cache."""


class _LinearCrossEntropy(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, hidden_ND: Tensor, weight_VD: Tensor, targets_N: Tensor) -> Tensor:
        weight = weight_VD.to(hidden_ND.dtype)
        wants_gradient = ctx.needs_input_grad[0] or ctx.needs_input_grad[1]
        grad_hidden = torch.empty_like(hidden_ND) if wants_gradient else None
        grad_weight = torch.zeros_like(weight_VD, dtype=torch.float32) if wants_gradient else None
        total = torch.zeros((), dtype=torch.float32, device=hidden_ND.device)
        for start in range(0, len(hidden_ND), CHUNK):
            hidden, targets = hidden_ND[start : start + CHUNK], targets_N[start : start + CHUNK, None]
            logits = (hidden @ weight.t()).float()
            log_norm = logits.logsumexp(dim=-1, keepdim=True)
            total += (log_norm - logits.gather(1, targets)).sum()
            if grad_hidden is None or grad_weight is None:
                continue
            error = logits.sub_(log_norm).exp_()  # softmax, in place
            error.scatter_add_(1, targets, error.new_full(targets.shape, -1.0))
            error = error.to(hidden.dtype)
            grad_hidden[start : start + CHUNK] = error @ weight
            grad_weight += error.t() @ hidden
        ctx.save_for_backward(grad_hidden, grad_weight)
        return total

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Any) -> tuple[Tensor | None, Tensor | None, None]:
        grad_hidden, grad_weight = ctx.saved_tensors
        (scale,) = grad_outputs
        return grad_hidden * scale.to(grad_hidden.dtype), grad_weight * scale, None


def linear_cross_entropy(hidden_ND: Tensor, weight_VD: Tensor, targets_N: Tensor) -> Tensor:
    """The sum over N positions of -log softmax(hidden @ weight.T)[target], a scalar in fp32, in nats.

    hidden_ND is bf16 or fp32, weight_VD the output projection, targets_N int64 in [0, V).
    """
    result: Tensor = _LinearCrossEntropy.apply(hidden_ND, weight_VD, targets_N)  # type: ignore[no-untyped-call]
    return result


def target_log_probs(hidden_ND: Tensor, weight_VD: Tensor, targets_N: Tensor) -> Tensor:
    """log softmax(hidden @ weight.T)[target] for each position: fp32 (N,), differentiable one by one."""
    logits = F.linear(hidden_ND, weight_VD.to(hidden_ND.dtype)).float()
    return logits.gather(1, targets_N[:, None])[:, 0] - logits.logsumexp(dim=-1)
