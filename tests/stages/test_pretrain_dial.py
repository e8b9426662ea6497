"""The dial: what is set by hand stays, what is not follows the published forms."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from groundup.base.errors import RequestError
from groundup.base.units import Span
from groundup.model.count import active_parameters, matmul_parameters, parameters
from groundup.model.exchange.families.registry import family_of
from groundup.stages.pretrain import dial
from groundup.stages.pretrain.config import PretrainConfig
from groundup.train.settings import OptimizerConfig


def config(**fields: object) -> PretrainConfig:
    return PretrainConfig.parse({"tokens": "t", "tokenizer": "k", **fields}, "test")


def test_length_is_20_tokens_a_parameter() -> None:
    one = config(depth=4)
    shape = one.model_config_for(4096, 512)
    assert one.horizon_for(shape) == Span(20.0 * matmul_parameters(shape), "tokens")
    assert config(horizon="3 epochs").horizon_for(shape) == Span(3, "epochs")


@given(st.floats(1e5, 1e12), st.floats(1.5, 100))
@settings(deadline=None)
def test_batch_grows_as_a_power_of_the_tokens(tokens: float, factor: float) -> None:
    shape = config().model_config_for(4096, 512)
    few, many = (dial.batch_tokens(shape, Span(value, "tokens")) for value in (tokens, tokens * factor))
    assert many / few == pytest.approx(factor**0.383)


@pytest.mark.parametrize("steps", [100, 5000, 10**6])
def test_a_length_in_steps_gives_the_batch_of_its_tokens(steps: int) -> None:
    shape = config().model_config_for(4096, 512)
    batch = dial.batch_tokens(shape, Span(steps, "steps"))
    assert dial.batch_tokens(shape, Span(steps * batch, "tokens")) == pytest.approx(batch)


@given(st.integers(1, 96), st.sampled_from([None, "2M tokens", "700 steps", "2 epochs"]))
@settings(deadline=None)
def test_rows_are_a_power_of_two_near_the_batch(depth: int, horizon: str | None) -> None:
    one = config(depth=depth, horizon=horizon)
    shape = one.model_config_for(4096, 512)
    rows, wanted = one.rows_per_step(shape), dial.batch_tokens(shape, one.horizon_for(shape)) / 512
    assert rows & (rows - 1) == 0
    assert rows == 1 or 2**-0.51 < rows / wanted < 2**0.51


def test_rates_follow_width_and_batch() -> None:
    """Muon's as 1/sqrt(width), AdamW's as 1/width, all as sqrt(batch)."""
    for method, matrices in (("muon", 2.0), ("adamw", 4.0)):
        fields = {"depth": 8, "horizon": "50M tokens", "optimizer": {"method": method}}
        narrow, wide = config(**fields), config(**fields, hidden_size=2048)
        slim, broad = (each.model_config_for(4096, 512) for each in (narrow, wide))
        assert (slim.hidden_size, broad.hidden_size) == (512, 2048)
        one, other = narrow.rates_for(slim), wide.rates_for(broad)
        assert one.matrices / other.matrices == pytest.approx(matrices)
        assert one.embeddings / other.embeddings == pytest.approx(2.0)
        assert one.output / other.output == pytest.approx(2.0)
        assert one.vectors == pytest.approx(other.vectors)
        rows = narrow.rows_per_step(slim)
        bigger = config(**fields, batch_tokens=4 * rows * 512).rates_for(slim)
        for name in ("matrices", "embeddings", "output", "vectors"):
            assert getattr(bigger, name) == pytest.approx(2 * getattr(one, name))


def test_each_rate_can_be_set_and_the_matrices_carry_the_others() -> None:
    plain = config(depth=4, horizon="2M tokens")
    shape = plain.model_config_for(4096, 512)
    rates = plain.rates_for(shape)
    doubled = config(depth=4, horizon="2M tokens", learning_rate=2 * rates.matrices).rates_for(shape)
    for name in ("matrices", "embeddings", "output", "vectors"):
        assert getattr(doubled, name) == pytest.approx(2 * getattr(rates, name))
    for field, name in (("embedding_rate", "embeddings"), ("output_rate", "output"), ("vector_rate", "vectors")):
        one = config(**{"depth": 4, "horizon": "2M tokens", field: 0.123}).rates_for(shape)
        assert getattr(one, name) == 0.123
        assert one.matrices == rates.matrices


def test_decay_forgets_as_often_as_published() -> None:
    """Bergsma et al.: 1 / (rate * decay * steps) is 1.084 * (tokens a parameter)^-0.527."""
    for horizon in ("4M tokens", "40M tokens", "900 steps"):
        one = config(depth=4, horizon=horizon)
        shape = one.model_config_for(4096, 512)
        step_tokens = one.rows_per_step(shape) * 512
        tokens = one.horizon_for(shape).tokens(step_tokens, 0)
        decay = one.optimizer_for(shape).weight_decay
        assert decay is not None
        timescale = 1 / (one.rates_for(shape).matrices * decay * tokens / step_tokens)
        assert timescale == pytest.approx(1.084 * (tokens / matmul_parameters(shape)) ** -0.527)
    assert config(optimizer={"weight_decay": 0.0}).optimizer_for(shape).weight_decay == 0.0
    assert config(optimizer={"weight_decay": 0.0}).optimizer_for(shape) == OptimizerConfig(weight_decay=0.0)
    assert (config(horizon="2 epochs").optimizer_for(shape).weight_decay or 0.0) > 0


@pytest.mark.parametrize("qk_norm", [True, False])
@pytest.mark.parametrize("num_experts", [0, 4])
@pytest.mark.parametrize("window", [None, 16])
def test_experts_and_windows_are_set_in_a_recipe_and_can_be_saved(
    qk_norm: bool, num_experts: int, window: int | None
) -> None:
    one = config(depth=2, qk_norm=qk_norm, num_experts=num_experts, sliding_window=window)
    shape = one.model_config_for(512, 64)
    assert (shape.num_experts, shape.sliding_window) == (num_experts, window)
    assert shape.num_experts_per_token == (2 if num_experts else 0)
    family_of(shape)
    # The length goes by the experts that a token is sent to.
    assert one.horizon_for(shape).value == 20 * matmul_parameters(shape)
    assert (active_parameters(shape) < parameters(shape)) == bool(num_experts)


def test_experts_that_do_not_fit_are_refused() -> None:
    with pytest.raises(RequestError, match="num_experts_per_token 2 must be 1 to num_experts 0"):
        config(num_experts_per_token=2).model_config_for(512, 64)
    with pytest.raises(RequestError, match="num_experts_per_token 5 must be 1 to num_experts 4"):
        config(num_experts=4, num_experts_per_token=5).model_config_for(512, 64)
