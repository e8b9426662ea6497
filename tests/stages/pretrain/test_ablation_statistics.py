"""The statistics of an ablation, beside scipy, beside other definitions, and by simulation."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import integrate, stats

from groundup.stages.pretrain.ablation.statistics import (
    POWER,
    holm,
    mean_of,
    p_value,
    power,
    smallest_visible,
    student_cdf,
    student_quantile,
)


@pytest.mark.parametrize("freedom", [1, 2, 3, 4, 7, 10, 29, 99, 1000])
def test_students_distribution_is_that_of_scipy(freedom: int) -> None:
    for t in (-300.0, -12.0, -2.5, -1.0, -0.1, 0.0, 1e-6, 0.7, 3.0, 40.0):
        assert student_cdf(t, freedom) == pytest.approx(stats.t.cdf(t, freedom), rel=1e-10, abs=1e-300), t
    for chance in (0.001, 0.025, 0.4, 0.5, 0.8, 0.95, 0.975, 0.9995):
        want = stats.t.ppf(chance, freedom)
        assert student_quantile(chance, freedom) == pytest.approx(want, rel=1e-9, abs=1e-9), chance


@pytest.mark.parametrize(
    ("freedom", "chance", "printed"),
    [(1, 0.975, 12.706), (2, 0.975, 4.303), (2, 0.995, 9.925), (4, 0.95, 2.132), (9, 0.99, 2.821), (30, 0.975, 2.042)],
)
def test_quantiles_are_those_of_the_printed_table(freedom: int, chance: float, printed: float) -> None:
    """Fisher & Yates 1963, table III."""
    assert student_quantile(chance, freedom) == pytest.approx(printed, abs=6e-4)


@pytest.mark.parametrize("chance", [0.0, 1.0, -0.1, math.nan])
def test_a_chance_that_is_none_has_no_quantile(chance: float) -> None:
    with pytest.raises(ValueError, match="no quantile"):
        student_quantile(chance, 3)


@given(st.lists(st.floats(-10, 10), min_size=2, max_size=8), st.sampled_from([0.8, 0.95, 0.99]))
@settings(max_examples=60)
def test_intervals_and_p_values_are_those_of_scipy(values: list[float], confidence: float) -> None:
    mean = mean_of(values, confidence)
    assert mean.value == pytest.approx(np.mean(values), abs=1e-12)
    if mean.deviation < 1e-6:
        return
    want = stats.ttest_1samp(values, 0.0)
    interval = want.confidence_interval(confidence)
    assert (mean.low, mean.high) == pytest.approx((interval.low, interval.high), rel=1e-7, abs=1e-9)
    assert p_value(mean) == pytest.approx(want.pvalue, rel=1e-7, abs=1e-12)
    # An interval leaves out zero where the p-value says so, and only there.
    if abs(p_value(mean) - (1 - confidence)) > 1e-9:
        assert (mean.low > 0 or mean.high < 0) == (p_value(mean) < 1 - confidence)


def test_runs_without_any_spread() -> None:
    assert p_value(mean_of([0.0, 0.0, 0.0], 0.95)) == 1.0
    assert p_value(mean_of([0.5, 0.5], 0.95)) == 0.0
    assert smallest_visible(0.0, 3, 0.05) == 0.0
    with pytest.raises(ValueError, match="at least two runs"):
        mean_of([1.0], 0.95)


@given(st.lists(st.floats(0, 1), min_size=1, max_size=5))
def test_holm_is_the_closed_test_of_bonferroni(p_values: list[float]) -> None:
    """A hypothesis falls if every set of hypotheses with it does, by Bonferroni (Marcus, Peritz & Gabriel 1976)."""
    several = range(len(p_values))
    for at, adjusted in enumerate(holm(p_values)):
        sets = (s for size in several for s in itertools.combinations(several, size + 1) if at in s)
        want = max(min(1.0, len(s) * min(p_values[one] for one in s)) for s in sets)
        assert adjusted == pytest.approx(want)


def _noncentral(limit: float, freedom: int, shift: float) -> float:
    """The power by integration over the standard error, for scipy's noncentral t is no number far out."""

    def beyond(s: float) -> float:
        seen = stats.norm.sf(limit * s - shift) + stats.norm.sf(limit * s + shift)
        return float(seen * stats.chi.pdf(s * math.sqrt(freedom), freedom) * math.sqrt(freedom))

    return float(integrate.quad(beyond, 0, 12, epsabs=1e-10, limit=400, points=(0.05, 0.3, 1.0, 3.0))[0])


@pytest.mark.parametrize("n", [2, 3, 4, 5, 10, 40])
def test_power_is_that_of_the_noncentral_t(n: int) -> None:
    for level in (0.05, 0.05 / 3, 0.01):
        limit = stats.t.ppf(1 - level / 2, n - 1)
        for shift in (0.0, 1.0, 3.0, 8.0):
            want = _noncentral(limit, n - 1, shift)
            assert power(shift, n - 1, level) == pytest.approx(want, abs=2e-6)
        seen = smallest_visible(0.3, n, level) / 0.3 * math.sqrt(n)
        assert power(seen, n - 1, level) == pytest.approx(POWER, abs=1e-6)


def test_intervals_hold_the_truth_as_often_as_they_say() -> None:
    generator = np.random.default_rng(5)
    for n, confidence in ((3, 0.95), (5, 0.9)):
        draws = generator.normal(0.2, 1.7, (3000, n))
        held = np.mean([mean.low <= 0.2 <= mean.high for mean in (mean_of(row, confidence) for row in draws.tolist())])
        assert held == pytest.approx(confidence, abs=3.5 * math.sqrt(confidence * (1 - confidence) / 3000))


def test_chance_calls_any_of_several_variants_no_more_often_than_the_level() -> None:
    """Four variants like the baseline, whose runs are shared: without the adjustment it would be far more often."""
    generator = np.random.default_rng(6)
    called = plain = 0
    for _ in range(1500):
        runs = generator.normal(0.0, 1.0, (5, 4))  # baseline and four variants, four seeds
        chances = [p_value(mean_of((variant - runs[0]).tolist(), 0.95)) for variant in runs[1:]]
        called += min(holm(chances)) < 0.05
        plain += min(chances) < 0.05
    assert called / 1500 <= 0.05 + 3 * math.sqrt(0.05 * 0.95 / 1500)
    assert plain / 1500 > 0.08


def test_the_smallest_visible_difference_is_seen_four_times_in_five() -> None:
    generator = np.random.default_rng(7)
    truth = smallest_visible(0.4, 4, 0.05)
    draws = generator.normal(truth, 0.4, (2500, 4)).tolist()
    seen = np.mean([p_value(mean_of(row, 0.95)) < 0.05 for row in draws])
    assert seen == pytest.approx(POWER, abs=3.5 * math.sqrt(POWER * (1 - POWER) / 2500))
