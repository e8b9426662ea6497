"""The mixture of experts beyond parity: the balance loss, the fused path, and experts that nobody chose."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from model_peers import OURS, lively, random_ids
from transformers.models.mixtral.modeling_mixtral import load_balancing_loss_func

from groundup.model.experts import MoE, balance_loss


def layer(seed: int = 0) -> MoE:
    mlp = lively(OURS["mixtral"][1], seed).layers[0].mlp
    assert isinstance(mlp, MoE)
    return mlp


def test_balance_loss_is_that_of_transformers() -> None:
    mlp = layer()
    x = torch.randn(3, 20, 48, generator=torch.Generator().manual_seed(0))
    aux: list[torch.Tensor] = []
    mlp(x, aux)
    logits = mlp.router(x.flatten(0, 1))
    assert len(aux) == 1
    torch.testing.assert_close(aux[0], load_balancing_loss_func((logits,), 4, 2))
    (gradient,) = torch.autograd.grad(aux[0], mlp.router.weight)
    assert gradient.abs().max() > 0


def test_balance_loss_runs_from_even_to_one_sided() -> None:
    even = torch.full((8, 4), 0.25)
    chosen = torch.arange(8)[:, None] % 4
    assert balance_loss(even, chosen).item() == pytest.approx(1.0)
    one_sided = torch.tensor([[1.0, 0, 0, 0]]).expand(8, 4)
    assert balance_loss(one_sided, torch.zeros(8, 1, dtype=torch.long)).item() == pytest.approx(4.0)


def test_every_layer_reports_its_balance_and_only_if_asked() -> None:
    model = lively(OURS["qwen3_moe"][1])
    ids = random_ids(model.config.vocab_size, 2, 10)
    aux: list[torch.Tensor] = []
    hidden = model(ids, aux=aux)
    assert len(aux) == model.config.num_layers
    assert torch.equal(hidden, model(ids))
    dense: list[torch.Tensor] = []
    lively(OURS["llama"][1])(ids, aux=dense)
    assert dense == []


def test_the_fused_path_of_bf16_agrees_with_the_plain_one() -> None:
    mlp = layer()
    x = torch.randn(2, 30, 48, generator=torch.Generator().manual_seed(1), requires_grad=True)
    plain = mlp(x)
    (plain_gradient,) = torch.autograd.grad(plain.sum(), mlp.experts.down_proj)
    with torch.autocast("cpu", torch.bfloat16):
        fused = mlp(x.bfloat16())
    assert fused.dtype == torch.bfloat16
    (fused_gradient,) = torch.autograd.grad(fused.float().sum(), mlp.experts.down_proj)
    assert ((fused.float() - plain).norm() / plain.norm()).item() < 0.03
    assert fused_gradient.dtype == torch.float32
    assert ((fused_gradient - plain_gradient).norm() / plain_gradient.norm()).item() < 0.03


def test_a_cpu_meets_few_numbers_of_rows_in_bf16(monkeypatch: pytest.MonkeyPatch) -> None:
    """A new number of rows costs a kernel that oneDNN keeps: hundreds of steps must not bring hundreds of them."""
    mlp, grouped_mm = layer(), F.grouped_mm
    met: list[int] = []

    def watched(rows: torch.Tensor, weights: torch.Tensor, *, offs: torch.Tensor) -> torch.Tensor:
        met.extend(offs.diff(prepend=offs.new_zeros(1)).tolist())
        return grouped_mm(rows, weights, offs=offs)

    monkeypatch.setattr(F, "grouped_mm", watched)
    source = torch.Generator().manual_seed(1)
    with torch.autocast("cpu", torch.bfloat16):
        for _ in range(20):
            mlp(torch.randn(2, 200, 48, generator=source).bfloat16())
    assert len(met) == 20 * 3 * 4
    assert all(count % 64 == 0 for count in met) and len(set(met)) <= 7


def test_odd_widths_work_in_bf16_too() -> None:
    config = OURS["mixtral"][1].model_copy(update={"intermediate_size": 13})
    mlp = lively(config).layers[0].mlp
    x = torch.randn(1, 5, 48, generator=torch.Generator().manual_seed(1))
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.isfinite(mlp(x.bfloat16())).all()


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_an_expert_that_nobody_chose_has_a_gradient_of_zero(dtype: torch.dtype) -> None:
    """And not none, or processes that saw other tokens would wait for it."""
    mlp = layer().to(dtype)
    with torch.no_grad():
        mlp.router.weight[3] = 0
        mlp.router.weight[:3, 0] += 100
    x = torch.randn(1, 6, 48, dtype=dtype, generator=torch.Generator().manual_seed(0))
    x[..., 0] = 10
    mlp(x).float().sum().backward()
    gradient = mlp.experts.up_proj.grad
    assert gradient is not None
    assert gradient[3].abs().max() == 0
    assert gradient[:3].abs().max() > 0
