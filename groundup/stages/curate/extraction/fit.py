"""Fitting the decision on blocks from pages with gold strings and from a teacher's text.

A page's gold says of a few strings that they are main content, and of a few that they are not. The other blocks follow
the teacher, another extractor's text of the page, with a small weight: it is right on most, and keeps the forest from
making rules of a few hundred strings. Blocks that a string names count fully.

The shipped weights come from ``benchmarks/curate_extract.py --fit``, which holds back half of the gold pages.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from groundup.stages.curate.extraction.decide import with_neighbours
from groundup.stages.curate.extraction.features import features
from groundup.stages.curate.extraction.forest import Boosting, Forest, Model, fit
from groundup.stages.curate.extraction.layout import END, START, Blocks

_SPACE: Final = re.compile(r"\s+")
_TEACHER_WEIGHT: Final = 0.2
_SHORT: Final = 15
_FOLDS: Final = 4

Floats = NDArray[np.float32]


@dataclass(frozen=True)
class Example:
    """A page to learn from: its blocks, strings that belong to its main content and strings that don't, and the
    teacher's text."""

    page: Blocks
    wanted: Sequence[str]
    unwanted: Sequence[str]
    teacher: str


def fit_model(examples: Sequence[Example], how: Boosting, threshold: float = 0.0) -> Model:
    """Both forests. The second learns from what first forests say of pages that they were not fitted on."""
    rows = [features(example.page) for example in examples]
    targets, weights = zip(*(labels(example) for example in examples), strict=True)
    held_out: list[Floats] = [np.zeros(0, np.float32)] * len(examples)
    for fold in range(_FOLDS):
        rest = [at for at in range(len(examples)) if at % _FOLDS != fold]
        forest = _fit(rows, targets, weights, rest, how)
        for at in range(fold, len(examples), _FOLDS):
            held_out[at] = forest.log_odds(rows[at])
    everything = list(range(len(examples)))
    first = _fit(rows, targets, weights, everything, how)
    wider = [with_neighbours(given, odds) for given, odds in zip(rows, held_out, strict=True)]
    return Model(first, _fit(wider, targets, weights, everything, how), threshold)


def labels(example: Example) -> tuple[Floats, Floats]:
    """(blocks,) targets, 1 for main content, and (blocks,) weights."""
    whole = example.page.text.tobytes()
    spans = example.page.blocks[:, [START, END]].tolist()
    texts = [whole[start:end].decode("utf-8", "replace") for start, end in spans]
    teacher = _SPACE.sub(" ", example.teacher)
    targets = np.array([_SPACE.sub(" ", text) in teacher for text in texts], np.float32)
    lengths = np.array([len(text) for text in texts], np.float32)
    weights = (_TEACHER_WEIGHT * np.minimum(1, 0.2 + lengths / 100)).astype(np.float32)
    weights[(lengths < _SHORT) & (targets > 0)] *= 0.3  # a short text is easily found somewhere by chance
    for string in example.unwanted:
        for at, text in enumerate(texts):
            if string in text:
                targets[at], weights[at] = 0, 1
    for string in example.wanted:
        holders = [at for at, text in enumerate(texts) if string in text]
        if holders:  # one is enough: a headline stands in a menu as well
            at = max(holders, key=lambda at: (targets[at], len(texts[at])))
            targets[at], weights[at] = 1, 1
    return targets, weights


def _fit(
    rows: Sequence[Floats],
    targets: Sequence[Floats],
    weights: Sequence[Floats],
    places: Sequence[int],
    how: Boosting,
) -> Forest:
    columns = [np.concatenate([part[at] for at in places]) for part in (rows, targets, weights)]
    return fit(columns[0], columns[1], columns[2], how)
