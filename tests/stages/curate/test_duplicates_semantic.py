"""Semantic duplicates: clusters, cosines, and embeddings that need no model."""

from __future__ import annotations

import math

import numpy as np
import pyarrow as pa
import pytest

from groundup.base.errors import DataError
from groundup.stages.curate.duplicates.embed import document_frequencies, tfidf_embeddings, unit
from groundup.stages.curate.duplicates.semantic import assign, centroids, on_grid, semantic_twins
from groundup.stages.curate.engine.columns import texts
from groundup.stages.curate.passes.semantic import cluster_decisions
from groundup.stages.curate.passes.vectors import packed


def planted(seed: int = 0) -> np.ndarray:  # type: ignore[type-arg]
    """Four directions with ten vectors near each, (40, 16)."""
    chance = np.random.default_rng(seed)
    centres = unit(chance.normal(size=(4, 16)).astype(np.float32))
    return unit((centres.repeat(10, 0) + chance.normal(scale=0.02, size=(40, 16))).astype(np.float32))


def greedy(vectors, order, threshold):  # type: ignore[no-untyped-def]
    """The rule one by one, in whole numbers."""
    points = on_grid(vectors).astype(np.int64)
    squares = (points**2).sum(1).tolist()
    kept, gone = [], {}
    for row in order:
        near = {other: int(points[row] @ points[other]) / math.sqrt(squares[row] * squares[other]) for other in kept}
        best = max(near, key=lambda other: near[other], default=None)
        if best is not None and near[best] >= threshold:
            gone[row] = best
        else:
            kept.append(row)
    return gone


@pytest.mark.parametrize("keep", ["farthest", "longest"])
def test_a_document_goes_only_for_one_that_stays(keep, monkeypatch) -> None:  # type: ignore[no-untyped-def]
    from groundup.stages.curate.duplicates import semantic

    vectors = np.random.default_rng(1).normal(size=(300, 3)).astype(np.float32)
    vectors = unit(vectors)
    closeness = vectors @ np.array([1, 0, 0], np.float32)
    order = np.argsort(closeness, kind="stable") if keep == "farthest" else np.arange(300)
    expected = greedy(vectors, order.tolist(), 0.95)
    for rows in (4096, 7):
        monkeypatch.setattr(semantic, "_ROWS_AT_ONCE", rows)
        twins = semantic_twins(vectors, np.arange(300), closeness, 0.95, keep)
        assert dict(zip(twins.dropped.tolist(), twins.survivor.tolist(), strict=True)) == expected
        assert (twins.jaccard >= 0.95).all() and 0 < len(expected) < 300


def test_clusters_are_the_planted_ones_and_the_same_each_time() -> None:
    vectors = planted()
    centres = centroids(vectors, 4, seed=3)
    clusters, closeness = assign(vectors, centres)
    assert (centroids(vectors, 4, seed=3) == centres).all()
    assert np.linalg.norm(centres, axis=1) == pytest.approx(1, abs=1e-5)
    assert (closeness > -1).all() and (closeness <= 1 + 1e-5).all()
    groups = {tuple(np.flatnonzero(clusters == cluster) // 10) for cluster in np.unique(clusters)}
    assert all(len(set(group)) == 1 for group in groups) or len(np.unique(clusters)) < 4


def test_each_cluster_is_taken_by_itself() -> None:
    vectors = np.array([[1, 0], [1, 0], [1, 0], [0, 1]], np.float32)
    names = [f"{at:032x}" for at in range(4)]
    rows = {"unit": [0, 0, 1, 1], "row": [4, 5, 6, 7], "chars": [1, 9, 1, 1], "id": names}
    keys = {"key": np.array([8, 8, 9, 9], np.uint64), "closeness": np.ones(4, np.float32)}
    table = pa.table({**rows, **keys, "vector": packed(on_grid(vectors))})
    found = cluster_decisions(table, 0.9, "longest").select(["unit", "row", "survivor", "similarity"]).to_pylist()
    assert found == [{"unit": 0, "row": 4, "survivor": names[1], "similarity": 1.0}]
    assert cluster_decisions(table.slice(0, 0), 0.9, "longest").num_rows == 0


def test_projected_cosines_are_those_of_tfidf() -> None:
    values = ["the cat sat on the mat", "the cat sat on a mat today", "quarterly revenue rose", "", "the THE the"]
    rows = texts(pa.record_batch({"text": pa.array(values, pa.large_string())}))
    vectors = tfidf_embeddings(rows, document_frequencies(rows), len(values), dim=4096)
    words = [value.lower().split() for value in values]
    names = sorted({word for each in words for word in each})
    with_it = {name: sum(name in each for each in words) for name in names}
    exact = np.array(
        [
            [
                (1 + np.log(each.count(name))) * (np.log(6 / (1 + with_it[name])) + 1e-3) if name in each else 0
                for name in names
            ]
            for each in words
        ],
        np.float32,
    )
    assert vectors @ vectors.T == pytest.approx(unit(exact) @ unit(exact).T, abs=0.06)
    assert not vectors[3].any()


@pytest.mark.parametrize("wrong", [np.array([[1.0, np.nan]], np.float32), np.ones(3, np.float32)])
def test_what_is_no_embedding_is_refused(wrong) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(DataError, match="embeddings"):
        centroids(wrong, 1)
    with pytest.raises(DataError, match="clusters"):
        centroids(np.ones((2, 2), np.float32), 3)
