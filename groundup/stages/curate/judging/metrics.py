"""How good a judge is: precision, recall and their intervals, area under the curve, and where to put a threshold."""

from __future__ import annotations

import math
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

Scores = NDArray[np.float64]
Labels = NDArray[np.bool_]

_Z95: Final = 1.959963984540054
"""The normal distribution's 97.5 % point."""


class Share(NamedTuple):
    """A share of ``total``, with a 95 % interval by Wilson (1927), "Probable inference"; NaN of nothing."""

    value: float
    low: float
    high: float
    total: int


def wilson(hits: int, total: int, z: float = _Z95) -> Share:
    """The share ``hits / total`` with Wilson's score interval.

    >>> [round(part, 3) for part in wilson(8, 10)]
    [0.8, 0.49, 0.943, 10]
    """
    if not total:
        return Share(math.nan, math.nan, math.nan, 0)
    share = hits / total
    middle = share + z * z / (2 * total)
    spread = z * math.sqrt(share * (1 - share) / total + z * z / (4 * total * total))
    scale = 1 + z * z / total
    low, high = max(0.0, (middle - spread) / scale), min(1.0, (middle + spread) / scale)
    # Where no row or every row is a hit, rounding must not shut the share out.
    return Share(share, min(low, share), max(high, share), total)


def area_under_curve(scores: Scores, labels: Labels) -> float:
    """The chance that a positive row scores above a negative one, ties half (Mann and Whitney); NaN without both.

    >>> area_under_curve(np.array([0.1, 0.4, 0.35, 0.8]), np.array([False, False, True, True]))
    0.75
    """
    positives = int(labels.sum())
    negatives = len(labels) - positives
    if not positives or not negatives:
        return math.nan
    values, inverse, counts = np.unique(scores, return_inverse=True, return_counts=True)
    ranks = (np.cumsum(counts) - (counts - 1) / 2)[inverse]
    assert len(values)
    return (float(ranks[labels].sum()) - positives * (positives + 1) / 2) / (positives * negatives)


class Held(NamedTuple):
    """A judge on held-out rows: rows that score ``threshold`` or more are kept."""

    threshold: float
    precision: Share
    recall: Share
    f1: float
    auc: float
    kept: Share

    def as_dict(self) -> dict[str, Any]:
        """Plain numbers for JSON; NaN as null."""
        plain: dict[str, Any] = {}
        for name, part in self._asdict().items():
            values = part._asdict() if isinstance(part, Share) else {name: part}
            rounded = {key: _plain(value) for key, value in values.items()}
            plain[name] = rounded if isinstance(part, Share) else rounded[name]
        return plain


def measure(scores: Scores, labels: Labels, threshold: float) -> Held:
    """Precision and recall of ``scores >= threshold`` on labelled rows."""
    kept = scores >= threshold
    hits = int((kept & labels).sum())
    precision, recall = wilson(hits, int(kept.sum())), wilson(hits, int(labels.sum()))
    both = int(kept.sum()) + int(labels.sum())
    f1 = 2 * hits / both if both else math.nan
    return Held(
        threshold, precision, recall, f1, area_under_curve(scores, labels), wilson(int(kept.sum()), len(labels))
    )


def threshold_for_share(scores: Scores, share: float) -> float:
    """The score that about ``share`` of the rows reach.

    >>> threshold_for_share(np.array([0.1, 0.2, 0.3, 0.4]), 0.5)
    0.3
    """
    count = min(len(scores), max(1, round(share * len(scores))))
    return float(np.sort(scores)[len(scores) - count])


def threshold_for_precision(scores: Scores, labels: Labels, precision: float) -> float | None:
    """The lowest score such that of the rows that reach it ``precision`` are positive; None if there is none.

    >>> threshold_for_precision(np.array([0.1, 0.2, 0.3]), np.array([False, False, True]), 1.0)
    0.3
    """
    order = np.argsort(-scores, kind="stable")
    hits = np.cumsum(labels[order])
    reached = hits / np.arange(1, len(scores) + 1)
    # Rows of one score stay or go together: only the last of them is a place for the threshold.
    last = np.append(scores[order][1:] != scores[order][:-1], True)
    good = np.flatnonzero((reached >= precision) & last)
    return float(scores[order][good[-1]]) if len(good) else None


def _plain(value: float | int) -> float | int | None:
    if isinstance(value, int):
        return value
    return None if math.isnan(value) else round(value, 6)
