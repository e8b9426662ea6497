"""Quality by example: a classifier trained on texts to be liked and to be disliked, and the operator that asks it.

The idea is that of GPT-3's data (Brown et al. 2020, appendix A) and of DCLM-Baseline (Li et al. 2024, section 4.4):
what good means is shown, not defined. The classifier learns the examples' subject and form along with their quality,
so what it keeps resembles them; held-out figures say how well it tells the two apart, not that a model trained on
what it keeps will be better.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from groundup.base.errors import RequestError
from groundup.stages.curate.engine.columns import texts
from groundup.stages.curate.engine.operator import Operator, Spec, staying, with_column
from groundup.stages.curate.filters.rules import Decide, Rule
from groundup.stages.curate.judging import fasttext_model, linear
from groundup.stages.curate.judging.examples import Examples, split_examples
from groundup.stages.curate.judging.fasttext_model import FastTextModel
from groundup.stages.curate.judging.linear import LinearModel, Progress
from groundup.stages.curate.judging.metrics import (
    area_under_curve,
    measure,
    threshold_for_precision,
    threshold_for_share,
)

Model = LinearModel | FastTextModel
Scores = NDArray[np.float64]

SCORE: Final = "quality.score"
STRENGTHS: Final = (0.3, 1.0, 3.0, 10.0)
"""What ``strength`` is chosen from, by the area under the curve on the texts kept for tuning."""

_DIGITS: Final = 6


@dataclass(frozen=True)
class QualitySettings:
    """How a quality model is trained. Give one of ``keep_share`` and ``precision``: what the threshold is to reach."""

    classifier: Literal["linear", "fasttext"] = "linear"
    seed: int = 1
    bits: int = 18
    """The logarithm of the number of buckets (linear)."""
    pairs: bool = True
    """Whether neighbouring words are features too (linear)."""
    strength: float | None = None
    """How much errors weigh against the size of the weights (linear); None: the best of ``STRENGTHS``."""
    epochs: int = 5
    """Passes over the examples (fasttext)."""
    rate: float = 0.1
    """The learning rate (fasttext); a few hundred examples need 0.5 and 25 epochs."""
    tune: float = 0.1
    """The share of examples that strength and threshold are chosen on."""
    test: float = 0.2
    """The share of examples that the figures are taken on; nothing is chosen on them."""
    keep_share: float | None = 0.5
    """The share of the tuning texts that the threshold keeps."""
    precision: float | None = None
    """The share of kept tuning texts that must be positive."""
    storage: Literal["int8", "float32"] = "int8"
    """How weights are kept (linear)."""

    def __post_init__(self) -> None:
        """RequestError for settings that contradict each other."""
        if (self.keep_share is None) == (self.precision is None):
            raise RequestError("give one of keep_share and precision")
        if not 8 <= self.bits <= 24:
            raise RequestError(f"bits is {self.bits}; it must be from 8 to 24")
        for name in ("tune", "test", "keep_share", "precision"):
            value = getattr(self, name)
            if value is not None and not 0 < value < 1:
                raise RequestError(f"{name} is {value:g}; it must lie between 0 and 1")
        if self.tune + self.test >= 0.9:
            raise RequestError("tune and test leave less than a tenth of the examples to train on")


def train_quality(
    positives: Iterable[str],
    negatives: Iterable[str],
    folder: Path,
    settings: QualitySettings | None = None,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Train a model, write it to ``folder`` and return what ``model.json`` says of it.

    ``positives`` and ``negatives`` are texts in any order (:func:`.examples.read_texts` reads files). RequestError if
    there are too few examples, or none of them reaches the precision asked for.
    """
    settings = settings or QualitySettings()
    examples = split_examples(positives, negatives, settings.seed, settings.tune, settings.test)
    model: Model
    chosen: dict[str, Any]
    if settings.classifier == "linear":
        model, chosen = _fit_linear(examples, settings, progress)
    else:
        rows = examples.rows("train")
        train = [examples.texts[row] for row in rows]
        if progress is not None:
            progress("fit", 0, settings.epochs)
        model = fasttext_model.fit_fasttext(train, examples.labels[rows], settings.seed, settings.epochs, settings.rate)
        chosen = {}
    tuned, tested = (_scores(model, examples, part) for part in ("tune", "test"))
    threshold = _threshold(tuned, examples.labels[examples.rows("tune")], settings)
    figures = measure(tested, examples.labels[examples.rows("test")], threshold)
    about = {
        "purpose": "quality",
        "settings": asdict(settings),
        "chosen": chosen,
        "examples": _counts(examples),
        "threshold": threshold,
        "held_out": figures.as_dict(),
    }
    return _save(model, folder, settings, about)


def load_model(folder: Path) -> Model:
    """A model that :func:`train_quality` wrote; DataError for anything else."""
    description = linear.read_description(folder)
    if description.get("kind") == fasttext_model.KIND:
        return fasttext_model.load_fasttext(folder, description)
    return linear.load_linear(folder, description)


@dataclass(frozen=True)
class Quality:
    """Tags rows with ``quality.score``: the probability, 0 to 1, that a text is like the positive examples.

    ``path``: the model's folder. NaN where a row was dropped before.
    """

    path: str

    @cached_property
    def spec(self) -> Spec:
        """The model's files are an asset."""
        assets = {"model": linear.digest(Path(self.path))}
        return Spec("quality.measure", 1, "tag", ("text", "step"), (SCORE,), {}, assets)

    def __call__(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        """The batch with the score."""
        scores, _ = _loaded(self.path).score(texts(batch), ~staying(batch))
        return with_column(batch, SCORE, pa.array(np.round(scores, _DIGITS)))


def quality_operators(path: Path, threshold: float | None = None) -> tuple[Operator, Operator]:
    """The tag and the decision ``quality:below_threshold``, with the model's own threshold if none is given."""
    if threshold is None:
        threshold = linear.read_description(path).get("threshold")
        if not isinstance(threshold, int | float):
            raise RequestError(f"the model in {path} names no threshold; give one")
    return Quality(str(path)), Decide("quality", (Rule("score", "below", float(threshold), "below_threshold"),))


def _fit_linear(
    examples: Examples, settings: QualitySettings, progress: Progress | None
) -> tuple[LinearModel, dict[str, Any]]:
    """The best model of the strengths to try, and which that was."""
    rows, tune = examples.rows("train"), examples.rows("tune")
    train = linear.hash_features([examples.texts[row] for row in rows], settings.bits, settings.pairs)
    costs = linear.balanced(examples.labels[rows])
    best: tuple[float, float, LinearModel] | None = None
    for strength in (settings.strength,) if settings.strength is not None else STRENGTHS:
        model = linear.fit(train, examples.labels[rows], settings.bits, settings.pairs, strength, costs, progress)
        model = model.quantized() if settings.storage == "int8" else model
        area = area_under_curve(_scores(model, examples, "tune"), examples.labels[tune])
        if best is None or area > best[0]:
            best = (area, strength, model)
    assert best is not None
    return best[2], {"strength": best[1], "tune_auc": round(best[0], _DIGITS)}


def _scores(model: Model, examples: Examples, part: str) -> Scores:
    scores, _ = model.score(linear.packed_texts([examples.texts[row] for row in examples.rows(part)]))
    return np.round(scores, _DIGITS)


def _threshold(scores: Scores, labels: NDArray[np.bool_], settings: QualitySettings) -> float:
    if settings.keep_share is not None:
        return threshold_for_share(scores, settings.keep_share)
    assert settings.precision is not None
    found = threshold_for_precision(scores, labels, settings.precision)
    if found is None:
        raise RequestError(f"no threshold has a precision of {settings.precision:g} on the tuning texts; ask for less")
    return found


def _counts(examples: Examples) -> dict[str, Any]:
    parts: dict[str, Any] = {}
    for part in ("train", "tune", "test"):
        labels = examples.labels[examples.rows(part)]
        parts[part] = {"positives": int(labels.sum()), "negatives": int((~labels).sum())}
    left_out = {"conflicting": examples.conflicting, "repeated": examples.repeated}
    return {**parts, **left_out, "sha256": examples.digest}


def _save(model: Model, folder: Path, settings: QualitySettings, about: dict[str, Any]) -> dict[str, Any]:
    folder.mkdir(parents=True, exist_ok=True)
    if isinstance(model, LinearModel):
        LinearModel(model.weights, model.bias, model.bits, model.pairs, about).save(folder, settings.storage)
    else:
        FastTextModel(model.module, about).save(folder)
    return linear.read_description(folder)


@lru_cache(maxsize=4)
def _loaded(path: str) -> Model:
    return load_model(Path(path))
