"""Boosted decision trees on blocks: is this block main content?

Trees are complete and of one depth, so a tree is three flat arrays and reading one is ``depth`` comparisons. Fitting is
gradient boosting of the logistic loss with second-order leaf values on binned features (Friedman 2001; Chen and
Guestrin 2016, eq. 5-7).
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Final

import numba
import numpy as np
from numpy.typing import NDArray

WEIGHTS: Final = Path(__file__).with_name("weights.json")

Floats = NDArray[np.float32]


@dataclass(frozen=True)
class Forest:
    """``feature``, ``threshold``: (trees, 2^depth - 1), node i of a tree having children 2i + 1 (not above the
    threshold) and 2i + 2; ``leaf``: (trees, 2^depth) log-odds; ``bias``: the log-odds before any tree."""

    feature: NDArray[np.int16]
    threshold: Floats
    leaf: Floats
    bias: float

    def log_odds(self, rows: Floats) -> Floats:
        """(rows, features) float32 to (rows,) float32."""
        return np.asarray(_predict(rows, self.feature, self.threshold, self.leaf, self.bias))


@numba.njit(cache=True, nogil=True)
def _predict(rows: Any, feature: Any, threshold: Any, leaf: Any, bias: float) -> Any:
    out = np.full(len(rows), bias, np.float32)
    trees, inner = feature.shape
    for r in range(len(rows)):
        for t in range(trees):
            node = 0
            while node < inner:
                node = 2 * node + 1 + (rows[r, feature[t, node]] > threshold[t, node])
            out[r] += leaf[t, node - inner]
    return out


@dataclass(frozen=True)
class Boosting:
    """How a forest is fitted. ``l2`` is the penalty on leaf values, ``min_weight`` the least curvature of a leaf."""

    trees: int = 120
    depth: int = 4
    rate: float = 0.1
    l2: float = 5.0
    min_weight: float = 3.0
    bins: int = 32
    columns: float = 0.4
    seed: int = 1


def fit(rows: Floats, targets: Floats, weights: Floats, how: Boosting) -> Forest:
    """A forest for targets in 0 to 1, each row counted by its weight. The same input gives the same forest."""
    rng = np.random.default_rng(how.seed)
    edges = [_edges(rows[:, f], how.bins) for f in range(rows.shape[1])]
    binned = np.stack([np.searchsorted(cuts, rows[:, f]) for f, cuts in enumerate(edges)], 1).astype(np.int64)
    mean = float(np.average(targets, weights=weights))
    bias = float(np.log(mean / (1 - mean)))
    scores = np.full(len(rows), bias)
    inner = 2**how.depth - 1
    feature = np.zeros((how.trees, inner), np.int16)
    threshold = np.full((how.trees, inner), np.inf, np.float32)
    leaf = np.zeros((how.trees, inner + 1), np.float32)
    for t in range(how.trees):
        chance = 1 / (1 + np.exp(-scores))
        gradient, curvature = weights * (targets - chance), weights * chance * (1 - chance)
        columns = rng.permutation(rows.shape[1])[: max(1, int(how.columns * rows.shape[1]))]
        at = np.zeros(len(rows), np.int64)
        for level in range(how.depth):
            first = 2**level - 1
            splits = _best_splits(binned, at - first, 2**level, gradient, curvature, np.sort(columns), how)
            for k, (column, cut) in enumerate(splits):
                if column >= 0:
                    feature[t, first + k], threshold[t, first + k] = column, edges[column][cut]
            at = 2 * at + 1 + (rows[np.arange(len(rows)), feature[t, at]] > threshold[t, at])
        at -= inner
        sums = np.bincount(at, gradient, inner + 1), np.bincount(at, curvature, inner + 1)
        leaf[t] = how.rate * sums[0] / (sums[1] + how.l2)
        scores += leaf[t][at]
    return Forest(feature, threshold, leaf, bias)


def _edges(values: Floats, bins: int) -> Floats:
    """Where to cut: between neighbouring distinct values near the quantiles."""
    distinct = np.unique(values)
    if len(distinct) > bins:
        distinct = np.unique(np.quantile(values, np.linspace(0, 1, bins + 1)).astype(np.float32))
    return np.asarray((distinct[1:] + distinct[:-1]) / 2, np.float32)


def _best_splits(
    binned: NDArray[np.int64],
    node: NDArray[np.int64],
    count: int,
    gradient: Floats,
    curvature: Floats,
    columns: NDArray[np.int64],
    how: Boosting,
) -> list[tuple[int, int]]:
    """For each node the (column, cut) of the largest gain, or (-1, 0)."""
    best = [(-1, 0)] * count
    gains = np.full(count, 1e-6)
    for column in columns:
        places = node * (how.bins + 1) + binned[:, column]
        width = count * (how.bins + 1)
        g = np.bincount(places, gradient, width).reshape(count, -1).cumsum(1)
        h = np.bincount(places, curvature, width).reshape(count, -1).cumsum(1)
        g_all, h_all = g[:, -1:], h[:, -1:]
        gain = g**2 / (h + how.l2) + (g_all - g) ** 2 / (h_all - h + how.l2) - g_all**2 / (h_all + how.l2)
        gain[(h < how.min_weight) | (h_all - h < how.min_weight)] = 0
        cuts = gain.argmax(1)
        for k in range(count):
            if gain[k, cuts[k]] > gains[k]:
                gains[k] = gain[k, cuts[k]]
                best[k] = (int(column), int(cuts[k]))
    return best


@dataclass(frozen=True)
class Model:
    """The shipped decision: a forest on a block's features, a second one that also sees its neighbours' log-odds, and
    the log-odds from which a block is main content."""

    first: Forest
    second: Forest
    threshold: float


def save(model: Model, path: Path, note: str) -> None:
    """Write numbers with four significant places; ``note`` says where they come from."""
    forests = {
        name: {
            "bias": round(forest.bias, 4),
            "feature": forest.feature.tolist(),
            "threshold": [[None if np.isinf(x) else float(f"{x:.5g}") for x in row] for row in forest.threshold],
            "leaf": [[float(f"{x:.4g}") for x in row] for row in forest.leaf],
        }
        for name, forest in (("first", model.first), ("second", model.second))
    }
    path.write_text(json.dumps({"note": note, "cut": model.threshold, **forests}, separators=(",", ":")) + "\n")


@cache
def model() -> Model:
    """The shipped model."""
    given = json.loads(WEIGHTS.read_text())
    forests = [
        Forest(
            np.array(forest["feature"], np.int16),
            np.array([[np.inf if x is None else x for x in row] for row in forest["threshold"]], np.float32),
            np.array(forest["leaf"], np.float32),
            float(forest["bias"]),
        )
        for forest in (given["first"], given["second"])
    ]
    return Model(forests[0], forests[1], float(given["cut"]))
