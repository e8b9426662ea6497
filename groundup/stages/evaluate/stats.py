"""Intervals and tests for scores. Each returns plain numbers; none depends on a library for statistics.

Sources: Wilson 1927 (interval for a share); Cochran 1977, Sampling Techniques, section 2.11 and 6.3 (variance of a
ratio, by clusters); McNemar 1947, in its exact binomial form; Miller 2024, "Adding Error Bars to Evals" (clusters,
pairs, the smallest effect that a test can see).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

POWER = 0.8
"""The chance of seeing an effect of the size that ``smallest_visible`` names: the usual choice."""


@dataclass(frozen=True)
class Estimate:
    """A measured value, its standard error, its interval, and the number of independent observations."""

    value: float
    standard_error: float
    low: float
    high: float
    n: int


def quantile(confidence: float) -> float:
    """How many standard errors an interval of this confidence reaches to each side.

    >>> round(quantile(0.95), 3)
    1.96
    """
    return NormalDist().inv_cdf(0.5 + confidence / 2)


def share(hits: int, n: int, confidence: float) -> Estimate:
    """The share ``hits / n`` with Wilson's interval, which stays inside [0, 1] and works for few observations."""
    z, p = quantile(confidence), hits / n
    scale = 1 + z * z / n
    centre = (p + z * z / (2 * n)) / scale
    half = z / scale * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
    error = math.sqrt(p * (1 - p) / (n - 1)) if n > 1 else math.nan
    # At the ends the bound is exactly 0 or 1; rounding must not push it past.
    return Estimate(p, error, min(p, max(0.0, centre - half)), max(p, min(1.0, centre + half)), n)


def ratio(numerators: Floats, denominators: Floats, confidence: float) -> Estimate:
    """The ratio of two sums over documents, with the standard error of whole documents drawn at random.

    Tokens of one document go well or badly together, so the document is the observation: its residual is
    ``y - R x``, and SE(R) = sqrt(n / (n - 1) * sum(residual²)) / sum(x). Both arrays are float64, shape (n,).
    With one document the error is unknown (NaN).
    """
    total, n = float(denominators.sum()), len(denominators)
    value = float(numerators.sum()) / total
    residuals = numerators - value * denominators
    error = math.sqrt(n / (n - 1) * float((residuals**2).sum())) / total if n > 1 else math.nan
    reach = quantile(confidence) * error
    return Estimate(value, error, value - reach, value + reach, n)


def mcnemar(only_first: int, only_second: int) -> float:
    """The exact two-sided p-value that two models which answered the same items are equally good.

    Only items on which they differ tell anything: under the null each falls to either side with chance 1/2.
    """
    n = only_first + only_second
    tail: int = sum(math.comb(n, k) for k in range(min(only_first, only_second) + 1))
    return min(1.0, float(2 * tail / 2**n))


def smallest_visible(standard_error: float, confidence: float) -> float:
    """The true difference that a test with this standard error would see with 80 % chance."""
    return (quantile(confidence) + NormalDist().inv_cdf(POWER)) * standard_error


def paired_error(only_first: int, only_second: int, n: int) -> float:
    """The standard error of a difference in accuracy on the same ``n`` items, when there is none.

    The variance of a per-item difference is then the share of items on which the models differ. Where none differs
    one is assumed: no set of items can promise more.
    """
    return math.sqrt(max(1, only_first + only_second) / n / n)
