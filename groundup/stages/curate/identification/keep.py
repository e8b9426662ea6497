"""The decision that follows: keep the languages asked for, where the model is sure enough."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

import pyarrow as pa

from groundup.base.errors import RequestError, nearest
from groundup.stages.curate.engine.operator import Spec, refuse
from groundup.stages.curate.identification.labels import languages

STEP: Final = "identify"
OTHER_LANGUAGE: Final = "other_language"
UNSURE: Final = "unsure"

FINEWEB_THRESHOLD: Final = 0.65
"""FineWeb keeps English whose lid.176 score is above this (Penedo et al. 2024, section 3)."""


@dataclass(frozen=True)
class KeepLanguages:
    """Drops rows in other languages (``other_language``), and rows whose score isn't above its threshold (``unsure``).

    ``languages``: labels such as ``eng_Latn``. ``thresholds``: by label; others have ``default_threshold``. Raises
    RequestError for a label that the models don't have, or a threshold outside 0 to 1.
    """

    languages: tuple[str, ...]
    thresholds: Mapping[str, float] = field(default_factory=dict)
    default_threshold: float = 0.3

    def __post_init__(self) -> None:
        if not self.languages:
            raise RequestError("no language is to be kept; name at least one, such as eng_Latn")
        known = labels()
        for label in (*self.languages, *self.thresholds):
            if label not in known:
                raise RequestError(f"unknown language {label!r}{nearest(label, known)}")
        for threshold in (self.default_threshold, *self.thresholds.values()):
            if not 0.0 <= threshold < 1.0:
                raise RequestError(f"a language threshold must be at least 0 and below 1, not {threshold}")

    @property
    def spec(self) -> Spec:
        """Only the thresholds of the languages kept count."""
        limits = {label: self._threshold(label) for label in sorted(self.languages)}
        return Spec(
            "keep_languages",
            1,
            "decide",
            ("language", "language_score"),
            ("step", "rule", "detail"),
            {"limits": limits},
        )

    def __call__(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        """The batch with verdicts."""
        found = zip(batch.column("language").to_pylist(), batch.column("language_score").to_pylist(), strict=True)
        verdicts = [self._judge(language, score) for language, score in found]
        return refuse(batch, STEP, [rule for rule, _ in verdicts], [detail for _, detail in verdicts])

    def _judge(self, language: str | None, score: float | None) -> tuple[str | None, str | None]:
        language, score = language or "und_Zzzz", score or 0.0
        if language not in self.languages:
            return OTHER_LANGUAGE, f"{language} ({score:.2f})"
        if not score > self._threshold(language):
            return UNSURE, f"{language} at {score:.2f}, needs more than {self._threshold(language):.2f}"
        return None, None

    def _threshold(self, language: str) -> float:
        return self.thresholds.get(language, self.default_threshold)


def labels() -> frozenset[str]:
    """Every label that a model can give."""
    return frozenset(f"{language.code}_{script}" for language in languages().values() for script in language.scripts)
