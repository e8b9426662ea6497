"""Products in fp8: the arithmetic against products of what was rounded, and how a model is changed."""

from __future__ import annotations

import statistics

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from groundup.base.errors import RequestError
from groundup.model.config import ModelConfig
from groundup.model.init import initialise
from groundup.model.loss import linear_cross_entropy
from groundup.model.transformer import Transformer
from groundup.train.fp8 import Fp8Linear, apply_fp8, check_device, quantise

E4M3, E5M2 = torch.float8_e4m3fn, torch.float8_e5m2


def rounded(x: Tensor, dtype: torch.dtype) -> Tensor:
    eight, inverse = quantise(x, dtype)
    return eight.float() * inverse


def inputs() -> tuple[Fp8Linear, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    linear = Fp8Linear(48, 64, bias=False)
    with torch.no_grad():
        linear.weight.copy_(torch.randn(64, 48, generator=generator) * 0.02)
    x = (torch.randn(2, 16, 48, generator=generator) * 5).bfloat16().requires_grad_()
    return linear, x, (torch.randn(2, 16, 64, generator=generator) * 1e-4).bfloat16()


@pytest.mark.parametrize(("dtype", "step"), [(E4M3, 2**-4), (E5M2, 2**-3)])
@pytest.mark.parametrize("size", [1e-6, 1.0, 1e6])
def test_rounding_is_relative_to_the_largest_entry(dtype: torch.dtype, step: float, size: float) -> None:
    x = torch.randn(1000, generator=torch.Generator().manual_seed(0)) * size
    error = (rounded(x, dtype) - x).abs()
    assert bool((error <= step * x.abs() * 1.001 + 1e-4 * x.abs().max()).all())
    assert bool((error > 0).any())
    assert torch.equal(quantise(torch.zeros(3), dtype)[0].float(), torch.zeros(3))


def test_the_three_products_are_those_of_rounded_operands() -> None:
    linear, x, dy = inputs()
    y = linear(x)
    y.backward(dy)
    x8, w8 = rounded(x.detach(), E4M3), rounded(linear.weight.detach(), E4M3)
    dy8 = rounded(dy, E5M2).flatten(0, 1)
    assert y.dtype == torch.bfloat16
    assert x.grad is not None
    assert linear.weight.grad is not None
    assert (x.grad.dtype, linear.weight.grad.dtype) == (torch.bfloat16, torch.float32)
    for ours, plain in (
        (y, x8 @ w8.t()),
        (x.grad, (dy8 @ w8).view_as(x)),
        (linear.weight.grad, dy8.t() @ x8.flatten(0, 1)),
    ):
        assert float((ours.detach().float() - plain).norm() / plain.norm()) < 3e-3  # bf16 rounds the result


def test_what_it_costs_in_accuracy() -> None:
    linear, x, dy = inputs()
    y = linear(x)
    y.backward(dy)
    plain = F.linear(x.detach().float(), linear.weight.detach())
    assert 0.005 < float((y.detach().float() - plain).norm() / plain.norm()) < 0.06


def test_few_rows_take_the_plain_product() -> None:
    linear, x, _ = inputs()
    x = x[:, :3]
    with torch.autocast("cpu", torch.bfloat16), torch.no_grad():
        assert torch.equal(linear(x), F.linear(x, linear.weight))


def test_not_a_number_is_not_hidden() -> None:
    linear, x, _ = inputs()
    x = x.detach().clone()
    x[0, 0, 0] = float("nan")
    assert bool(linear(x).isnan().any())


def test_a_model_keeps_its_parameters_and_learns_alike() -> None:
    config = ModelConfig(
        vocab_size=61, num_layers=2, hidden_size=32, num_heads=2, num_kv_heads=1, head_dim=16, intermediate_size=48,
        max_seq_len=32, qkv_bias=True, tie_embeddings=False,
    )  # fmt: skip
    apart = []
    for seed in range(3):
        plain, eighth = (_curve(config, seed, in_fp8) for in_fp8 in (False, True))
        assert plain != eighth
        assert eighth[-1] < 0.3 * eighth[0]
        apart += [abs(one - other) for one, other in zip(plain, eighth, strict=True)]
    # Of 4.1 at the start; single steps of a falling curve depend on the order in which products are summed.
    assert statistics.mean(apart) < 0.015
    assert max(apart) < 0.1


def _curve(config: ModelConfig, seed: int, in_fp8: bool) -> list[float]:
    ids = torch.randint(61, (4, 33), generator=torch.Generator().manual_seed(seed))
    model = Transformer(config)
    initialise(model, seed)
    before = dict(model.named_parameters())
    if in_fp8:
        assert apply_fp8(model) == 2 * 7
        after = dict(model.named_parameters())
        assert list(before) == list(after)
        assert all(before[name] is after[name] for name in before)
        assert type(model.lm_head) is nn.Linear
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    losses = []
    for _ in range(40):
        with torch.autocast("cpu", torch.bfloat16):
            hidden = model(ids[:, :-1]).flatten(0, 1)
            loss = linear_cross_entropy(hidden, model.output_weight, ids[:, 1:].flatten()) / ids[:, 1:].numel()
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        losses.append(loss.item())
    return losses


def test_a_cpu_is_told() -> None:
    with pytest.raises(RequestError, match="set precision to bf16"):
        check_device(torch.device("cpu"))
