"""Intervals, tests and power for a few paired runs. Plain numbers in and out; no library for statistics is needed.

With three seeds the spread is known badly, so everything here is Student's t with one degree of freedom less than
seeds (Student 1908). Variants share their seeds, so what counts are differences seed by seed: what the seed did to both
falls out. Several variants against one baseline are several chances to be fooled: p-values are adjusted by Holm 1979,
which needs no independence. What a number of seeds could have seen is the exact power of the t-test (noncentral t).

The distribution of t is that of a regularised incomplete beta function (Abramowitz & Stegun 26.5.27, 26.7.1), by
its continued fraction (DLMF 8.17.22) in the way of Lentz 1976 as modified by Thompson & Barnett 1986.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

import numpy as np
import numpy.typing as npt

POWER: Final = 0.8
"""The chance of seeing a difference of the size that ``smallest_visible`` names: the usual choice."""

_TINY: Final = 1e-300
_STEPS: Final = 400


@dataclass(frozen=True)
class Mean:
    """The mean of ``n`` runs, their standard deviation, and the interval of the mean."""

    value: float
    deviation: float
    low: float
    high: float
    n: int


def student_cdf(t: float, freedom: int) -> float:
    """The chance that Student's t with so many degrees of freedom is at most ``t``.

    >>> round(student_cdf(2.0, 2), 6), student_cdf(0.0, 5)
    (0.908248, 0.5)
    """
    if math.isinf(t):
        return float(t > 0)
    # Small tails come straight from the continued fraction, so that they keep their digits; so does a small t.
    if t * t < 0.01:
        tail = 0.5 - 0.5 * _incomplete_beta(0.5, freedom / 2, t * t / (freedom + t * t))
    else:
        tail = 0.5 * _incomplete_beta(freedom / 2, 0.5, freedom / (freedom + t * t))
    return tail if t < 0 else 1.0 - tail


@lru_cache(maxsize=256)
def student_quantile(chance: float, freedom: int) -> float:
    """The ``t`` at which ``student_cdf`` reaches ``chance``, which lies between 0 and 1.

    >>> round(student_quantile(0.975, 2), 4), round(student_quantile(0.975, 30), 4)
    (4.3027, 2.0423)
    """
    if not 0 < chance < 1:
        raise ValueError(f"a chance of {chance} has no quantile")
    if chance < 0.5:
        return -student_quantile(1 - chance, freedom)
    high = 1.0
    while 1 - chance < student_cdf(-high, freedom):
        high *= 2
    return _where(lambda t: student_cdf(-t, freedom) - (1 - chance), 0.0, high)


def two_sided(t: float, freedom: int) -> float:
    """The chance of a t at least so far from zero, to either side, where there is no difference.

    >>> round(two_sided(4.302653, 2), 4)
    0.05
    """
    return min(1.0, 2 * student_cdf(-abs(t), freedom))


def mean_of(values: Sequence[float], confidence: float) -> Mean:
    """The mean of two values or more, with Student's interval.

    >>> mean = mean_of([1.0, 2.0, 3.0], 0.95)
    >>> round(mean.value, 3), round(mean.low, 3), round(mean.high, 3)
    (2.0, -0.484, 4.484)
    """
    n = len(values)
    if n < 2:
        raise ValueError(f"an interval needs at least two runs, not {n}")
    value = math.fsum(values) / n
    deviation = math.sqrt(math.fsum((one - value) ** 2 for one in values) / (n - 1))
    reach = student_quantile(0.5 + confidence / 2, n - 1) * deviation / math.sqrt(n)
    return Mean(value, deviation, value - reach, value + reach, n)


def p_value(mean: Mean) -> float:
    """The chance of a mean at least so far from zero where the truth is zero; 1 if all values are zero."""
    if mean.deviation == 0:
        return 0.0 if mean.value else 1.0
    return two_sided(mean.value / mean.deviation * math.sqrt(mean.n), mean.n - 1)


def holm(p_values: Sequence[float]) -> list[float]:
    """P-values adjusted for their number, in the order given: below a level together, all of them may be believed.

    >>> [round(p, 3) for p in holm([0.01, 0.04, 0.03])]
    [0.03, 0.06, 0.06]
    """
    adjusted, least = [0.0] * len(p_values), 0.0
    ranked = sorted(range(len(p_values)), key=lambda at: p_values[at])
    for rank, at in enumerate(ranked):
        least = max(least, min(1.0, (len(p_values) - rank) * p_values[at]))
        adjusted[at] = least
    return adjusted


def smallest_visible(deviation: float, n: int, level: float) -> float:
    """The true difference that ``n`` paired runs would call one at this level with a chance of ``POWER``.

    ``deviation`` is that of the differences.

    >>> round(smallest_visible(1.0, 3, 0.05), 2), round(smallest_visible(1.0, 10, 0.05), 2)
    (3.26, 1.0)
    """
    return _visible_shift(n - 1, level) * deviation / math.sqrt(n)


@lru_cache(maxsize=64)
def _visible_shift(freedom: int, level: float) -> float:
    """The noncentrality at which a two-sided t-test at ``level`` has a power of ``POWER``."""
    high = 1.0
    while power(high, freedom, level) < POWER:
        high *= 2
    return _where(lambda shift: POWER - power(shift, freedom, level), 0.0, high, 1e-9)


def power(shift: float, freedom: int, level: float) -> float:
    """The chance that a two-sided t-test at ``level`` sees a true difference of ``shift`` standard errors.

    T = (Z + shift) / S is beyond the limit c where S < |Z + shift| / c: the chance of that, over all Z.

    >>> round(power(0.0, 4, 0.05), 6)
    0.05
    """
    limit = student_quantile(1 - level / 2, freedom)
    z = np.linspace(-10.0, 10.0, 4001)
    density = np.exp(-z * z / 2) / math.sqrt(2 * math.pi)
    below = _chi_square_cdf(freedom * ((z + shift) / limit) ** 2, freedom)
    return float((density * below).sum() * (z[1] - z[0]))


def _chi_square_cdf(x: npt.NDArray[np.float64], freedom: int) -> npt.NDArray[np.float64]:
    """The distribution of chi-square, by steps of two degrees of freedom (Abramowitz & Stegun 26.4.8)."""
    half = x / 2
    if freedom % 2:
        found: npt.NDArray[np.float64] = np.asarray([math.erf(math.sqrt(one)) for one in half.tolist()])
        term, at = 2 * np.sqrt(half / math.pi) * np.exp(-half), 1.0
    else:
        found = -np.expm1(-half)
        term, at = half * np.exp(-half), 2.0
    for degrees in range(2 - freedom % 2, freedom, 2):
        found = found - term
        at = degrees / 2 + 1
        term = term * half / at
    result: npt.NDArray[np.float64] = np.clip(found, 0.0, 1.0)
    return result


def _incomplete_beta(a: float, b: float, x: float) -> float:
    """The regularised incomplete beta function I_x(a, b)."""
    if x <= 0 or x >= 1:
        return float(x >= 1)
    front = math.exp(math.lgamma(a + b) - math.lgamma(a) - math.lgamma(b) + a * math.log(x) + b * math.log1p(-x))
    # The fraction converges fast on this side of the mean; the other side by symmetry (DLMF 8.17.4).
    if x < (a + 1) / (a + b + 2):
        return front * _fraction(a, b, x) / a
    return 1.0 - front * _fraction(b, a, 1 - x) / b


def _fraction(a: float, b: float, x: float) -> float:
    """1 / (1 + d1 / (1 + d2 / (1 + …))) with the coefficients of DLMF 8.17.23."""
    value, c, d = 1.0, 1.0, 0.0  # of the fraction with 1 before it, which Lentz's ratios can start from
    for step in range(_STEPS):
        m = step // 2
        if step == 0:
            term = 1.0
        elif step % 2:
            term = -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1))
        else:
            term = m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m))
        d = 1 / _not_zero(1 + term * d)
        c = _not_zero(1 + term / c)
        value *= c * d
        if step and abs(c * d - 1) < 1e-15:
            break
    return value - 1


def _not_zero(value: float) -> float:
    return value if abs(value) > _TINY else _TINY


def _where(falls: Callable[[float], float], low: float, high: float, width: float = 1e-13) -> float:
    """Where a function that falls from ``low`` to ``high`` passes zero, by halving."""
    for _ in range(200):
        middle = (low + high) / 2
        if falls(middle) > 0:
            low = middle
        else:
            high = middle
        if high - low <= width * max(1.0, high):
            break
    return (low + high) / 2
