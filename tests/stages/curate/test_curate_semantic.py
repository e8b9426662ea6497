"""Semantic duplicates as a pass: found where near duplicates are not, told by the ledger, the same for any cut."""

from __future__ import annotations

import gzip
import json
import random
import re
import shutil
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

sys.path.insert(0, str(Path(__file__).parent))
from test_curate_stage import _artifact, _bytes, _config, _curate, _page, _rows

from groundup.artifact.exhibit import Funnel
from groundup.artifact.ledger import cluster
from groundup.artifact.stage import Node
from groundup.base.errors import DataError, RequestError
from groundup.stages.curate import run as run_module
from groundup.stages.curate.config import CurateConfig
from groundup.stages.curate.duplicates.semantic import GRID, MOST_DIM, assign, centroids, on_grid, semantic_twins
from groundup.stages.curate.passes import given as given_module
from groundup.stages.curate.passes import semantic

EXAMPLES = Path(__file__).parents[3] / "examples" / "stories.jsonl.gz"
STEP = "semantic_dedup"
SYNONYMS = {"big": "large", "happy": "glad", "little": "small", "said": "spoke", "saw": "noticed"}


def _stories(count: int) -> list[str]:
    """Real stories of some length, on one line each."""
    with gzip.open(EXAMPLES, "rt", encoding="utf-8") as file:
        texts = [" ".join(json.loads(line)["text"].split()) for line in file]
    return [text for text in texts if len(text) > 900][:count]


def _sentences(text: str) -> list[str]:
    return re.findall(r"[^.!?]+[.!?\"]*", text)


def _reordered(text: str, seed: int) -> str:
    """The same words, in runs of four that come in another order."""
    words = text.split()
    parts = [" ".join(words[at : at + 4]) for at in range(0, len(words), 4)]
    random.Random(seed).shuffle(parts)
    return " ".join(parts)


def _backwards(text: str) -> str:
    """The same words, each sentence from its end."""
    return " ".join(" ".join(part.strip(" .").split()[::-1]) + "." for part in _sentences(text))


def _reworded(text: str, seed: int) -> str:
    """Two of the words in other words, and all of them in another order."""
    some = random.Random(seed).sample(sorted(SYNONYMS), 2)
    return _reordered(re.sub(r"\w+", lambda word: SYNONYMS[word[0]] if word[0] in some else word[0], text), seed)


STORIES = _stories(40)
FAMILIES = {
    **{f"story {at}": [_page(text, f"story {at}")] for at, text in enumerate(STORIES)},
}
for _at in range(12):
    _family = FAMILIES[f"story {_at}"]
    _family.append(_page(_reordered(STORIES[_at], _at), f"reordered {_at}"))
    if _at % 3 == 1:
        _family.append(_page(_backwards(STORIES[_at]), f"backwards {_at}"))
    if _at % 3 == 2:
        _family.append(_page(_reworded(STORIES[_at], 100 + _at), f"reworded {_at}"))
PAGES = [page for family in FAMILIES.values() for page in family]
FAMILY = {page["id"]: name for name, family in FAMILIES.items() for page in family}


def _fields(**semantic_fields: Any) -> dict[str, Any]:
    return {"filters": [], "decontaminate": [], "semantic_duplicates": semantic_fields}


def _layout(folder: Path, pages: list[dict[str, Any]], cut: int) -> list[Any]:
    return [_artifact(folder, f"part{at}", pages[at::cut]) for at in range(cut)]


def _survivors_by_family(payload: Path) -> dict[str, list[str]]:
    """The family of each survivor that the ledger names, to the families of what went for it."""
    found: dict[str, list[str]] = {}
    for row in _rows(payload, "ledger"):
        if row["step"] == STEP:
            found.setdefault(FAMILY[row["survivor"]], []).append(FAMILY[row["id"]])
    return found


def test_the_same_words_in_another_order_are_found_where_near_duplicates_are_not(tmp_path: Path) -> None:
    artifact = _artifact(tmp_path, "pages", PAGES)
    without, *_ = _curate(tmp_path / "without", [artifact], _config(filters=[], decontaminate=[]))
    assert without.metrics["rejected"] == {}, "other steps found some: no test of this pass"
    assert "semantic_duplicates" not in without.metrics
    outcome, task, corpus, rejects = _curate(tmp_path / "with", [artifact], _config(**_fields()))
    assert sorted(FAMILY[row["id"]] for row in corpus) == sorted(FAMILIES), "one of each family stays, and no more"
    assert {row["reason"] for row in rejects} == {f"{STEP}:semantic_duplicate"}
    assert _survivors_by_family(task.payload) == {
        name: [name] * (len(family) - 1) for name, family in FAMILIES.items() if len(family) > 1
    }
    assert outcome.metrics["semantic_duplicates"] == {
        "documents": len(PAGES), "without_embedding": 0, "clusters": 1, "split_clusters": 0,
        "largest_cluster": len(PAGES), "dropped": len(PAGES) - len(FAMILIES),
    }  # fmt: skip
    funnel = next(one for one in task.exhibits if isinstance(one, Funnel))
    assert funnel.steps[-1][1:] == (len(corpus), {"semantic_duplicate": len(rejects)})


def test_the_ledger_names_the_survivor_and_its_cluster(tmp_path: Path) -> None:
    artifact = _artifact(tmp_path, "pages", PAGES)
    _, task, corpus, _ = _curate(tmp_path / "run", [artifact], _config(**_fields(keep="longest")))
    ledger = {row["id"]: row for row in _rows(task.payload, "ledger")}
    kept = {row["id"] for row in corpus}
    gone = [row for row in ledger.values() if row["step"] == STEP]
    assert len(gone) == len(PAGES) - len(FAMILIES)
    for row in gone:
        survivor = ledger[row["survivor"]]
        assert row["survivor"] in kept
        assert 0.9 <= row["similarity"] <= 1
        assert row["detail"] == f"of {row['survivor']} (cosine {row['similarity']:.3f})"
        assert (survivor["chars"], row["id"]) >= (row["chars"], survivor["id"]) or survivor["chars"] > row["chars"]
        assert row["id"] in {one["id"] for one in cluster(task.payload / "ledger", row["survivor"])}


def test_a_higher_cosine_drops_less(tmp_path: Path) -> None:
    artifact = _artifact(tmp_path, "pages", PAGES)
    _, _, corpus, _ = _curate(tmp_path / "run", [artifact], _config(**_fields(min_cosine=1.0)))
    records = {row["record"] for row in corpus}
    assert {f"story {at}" for at in range(12, len(STORIES))} <= records
    assert len(records) == len(FAMILIES) + sum(record.startswith("reworded") for record in records)
    assert any(record.startswith("reworded") for record in records)


@pytest.fixture
def small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every table a unit, many partitions, a sample of about a third."""
    monkeypatch.setattr(run_module, "WORTH_A_POOL", 0)
    monkeypatch.setattr(run_module, "UNIT_BYTES", 1)
    monkeypatch.setattr(run_module, "PARTITION_BYTES", 4000)
    monkeypatch.setattr(semantic, "_SAMPLE_LEAST", 20)
    monkeypatch.setattr(semantic, "_SAMPLE_EACH", 2)
    monkeypatch.setattr(given_module, "_RUN_BYTES", 500)


@pytest.mark.usefixtures("small_parts")
def test_workers_cuts_and_order_do_not_show(tmp_path: Path) -> None:
    shuffled = PAGES.copy()
    random.Random(3).shuffle(shuffled)
    results = []
    for name, pages, cut, workers in (("a", PAGES, 1, 1), ("b", shuffled, 7, 1), ("c", PAGES[::-1], 3, 2)):
        config = _config(workers=workers, near_duplicates=None, **_fields(clusters=6))
        outcome, task, *_ = _curate(tmp_path / name, _layout(tmp_path / f"in {name}", pages, cut), config)
        results.append((outcome.metrics, _bytes(task.payload)))
    assert results[0] == results[1] == results[2]
    counts = results[0][0]["semantic_duplicates"]
    assert counts["clusters"] == 6
    assert 0 < counts["largest_cluster"] < len(PAGES)
    assert 0 < counts["dropped"] <= len(PAGES) - len(FAMILIES), "copies in two clusters may be missed, no more"


@pytest.mark.usefixtures("small_parts")
def test_a_cluster_that_would_be_too_large_is_compared_in_parts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Half of the pages are boilerplate: their cluster is cut by id, and each part keeps a document."""
    boilerplate = [_page(_reordered(STORIES[0], 1000 + at), f"notice {at}") for at in range(60)]
    pages = [page for page in PAGES if FAMILY[page["id"]] != "story 0"] + boilerplate
    monkeypatch.setattr(semantic, "_MOST_BYTES", 2 * 256 * 20)  # 20 documents
    results = []
    for name, some, cut in (("a", pages, 1), ("b", pages[::-1], 4)):
        config = _config(workers=1, near_duplicates=None, **_fields(clusters=4))
        outcome, task, corpus, _ = _curate(tmp_path / name, _layout(tmp_path / f"in {name}", some, cut), config)
        results.append((outcome.metrics, _bytes(task.payload)))
    assert results[0] == results[1]
    counts = outcome.metrics["semantic_duplicates"]
    kept = sum(row["record"].startswith("notice") for row in corpus)
    assert counts["split_clusters"] >= 1
    assert 2 <= kept <= 8, "one of each part, of about 20"
    assert counts["largest_cluster"] < 60
    monkeypatch.undo()
    config = _config(near_duplicates=None, **_fields(clusters=4))
    outcome, _, corpus, _ = _curate(tmp_path / "c", _layout(tmp_path / "in c", pages, 1), config)
    assert outcome.metrics["semantic_duplicates"]["split_clusters"] == 0
    assert sum(row["record"].startswith("notice") for row in corpus) == 1


# -- embeddings from a file ----------------------------------------------------------------------------------------


def _directions(dim: int = 24) -> dict[str, np.ndarray[Any, Any]]:
    """For each page a vector: close to that of its group of four, which has nothing to do with its words."""
    draw = np.random.default_rng(5)
    groups = draw.normal(size=(len(PAGES) // 4 + 1, dim))
    return {
        page["id"]: groups[at // 4] * draw.uniform(0.1, 9) + draw.normal(scale=1e-3, size=dim)
        for at, page in enumerate(PAGES)
    }


def _write(path: Path, vectors: dict[str, Any], kind: Any = None) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    column = pa.array([None if one is None else list(one) for one in vectors.values()], kind or pa.list_(pa.float32()))
    ids = pa.array(list(vectors), pa.string())
    pq.write_table(pa.table({"id": ids, "embedding": column, "more": [1] * len(vectors)}), path)
    return path


def _with_file(folder: Path, artifacts: list[Any], path: Path, **fields: Any) -> tuple[Any, ...]:
    config = _config(near_duplicates=None, workers=1, **_fields(embeddings="vectors", **fields))
    return _curate(folder, artifacts, config, files={"vectors": path})


@pytest.mark.usefixtures("small_parts")
def test_embeddings_come_from_a_file_and_what_is_missing_stays(tmp_path: Path) -> None:
    vectors = _directions()
    missing = [page["id"] for page in PAGES[1:12:2]]
    flat = [page["id"] for page in PAGES[12:14]]
    given = {name: vector for name, vector in vectors.items() if name not in missing}
    given |= dict.fromkeys(flat, np.zeros(24)) | {"0" * 32: np.ones(24)}
    names = sorted(given, key=lambda name: name[::-1])
    one = _write(tmp_path / "one.parquet", given)
    for at in range(3):
        part = {name: given[name] for name in names[at::3]}
        _write(tmp_path / "folder" / str(at) / "x.parquet", part, pa.list_(pa.float64(), 24))
    results = []
    for name, cut, path in (("a", 1, one), ("b", 5, tmp_path / "folder")):
        layout = _layout(tmp_path / f"in {name}", PAGES, cut)
        outcome, task, corpus, rejects = _with_file(tmp_path / name, layout, path)
        results.append((outcome.metrics, _bytes(task.payload)))
    assert results[0] == results[1]
    kept = {row["id"] for row in corpus}
    assert {*missing, *flat} <= kept
    counts = outcome.metrics["semantic_duplicates"]
    assert counts["documents"] == len(PAGES)
    assert counts["without_embedding"] == len(missing) + len(flat)
    by_group: dict[int, list[bool]] = {}
    for at, page in enumerate(PAGES):
        if page["id"] not in {*missing, *flat}:
            by_group.setdefault(at // 4, []).append(page["id"] in kept)
    assert all(sum(stays) == 1 for stays in by_group.values())
    assert counts["dropped"] == len(rejects) == sum(len(stays) - 1 for stays in by_group.values()) > 20


@pytest.mark.parametrize("by_file", [False, True])
@pytest.mark.usefixtures("small_parts")
def test_a_run_that_was_cut_off_goes_on_and_leaves_no_vectors(
    by_file: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Cut off after vectors were freed; and then a result that is needed again is damaged."""
    layout = _layout(tmp_path / "in", PAGES, 3)
    given = _write(tmp_path / "x.parquet", _directions()) if by_file else None
    fields = _fields(clusters=6, **({"embeddings": "vectors"} if given else {}))
    config, files = _config(workers=1, near_duplicates=None, **fields), {"vectors": given} if given else {}
    _, whole, *_ = _curate(tmp_path / "whole", layout, config, files=files)

    def cut(*_: Any) -> Any:
        raise KeyboardInterrupt

    for damage in (False, True):
        folder = tmp_path / f"cut {damage}"
        with monkeypatch.context() as patch:
            patch.setattr(run_module.Passes, "finish", cut)
            with pytest.raises(KeyboardInterrupt):
                _curate(folder, layout, config, files=files)
        left = {path.suffix for path in (folder / "jobs").rglob("*") if path.name.startswith(("vec", "clus", "given"))}
        assert left == set(), "vectors are the largest intermediate result"
        if damage:
            for path in (folder / "jobs").glob("*/sample.parquet"):
                path.write_bytes(b"")
        shutil.rmtree(folder / "payload")
        _, again, *_ = _curate(folder, layout, config, files=files)
        assert _bytes(again.payload) == _bytes(whole.payload)


def test_a_file_about_other_documents_drops_nothing(tmp_path: Path) -> None:
    path = _write(tmp_path / "x.parquet", {f"{at:032x}": np.ones(3) for at in range(9)})
    outcome, _, corpus, _ = _with_file(tmp_path / "run", [_artifact(tmp_path, "pages", PAGES[:6])], path)
    assert len(corpus) == 6
    assert outcome.metrics["semantic_duplicates"] == {
        "documents": 6, "without_embedding": 6, "clusters": 0, "split_clusters": 0, "largest_cluster": 0, "dropped": 0,
    }  # fmt: skip


ID = PAGES[0]["id"]
FLOATS = pa.list_(pa.float32())


@pytest.mark.parametrize(
    ("rows", "kind", "message"),
    [
        ({ID: [1.0], "f" * 32: [1.0, 2.0]}, FLOATS, "1 dimensions and some 2"),
        ({ID: [1.0, float("nan")]}, FLOATS, "not finite"),
        ({ID: [1.0, float("inf")]}, FLOATS, "not finite"),
        ({ID: [1.0, 1e300]}, pa.list_(pa.float64()), "float32"),
        ({ID: [1.0, None]}, FLOATS, "missing"),
        ({ID: None}, FLOATS, "without an embedding"),
        ({ID: []}, FLOATS, "0 dimensions"),
        ({"page 7": [1.0]}, FLOATS, "32 hexadecimal digits"),
        ({None: [1.0]}, FLOATS, "32 hexadecimal digits"),
        ({}, FLOATS, "no rows"),
    ],
)
def test_rows_that_are_no_embeddings_are_refused(rows: dict[str, Any], kind: Any, message: str, tmp_path: Path) -> None:
    path = _write(tmp_path / "x.parquet", rows, kind)
    hands = semantic.Hands(_do(tmp_path / "jobs"), tmp_path, 1, 1)
    with pytest.raises(DataError, match=f"^embeddings: .*{message}") as caught:
        semantic._given(path, [], hands)
    assert "\n" not in str(caught.value)
    assert "page 7" not in str(caught.value)


def test_files_of_other_sizes_and_doubled_documents_are_refused(tmp_path: Path) -> None:
    artifact = _artifact(tmp_path, "pages", PAGES[:2])
    for name, dim in (("a", 3), ("b", 4)):
        _write(tmp_path / "sizes" / f"{name}.parquet", {f"{dim:032x}": np.ones(dim)})
        _write(tmp_path / "twice" / f"{name}.parquet", {ID: np.ones(3)})
    with pytest.raises(DataError, match="3 dimensions and some 4"):
        _with_file(tmp_path / "run", [artifact], tmp_path / "sizes")
    with pytest.raises(DataError, match="two embeddings of one document"):
        _with_file(tmp_path / "run2", [artifact], tmp_path / "twice")


def _do(home: Path) -> Any:
    from groundup.base.runner.executor import run_jobs

    return lambda phase, work, jobs: run_jobs(work, jobs, home, workers=1, report=lambda *_: None)


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"ids": ["x"], "embedding": [[1.0]]}, "no column 'id'; did you mean 'ids'"),
        ({"id": ["x"], "vector": [[1.0]]}, "no column 'embedding'"),
        ({"id": [7], "embedding": [[1.0]]}, "column 'id' of x.parquet must be strings, not int64"),
        ({"id": ["x"], "embedding": [1.0]}, "must be lists of floats, not double"),
        ({"id": ["x"], "embedding": [["a"]]}, "must be lists of floats, not list"),
        (None, "not a readable Parquet file"),
        ({}, "there is no .parquet file"),
    ],
)
def test_a_file_without_the_columns_is_refused_before_anything_starts(
    columns: dict[str, Any] | None, message: str, tmp_path: Path
) -> None:
    path = tmp_path / "x.parquet"
    if columns is None:
        path.write_text("id,embedding")
    elif not columns:
        path.mkdir()
    else:
        pq.write_table(pa.table(columns), path)
    config = CurateConfig.parse({"pages": ["p"], "decontaminate": [], **_fields(embeddings="vectors")}, "t")
    assert list(config.file_paths()) == ["vectors"]
    with pytest.raises(RequestError, match=message) as caught:
        config.check(Node("corpus", config, {}, {"vectors": path}, "d"))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "fields", [{"min_cosine": 0}, {"min_cosine": 1.1}, {"clusters": 0}, {"keep": "nearest"}, {"embedder": "tfidf"}]
)
def test_bad_fields_are_refused(fields: dict[str, Any]) -> None:
    with pytest.raises(RequestError, match=f"semantic_duplicates.{next(iter(fields))}"):
        CurateConfig.parse({"pages": ["p"], "semantic_duplicates": fields}, "t")


# -- why the same vectors always give the same decisions -----------------------------------------------------------


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(1, 300), st.integers(1, 40))
def test_products_on_the_grid_are_whole_numbers_in_any_shape(seed: int, dim: int, rows: int) -> None:
    draw = np.random.default_rng(seed)
    vectors = (draw.normal(size=(rows, dim)) * 10.0 ** draw.integers(-30, 30, (rows, 1))).astype(np.float32)
    points = on_grid(vectors)
    exact = points.astype(np.int64) @ points.astype(np.int64).T
    assert (points @ points.T == exact).all()
    assert (points[:1] @ points.T == exact[:1]).all()
    centres = unit_rows(draw, 5, dim)
    whole = assign(vectors, centres)
    order = draw.permutation(rows)
    parts = [assign(vectors[part], centres) for part in np.array_split(order, 3) if len(part)]
    for at, column in enumerate(whole):
        assert (np.concatenate([part[at] for part in parts]) == column[order]).all()


def unit_rows(draw: np.random.Generator, rows: int, dim: int) -> np.ndarray[Any, Any]:
    vectors = draw.normal(size=(rows, dim))
    return np.asarray(vectors / np.linalg.norm(vectors, axis=1, keepdims=True), np.float32)


def test_the_grid_holds_the_longest_vectors_that_are_allowed() -> None:
    """The bound that on_grid argues, at its worst: every component half a step above a whole number."""
    flat = np.full((2, MOST_DIM), 1 / np.sqrt(MOST_DIM), np.float32)
    points = on_grid(flat)
    square = int((points[0].astype(np.int64) ** 2).sum())
    assert square <= 2**24
    assert float((points @ points.T)[0, 1]) == square
    assert (GRID + np.sqrt(MOST_DIM) / 2) ** 2 <= 2**24
    with pytest.raises(DataError, match="at most"):
        on_grid(np.ones((1, MOST_DIM + 1), np.float32))


def test_equal_vectors_have_a_cosine_of_one_and_empty_ones_of_nothing() -> None:
    vectors = np.concatenate([np.repeat(np.random.default_rng(2).normal(size=(1, 70)), 3, 0), np.zeros((2, 70))])
    twins = semantic_twins(vectors.astype(np.float32), np.arange(5), np.zeros(5, np.float32), 1.0)
    assert (twins.dropped.tolist(), twins.survivor.tolist(), twins.jaccard.tolist()) == ([1, 2], [0, 0], [1.0, 1.0])


def test_centroids_do_not_depend_on_the_matrix_library(monkeypatch: pytest.MonkeyPatch) -> None:
    """Products taken row by row, as another library or number of threads might, give the same bits."""
    from groundup.stages.curate.duplicates import semantic as ideas

    sample = np.random.default_rng(4).normal(size=(500, 33)).astype(np.float32)
    whole = centroids(sample, 7)
    monkeypatch.setattr(ideas, "_ROWS_AT_ONCE", 3)
    assert (centroids(sample, 7) == whole).all()


def test_clusters_grow_with_the_corpus_and_never_with_its_cut() -> None:
    found = [semantic.clusters_for(count) for count in range(0, 40_000, 997)]
    assert found == sorted(found)
    assert semantic.clusters_for(10**9) == pytest.approx(10**4.5, rel=0.01)
