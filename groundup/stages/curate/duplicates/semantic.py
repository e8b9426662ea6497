"""Documents that say the same in other words, by their embeddings (Abbas et al. 2023, "SemDeDup").

Embeddings are clustered by k-means; within a cluster, pairs above a cosine are duplicates, and the paper keeps of them
the one farthest from the centroid. Its code drops a document whose neighbour is itself dropped; here, as for near
duplicates, a document goes only for one that stays. Clusters are independent: one is a unit of work, and a document's
neighbours in another cluster are not seen (the paper's trade as well).
"""

from __future__ import annotations

from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray

from groundup.base.errors import DataError
from groundup.base.seeds import derive
from groundup.stages.curate.duplicates.embed import Floats, unit
from groundup.stages.curate.duplicates.survivors import Twins

Ints = NDArray[np.int64]

_ROWS_AT_ONCE: Final = 4096


def centroids(sample: Floats, num_clusters: int, seed: int = 1, rounds: int = 20) -> Floats:
    """Spherical k-means (Dhillon and Modha 2001) of a sample, (rows, dim): (num_clusters, dim) of length 1.

    Starts from rows drawn by ``seed``; a cluster that lost all rows takes the row that fits its own cluster least.
    """
    vectors = _checked(sample)
    if not 1 <= num_clusters <= len(vectors):
        raise DataError(f"{len(vectors)} embeddings can't make {num_clusters} clusters")
    draw = np.random.default_rng(derive(seed, "semantic", "centroids"))
    centres = vectors[np.sort(draw.choice(len(vectors), num_clusters, replace=False))].copy()
    before = np.full(len(vectors), -1, np.int64)
    for _ in range(rounds):
        clusters, closeness = assign(vectors, centres)
        if np.array_equal(clusters, before):
            break
        before = clusters
        sums = np.zeros(centres.shape, np.float64)
        np.add.at(sums, clusters, vectors)
        empty = np.flatnonzero(np.bincount(clusters, minlength=num_clusters) == 0)
        sums[empty] = vectors[np.argsort(closeness, kind="stable")[: len(empty)]]
        centres = unit(sums.astype(np.float32))
    return centres


def assign(vectors: Floats, centres: Floats) -> tuple[Ints, Floats]:
    """The nearest centroid of each vector, and the cosine with it: (rows,) int64 and float32."""
    vectors = _checked(vectors)
    clusters, closeness = np.empty(len(vectors), np.int64), np.empty(len(vectors), np.float32)
    for start in range(0, len(vectors), _ROWS_AT_ONCE):
        cosines = vectors[start : start + _ROWS_AT_ONCE] @ centres.T
        best = cosines.argmax(axis=1)
        clusters[start : start + len(best)] = best
        closeness[start : start + len(best)] = cosines[np.arange(len(best)), best]
    return clusters, closeness


def semantic_twins(
    vectors: Floats,
    documents: Ints,
    closeness: Floats,
    min_cosine: float,
    keep: Literal["farthest", "longest"] = "farthest",
) -> Twins:
    """The documents of one cluster that go, with the survivor and the cosine (in ``jaccard``'s place).

    ``documents`` number by right to stay, the longest first: they order ``keep="longest"`` and break ties. Quadratic in
    the cluster's size in time; 4,096 rows at a time in memory, against all that stay.
    """
    vectors = _checked(vectors)
    order = np.argsort(documents, kind="stable")
    if keep == "farthest":
        order = order[np.argsort(closeness[order], kind="stable")]
    ranked = vectors[order]
    stays: list[int] = []  # places in ``ranked``
    dropped, survivor, likeness = [], [], []
    for start in range(0, len(ranked), _ROWS_AT_ONCE):
        block = ranked[start : start + _ROWS_AT_ONCE]
        before = len(stays)
        cosines = block @ ranked[np.array(stays, np.int64)].T
        inside = block @ block.T
        for row in range(len(block)):
            likest = [(float(cosines[row].max()), stays[int(cosines[row].argmax())])] if before else []
            if len(stays) > before:
                near = inside[row, np.array(stays[before:]) - start]
                likest.append((float(near.max()), stays[before + int(near.argmax())]))
            cosine, place = max(likest, default=(-1.0, -1), key=lambda pair: pair[0])
            if cosine >= min_cosine:
                dropped.append(documents[order[start + row]])
                survivor.append(documents[order[place]])
                likeness.append(cosine)
            else:
                stays.append(start + row)
    by = np.argsort(np.array(dropped, np.int64), kind="stable")
    return Twins(np.array(dropped, np.int64)[by], np.array(survivor, np.int64)[by], np.array(likeness, np.float64)[by])


def _checked(vectors: Floats) -> Floats:
    if vectors.ndim != 2 or not np.isfinite(vectors).all():
        raise DataError("embeddings must be (rows, dim) numbers, all finite")
    return unit(vectors.astype(np.float32, copy=False))
