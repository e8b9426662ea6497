"""Intervals and tests against scipy, and by simulation where scipy has no counterpart."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats as oracle

from groundup.stages.evaluate.stats import mcnemar, paired_error, quantile, ratio, share, smallest_visible


@given(n=st.integers(1, 400), part=st.floats(0, 1), confidence=st.sampled_from([0.8, 0.9, 0.95, 0.99]))
def test_wilson_interval_as_scipy(n: int, part: float, confidence: float) -> None:
    hits = round(part * n)
    ours = share(hits, n, confidence)
    theirs = oracle.binomtest(hits, n).proportion_ci(confidence, method="wilson")
    assert (ours.low, ours.high) == pytest.approx((theirs.low, theirs.high), abs=1e-12)
    assert 0 <= ours.low <= ours.value <= ours.high <= 1


def test_standard_error_of_a_share_is_that_of_its_mean() -> None:
    answers = [1.0] * 7 + [0.0] * 13
    assert share(7, 20, 0.95).standard_error == pytest.approx(oracle.sem(answers))
    assert math.isnan(share(1, 1, 0.95).standard_error)


@given(first=st.integers(0, 300), second=st.integers(0, 300))
def test_mcnemar_as_the_exact_binomial_test(first: int, second: int) -> None:
    expected = oracle.binomtest(first, first + second).pvalue if first + second else 1.0
    assert mcnemar(first, second) == pytest.approx(expected, rel=1e-9)


def test_ratio_of_equal_denominators_is_a_mean() -> None:
    values = np.random.default_rng(1).normal(3, 1, 40)
    found = ratio(values * 10, np.full(40, 10.0), 0.95)
    assert found.value == pytest.approx(values.mean())
    assert found.standard_error == pytest.approx(oracle.sem(values))
    assert (found.low, found.high) == pytest.approx(oracle.norm(found.value, found.standard_error).interval(0.95))


def test_ratio_interval_holds_the_truth_as_often_as_it_says() -> None:
    generator = np.random.default_rng(2)
    hits, trials = 0, 1500
    for _ in range(trials):
        sizes = generator.integers(50, 500, 120).astype(float)
        rates = 1.5 + 0.3 * generator.standard_normal(120)  # documents are easy or hard as a whole
        found = ratio(sizes * rates, sizes, 0.9)
        hits += found.low <= 1.5 <= found.high
    assert hits / trials == pytest.approx(0.9, abs=0.03)


def test_one_document_has_no_standard_error() -> None:
    found = ratio(np.asarray([3.0]), np.asarray([2.0]), 0.95)
    assert found.value == 1.5 and math.isnan(found.standard_error)


def test_the_smallest_visible_difference_is_seen_four_times_out_of_five() -> None:
    generator = np.random.default_rng(3)
    n, differing = 2000, 0.2
    effect = smallest_visible(paired_error(200, 200, n), 0.95)
    seen = 0
    for _ in range(2000):
        lost, won, _ = generator.multinomial(n, [(differing - effect) / 2, (differing + effect) / 2, 1 - differing])
        seen += abs(won - lost) / n > quantile(0.95) * paired_error(int(lost), int(won), n)
    assert seen / 2000 == pytest.approx(0.8, abs=0.03)
