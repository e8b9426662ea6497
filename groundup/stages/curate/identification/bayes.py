"""The naive Bayes model of py3langid over byte n-grams, run by a compiled kernel.

Lui and Baldwin 2011, "Cross-domain Feature Selection for Language Identification" (IJCNLP), and 2012, langid.py (ACL
demo). Features are byte n-grams, found by one pass of an automaton. The class's score is its log prior plus the sum
over features of ``log(1 + count)`` times the feature's log likelihood; scores become probabilities by a softmax at
temperature ``sqrt(bytes)``, which keeps them comparable between lengths. All of this is py3langid 0.4's definition, and
the model is its file (BSD-3, in its wheel); its own Python loop reads 3 MB/s, this kernel some tens of times that.

Ours alone: classes can be masked, so that a text in Cyrillic letters is never called Croatian.
"""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final

import numba
import numpy as np
from numpy.typing import NDArray

from groundup.base.errors import missing_extra
from groundup.stages.curate.engine.columns import Bytes, Offsets

MODEL: Final = "py3langid"


@dataclass(frozen=True)
class Bayes:
    """The model's tables. ``next_row``: (rows * 256,) the automaton; ``row_of``: (states,); ``feature``: (states,)."""

    next_state: NDArray[np.uint32]
    row_of: NDArray[np.int64]
    feature: NDArray[np.int32]
    log_likelihood: NDArray[np.float32]
    log_prior: NDArray[np.float32]
    codes: tuple[str, ...]

    def probabilities(self, data: Bytes, offsets: Offsets, allowed: NDArray[np.bool_]) -> NDArray[np.float64]:
        """(rows, classes) float64: each text's probability by class. ``allowed``: (rows, classes) bool.

        A text without any feature gets equal shares of what is allowed; a row that allows nothing is all zeros.
        """
        scores = _scores(data, offsets, self.next_state, self.row_of, self.feature, self.log_likelihood, self.log_prior)
        lengths = np.maximum(np.diff(offsets), 1)[:, None]
        scores = np.where(allowed, scores / np.sqrt(lengths), -np.inf)
        best = scores.max(axis=1, keepdims=True)
        weights = np.exp(scores - np.where(np.isfinite(best), best, 0.0))
        return np.asarray(weights / np.maximum(weights.sum(axis=1, keepdims=True), 1e-300))


@lru_cache(maxsize=1)
def load_bayes() -> Bayes:
    """The model in py3langid's wheel, read at the first call (0.3 s, 110 MB). RequestError where it isn't installed."""
    try:
        from py3langid import langid
    except ImportError:
        raise missing_extra(MODEL, "curate") from None
    model: Any = langid.LanguageIdentifier.from_model_file(langid.MODEL_FILE)
    return Bayes(
        next_state=np.asarray(model.tk_nextmove, np.uint32),
        row_of=np.asarray(model.tk_row, np.int64) << 8,
        feature=np.asarray(model.tk_output, np.int32),
        log_likelihood=np.ascontiguousarray(model.nb_ptc, np.float32),
        log_prior=np.asarray(model.nb_pc, np.float32),
        codes=tuple(model.nb_classes),
    )


def as_model_reads(text: str) -> bytes:
    """What the model was trained on: NFC, and text all in capitals in small letters."""
    if text.isupper():
        text = text.lower()
    return unicodedata.normalize("NFC", text).encode("utf-8", "replace")


@numba.njit(cache=True, nogil=True)
def _scores(data, offsets, next_state, row_of, feature, log_likelihood, log_prior):  # type: ignore[no-untyped-def]
    rows, classes = len(offsets) - 1, len(log_prior)
    scores = np.zeros((rows, classes), np.float64)
    counts = np.zeros(len(log_likelihood), np.int32)
    seen = np.zeros(len(log_likelihood), np.int32)
    for row in range(rows):
        state, num_seen = np.int64(0), 0
        for at in range(offsets[row], offsets[row + 1]):
            state = np.int64(next_state[row_of[state] + data[at]])
            found = feature[state]
            if found >= 0:
                if counts[found] == 0:
                    seen[num_seen] = found
                    num_seen += 1
                counts[found] += 1
        total = np.zeros(classes, np.float32)
        for place in range(num_seen):
            found = seen[place]
            weight = np.float32(np.log1p(counts[found]))
            counts[found] = 0
            for one in range(classes):
                total[one] += weight * log_likelihood[found, one]
        for one in range(classes):
            scores[row, one] = total[one] + log_prior[one] if num_seen else 0.0
    return scores
