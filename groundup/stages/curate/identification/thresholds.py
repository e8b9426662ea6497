"""Thresholds for each language, fitted from reference text, as FineWeb2 does (Penedo et al. 2025).

FineWeb2's rule for the language score is ``clip(median - sd, 0.3, 0.9)`` of the scores that reference text of the
language gets: what is much less like the language than ordinary text is dropped, and a language that the model is
never sure of isn't lost whole. The same can be done for any statistic that a filter has a limit on
(:func:`fit_limits`). ``thresholds.tsv`` holds what was fitted on pieces of the Universal Declaration by
``benchmarks/curate_identify.py --write``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Final, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from groundup.base.errors import DataError
from groundup.stages.curate.identification.labels import rows

LOWEST: Final = 0.3
HIGHEST: Final = 0.9


def fit_thresholds(
    scores: Mapping[str, ArrayLike], lowest: float = LOWEST, highest: float = HIGHEST
) -> dict[str, float]:
    """A threshold a language, from the scores (0 to 1) that its reference texts got. DataError where there are none.

    >>> fit_thresholds({"fra_Latn": [0.9, 0.8, 1.0, 0.9], "sco_Latn": [0.2, 0.3]})
    {'fra_Latn': 0.8293, 'sco_Latn': 0.3}
    """
    fitted = {}
    for language, given in sorted(scores.items()):
        values = _values(language, given)
        fitted[language] = round(float(np.clip(np.median(values) - values.std(), lowest, highest)), 4)
    return fitted


Side = Literal["min", "max"]


@dataclass(frozen=True)
class Limit:
    """How the limit of one statistic is to be found from reference text.

    ``side``: whether texts below (``min``) or above (``max``) the limit go. ``quantile``: the share of the reference
    text that may break it, or None for one standard deviation from the median, FineWeb2's rule. ``lowest`` and
    ``highest`` bound the limit, so that odd reference text can't switch a rule off or make it drop everything.
    """

    side: Side
    quantile: float | None = 0.05
    lowest: float = -np.inf
    highest: float = np.inf

    def fit(self, values: NDArray[np.float64]) -> float:
        """The limit for these values of the statistic."""
        sign = -1.0 if self.side == "min" else 1.0
        if self.quantile is None:
            limit = float(np.median(values) + sign * values.std())
        else:
            limit = float(np.quantile(values, self.quantile if self.side == "min" else 1.0 - self.quantile))
        return round(float(np.clip(limit, self.lowest, self.highest)), 4)


def fit_limits(
    statistics: Mapping[str, Mapping[str, ArrayLike]], limits: Mapping[str, Limit], fewest: int = 20
) -> dict[str, dict[str, float]]:
    """Limits by language for named statistics: ``{language: {statistic: limit}}``.

    ``statistics``: by language, each statistic's values on that language's reference texts. A language with fewer than
    ``fewest`` values of a statistic gets no limit for it. DataError for a value that isn't a number.

    >>> fit_limits({"fra_Latn": {"average_word": [4.0, 5.0, 6.0]}}, {"average_word": Limit("max", 0.0)}, fewest=3)
    {'fra_Latn': {'average_word': 6.0}}
    """
    fitted: dict[str, dict[str, float]] = {}
    for language, by_name in sorted(statistics.items()):
        fitted[language] = {
            name: limit.fit(_values(f"{language}, {name}", by_name[name]))
            for name, limit in sorted(limits.items())
            if len(_sequence(by_name.get(name, ()))) >= fewest
        }
    return fitted


@lru_cache(maxsize=1)
def shipped_thresholds() -> dict[str, float]:
    """The thresholds of ``thresholds.tsv``: for the default model's scores of all labels that it was fitted on."""
    return {label: float(threshold) for label, threshold, _ in rows("thresholds.tsv")}


def _values(name: str, given: ArrayLike) -> NDArray[np.float64]:
    values = np.asarray(given, np.float64)
    if not values.size or not np.isfinite(values).all():
        raise DataError(f"{name}: thresholds need at least one value, and numbers only")
    return values


def _sequence(given: ArrayLike) -> Sequence[float]:
    return np.asarray(given, np.float64).ravel().tolist()
