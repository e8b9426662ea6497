"""The optimizers against torch's own, and the property that defines Muon: singular values of one."""

from __future__ import annotations

import copy

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.distributed.checkpoint.state_dict import (
    StateDictOptions,
    get_optimizer_state_dict,
    set_optimizer_state_dict,
)

from groundup.model.config import ModelConfig
from groundup.model.transformer import Transformer
from groundup.train import muon as muon_module
from groundup.train.muon import POLAR_EXPRESS, muon, orthogonalise, update_scale
from groundup.train.optim import GroupedOptimizer, build_optimizer
from groundup.train.settings import OptimizerConfig, Rates

CONFIG = ModelConfig(
    vocab_size=48, num_layers=2, hidden_size=32, num_heads=2, num_kv_heads=1, head_dim=16,
    intermediate_size=40, max_seq_len=8, qk_norm=True, tie_embeddings=False,
)  # fmt: skip
RATES = Rates(matrices=0.01, embeddings=0.02, output=0.003, vectors=0.005)


def model_of(config: ModelConfig = CONFIG, seed: int = 0) -> Transformer:
    model = Transformer(config)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for weight in model.parameters():
            weight.copy_(torch.randn(weight.shape, generator=generator) * 0.1)
    return model


def give_gradients(model: nn.Module, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    for weight in model.parameters():
        weight.grad = torch.randn(weight.shape, generator=generator)


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


# --- Muon ---


@given(st.integers(1, 80), st.integers(1, 80), st.integers(0, 2**20), st.sampled_from([1e-12, 1.0, 1e6]))
@settings(max_examples=60, deadline=None)
def test_singular_values_become_one_and_directions_stay(rows: int, columns: int, seed: int, size: float) -> None:
    matrix = normal(rows, columns, seed=seed)
    left, values, right = torch.linalg.svd(matrix.double(), full_matrices=False)
    got = left.T @ orthogonalise(matrix * size, torch.float32).double() @ right.T
    assert torch.linalg.matrix_norm(got - got.diagonal().diag()) < 2e-3 * len(values) ** 0.5
    large = values > 2e-3 * torch.linalg.vector_norm(values)  # the polynomials promise nothing below that
    assert got.diagonal()[large].min() > 0.85
    assert got.diagonal()[large].max() < 1.15


@pytest.mark.parametrize("shape", [(172, 64), (64, 172), (192, 512), (3, 64, 172), (2, 3, 172, 64)])
def test_bf16_is_enough(shape: tuple[int, ...]) -> None:
    """Rounding never carries a value out of the interval, neither of even matrices nor of those near a low rank."""
    even = normal(*shape)
    uneven = normal(*shape[:-1], 8) @ normal(*shape[:-2], 8, shape[-1]) + 0.1 * even
    for matrices in (even, uneven):
        values = torch.linalg.svdvals(orthogonalise(matrices, torch.bfloat16).float())
        assert values.max() < 1.13
        assert matrices is uneven or values.min() > 0.85


def test_no_gradient_is_no_move_and_a_tiny_one_is_one() -> None:
    assert torch.equal(orthogonalise(torch.zeros(4, 6), torch.bfloat16), torch.zeros(4, 6, dtype=torch.bfloat16))
    assert torch.linalg.svdvals(orthogonalise(normal(4, 6) * 1e-15, torch.float32)).min() > 0.85


def test_jordans_iteration_is_torchs(monkeypatch: pytest.MonkeyPatch) -> None:
    """With its coefficients, and without our margin, the iteration is that of torch.optim.Muon."""
    monkeypatch.setattr(muon_module, "_SAFETY", 1.0)
    for shape in ((24, 24), (24, 60), (60, 24)):
        gradient = normal(*shape)
        weight = nn.Parameter(torch.zeros(shape))
        weight.grad = gradient
        torch.optim.Muon([weight], lr=1.0, weight_decay=0.0, momentum=0.0, nesterov=False, adjust_lr_fn=None).step()
        want = -weight.detach() / max(1.0, shape[0] / shape[1]) ** 0.5
        got = orthogonalise(gradient, torch.bfloat16, [(3.4445, -4.7750, 2.0315)] * 5).float()
        assert (got - want).abs().max() < 0.02
        assert torch.linalg.matrix_norm(got - want) < 0.04 * torch.linalg.matrix_norm(want)


def test_steps_are_those_of_torch_optim_muon(monkeypatch: pytest.MonkeyPatch) -> None:
    """Momentum, Nesterov's look ahead, scale and decay, with the exact polar factor on both sides."""

    def exact(matrices: Tensor, dtype: torch.dtype) -> Tensor:
        left, _, right = torch.linalg.svd(matrices, full_matrices=False)
        return left @ right

    monkeypatch.setattr(muon_module, "orthogonalise", exact)
    shapes = [(24, 24), (24, 60), (60, 24), (60, 24)]
    ours = [normal(*shape, seed=at) for at, shape in enumerate(shapes)]
    theirs = [nn.Parameter(weight.clone()) for weight in ours]
    start = [weight.clone() for weight in ours]
    # Newton's own coefficients converge, so many steps give the factor up to bf16's rounding.
    peer = torch.optim.Muon(
        theirs, lr=0.02, weight_decay=0.3, momentum=0.9, ns_coefficients=(2.0, -1.5, 0.5), ns_steps=60,
        adjust_lr_fn="match_rms_adamw",
    )  # fmt: skip
    momenta = [torch.zeros_like(weight) for weight in ours]
    for step in range(6):
        gradients = [normal(*shape, seed=100 * step + at) for at, shape in enumerate(shapes)]
        muon(ours, gradients, momenta, rate=0.02, momentum=0.9, weight_decay=0.3, dtype=torch.float32)
        for weight, gradient in zip(theirs, gradients, strict=True):
            weight.grad = gradient
        peer.step()
    for mine, other, first in zip(ours, theirs, start, strict=True):
        moved = torch.linalg.matrix_norm(other.detach() - first)
        assert torch.linalg.matrix_norm(mine - other.detach()) < 0.02 * moved


def test_a_move_has_the_size_of_adamws() -> None:
    for shape in ((64, 64), (64, 256), (256, 64), (2, 64, 128)):
        weight, gradient, momentum = torch.zeros(shape), normal(*shape), torch.zeros(shape)
        muon([weight], [gradient], [momentum], rate=1.0, momentum=0.9, weight_decay=0.0, dtype=torch.float32)
        assert weight.square().mean().sqrt() == pytest.approx(0.2, rel=0.1)


def test_experts_are_orthogonalised_one_by_one() -> None:
    stacked, gradient = normal(3, 20, 12), normal(3, 20, 12, seed=1)
    alone = [weight.clone() for weight in stacked]
    settings_ = {"rate": 0.1, "momentum": 0.9, "weight_decay": 0.1, "dtype": torch.float32}
    muon([stacked], [gradient], [torch.zeros_like(stacked)], **settings_)
    for weight, each in zip(alone, gradient, strict=True):
        muon([weight], [each], [torch.zeros_like(weight)], **settings_)
    torch.testing.assert_close(stacked, torch.stack(alone))


def test_batches_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    shapes = [(12, 20), (20, 12), (12, 12), (12, 20), (2, 12, 20)]
    results = []
    for limit in (2**26, 1):
        monkeypatch.setattr(muon_module, "_BATCH_ELEMENTS", limit)
        weights = [normal(*shape, seed=at) for at, shape in enumerate(shapes)]
        gradients = [normal(*shape, seed=9 + at) for at, shape in enumerate(shapes)]
        momenta = [torch.zeros_like(weight) for weight in weights]
        muon(weights, gradients, momenta, rate=0.1, momentum=0.9, weight_decay=0.1, dtype=torch.float32)
        results.append(torch.cat([weight.flatten() for weight in weights]))
    torch.testing.assert_close(results[0], results[1])


def test_the_polynomials_close_in_on_one() -> None:
    """From 1e-3 to 1, each step narrows the interval of singular values around one (Amsel et al., theorem 3.1)."""
    x = torch.logspace(-3, 0, 20_001, dtype=torch.float64)
    spread = [1.0]
    for a, b, c in POLAR_EXPRESS:
        x = a * x + b * x**3 + c * x**5
        spread.append(float((x - 1).abs().max()))
    assert spread[1:] == sorted(spread[1:], reverse=True)
    assert spread[-1] < 0.125


# --- AdamW ---


@pytest.mark.parametrize("tied", [False, True])
def test_adamw_is_torchs(tied: bool) -> None:
    config = CONFIG.model_copy(update={"tie_embeddings": tied})
    ours, theirs = model_of(config), model_of(config)
    settings_ = OptimizerConfig(method="adamw", weight_decay=0.3, beta1=0.8, beta2=0.97)
    optimizer = build_optimizer(ours, settings_, RATES)
    groups: dict[tuple[float, float], list[nn.Parameter]] = {}
    for name, weight in theirs.named_parameters():
        if "embed" in name:
            key = (RATES.embeddings, 0.0)
        elif "lm_head" in name:
            key = (RATES.output, 0.0)
        else:
            key = (RATES.matrices, 0.3) if "proj" in name else (RATES.vectors, 0.0)
        groups.setdefault(key, []).append(weight)
    peer = torch.optim.AdamW(
        [{"params": members, "lr": rate, "weight_decay": decay} for (rate, decay), members in groups.items()],
        betas=(0.8, 0.97), eps=1e-10, fused=True,
    )  # fmt: skip
    for step in range(5):
        give_gradients(ours, step)
        give_gradients(theirs, step)
        optimizer.step()
        peer.step()
    for mine, other in zip(ours.parameters(), theirs.parameters(), strict=True):
        assert torch.equal(mine, other)


# --- groups ---

EXPERTS = {"num_experts": 4, "num_experts_per_token": 2}
GPT2 = {
    "positions": "learned", "norm": "layer", "activation": "gelu_tanh", "gated": False,
    "qkv_bias": True, "output_bias": True, "mlp_bias": True, "qk_norm": False,
}  # fmt: skip


@pytest.mark.parametrize("update", [{}, EXPERTS, GPT2], ids=["llama", "experts", "gpt2"])
@pytest.mark.parametrize("method", ["muon", "adamw"])
def test_every_weight_is_in_the_group_of_its_kind(update: dict[str, object], method: str) -> None:
    model = model_of(CONFIG.model_copy(update=update))
    optimizer = build_optimizer(model, OptimizerConfig(method=method, weight_decay=0.5), RATES)
    names = {id(weight): name for name, weight in model.named_parameters()}
    of = {names[id(weight)]: group for group in optimizer.param_groups for weight in group["params"]}
    assert of.keys() == set(names.values())
    for name, group in of.items():
        in_block = "_proj" in name and "bias" not in name
        wants = (
            "embeddings" if "embed" in name
            else "output" if "lm_head" in name or "router" in name
            else "matrices" if in_block
            else "vectors"
        )  # fmt: skip
        assert (name, group["kind"]) == (name, wants)
        assert group["peak"] == group["lr"] == getattr(RATES, wants)
        assert group["method"] == (method if in_block else "adamw")
        assert group["weight_decay"] == (0.5 if in_block else 0.0)


def test_frozen_weights_and_those_without_gradient_stay() -> None:
    model = model_of()
    model.norm.weight.requires_grad_(False)
    before = copy.deepcopy(model.state_dict())
    optimizer = build_optimizer(model, OptimizerConfig(), 0.1)
    give_gradients(model, 0)
    model.norm.weight.grad = model.layers[0].mlp.up_proj.weight.grad = None
    optimizer.step()
    same = {name for name, weight in model.state_dict().items() if torch.equal(weight, before[name])}
    assert same == {"norm.weight", "layers.0.mlp.up_proj.weight"}


# --- state ---


def trained(seed: int, steps: range, optimizer: GroupedOptimizer, model: Transformer) -> None:
    for step in steps:
        give_gradients(model, seed + step)
        optimizer.step()
        optimizer.zero_grad()


@pytest.mark.parametrize("flat", [False, True], ids=["nested", "flat"])
@pytest.mark.parametrize("method", ["muon", "adamw"])
def test_state_goes_through_torch_distributed_checkpoint(method: str, flat: bool) -> None:
    """Also into an optimizer that has not made a step, by the names of the weights."""
    settings_, options = OptimizerConfig(method=method), StateDictOptions(flatten_optimizer_state_dict=flat)
    first, second = model_of(), model_of(seed=1)
    one, two = build_optimizer(first, settings_, RATES), build_optimizer(second, settings_, Rates.of(9.0))
    trained(0, range(3), one, first)
    second.load_state_dict(first.state_dict())
    state = get_optimizer_state_dict(first, one, options=options)
    get_optimizer_state_dict(second, two, options=options)  # as a checkpoint's reader does: makes room for the state
    assert torch.equal(second.lm_head.weight, first.lm_head.weight)  # which moves nothing
    set_optimizer_state_dict(second, two, copy.deepcopy(state), options=options)
    trained(0, range(3, 6), one, first)
    trained(0, range(3, 6), two, second)
    for mine, other in zip(first.parameters(), second.parameters(), strict=True):
        assert torch.equal(mine, other)


def test_state_has_the_shape_of_its_weight() -> None:
    model = model_of(CONFIG.model_copy(update=EXPERTS))
    optimizer = build_optimizer(model, OptimizerConfig(), RATES)
    trained(0, range(1), optimizer, model)
    for weight, state in optimizer.state.items():
        assert {tensor.shape for name, tensor in state.items() if name != "step"} == {weight.shape}
        assert set(state) in ({"momentum_buffer"}, {"exp_avg", "exp_avg_sq", "step"})


def test_scale_is_of_the_longer_side() -> None:
    assert update_scale(torch.Size((4, 100, 25))) == pytest.approx(2.0)
