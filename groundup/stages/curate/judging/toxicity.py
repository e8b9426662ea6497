"""Adult, toxic and profane text: shares of listed words by language, and for English a classifier that ships with us.

The classifier was trained on short messages (``toxicity_model/CARD.md`` says which, how right it is, and whom it
wrongs). A page is therefore judged in windows of about as many words: ``toxicity.toxic`` is their mean probability,
near the share of the page that is toxic, and ``toxicity.worst`` the highest, which finds one insult in a long page and
is no ground to drop it. Lists give words per thousand: ``toxicity.profane``, ``toxicity.adult``, ``toxicity.slur``.

None of this knows what a text is about: a page on hate speech, a novel, or a clinic's page will score.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from groundup.base.errors import RequestError, nearest
from groundup.base.files import sha256_path
from groundup.stages.curate.engine.columns import texts
from groundup.stages.curate.engine.operator import Spec, staying, with_column
from groundup.stages.curate.filters.rules import Decide, Rule
from groundup.stages.curate.judging import linear, words
from groundup.stages.curate.judging.linear import LinearModel
from groundup.stages.curate.judging.words import KINDS, Table

SHIPPED: Final = Path(__file__).parent / "toxicity_model"
WINDOW: Final = 32
"""Tokens of a window: the length of the messages that the classifier was trained on."""
STATISTICS: Final = ("toxic", "worst", *KINDS)
MODES: Final[Mapping[str, float]] = {"adult": 10.0, "slur": 5.0, "toxic": 0.5, "profane": 20.0}
"""Default limits: listed words per thousand (adult, slur, profane), mean probability (toxic). A row goes above them.

Our own choice, for pages that are mostly such text; no published corpus uses these scales. C4 drops a page at its first
listed word, which costs the pages about minorities first (Dodge et al. 2021, section 5.3).
"""

_DIGITS: Final = 6
_MODEL_LANGUAGE: Final = "eng"
_UNKNOWN: Final = "und"
_THOUSAND: Final = 1000.0


@dataclass(frozen=True)
class Toxicity:
    """Tags rows with ``toxicity.*`` (float64; NaN where there is no judge for the language, or a row was dropped).

    ``lists``: paths of word lists in LDNOOBW's format, on top of our own unless ``shipped`` is off; the lists of the
    row's language count. Where rows have no ``language``, or an unknown one, they are taken as English. ``model``: a
    folder of :mod:`.linear`'s; None: the one that ships.
    """

    lists: tuple[str, ...] = ()
    shipped: bool = True
    model: str | None = None

    @cached_property
    def spec(self) -> Spec:
        """Lists and model are assets."""
        assets = {"model": linear.digest(_folder(self.model))}
        if self.shipped:
            assets[words.SHIPPED] = words.shipped_digest()
        for number, path in enumerate(self.lists):
            if not Path(path).exists():
                raise RequestError(f"no word list at {path}")
            assets[f"list {number}"] = sha256_path(Path(path))
        writes = tuple(f"toxicity.{name}" for name in STATISTICS)
        parameters = {"window": WINDOW, "shipped": self.shipped}
        return Spec("toxicity.measure", 1, "tag", ("text", "language", "step"), writes, parameters, assets)

    def __call__(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        """The batch with the statistics."""
        column, stays = texts(batch), staying(batch)
        languages = _languages(batch)
        found = np.full((batch.num_rows, len(STATISTICS)), np.nan)
        judged = stays & (languages == _MODEL_LANGUAGE)
        found[:, 0], found[:, 1] = _model(_folder(self.model)).score(column, ~judged, WINDOW)
        tables = _tables(self.lists, self.shipped)
        for language in sorted(set(languages[stays].tolist()) & tables.keys()):
            rows = stays & (languages == language)
            counts, sizes = tables[language].count(column, ~rows)
            shares = _THOUSAND * counts / np.maximum(sizes, 1)[:, None]
            found[rows, 2:] = shares[rows]
        for at, name in enumerate(STATISTICS):
            batch = with_column(batch, f"toxicity.{name}", pa.array(np.round(found[:, at], _DIGITS)))
        return batch


def decide_toxicity(limits: Mapping[str, float] | None = None) -> Decide:
    """The decision ``toxicity:adult``, ``:slur``, ``:toxic``, ``:profane``, for the modes given and in that order.

    ``limits`` maps a mode to its limit; None: ``MODES``. RequestError for a mode that isn't known.
    """
    chosen = MODES if limits is None else limits
    for mode in chosen:
        if mode not in MODES:
            raise RequestError(f"no mode {mode!r}{nearest(mode, MODES)}")
    rules = tuple(Rule(mode, "above", float(chosen[mode]), mode) for mode in MODES if mode in chosen)
    return Decide("toxicity", rules)


def load_shipped() -> LinearModel:
    """The classifier that ships with the package."""
    return _model(SHIPPED)


def _languages(batch: pa.RecordBatch) -> NDArray[Any]:
    """(rows,) the languages of labels such as ``eng_Latn``; English where there is none."""
    at = batch.schema.get_field_index("language")
    labels = batch.column(at).to_pylist() if at >= 0 else [None] * batch.num_rows
    codes = [(label or _UNKNOWN).split("_")[0] for label in labels]
    return np.array([_MODEL_LANGUAGE if code == _UNKNOWN else code for code in codes], object)


def _folder(model: str | None) -> Path:
    return SHIPPED if model is None else Path(model)


@lru_cache(maxsize=4)
def _model(folder: Path) -> LinearModel:
    return linear.load_linear(folder, linear.read_description(folder))


@lru_cache(maxsize=4)
def _tables(lists: tuple[str, ...], shipped: bool) -> dict[str, Table]:
    gathered = words.gather([Path(path) for path in lists], shipped)
    return {language: words.build_table(phrases, KINDS) for language, phrases in gathered.items()}
