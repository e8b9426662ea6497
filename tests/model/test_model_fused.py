"""The fused functions against the plain operators they stand for: values, gradients, and when they may be used."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
import torch
from torch import Tensor, nn
from torch.autograd import gradcheck
from torch.nn import functional as F

from groundup.model import fused, fused_attention, rotary
from groundup.model.config import ModelConfig
from groundup.model.loss import linear_cross_entropy
from groundup.model.transformer import Transformer
from groundup.train.parallel.recompute import apply_recompute


def exact(*shape: int) -> Tensor:
    """A float64 input that wants a gradient."""
    generator = torch.Generator().manual_seed(math.prod(shape))
    return torch.randn(*shape, dtype=torch.float64, generator=generator).requires_grad_()


def agree(ours: Callable[..., Tensor], plain: Callable[..., Tensor], *inputs: Tensor) -> None:
    """Equal values and gradients, these also by finite differences."""
    assert gradcheck(ours, inputs)
    ours_out, plain_out = ours(*inputs), plain(*inputs)
    torch.testing.assert_close(ours_out, plain_out)
    direction = torch.randn(plain_out.shape, dtype=plain_out.dtype, generator=torch.Generator().manual_seed(0))
    for left, right in zip(
        torch.autograd.grad(ours_out, inputs, direction), torch.autograd.grad(plain_out, inputs, direction), strict=True
    ):
        torch.testing.assert_close(left, right)


def test_rms_norm() -> None:
    agree(lambda x, w: fused.rms_norm(x, w, 1e-5), lambda x, w: F.rms_norm(x, (8,), w, 1e-5), exact(3, 2, 8), exact(8))


def test_linear_with_several_weights() -> None:
    agree(
        lambda x, a, b: torch.cat(fused.linear(x, a, b), dim=-1),
        lambda x, a, b: torch.cat([x @ a.t(), x @ b.t()], dim=-1),
        exact(2, 3, 4), exact(5, 4), exact(2, 4),
    )  # fmt: skip


def test_swiglu() -> None:
    agree(
        fused.swiglu,
        lambda x, gate, up, down: (F.silu(x @ gate.t()) * (x @ up.t())) @ down.t(),
        exact(2, 3, 4), exact(6, 4), exact(6, 4).detach().neg().requires_grad_(), exact(4, 6),
    )  # fmt: skip


@pytest.mark.parametrize("shape", [(5, 8), (2, 1, 5, 8)])
def test_rotate(shape: tuple[int, ...]) -> None:
    angles = torch.randn(*shape[:-1], 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    cos, sin = (1.3 * torch.cat([part, part], dim=-1) for part in (angles.cos(), angles.sin()))
    agree(lambda x: fused.rotate(x, cos, sin), lambda x: rotary.rotate(x, cos, sin), exact(2, 3, 5, 8))


@pytest.mark.parametrize("longest_kept", [1, 1024])
@pytest.mark.parametrize("num_kv_heads", [1, 2, 4])
@pytest.mark.parametrize("length", [1, 3, 7])
def test_causal_attention(length: int, num_kv_heads: int, longest_kept: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fused_attention, "_BLOCK", 3)
    monkeypatch.setattr(fused_attention, "_LONGEST_KEPT", longest_kept)
    agree(
        fused_attention.causal_attention,
        lambda q, k, v: F.scaled_dot_product_attention(q, k, v, is_causal=True, enable_gqa=True),
        exact(2, 4, length, 6), exact(2, num_kv_heads, length, 6), exact(2, num_kv_heads, length, 6),
    )  # fmt: skip


# -- the whole model ---------------------------------------------------------------------------------------------

CONFIG = ModelConfig(
    vocab_size=97, num_layers=2, hidden_size=64, num_heads=4, num_kv_heads=2, head_dim=16, intermediate_size=96,
    max_seq_len=200, qk_norm=True,
)  # fmt: skip


def lively() -> Transformer:
    """A small model whose every weight matters."""
    model = Transformer(CONFIG)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for weight in model.parameters():
            noise = torch.randn(weight.shape, generator=generator)
            weight.copy_(noise * 0.2 if weight.ndim == 2 else 1 + 0.3 * noise)
    return model


@contextmanager
def plain_operators(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    with monkeypatch.context() as patch:
        patch.setattr(fused, "usable", lambda *_: False)
        yield


def gradients(model: Transformer, *, bf16: bool = True) -> Tensor:
    """All gradients of a loss on two rows, in one fp32 vector."""
    ids = torch.randint(97, (2, 161), generator=torch.Generator().manual_seed(1))
    model.zero_grad()
    with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
        linear_cross_entropy(model(ids[:, :-1]).flatten(0, 1), model.output_weight, ids[:, 1:].flatten()).backward()
    found = []
    for weight in model.parameters():
        assert weight.grad is not None
        assert weight.grad.dtype == torch.float32
        found.append(weight.grad.flatten().clone())
    return torch.cat(found)


def test_bf16_gradients_are_as_near_to_fp32_as_those_of_the_plain_operators(monkeypatch: pytest.MonkeyPatch) -> None:
    model = lively()
    reference = gradients(model, bf16=False)
    ours = gradients(model)
    with plain_operators(monkeypatch):
        plain = gradients(model)
    assert not torch.equal(ours, plain)  # the fused functions were used
    error, plain_error = ((found - reference).norm() / reference.norm() for found in (ours, plain))
    assert error < 1.2 * plain_error
    assert error < 0.05


def test_fp32_takes_the_plain_operators(monkeypatch: pytest.MonkeyPatch) -> None:
    model = lively()
    ours = gradients(model, bf16=False)
    with plain_operators(monkeypatch):
        assert torch.equal(gradients(model, bf16=False), ours)


class Doubled(nn.Linear):
    """What an adapter might put in a projection's place."""

    def forward(self, x: Tensor) -> Tensor:
        return 2 * super().forward(x)


@pytest.mark.parametrize("part", ["mlp.up_proj", "self_attn.k_proj"])
def test_a_module_replaced_from_outside_is_called(part: str) -> None:
    branch_name, projection_name = part.split(".")
    outs = []
    for replaced in (False, True):
        block = lively().layers[0]
        branch = getattr(block, branch_name)
        projection = getattr(branch, projection_name)
        if replaced:
            new = Doubled(projection.in_features, projection.out_features, bias=False)
            new.weight = projection.weight
            setattr(branch, projection_name, new)
        else:
            projection.weight.data *= 2
        x = torch.randn(1, 70, 64, generator=torch.Generator().manual_seed(0)).bfloat16().requires_grad_()
        with torch.autocast("cpu", torch.bfloat16):
            outs.append(block(x, lively().context(x)))
    torch.testing.assert_close(outs[0], outs[1], atol=0.05, rtol=0.05)


def test_a_hook_on_a_projection_is_called() -> None:
    block, seen = lively().layers[0], []
    block.mlp.gate_proj.register_forward_hook(lambda *_: seen.append(True))
    x = torch.randn(1, 70, 64, dtype=torch.bfloat16, requires_grad=True)
    with torch.autocast("cpu", torch.bfloat16):
        block(x, lively().context(x))
    assert seen


def test_frozen_weights_get_no_gradient_and_change_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    whole, frozen = lively(), lively()
    gradients(whole)
    for name, weight in frozen.named_parameters():
        weight.requires_grad_("up_proj" in name or "v_proj" in name or "embed" in name)
    ids = torch.randint(97, (2, 161), generator=torch.Generator().manual_seed(1))
    with torch.autocast("cpu", torch.bfloat16):
        hidden = frozen(ids[:, :-1]).flatten(0, 1)
        linear_cross_entropy(hidden, frozen.output_weight, ids[:, 1:].flatten()).backward()
    for (name, weight), other in zip(frozen.named_parameters(), whole.parameters(), strict=True):
        if weight.requires_grad:
            assert torch.equal(weight.grad, other.grad), name
        else:
            assert weight.grad is None


@pytest.mark.parametrize("products_kept", [False, True])
def test_a_recomputed_block_gives_the_same_gradients(products_kept: bool) -> None:
    """Also where the products' results are kept and handed back: nothing may have been written over them."""
    model = lively()
    kept = gradients(model)
    apply_recompute(model, "selective" if products_kept else "full")
    assert torch.equal(gradients(model), kept)
