"""Cross-entropy straight from hidden states, a chunk at a time: the logits of all positions never exist at once.

The gradient is computed in the forward pass, while a chunk's probabilities are at hand, as in Liger
(Hsu et al. 2024, section 3.2) and Apple's cut cross-entropy (Wijmans et al. 2024). This is right because a sum of
losses reaches the parameters through one scalar: the backward pass only has to scale.

For one position with logits x, target t and log_norm = log sum exp x:

    loss = log_norm - x[t] + z_loss * log_norm²                      (z-loss: PaLM, Chowdhery et al. 2022, section 5)
    d loss / d x = (1 + 2 * z_loss * log_norm) * softmax(x) - onehot(t)

Shapes: N positions, D hidden_size, V vocab_size.
"""

from __future__ import annotations

from typing import Any, Final

import torch
import torch.nn.functional as F
from torch import Tensor

CHUNK: Final = 1024
"""Positions whose logits exist at once, in the type of the hidden states: enough to keep matrix products efficient."""

_LEAST_ODDS: Final = 1e-30
"""A probability above this is a normal number in fp32, and its logarithm is right to the last bits."""

_BLOCK: Final = 2**20
"""Logits turned into probabilities at once on a CPU, in fp32: 4 MiB, which stay in the cache."""


class _LinearCrossEntropy(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, hidden_ND: Tensor, weight_VD: Tensor, targets_N: Tensor, z_loss: float
    ) -> tuple[Tensor, Tensor]:
        weight = weight_VD.to(hidden_ND.dtype)
        wants_hidden, wants_weight = ctx.needs_input_grad[:2]
        grad_hidden = torch.empty_like(hidden_ND) if wants_hidden else None
        grad_weight: Tensor | None = None
        total = torch.zeros((), dtype=torch.float32, device=hidden_ND.device)
        penalty = torch.zeros_like(total)
        for start in range(0, len(hidden_ND), CHUNK):
            hidden, targets = hidden_ND[start : start + CHUNK], targets_N[start : start + CHUNK, None]
            logits = hidden @ weight.t()
            _add_losses(total, penalty, logits, targets, z_loss, in_place_gradient=wants_hidden or wants_weight)
            if grad_hidden is not None:
                torch.mm(logits, weight, out=grad_hidden[start : start + CHUNK])
            if wants_weight:
                product = logits.t() @ hidden
                grad_weight = product.float() if grad_weight is None else grad_weight.add_(product)
        if wants_weight and grad_weight is None:  # no positions
            grad_weight = torch.zeros_like(weight_VD, dtype=torch.float32)
        ctx.save_for_backward(grad_hidden, grad_weight)
        ctx.weight_dtype = weight_VD.dtype
        ctx.mark_non_differentiable(penalty)
        return total + penalty, penalty

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Any) -> tuple[Tensor | None, Tensor | None, None, None]:
        grad_hidden, grad_weight = ctx.saved_tensors
        scale, _ = grad_outputs
        # In place, for the weight's gradient may be the largest tensor of all; autograd refuses a second backward pass.
        if grad_hidden is not None:
            grad_hidden.mul_(scale)
        if grad_weight is not None:
            grad_weight = grad_weight.mul_(scale).to(ctx.weight_dtype)
        return grad_hidden, grad_weight, None, None


def _add_losses(
    total: Tensor, penalty: Tensor, logits_CV: Tensor, targets_C1: Tensor, z_loss: float, *, in_place_gradient: bool
) -> None:
    """Add to the sums of losses and z-losses, fp32; if asked, the logits become the gradient of both.

    Arithmetic in fp32, block by block.
    """
    rows = max(1, _BLOCK // logits_CV.size(1)) if logits_CV.device.type == "cpu" else len(logits_CV)
    for logits, targets in zip(torch.split(logits_CV, rows), torch.split(targets_C1, rows), strict=True):
        target = logits.gather(1, targets).float()
        if not in_place_gradient:
            log_norm = logits.float().logsumexp(dim=1, keepdim=True)
        else:
            # One kernel gives all probabilities, and that of the target gives the norm, unless it is too small for
            # fp32: then the largest of the row does, which is at least 1/V, at the price of two more passes.
            error = logits.to(torch.float32, copy=True)
            torch.softmax(error, dim=1, out=error)
            odds = error.gather(1, targets)
            log_norm = target - odds.log()
            if _may_be_unlikely(odds):
                log_norm = logits.amax(dim=1, keepdim=True).float() - error.amax(dim=1, keepdim=True).log()
            if z_loss:
                error *= 1 + 2 * z_loss * log_norm
            error.scatter_add_(1, targets, error.new_full(targets.shape, -1.0))
            logits.copy_(error)
        total += (log_norm - target).sum()
        if z_loss:
            penalty += z_loss * log_norm.square().sum()


def _may_be_unlikely(odds: Tensor) -> bool:
    """Whether a probability may be too small. Asking would make a GPU wait, and a plan's tensors hold no numbers."""
    if odds.device.type != "cpu" or type(odds) is not Tensor:
        return True
    return bool((odds < _LEAST_ODDS).any())


def linear_cross_entropy(hidden_ND: Tensor, weight_VD: Tensor, targets_N: Tensor, z_loss: float = 0.0) -> Tensor:
    """The sum over N positions of -log softmax(x)[target] + z_loss * (log sum exp x)², x = hidden @ weight.T.

    A scalar in fp32, in nats. hidden_ND is bf16 or fp32, weight_VD the output projection, targets_N int64 in [0, V).
    Backward once only: RuntimeError at a second pass through the same result.
    """
    return penalised_cross_entropy(hidden_ND, weight_VD, targets_N, z_loss)[0]


def penalised_cross_entropy(
    hidden_ND: Tensor, weight_VD: Tensor, targets_N: Tensor, z_loss: float
) -> tuple[Tensor, Tensor]:
    """``linear_cross_entropy``, and how much of it is z-loss: a scalar in fp32 without a gradient."""
    result: tuple[Tensor, Tensor] = _LinearCrossEntropy.apply(hidden_ND, weight_VD, targets_N, z_loss)  # type: ignore[no-untyped-call]
    return result


def target_log_probs(hidden_ND: Tensor, weight_VD: Tensor, targets_N: Tensor) -> Tensor:
    """log softmax(hidden @ weight.T)[target] for each position: fp32 (N,), differentiable one by one."""
    logits = F.linear(hidden_ND, weight_VD.to(hidden_ND.dtype)).float()
    return logits.gather(1, targets_N[:, None])[:, 0] - logits.logsumexp(dim=-1)
