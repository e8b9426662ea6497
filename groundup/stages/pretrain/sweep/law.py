"""The scaling law L(N, D) = E + A / N^alpha + B / D^beta, fitted to a family of runs.

Hoffmann et al. 2022 ("Chinchilla"), section 3.3, approach 3: the Huber loss of log L, minimised from a grid of starts,
with L written as a log-sum-exp so that E, A and B stay positive. Besiroglu et al. 2024 found the original fit stopped
early and its intervals too narrow; here every start runs to convergence, and intervals come from a bootstrap.

N are parameters that take part in matrix products (so that 6 N D is the arithmetic of a run but for attention), D
tokens, L nats a token or bits a byte. Arrays in names: R runs, S fits done at once, P the five parameters.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from groundup.base.errors import DataError

Array = NDArray[np.float64]

DELTA: Final = 1e-3
"""Where the Huber loss turns from square to straight (Hoffmann et al.): a tenth of a per cent of the loss."""

LEVEL: Final = 0.9
"""The share of refitted laws that an interval holds."""

_LOWEST, _HIGHEST = 0.01, 3.0
"""The range of the exponents: published ones lie between 0.05 and 0.8; near the ends a fit has run away."""
_ITERATIONS: Final = 300
_TOLERANCE: Final = 1e-9
_LARGEST: Final = 700.0
"""The largest logarithm, either way, whose exponential is neither infinite nor zero."""
_STUCK: Final = 1e8
"""Damping beyond which a step can't change anything that counts."""


@dataclass(frozen=True)
class Point:
    """One finished run: parameters N, tokens D, the loss that it reached."""

    parameters: float
    tokens: float
    loss: float


@dataclass(frozen=True)
class Law:
    """L(N, D) = irreducible + a / N^alpha + b / D^beta."""

    irreducible: float
    a: float
    b: float
    alpha: float
    beta: float

    def loss(self, parameters: Any, tokens: Any) -> Any:
        """The loss of a model of ``parameters`` after ``tokens``: numbers or arrays."""
        return self.irreducible + self.a * np.power(parameters, -self.alpha) + self.b * np.power(tokens, -self.beta)

    def optimum(self, flops: float) -> tuple[float, float]:
        """The parameters and tokens of least loss with 6 N D = ``flops`` (Hoffmann et al., equation 4).

        Neither is less than one, which the formula alone doesn't say: a law refitted to runs that tell little may have
        a part that is as good as nothing.
        """
        product = math.log(flops / 6)
        balance = math.log(self.alpha / self.beta) + math.log(self.a) - math.log(self.b)
        log_parameters = (balance + self.beta * product) / (self.alpha + self.beta)
        log_parameters = min(max(log_parameters, 0.0), product)
        return math.exp(log_parameters), math.exp(product - log_parameters)


@dataclass(frozen=True)
class Fit:
    """The best law, how far it misses the runs it was fitted to, and laws refitted to resampled runs."""

    law: Law
    residuals: tuple[float, ...]
    """log of predicted over measured loss, run by run."""
    bootstrap: tuple[Law, ...]

    @property
    def at_a_limit(self) -> bool:
        """Whether an exponent ended at the edge of its range: then the runs don't tell it."""
        exponents = (self.law.alpha, self.law.beta)
        return any(not _LOWEST * 1.01 < one < _HIGHEST * 0.99 for one in exponents)

    @property
    def deviation(self) -> float:
        """The spread of the residuals with five parameters taken off, a share of the loss: what one run scatters."""
        free = max(1, len(self.residuals) - 5)
        return float(np.sqrt(np.square(self.residuals).sum() / free))

    def interval(self, value: Callable[[Law], float], level: float = LEVEL) -> tuple[float, float]:
        """The central share ``level`` of ``value(law)`` over the refitted laws."""
        return _central([value(law) for law in self.bootstrap], level)

    def new_run(self, parameters: float, tokens: float, level: float = LEVEL) -> tuple[float, float]:
        """The interval for one run of this size and length: the law's doubt and the scatter of single runs."""
        scatter = np.random.default_rng(0).normal(0.0, self.deviation, len(self.bootstrap))
        losses = [law.loss(parameters, tokens) for law in self.bootstrap]
        return _central((np.array(losses) * np.exp(scatter)).tolist(), level)


def _central(values: Sequence[float], level: float) -> tuple[float, float]:
    low, high = np.quantile(values, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def fit(points: Sequence[Point], *, resamples: int = 500, seed: int = 1) -> Fit:
    """Fit the law to at least six runs of at least three sizes and three lengths; DataError otherwise.

    The bootstrap is of residuals: the laws of a design with few runs can't be told from resampled runs, because most
    resamples lack a size or a length. Residuals are widened by sqrt(R / (R - 5)) for the five fitted parameters.
    """
    _check(points)
    logs_R3 = np.log([[point.parameters, point.tokens, point.loss] for point in points])
    best_P = _minimise(_starts(logs_R3), logs_R3[None])[0]
    predicted_R = _predict(best_P[None], logs_R3[None])[0]
    residuals_R = predicted_R - logs_R3[:, 2]
    generator = np.random.default_rng(seed)
    wide_R = (residuals_R - residuals_R.mean()) * np.sqrt(len(points) / max(1, len(points) - 5))
    noise_SR = generator.choice(wide_R, (resamples, len(points))) if resamples else np.zeros((0, len(points)))
    laws: list[Law] = []
    if resamples:
        again_SR3 = np.repeat(logs_R3[None], resamples, axis=0)
        again_SR3[:, :, 2] = predicted_R + noise_SR
        laws = [_law(found) for found in _refit(best_P, again_SR3)]
    return Fit(_law(best_P), tuple(residuals_R.tolist()), tuple(laws))


def _check(points: Sequence[Point]) -> None:
    sizes, lengths = {point.parameters for point in points}, {point.tokens for point in points}
    if len(points) < 6 or len(sizes) < 3 or len(lengths) < 3:
        raise DataError(
            f"a scaling law has five unknowns: it needs at least 6 runs of 3 sizes and 3 lengths, not {len(points)} "
            f"runs of {len(sizes)} sizes and {len(lengths)} lengths; add depths or horizons"
        )
    if not all(np.isfinite([p.parameters, p.tokens, p.loss]).all() and p.loss > 0 for p in points):
        raise DataError("a run of the family ended with a loss that is not a positive number; lower its learning rate")


def _starts(logs_R3: Array) -> Array:
    """A grid of starts (S, P): exponents by E as a share of the least loss; A and B then split what is left."""
    least = logs_R3[:, 2].min()
    mean_n, mean_d, mean_loss = logs_R3.mean(axis=0)
    starts = []
    for alpha, beta, share in itertools.product((0.1, 0.3, 0.6, 1.0), (0.1, 0.3, 0.6, 1.0), (0.05, 0.4, 0.8, 0.97)):
        left = np.log((np.exp(mean_loss) - share * np.exp(least)) / 2)
        starts.append([left + alpha * mean_n, left + beta * mean_d, np.log(share) + least, alpha, beta])
    return np.array(starts)


def _refit(best_P: Array, logs_SR3: Array) -> Array:
    """The best of a few starts for each of S data sets, the first fit's solution among them."""
    found = []
    for alpha, beta in ((1.0, 1.0), (0.6, 1.4), (1.4, 0.6)):
        start = best_P.copy()
        means = logs_SR3[0, :, :2].mean(axis=0)
        start[3:] = np.clip(best_P[3:] * (alpha, beta), _LOWEST, _HIGHEST)
        start[:2] += (start[3:] - best_P[3:]) * means  # the terms keep their size at the middle of the data
        found.append(_descend(np.repeat(start[None], len(logs_SR3), axis=0), logs_SR3))
    thetas_FSP = np.stack(found)
    costs_FS = np.stack([_cost(theta, logs_SR3) for theta in thetas_FSP])
    chosen: Array = thetas_FSP[costs_FS.argmin(axis=0), np.arange(len(logs_SR3))]
    return chosen


def _minimise(starts_SP: Array, logs_1R3: Array) -> Array:
    """The best solution (1, P) over all starts for one data set."""
    logs_SR3 = np.repeat(logs_1R3, len(starts_SP), axis=0)
    found = _descend(starts_SP, logs_SR3)
    return found[[int(_cost(found, logs_SR3).argmin())]]


def _descend(theta_SP: Array, logs_SR3: Array) -> Array:
    """Levenberg-Marquardt with Huber's weights, every row by itself, each until it no longer moves."""
    theta = theta_SP.copy()
    damping = np.full(len(theta), 1e-2)
    cost = _cost(theta, logs_SR3)
    moving = np.arange(len(theta))
    for _ in range(_ITERATIONS):
        candidate = theta[moving] - _step(theta[moving], logs_SR3[moving], damping[moving])
        candidate[:, 3:] = np.clip(candidate[:, 3:], _LOWEST, _HIGHEST)
        before, after = cost[moving], _cost(candidate, logs_SR3[moving])
        better = after < before
        theta[moving[better]], cost[moving[better]] = candidate[better], after[better]
        damping[moving] = np.where(better, damping[moving] / 3, damping[moving] * 4)
        settled = np.where(better, before - after < _TOLERANCE * before, damping[moving] > _STUCK)
        moving = moving[~settled]
        if not len(moving):
            break
    return theta


def _step(theta_SP: Array, logs_SR3: Array, damping_S: Array) -> Array:
    """The damped Gauss-Newton step of each row (S, P), to be subtracted."""
    residual_SR, jacobian_SRP = _linear(theta_SP, logs_SR3)
    weight_SR = np.minimum(1.0, DELTA / np.maximum(np.abs(residual_SR), 1e-300))
    weighted_SPR = (jacobian_SRP * weight_SR[:, :, None]).swapaxes(1, 2)
    normal_SPP = weighted_SPR @ jacobian_SRP
    scale_SP = np.maximum(np.diagonal(normal_SPP, axis1=1, axis2=2), 1e-12)
    normal_SPP = normal_SPP + (damping_S[:, None] * scale_SP)[:, :, None] * np.eye(5)
    step = np.linalg.solve(normal_SPP, weighted_SPR @ residual_SR[:, :, None])[:, :, 0]
    return step.astype(np.float64, copy=False)


def _linear(theta_SP: Array, logs_SR3: Array) -> tuple[Array, Array]:
    """Residuals (S, R) of log L and their derivatives (S, R, P): the softmax weights of the three terms."""
    terms_SR3 = _terms(theta_SP, logs_SR3)
    predicted_SR = _log_sum(terms_SR3)
    share_SR3 = np.exp(terms_SR3 - predicted_SR[:, :, None])
    slopes_SR2 = -share_SR3[:, :, :2] * logs_SR3[:, :, :2]
    return predicted_SR - logs_SR3[:, :, 2], np.concatenate([share_SR3, slopes_SR2], axis=2)


def _terms(theta_SP: Array, logs_SR3: Array) -> Array:
    """log of A / N^alpha, B / D^beta and E: (S, R, 3)."""
    powers = theta_SP[:, None, :2] - theta_SP[:, None, 3:] * logs_SR3[:, :, :2]
    floor = np.broadcast_to(theta_SP[:, None, 2:3], (*powers.shape[:2], 1))
    return np.concatenate([powers, floor], axis=2)


def _log_sum(terms: Array) -> Array:
    most = terms.max(axis=-1)
    summed: Array = most + np.log(np.exp(terms - most[..., None]).sum(axis=-1))
    return summed


def _predict(theta_SP: Array, logs_SR3: Array) -> Array:
    return _log_sum(_terms(theta_SP, logs_SR3))


def _cost(theta_SP: Array, logs_SR3: Array) -> Array:
    """The Huber loss of each row (S,)."""
    size = np.abs(_predict(theta_SP, logs_SR3) - logs_SR3[:, :, 2])
    cost: Array = np.where(size <= DELTA, 0.5 * size**2, DELTA * (size - 0.5 * DELTA)).sum(axis=1)
    return np.where(np.isfinite(cost), cost, np.inf)


def _law(theta_P: Array) -> Law:
    a, b, floor = np.exp(np.clip(theta_P[:3], -_LARGEST, _LARGEST)).tolist()
    alpha, beta = theta_P[3:].tolist()
    return Law(floor, a, b, alpha, beta)
