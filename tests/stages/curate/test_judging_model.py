"""The hashed linear classifier: features, training, figures, files, and the operator that applies it."""

from __future__ import annotations

import gzip
import json
import pickle
from itertools import pairwise
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from groundup.base.errors import DataError, RequestError
from groundup.stages.curate.judging import examples, linear, metrics, quality
from groundup.stages.curate.judging.quality import Quality, QualitySettings, quality_operators, train_quality

SHARED = Path(__file__).parents[3] / "../shared"
BITS = 14

TEXT = st.text(alphabet=st.sampled_from("aAbB 1.!\n'é ж中の😀\t-"), max_size=60)


def invented(count: int, word: str, seed: int) -> list[str]:
    """Texts of random words, among which ``word`` is common."""
    draw = np.random.default_rng(seed)
    nouns = [f"noun{number}" for number in range(40)] + [word] * 8
    return [" ".join(draw.choice(nouns, 30)) for _ in range(count)]


GOOD = invented(150, "marmalade", 1)
BAD = invented(150, "bargain", 2)


def plain_tokens(text: str) -> list[str]:
    """The tokens as the definition in kernels.py says, in plain Python."""
    tokens: list[str] = []
    before = ""
    for char in text:
        lead = char.encode()[0]
        alone = 0xE3 <= lead <= 0xE9 or lead >= 0xF0
        if char in " \t":
            kind = "space"
        elif alone:
            kind = "alone"
        elif (char.isascii() and char.isalnum()) or lead >= 0x80:
            kind = "word"
        else:
            kind = "sign" + char
        if kind == "space":
            pass
        elif kind == before and kind != "alone":
            tokens[-1] += char
        else:
            tokens.append(char)
        before = kind
    small = ["".join(char.lower() if char.isascii() else char for char in token) for token in tokens]
    return [token[0] if token.isascii() and not token[0].isalnum() else token for token in small]


@settings(max_examples=150)
@given(TEXT)
def test_features_are_the_distinct_tokens_and_pairs(text: str) -> None:
    tokens = plain_tokens(text)
    expected = len(set(tokens)) + len(set(pairwise(tokens)))
    # With 22 bits a few dozen features hardly ever meet; a meeting makes one fewer.
    found = linear.hash_features([text], 22, True)
    assert expected - 1 <= len(found.indices) <= expected
    assert len(set(found.indices.tolist())) == len(found.indices)


@pytest.mark.parametrize(
    ("one", "other", "equal"),
    [
        ("Red Apple", "red   apple", True),
        ("wow!!!", "wow!", True),
        ("red apple", "apple red", False),
        ("red apple", "redapple", False),
        ("红苹果", "红 苹 果", True),
        ("a\nb", "a b", False),
    ],
)
def test_what_counts_as_the_same_text(one: str, other: str, equal: bool) -> None:
    first, second = (sorted(linear.hash_features([text], 22, True).indices.tolist()) for text in (one, other))
    assert (first == second) is equal


def test_scores_are_those_of_the_features() -> None:
    """The streaming score and the stored features are two programs for one definition."""
    texts = [*GOOD[:5], *BAD[:5], "", "x"]
    draw = np.random.default_rng(3)
    model = linear.LinearModel(draw.normal(size=1 << BITS).astype(np.float32), 0.3, BITS, True)
    features = linear.hash_features(texts, BITS, True)
    for row, score in enumerate(model.score(linear.packed_texts(texts))[0].tolist()):
        mine = model.weights[features.indices[features.bounds[row] : features.bounds[row + 1]]].astype(np.float64)
        margin = mine.sum() / np.sqrt(max(1, len(mine))) + 0.3
        assert score == pytest.approx(1 / (1 + np.exp(-margin)), abs=1e-9)


def test_windows_have_equal_size_and_their_mean_and_highest_are_told() -> None:
    draw = np.random.default_rng(4)
    model = linear.LinearModel(draw.normal(size=1 << BITS).astype(np.float32), 0.0, BITS, True)
    words = [f"w{number}" for number in range(100)]
    means, worst = model.score(linear.packed_texts([" ".join(words)]), None, 32)
    # 100 / 32 rounds to 3 windows: 34, 34 and 32 words.
    parts = [" ".join(words[first:last]) for first, last in ((0, 34), (34, 68), (68, 100))]
    alone = model.score(linear.packed_texts(parts))[0]
    assert means[0] == pytest.approx(alone.mean(), abs=1e-12)
    assert worst[0] == pytest.approx(alone.max(), abs=1e-12)


def test_training_finds_scikit_learns_optimum() -> None:
    """Parity with LIBLINEAR's and scikit-learn's objective: the same C, the bias left free."""
    linear_model = pytest.importorskip("sklearn.linear_model")
    sparse = pytest.importorskip("scipy.sparse")
    texts = GOOD[:60] + BAD[:60]
    labels = np.arange(120) < 60
    features = linear.hash_features(texts, BITS, True)
    lengths = np.diff(features.bounds)
    values = np.repeat(1 / np.sqrt(lengths), lengths)
    matrix = sparse.csr_matrix((values, features.indices, features.bounds), shape=(120, 1 << BITS))
    theirs = linear_model.LogisticRegression(C=2.0, tol=1e-10, max_iter=2000).fit(matrix, labels)
    ours = linear.fit(features, labels, BITS, True, 2.0)
    assert np.abs(ours.weights - theirs.coef_[0]).max() < 2e-3
    assert ours.bias == pytest.approx(theirs.intercept_[0], abs=2e-3)


def test_gradient_is_that_of_the_loss() -> None:
    from groundup.stages.curate.judging import kernels

    features = linear.hash_features(GOOD[:3] + BAD[:3], 6, True)
    signs = np.array([1.0, 1, 1, -1, -1, -1])
    costs = np.array([1.0, 2, 1, 1, 0.5, 1])
    point = np.random.default_rng(5).normal(size=65)

    def loss(at: np.ndarray) -> tuple[float, np.ndarray]:
        gradient = np.zeros(65)
        value = kernels.loss_gradient(features.indices, features.bounds, signs, costs, at, gradient)
        return value, gradient

    _, gradient = loss(point)
    for place in range(65):
        step = np.zeros(65)
        step[place] = 1e-5
        assert (loss(point + step)[0] - loss(point - step)[0]) / 2e-5 == pytest.approx(gradient[place], abs=1e-6)


@pytest.mark.parametrize(
    ("hits", "total", "low", "high"),
    # Table of Wilson intervals: Brown, Cai and DasGupta 2001 (formula 4), and statsmodels' proportion_confint.
    [(0, 10, 0.0, 0.2775), (10, 10, 0.7225, 1.0), (5, 10, 0.2366, 0.7634), (81, 263, 0.2553, 0.3662)],
)
def test_wilson(hits: int, total: int, low: float, high: float) -> None:
    share = metrics.wilson(hits, total)
    assert (share.low, share.high) == (pytest.approx(low, abs=1e-4), pytest.approx(high, abs=1e-4))


@given(st.lists(st.tuples(st.integers(0, 6), st.booleans()), min_size=1, max_size=40))
def test_area_is_the_share_of_pairs_in_order(rows: list[tuple[int, bool]]) -> None:
    scores, labels = np.array([row[0] for row in rows], float), np.array([row[1] for row in rows])
    pairs = [(a > b) + (a == b) / 2 for a in scores[labels] for b in scores[~labels]]
    area = metrics.area_under_curve(scores, labels)
    assert area == pytest.approx(np.mean(pairs)) if pairs else np.isnan(area)


@given(st.lists(st.tuples(st.integers(0, 6), st.booleans()), min_size=1, max_size=40), st.floats(0.05, 0.95))
def test_thresholds_do_what_they_promise(rows: list[tuple[int, bool]], target: float) -> None:
    scores, labels = np.array([row[0] for row in rows], float), np.array([row[1] for row in rows])
    threshold = metrics.threshold_for_precision(scores, labels, target)
    possible = [s for s in set(scores.tolist()) if labels[scores >= s].mean() >= target]
    assert threshold == (min(possible) if possible else None)
    share = metrics.threshold_for_share(scores, target)
    wanted = max(1, round(target * len(scores)))
    assert (scores >= share).sum() >= wanted > (scores > share).sum()


def test_a_model_is_trained_saved_and_applied(tmp_path: Path) -> None:
    told: list[tuple[str, int, int]] = []
    about = train_quality(GOOD, BAD, tmp_path / "model", QualitySettings(bits=BITS), lambda *args: told.append(args))
    assert about["held_out"]["auc"] > 0.95
    assert about["held_out"]["precision"]["total"] > 0
    assert told and told[-1][0] == "fit"
    tag, decide = quality_operators(tmp_path / "model")
    batch = pa.RecordBatch.from_pydict({"text": pa.array([GOOD[0], BAD[0], None, "未知"], pa.large_string())})
    done = decide(pickle.loads(pickle.dumps(tag))(batch))
    assert done.column("rule").to_pylist()[:2] == [None, "below_threshold"]
    assert all(0 <= score <= 1 for score in done.column("quality.score").to_pylist())
    # The whole batch and its rows alone give equal bytes.
    alone = [tag(batch.slice(row, 1)).column("quality.score")[0].as_py() for row in range(batch.num_rows)]
    assert alone == done.column("quality.score").to_pylist()


def test_training_does_not_depend_on_order_or_repetition(tmp_path: Path) -> None:
    set_up = QualitySettings(bits=BITS, strength=1.0)
    first = train_quality(GOOD, BAD, tmp_path / "a", set_up)
    second = train_quality([*GOOD[::-1], GOOD[3]], BAD[::-1], tmp_path / "b", set_up)
    assert (tmp_path / "a/weights.npz").read_bytes() == (tmp_path / "b/weights.npz").read_bytes()
    assert second["examples"]["repeated"] == 1
    assert first["held_out"] == second["held_out"]
    other = train_quality(GOOD, BAD, tmp_path / "c", QualitySettings(bits=BITS, strength=1.0, seed=2))
    assert other["held_out"] != first["held_out"]


def test_a_dropped_row_is_not_judged(tmp_path: Path) -> None:
    train_quality(GOOD, BAD, tmp_path, QualitySettings(bits=BITS, strength=1.0))
    columns = {"text": pa.array(BAD[:2], pa.large_string()), "step": ["c4", None]}
    done = Quality(str(tmp_path))(pa.RecordBatch.from_pydict(columns))
    scores = done.column("quality.score").to_pylist()
    assert np.isnan(scores[0]) and not np.isnan(scores[1])


def test_texts_on_both_sides_are_left_out() -> None:
    split = examples.split_examples([*GOOD, BAD[0]], BAD, 1, 0.2, 0.2)
    assert split.conflicting == 1
    assert BAD[0] not in split.texts


def test_precision_asked_for_is_reached_on_the_tuning_texts(tmp_path: Path) -> None:
    about = train_quality(
        GOOD, BAD, tmp_path, QualitySettings(bits=BITS, keep_share=None, precision=0.9, storage="float32")
    )
    assert about["held_out"]["precision"]["value"] > 0.7
    with pytest.raises(RequestError, match="ask for less"):
        flat = QualitySettings(bits=BITS, strength=1e-9, keep_share=None, precision=0.9)
        train_quality(GOOD, BAD, tmp_path / "x", flat)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"keep_share": 0.5, "precision": 0.9}, "one of keep_share and precision"),
        ({"keep_share": None}, "one of keep_share and precision"),
        ({"bits": 40}, "from 8 to 24"),
        ({"test": 1.0}, "between 0 and 1"),
        ({"test": 0.6, "tune": 0.35}, "leave less than a tenth"),
    ],
)
def test_settings_that_can_not_be(change: dict[str, float], words: str) -> None:
    with pytest.raises(RequestError, match=words):
        QualitySettings(**change)  # type: ignore[arg-type]


def test_too_few_examples_are_refused(tmp_path: Path) -> None:
    with pytest.raises(RequestError, match="give more"):
        train_quality(GOOD[:12], BAD[:12], tmp_path)


def test_examples_from_files(tmp_path: Path) -> None:
    rows = [{"text": "one"}, {"text": ""}, {"text": "two"}]
    content = "\n".join(json.dumps(row) for row in rows)
    (tmp_path / "a.jsonl").write_text(content)
    with gzip.open(tmp_path / "b.jsonl.gz", "wt") as file:
        file.write(content)
    pq.write_table(pa.table({"text": ["three", None]}), tmp_path / "c.parquet")
    paths = [tmp_path / name for name in ("a.jsonl", "b.jsonl.gz", "c.parquet")]
    assert list(examples.read_texts(paths)) == ["one", "two", "one", "two", "three"]
    with pytest.raises(RequestError, match="no field 'body'"):
        list(examples.read_texts(paths[:1], "body"))
    with pytest.raises(RequestError, match="no column 'body'"):
        list(examples.read_texts(paths[2:], "body"))
    (tmp_path / "d.jsonl.gz").write_bytes((tmp_path / "b.jsonl.gz").read_bytes()[:-9])
    with pytest.raises(DataError, match="damaged"):
        list(examples.read_texts([tmp_path / "d.jsonl.gz"]))
    with pytest.raises(RequestError, match="examples are read from"):
        list(examples.read_texts([tmp_path / "b.jsonl.gz", Path(__file__)]))


@pytest.mark.parametrize("harm", ["no weights", "cut weights", "other bits", "no json", "other format"])
def test_a_damaged_model_is_refused(tmp_path: Path, harm: str) -> None:
    train_quality(GOOD, BAD, tmp_path, QualitySettings(bits=BITS, strength=1.0))
    head, weights = tmp_path / "model.json", tmp_path / "weights.npz"
    description = json.loads(head.read_text())
    if harm == "no weights":
        weights.unlink()
    elif harm == "cut weights":
        weights.write_bytes(weights.read_bytes()[:500])
    elif harm == "other bits":
        head.write_text(json.dumps({**description, "bits": 10}))
    elif harm == "no json":
        head.write_text("{")
    else:
        head.write_text(json.dumps({**description, "format": 9}))
    with pytest.raises(DataError):
        quality.load_model(tmp_path)


def test_a_model_changes_the_specification(tmp_path: Path) -> None:
    for number in (1, 2):
        train_quality(GOOD, BAD, tmp_path / str(number), QualitySettings(bits=BITS, strength=float(number)))
    assert Quality(str(tmp_path / "1")).spec.digest != Quality(str(tmp_path / "2")).spec.digest


def test_fasttext_trains_the_same_twice(tmp_path: Path) -> None:
    fasttext = pytest.importorskip("fasttext")
    if not hasattr(fasttext, "train_supervised"):
        pytest.skip("the package that is installed can apply fastText models but not train them")
    set_up = QualitySettings(classifier="fasttext", epochs=20, rate=0.5)
    first = train_quality(GOOD, BAD, tmp_path / "a", set_up)
    second = train_quality(GOOD, BAD, tmp_path / "b", set_up)
    assert first == second and first["held_out"]["auc"] > 0.9
    tag, decide = quality_operators(tmp_path / "a")
    batch = pa.RecordBatch.from_pydict({"text": pa.array([GOOD[0], BAD[0]], pa.large_string())})
    assert decide(tag(batch)).column("rule").to_pylist() == [None, "below_threshold"]


def test_people_labelled_pages_are_told_apart(tmp_path: Path) -> None:
    """DCLM's pages, of which people said keep or drop. Trained for this test only; the pages are not ours to keep."""
    path = SHARED / "data/text/dclm_quality/majority.jsonl.gz"
    if not path.is_file():
        pytest.skip("the shared data folder is not there")
    with gzip.open(path, "rt", encoding="utf-8") as file:
        rows = [json.loads(line) for line in file]
    kept, dropped = ([row["text"] for row in rows if row["label"] == label] for label in (1, 0))
    about = train_quality(kept, dropped, tmp_path, QualitySettings(strength=3.0))
    assert about["held_out"]["auc"] > 0.8
    assert about["held_out"]["precision"]["low"] > 0.65
