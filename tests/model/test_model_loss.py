"""The fused loss against torch's own, values and gradients, wherever the chunks end."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from groundup.model import loss
from groundup.model.loss import linear_cross_entropy, penalised_cross_entropy, target_log_probs


def inputs(count: int, dtype: torch.dtype = torch.float32) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(count)
    hidden = torch.randn(count, 24, generator=generator).to(dtype).requires_grad_()
    weight = torch.randn(57, 24, generator=generator).requires_grad_()
    targets = torch.randint(57, (count,), generator=generator)
    return hidden, weight, targets


@pytest.mark.parametrize("count", [1, 6, 7, 8, 14, 15, 50])
def test_value_and_gradients_are_torchs(count: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loss, "CHUNK", 7)
    hidden, weight, targets = inputs(count)
    ours = linear_cross_entropy(hidden, weight, targets)
    (3.5 * ours).backward()
    gradients = hidden.grad, weight.grad
    hidden.grad = weight.grad = None
    plain = F.cross_entropy(hidden @ weight.t(), targets, reduction="sum")
    (3.5 * plain).backward()
    torch.testing.assert_close(ours, plain, atol=1e-5, rtol=1e-5)
    for ours_grad, plain_grad in zip(gradients, (hidden.grad, weight.grad), strict=True):
        torch.testing.assert_close(ours_grad, plain_grad, atol=1e-4, rtol=1e-5)


@pytest.mark.parametrize("count", [1, 7, 20])
def test_z_loss_is_the_squared_log_normaliser(count: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loss, "CHUNK", 7)
    monkeypatch.setattr(loss, "_BLOCK", 3 * 57)
    hidden, weight, targets = inputs(count)
    ours = linear_cross_entropy(hidden, weight, targets, 0.01)
    logits = hidden @ weight.t()
    plain = F.cross_entropy(logits, targets, reduction="sum") + 0.01 * logits.logsumexp(dim=1).square().sum()
    torch.testing.assert_close(ours, plain, atol=1e-5, rtol=1e-5)
    for left, right in zip(
        torch.autograd.grad(3 * ours, (hidden, weight)), torch.autograd.grad(3 * plain, (hidden, weight)), strict=True
    ):
        torch.testing.assert_close(left, right, atol=1e-4, rtol=1e-5)
    with torch.no_grad():
        torch.testing.assert_close(linear_cross_entropy(hidden, weight, targets, 0.01), ours.detach())
    total, penalty = penalised_cross_entropy(hidden, weight, targets, 0.01)
    assert total.requires_grad and not penalty.requires_grad
    torch.testing.assert_close(total - penalty, F.cross_entropy(logits, targets, reduction="sum"))


def test_a_second_backward_pass_is_refused() -> None:
    """Gradients are scaled in place: a second pass through them must not go unnoticed."""
    ours = linear_cross_entropy(*inputs(9))
    ours.backward(retain_graph=True)
    with pytest.raises(RuntimeError, match="inplace operation"):
        ours.backward()


def test_the_value_is_as_exact_with_a_gradient_as_without() -> None:
    hidden, weight, targets = inputs(300, torch.bfloat16)
    with torch.no_grad():
        plain = linear_cross_entropy(hidden, weight, targets)
    assert linear_cross_entropy(hidden, weight, targets).item() == pytest.approx(plain.item(), rel=1e-6)


def test_nothing_to_predict() -> None:
    hidden, weight, targets = inputs(3)
    ours = linear_cross_entropy(hidden[:0], weight, targets[:0])
    ours.backward()
    assert ours.item() == 0.0
    assert weight.grad is not None
    assert not weight.grad.any()


def test_bf16_states_over_fp32_weights_stay_near_fp32(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loss, "CHUNK", 16)
    hidden, weight, targets = inputs(100, torch.bfloat16)
    ours = linear_cross_entropy(hidden, weight, targets)
    ours.backward()
    assert ours.dtype == torch.float32
    assert hidden.grad is not None
    assert weight.grad is not None
    assert (hidden.grad.dtype, weight.grad.dtype) == (torch.bfloat16, torch.float32)
    exact_hidden, exact_weight = hidden.detach().float().requires_grad_(), weight.detach().clone().requires_grad_()
    exact = F.cross_entropy(exact_hidden @ exact_weight.t(), targets, reduction="sum")
    exact.backward()
    assert ours.item() == pytest.approx(exact.item(), rel=1e-2)
    for ours_grad, exact_grad in ((hidden.grad, exact_hidden.grad), (weight.grad, exact_weight.grad)):
        assert exact_grad is not None
        assert float((ours_grad - exact_grad).norm() / exact_grad.norm()) < 2e-2


def test_large_logits_do_not_overflow() -> None:
    hidden, weight, targets = inputs(5)
    ours = linear_cross_entropy(hidden * 1000, weight, targets)
    torch.testing.assert_close(ours, F.cross_entropy(1000 * hidden @ weight.t(), targets, reduction="sum"))


def test_one_side_may_be_frozen_and_no_gradient_is_needed() -> None:
    hidden, weight, targets = inputs(9)
    linear_cross_entropy(hidden, weight.detach(), targets).backward()
    (want,) = torch.autograd.grad(F.cross_entropy(hidden @ weight.t(), targets, reduction="sum"), hidden)
    torch.testing.assert_close(hidden.grad, want, atol=1e-5, rtol=1e-5)
    with torch.inference_mode():
        linear_cross_entropy(hidden, weight, targets)


def test_target_log_probs_are_log_softmax_and_differentiable() -> None:
    hidden, weight, targets = inputs(11)
    factors = torch.arange(11.0)
    ours = target_log_probs(hidden, weight, targets)
    plain = F.log_softmax(hidden @ weight.t(), dim=-1)[torch.arange(11), targets]
    torch.testing.assert_close(ours, plain)
    for left, right in zip(
        torch.autograd.grad((ours * factors).sum(), (hidden, weight)),
        torch.autograd.grad((plain * factors).sum(), (hidden, weight)),
        strict=True,
    ):
        torch.testing.assert_close(left, right, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("z_loss", [0.0, 0.01])
def test_a_target_too_unlikely_for_fp32_has_its_loss_all_the_same(z_loss: float) -> None:
    """exp(-200) is 0 in fp32, its loss is 200; other rows of the block must not notice."""
    hidden = torch.tensor([[200.0, 1.0], [0.5, -1.0], [95.0, 2.0]], requires_grad=True)
    weight = torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.0, 0.5]], requires_grad=True)
    targets = torch.tensor([1, 0, 2])
    ours = linear_cross_entropy(hidden, weight, targets, z_loss)
    logits = hidden @ weight.t()
    plain = F.cross_entropy(logits, targets, reduction="sum") + z_loss * logits.logsumexp(dim=1).square().sum()
    assert float(F.cross_entropy(logits, targets, reduction="none").detach().max()) > 190
    torch.testing.assert_close(ours, plain)
    ours_grads = torch.autograd.grad(ours, (hidden, weight))
    for left, right in zip(ours_grads, torch.autograd.grad(plain, (hidden, weight)), strict=True):
        torch.testing.assert_close(left, right, atol=1e-4, rtol=1e-5)
