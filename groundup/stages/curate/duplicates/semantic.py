"""Documents that say the same in other words, by their embeddings (Abbas et al. 2023, "SemDeDup").

Embeddings are clustered by k-means; within a cluster, pairs above a cosine are duplicates, and the paper keeps of them
the one farthest from the centroid. Its code drops a document whose neighbour is itself dropped; here, as for near
duplicates, a document goes only for one that stays. Clusters are independent: one is a unit of work, and a document's
neighbours in another cluster are not seen (the paper's trade as well).

Inner products are taken of whole numbers (:func:`on_grid`), so they are exact, and with them every cluster, cosine and
decision: matrix libraries add in an order that depends on shapes and threads, and a cosine at the threshold would fall
on one side or the other by how the corpus was cut. It costs an error of about 0.0001 in a cosine.
"""

from __future__ import annotations

from typing import Any, Final, Literal

import numpy as np
from numpy.typing import NDArray

from groundup.base.errors import DataError
from groundup.base.seeds import derive
from groundup.stages.curate.duplicates.embed import Floats, unit
from groundup.stages.curate.duplicates.survivors import Twins

Ints = NDArray[np.int64]

_ROWS_AT_ONCE: Final = 1024
GRID: Final = 4000
"""Steps to 1 of a component: large enough for cosines to 4 digits, small enough for float32 to add exactly."""
MOST_DIM: Final = 1 << 15


def on_grid(vectors: NDArray[np.floating[Any]]) -> Floats:
    """Vectors, (rows, dim), at length 1, in whole numbers of 1 / 4,000: (rows, dim) float32. Those of no length stay 0.

    Rounding adds at most sqrt(dim) / 2 to a length of 4,000, which leaves it below 4,096 up to 32,768 dimensions. By
    Cauchy and Schwarz every partial sum of an inner product is below 4,096**2 = 2**24 then: whole numbers that float32
    holds exactly. So the sum is the same in any order, with any number of threads, for matrices of any shape.
    """
    if vectors.ndim != 2 or vectors.shape[1] > MOST_DIM or not np.isfinite(vectors).all():
        raise DataError(f"embeddings must be (rows, dim) numbers, all finite, of at most {MOST_DIM} dimensions")
    out = np.empty(vectors.shape, np.float32)
    for start in range(0, len(vectors), _ROWS_AT_ONCE):
        part = slice(start, start + _ROWS_AT_ONCE)
        np.rint(unit(vectors[part].astype(np.float64)) * GRID, out=out[part], casting="same_kind")
    return out


def centroids(sample: Floats, num_clusters: int, seed: int = 1, rounds: int = 20) -> Floats:
    """Spherical k-means (Dhillon and Modha 2001) of a sample, (rows, dim): (num_clusters, dim) of length 1.

    Starts from rows drawn by ``seed``; a cluster that lost all rows takes the row that fits its own cluster least.
    """
    points = on_grid(sample)
    if not 1 <= num_clusters <= len(points):
        raise DataError(f"{len(points)} embeddings can't make {num_clusters} clusters")
    draw = np.random.default_rng(derive(seed, "semantic", "centroids"))
    centres = points[np.sort(draw.choice(len(points), num_clusters, replace=False))]
    before = np.full(len(points), -1, np.int64)
    for _ in range(rounds):
        clusters, closeness = _nearest(points, centres)
        if np.array_equal(clusters, before):
            break
        before = clusters
        sums = np.zeros(centres.shape, np.float64)  # of whole numbers, so exact as well
        np.add.at(sums, clusters, points)
        empty = np.flatnonzero(np.bincount(clusters, minlength=num_clusters) == 0)
        sums[empty] = points[np.argsort(closeness, kind="stable")[: len(empty)]]
        centres = on_grid(sums)
    return unit(centres)


def assign(vectors: Floats, centres: Floats) -> tuple[Ints, Floats]:
    """The nearest centroid of each vector, and the cosine with it: (rows,) int64 and float32."""
    return _nearest(on_grid(vectors), on_grid(centres))


def _nearest(points: Floats, centres: Floats) -> tuple[Ints, Floats]:
    """What :func:`assign` gives, of what is on the grid; centroids differ in length by rounding alone."""
    clusters, closeness = np.empty(len(points), np.int64), np.empty(len(points), np.float32)
    squares = _squares(centres)
    for start in range(0, len(points), _ROWS_AT_ONCE):
        block = points[start : start + _ROWS_AT_ONCE]
        products = block @ centres.T
        best = products.argmax(axis=1)
        clusters[start : start + len(best)] = best
        top = products[np.arange(len(best)), best]
        closeness[start : start + len(best)] = _cosines(top, _squares(block), squares[best])
    return clusters, closeness


def semantic_twins(
    vectors: Floats,
    documents: Ints,
    closeness: Floats,
    min_cosine: float,
    keep: Literal["farthest", "longest"] = "farthest",
) -> Twins:
    """The documents of one cluster that go, with the survivor and the cosine (in ``jaccard``'s place).

    ``documents`` number by right to stay, the longest first: they order ``keep="longest"`` and break ties. Of equally
    near survivors the one that comes first in that order is named. Quadratic in the cluster's size in time, where few
    go; in memory the vectors and a few blocks of 1,024 by 1,024 cosines.
    """
    order = np.argsort(documents, kind="stable")
    if keep == "farthest":
        order = order[np.argsort(closeness[order], kind="stable")]
    ranked = on_grid(vectors)[order]
    stays, count = np.empty(len(ranked), np.int64), 0  # places in ``ranked``
    dropped, survivor, likeness = [], [], []
    for start in range(0, len(ranked), _ROWS_AT_ONCE):
        block = ranked[start : start + _ROWS_AT_ONCE]
        before = count
        cosines, places = _likest(block, ranked, stays[:before])
        inside = _cosines(block @ block.T, _squares(block)[:, None], _squares(block))
        for row in range(len(block)):
            cosine, place = float(cosines[row]), int(places[row])
            if count > before:
                near = inside[row, stays[before:count] - start]
                at = int(near.argmax())
                if near[at] > cosine:
                    cosine, place = float(near[at]), int(stays[before + at])
            if cosine >= min_cosine:
                dropped.append(documents[order[start + row]])
                survivor.append(documents[order[place]])
                likeness.append(cosine)
            else:
                stays[count] = start + row
                count += 1
    by = np.argsort(np.array(dropped, np.int64), kind="stable")
    return Twins(np.array(dropped, np.int64)[by], np.array(survivor, np.int64)[by], np.array(likeness, np.float64)[by])


def _likest(block: Floats, ranked: Floats, stays: Ints) -> tuple[NDArray[np.float64], Ints]:
    """For each row of a block, its greatest cosine with those that stay, and the first place that has it."""
    best, place = np.full(len(block), -2.0), np.full(len(block), -1, np.int64)
    squares, rows = _squares(block)[:, None], np.arange(len(block))
    for start in range(0, len(stays), _ROWS_AT_ONCE):
        some = stays[start : start + _ROWS_AT_ONCE]
        others = ranked[some]
        cosines = _cosines(block @ others.T, squares, _squares(others))
        at = cosines.argmax(axis=1)
        nearer = cosines[rows, at] > best
        best[nearer], place[nearer] = cosines[rows, at][nearer], some[at[nearer]]
    return best, place


def _squares(points: Floats) -> NDArray[np.float64]:
    """The squared lengths, whole numbers up to 2**24: (rows,) float64."""
    return np.asarray(np.einsum("ij,ij->i", points, points), np.float64)


def _cosines(products: Floats, left: NDArray[np.float64], right: NDArray[np.float64]) -> NDArray[np.float64]:
    """Inner products over lengths, given as squares; 0 where a vector has no length. Equal vectors have exactly 1."""
    lengths = np.sqrt(left * right)
    out = np.zeros(products.shape, np.float64)
    np.divide(products, lengths, out=out, where=lengths > 0)
    return out
