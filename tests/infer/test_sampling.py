"""Drawn tokens follow the distribution that the parameters describe, which is transformers' too."""

from __future__ import annotations

from collections import Counter

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import chisquare
from transformers import LogitsProcessorList, TemperatureLogitsWarper, TopKLogitsWarper, TopPLogitsWarper

from groundup.base.errors import RequestError
from groundup.infer.sampling import SamplingParams, filtered_probabilities, sample

LOGITS = torch.tensor([2.0, 1.5, 1.0, 0.5, 0.0, -0.5, -1.0, -2.0, -3.0, 1.2])


def transformers_probabilities(logits: torch.Tensor, params: SamplingParams) -> torch.Tensor:
    steps = LogitsProcessorList([TemperatureLogitsWarper(params.temperature)])
    if params.top_k:
        steps.append(TopKLogitsWarper(params.top_k))
    if params.top_p < 1:
        steps.append(TopPLogitsWarper(params.top_p))
    return torch.softmax(steps(torch.zeros(1, 1, dtype=torch.long), logits[None].clone()), dim=-1)[0]


@given(
    st.lists(st.integers(-64, 64).map(lambda eighths: eighths / 8), min_size=2, max_size=30, unique=True),
    st.floats(0.05, 3),
    st.integers(0, 35),
    st.floats(0.01, 1),
)
@settings(max_examples=100, deadline=None)
def test_the_distribution_is_transformers(values: list[float], temperature: float, top_k: int, top_p: float) -> None:
    logits = torch.tensor(values)
    params = SamplingParams(temperature=temperature, top_k=top_k, top_p=top_p)
    ours, theirs = filtered_probabilities(logits, params), transformers_probabilities(logits, params)
    assert ours.sum().item() == pytest.approx(1, abs=1e-5)
    assert ours.argmax() == logits.argmax()
    ranked = torch.softmax(logits / temperature, -1).sort(descending=True).values.cumsum(0)
    if params.top_k:
        ranked = ranked[: params.top_k] / ranked[: params.top_k][-1]
    if (ranked - top_p).abs().min() > 1e-5:  # else rounding decides whether a token is in or out
        torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize(
    "params",
    [
        SamplingParams(temperature=1.0, top_p=1.0),
        SamplingParams(temperature=0.5, top_p=1.0),
        SamplingParams(temperature=2.0, top_p=1.0),
        SamplingParams(temperature=1.0, top_p=1.0, top_k=4),
        SamplingParams(temperature=1.0, top_p=0.7),
        SamplingParams(temperature=1.5, top_p=0.8, top_k=6),
    ],
)
def test_draws_follow_the_distribution(params: SamplingParams) -> None:
    generator = torch.Generator().manual_seed(12345)
    count = 4000
    drawn = Counter(sample(LOGITS, params, generator) for _ in range(count))
    want = transformers_probabilities(LOGITS, params).double()
    allowed = want.nonzero()[:, 0].tolist()
    assert set(drawn) <= set(allowed)
    want = want / want.sum()
    observed = [drawn[token] for token in allowed]
    assert chisquare(observed, [want[token].item() * count for token in allowed]).pvalue > 1e-3
    other = SamplingParams(temperature=params.temperature * 1.5, top_p=params.top_p, top_k=params.top_k)
    wrong = transformers_probabilities(LOGITS, other).double()
    wrong = wrong[allowed] + 1e-9  # the same test tells a wrong distribution apart
    assert chisquare(observed, (wrong / wrong.sum() * count).tolist()).pvalue < 1e-3


def test_zero_temperature_is_argmax_and_draws_nothing() -> None:
    generator = torch.Generator().manual_seed(1)
    before = generator.get_state()
    assert sample(LOGITS, SamplingParams(temperature=0), generator) == 0
    assert torch.equal(generator.get_state(), before)


@pytest.mark.parametrize(
    "wrong", [{"temperature": -1}, {"top_p": 0}, {"top_p": 1.1}, {"top_k": -1}, {"max_new_tokens": 0}, {"seed": -1}]
)
def test_parameters_out_of_range_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(RequestError, match=next(iter(wrong))):
        SamplingParams.parse(wrong, "sampling")
