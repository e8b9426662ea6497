"""An n-gram model with interpolated, modified Kneser-Ney smoothing: what counting alone can predict.

Chen & Goodman 1999, "An empirical study of smoothing techniques for language modeling", section 3 and equation 26:

    p(t | h) = (c(h t) - D(c)) / sum_u c(h u)  +  gamma(h) p(t | shorter h),   D(c) in {D1, D2, D3+}
    gamma(h) = sum_u D(c(h u)) / sum_u c(h u)

At the highest order c is a count; below it is the number of different tokens seen before the n-gram (its
continuation count), because a shorter n-gram is only consulted where the longer one fails. The shortest is mixed
with the uniform distribution. Each order has its own discounts, from its numbers of n-grams seen once to four times.

Documents don't look past their own start, as the models that we compare with don't: no n-gram crosses the end-of-text
id, and one that begins with it keeps its plain count, since nothing can come before it (so does Heafield et al. 2013,
KenLM). Vectorised: an n-gram is (id of its first n-1 tokens) * vocab_size + last token, looked up in a sorted array.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from groundup.base.errors import DataError

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]

FALLBACK_DISCOUNTS = (0.5, 1.0, 1.5)
"""For data too small to estimate discounts: between 0 and the count, as discounts must be."""


@dataclass(frozen=True)
class _Counts:
    """The n-grams of one order, by sorted key. ``first`` is where in the data each stands first (its last token)."""

    keys: Ints
    counts: Ints
    first: Ints


@dataclass(frozen=True)
class _Order:
    """The n-grams of one order, ready for use. ``weights`` are discounted counts; the rest is per context id."""

    keys: Ints
    weights: Floats
    totals: Floats
    backoff: Floats


class NgramModel:
    """A Kneser-Ney model over token ids; make one with ``fit``."""

    def __init__(self, orders: list[_Order], vocab_size: int, boundary: int) -> None:
        self._orders = orders
        self._vocab_size = vocab_size
        self._boundary = boundary

    @classmethod
    def fit(cls, tokens: npt.NDArray[Any], vocab_size: int, boundary: int, order: int = 5) -> NgramModel:
        """Count ``tokens``, documents back to back, each closed by the id ``boundary``.

        ``tokens``: any integer dtype, shape (n,). DataError if it is empty or holds an id of ``vocab_size`` or above.
        """
        if len(tokens) == 0:
            raise DataError("an n-gram model needs at least one training token")
        if int(tokens.max()) >= vocab_size:
            raise DataError(f"the training tokens hold id {int(tokens.max())}, the tokenizer has {vocab_size}")
        stream = np.concatenate([np.asarray([boundary], dtype=np.int64), tokens.astype(np.int64)])
        counts, positions = _count(stream, vocab_size, boundary, order)
        orders = []
        contexts = 1
        for n in range(1, len(counts) + 1):
            adjusted = (
                counts[n - 1].counts if n == len(counts) else _continuations(n, counts, positions, stream, boundary)
            )
            orders.append(_smooth(counts[n - 1].keys, adjusted, vocab_size, contexts))
            contexts = len(counts[n - 1].keys)
        return cls(orders, vocab_size, boundary)

    def log_probs(self, tokens: npt.NDArray[Any]) -> Floats:
        """The natural log-probability of each of ``tokens`` (shape (n,), documents as in ``fit``), float64 (n,).

        The first token, and each after a ``boundary``, is conditioned on ``boundary`` alone.
        """
        stream = np.concatenate([np.asarray([self._boundary], dtype=np.int64), tokens.astype(np.int64)])
        probs = np.full(len(stream), 1 / self._vocab_size)
        ids = np.zeros(len(stream), dtype=np.int64)
        for n, order in enumerate(self._orders, 1):
            contexts = _contexts(n, ids, stream, self._boundary)
            known = contexts >= 0
            keys = np.where(known, contexts * self._vocab_size + stream, -1)
            places = np.minimum(np.searchsorted(order.keys, keys), len(order.keys) - 1)
            found = order.keys[places] == keys
            totals = np.where(known, order.totals[contexts], 0.0)
            seen = totals > 0
            weights = np.where(found, order.weights[places], 0.0)
            own = np.divide(weights, totals, out=np.zeros_like(probs), where=seen)
            probs = own + np.where(seen, order.backoff[contexts], 1.0) * probs
            ids = np.where(found, places, -1)
        log_probs: Floats = np.log(probs[1:])
        return log_probs


def _contexts(n: int, ids: Ints, stream: Ints, boundary: int) -> Ints:
    """For each position the id of the (n-1)-gram before it, -1 where there is none inside the document.

    ``ids`` are those of the (n-1)-grams that end at each position.
    """
    if n == 1:
        contexts = np.zeros(len(stream), dtype=np.int64)
        contexts[0] = -1  # the first boundary is given, never predicted
        return contexts
    before = np.concatenate([np.asarray([-1], dtype=np.int64), ids[:-1]])
    if n >= 3:
        # Inside an n-gram a boundary may only stand first or last.
        before[1:][stream[:-1] == boundary] = -1
    elif n == 2:
        before[1] = boundary  # the id of a unigram is the token itself
    return before


def _count(stream: Ints, vocab_size: int, boundary: int, order: int) -> tuple[list[_Counts], list[Ints]]:
    """The n-grams of every order, and per order the id of the n-gram that ends at each position (or -1)."""
    counts: list[_Counts] = []
    positions: list[Ints] = []
    ids = np.zeros(0, dtype=np.int64)
    for n in range(1, order + 1):
        contexts = _contexts(n, ids, stream, boundary)
        places = np.flatnonzero(contexts >= 0)
        if len(places) == 0:
            break  # every document is shorter than n tokens
        keys = contexts[places] * vocab_size + stream[places]
        ids = np.full(len(stream), -1, dtype=np.int64)
        if n == 1:
            # Every token has an entry, so that a unigram's id is the token, seen or not.
            frequencies = np.bincount(keys, minlength=vocab_size)
            found = _Counts(np.arange(vocab_size, dtype=np.int64), frequencies, np.zeros(0, dtype=np.int64))
            ids[places] = keys
        else:
            unique, first, inverse, frequencies = np.unique(
                keys, return_index=True, return_inverse=True, return_counts=True
            )
            found = _Counts(unique, frequencies, places[first])
            ids[places] = inverse
        counts.append(found)
        positions.append(ids)
    return counts, positions


def _continuations(n: int, counts: list[_Counts], positions: list[Ints], stream: Ints, boundary: int) -> Ints:
    """How many different tokens come before each n-gram; the plain count of one that begins a document."""
    longer = counts[n].first
    adjusted = np.bincount(positions[n - 1][longer], minlength=len(counts[n - 1].keys))
    if n >= 2:
        starts = stream[counts[n - 1].first - (n - 1)] == boundary
        adjusted = np.where(starts, counts[n - 1].counts, adjusted)
    return adjusted


def _smooth(keys: Ints, counts: Ints, vocab_size: int, contexts: int) -> _Order:
    discounts = np.asarray([0.0, *estimate_discounts(counts)])[np.minimum(counts, 3)]
    owners = keys // vocab_size
    # bincount gives integers when it is given nothing to weigh, hence the explicit types.
    totals = np.bincount(owners, weights=counts, minlength=contexts).astype(np.float64)
    removed = np.bincount(owners, weights=discounts, minlength=contexts).astype(np.float64)
    backoff = np.divide(removed, totals, out=np.ones_like(totals), where=totals > 0)
    return _Order(keys, counts - discounts, totals, backoff)


def estimate_discounts(counts: Ints) -> tuple[float, float, float]:
    """D1, D2 and D3+ of Chen & Goodman (equation 26) from the counts of all n-grams of one order.

    They hold only where n1 > n2 > n3 > n4 > 0, roughly; on small data one can be negative or above its count, and
    then the order takes fixed ones.
    """
    n1, n2, n3, n4 = (int((counts == k).sum()) for k in (1, 2, 3, 4))
    if 0 in (n1, n2, n3, n4):
        return FALLBACK_DISCOUNTS
    y = n1 / (n1 + 2 * n2)
    found = (1 - 2 * y * n2 / n1, 2 - 3 * y * n3 / n2, 3 - 4 * y * n4 / n3)
    return found if all(0 < discount <= k for k, discount in enumerate(found, 1)) else FALLBACK_DISCOUNTS
