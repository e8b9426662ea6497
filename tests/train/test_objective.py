"""Objectives against their formulas, written out with log_softmax alone."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from groundup.model.config import ModelConfig
from groundup.model.init import initialise
from groundup.model.transformer import Transformer
from groundup.train.objective import PENALTY, DirectPreference, NextToken, PairBatch, answer_log_probs, next_token
from groundup.train.stream import TokenBatch

CONFIG = ModelConfig(
    vocab_size=50, num_layers=2, hidden_size=24, num_heads=2, num_kv_heads=2, head_dim=12,
    intermediate_size=32, max_seq_len=16,
)  # fmt: skip


def lively(seed: int) -> Transformer:
    model = Transformer(CONFIG)
    initialise(model, seed)
    with torch.no_grad():
        for weight in model.parameters():
            if weight.ndim == 2:
                weight.mul_(8)
    return model


def batch_of(rows: int = 6) -> TokenBatch:
    generator = torch.Generator().manual_seed(5)
    ids = torch.randint(50, (rows, 13), generator=generator)
    trained = torch.rand(rows, 12, generator=generator) < 0.4
    trained[:, 3] = True
    return TokenBatch(ids[:, :-1], ids[:, 1:], trained)


def log_probs(model: Transformer, batch: TokenBatch) -> Tensor:
    """(B, T) written out."""
    logits = model.logits(model(batch.inputs))
    return F.log_softmax(logits, dim=-1).gather(2, batch.targets[..., None])[..., 0]


def gradients(model: Transformer, loss: Tensor) -> Tensor:
    return torch.cat([g.flatten() for g in torch.autograd.grad(loss, list(model.parameters()))])


def test_next_token_counts_all_targets_or_those_that_are_trained() -> None:
    model, batch = lively(1), batch_of()
    assert batch.trained is not None
    plain = TokenBatch(batch.inputs, batch.targets)
    for each, mask in ((plain, torch.ones_like(batch.trained)), (batch, batch.trained)):
        total, values = next_token(model, each)
        want = -(log_probs(model, each) * mask).sum()
        assert values == {}
        assert each.weight == int(mask.sum())
        torch.testing.assert_close(total, want, atol=1e-3, rtol=1e-5)
        torch.testing.assert_close(gradients(model, total), gradients(model, want), atol=1e-3, rtol=1e-3)


def test_masked_targets_teach_nothing() -> None:
    """Another id in a target that does not count changes neither loss nor gradient."""
    model, batch = lively(1), batch_of()
    assert batch.trained is not None
    changed = torch.where(batch.trained, batch.targets, (batch.targets + 7) % 50)
    other = TokenBatch(batch.inputs, changed, batch.trained)
    one, two = next_token(model, batch)[0], next_token(model, other)[0]
    assert torch.equal(one, two)
    assert torch.equal(gradients(model, one), gradients(model, two))


def test_what_is_no_loss_of_prediction_is_told_apart() -> None:
    model, batch = lively(1), batch_of()
    plain, _ = next_token(model, batch)
    total, values = NextToken(z_loss=0.01)(model, batch)
    assert values[PENALTY] > 0
    torch.testing.assert_close(total - values[PENALTY], plain)


def test_answers_are_summed_row_by_row_and_padding_is_nothing() -> None:
    model, batch = lively(1), batch_of()
    assert batch.trained is not None
    want = (log_probs(model, batch).double() * batch.trained).sum(dim=1)
    torch.testing.assert_close(answer_log_probs(model, batch), want, atol=1e-4, rtol=1e-4)
    padding = torch.full((6, 3), 49)
    padded = TokenBatch(
        torch.cat([batch.inputs, padding], dim=1),
        torch.cat([batch.targets, padding], dim=1),
        torch.cat([batch.trained, torch.zeros(6, 3, dtype=torch.bool)], dim=1),
    )
    torch.testing.assert_close(answer_log_probs(model, padded), want, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("beta", [0.1, 0.7])
def test_direct_preference_is_the_papers_equation_7(beta: float) -> None:
    policy, reference, tokens = lively(1), lively(2), batch_of()
    assert tokens.trained is not None
    with torch.no_grad():
        before = (log_probs(reference, tokens) * tokens.trained).sum(dim=1)
    batch = PairBatch(tokens, before)
    total, values = DirectPreference(beta)(policy, batch)

    after = (log_probs(policy, tokens) * tokens.trained).sum(dim=1)
    want, margins = torch.zeros(()), []
    for chosen in (0, 2, 4):
        margin = beta * ((after[chosen] - before[chosen]) - (after[chosen + 1] - before[chosen + 1]))
        want = want - torch.log(torch.sigmoid(margin.double())).float()
        margins.append(margin.item())
    torch.testing.assert_close(total, want, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(gradients(policy, total), gradients(policy, want), atol=1e-3, rtol=1e-3)
    assert batch.weight == 3
    assert values["accuracy"] == sum(margin > 0 for margin in margins)
    assert values["margin"] == pytest.approx(sum(margins), rel=1e-4)


def test_before_training_a_pair_costs_log_2_and_counts_half() -> None:
    model, tokens = lively(1), batch_of()
    with torch.no_grad():
        reference = answer_log_probs(model, tokens)
    total, values = DirectPreference(0.1)(model, PairBatch(tokens, reference))
    assert total.item() == pytest.approx(3 * math.log(2), rel=1e-5)
    assert values == {"accuracy": 1.5, "margin": 0.0}


def test_a_step_down_the_gradient_prefers_the_chosen_answer() -> None:
    model, tokens = lively(1), batch_of()
    with torch.no_grad():
        reference = answer_log_probs(model, tokens)
    total, _ = DirectPreference(0.5)(model, PairBatch(tokens, reference))
    total.backward()
    with torch.no_grad():
        for weight in model.parameters():
            assert weight.grad is not None
            weight -= 1e-3 * weight.grad / weight.grad.norm().clamp_min(1e-9)
    _, values = DirectPreference(0.5)(model, PairBatch(tokens, reference))
    assert values["accuracy"] == 3
    assert values["margin"] > 0
