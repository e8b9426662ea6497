"""The operator that says which language a text is in, and how sure that is.

The script comes from the characters (:mod:`.scripts`), the language from a model among those written in that script,
so that a label such as ``srp_Latn`` never contradicts the text. The default model is py3langid's naive Bayes
(:mod:`.bayes`) with word lists for languages that are too close for it (:mod:`.close`): the best of those measured on
the Universal Declaration (docs/identification.md), and it needs no download. ``lid.176`` is for FineWeb's threshold.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from importlib import resources
from itertools import accumulate
from typing import Any, Final, Literal

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from groundup.stages.curate.engine.columns import texts
from groundup.stages.curate.engine.operator import Spec, with_column
from groundup.stages.curate.identification import fasttext176
from groundup.stages.curate.identification.bayes import as_model_reads, load_bayes
from groundup.stages.curate.identification.close import settle
from groundup.stages.curate.identification.labels import UNKNOWN, languages
from groundup.stages.curate.identification.sample import PLACES, SLICE_BYTES, samples
from groundup.stages.curate.identification.scripts import main_scripts, script_letters

Model = Literal["py3langid", "lid.176"]

_DIGITS: Final = 4


@dataclass(frozen=True)
class Identify:
    """Tags rows with ``language`` (``eng_Latn``), ``language_score`` (0 to 1) and ``script`` (``Latn``).

    ``path``: another file for ``lid.176``, such as ``lid.176.bin``. A text that has no letters, or none of a script
    that the model knows, is ``und_`` with its script and scores 0.
    """

    model: Model = "py3langid"
    path: str | None = None

    @property
    def spec(self) -> Spec:
        """Where the text is sampled belongs to the parameters, the data files to the assets."""
        files = ("languages.tsv", "markers.tsv", "scripts.tsv")
        assets = {name: _digest(name) for name in files}
        parameters: dict[str, Any] = {"model": self.model}
        if self.model == "py3langid":
            parameters |= {"slice_bytes": SLICE_BYTES, "places": list(PLACES)}
        else:
            assets["lid.176"] = _model_digest(self.path)
        return Spec("identify", 1, "tag", ("text",), ("language", "language_score", "script"), parameters, assets)

    def __call__(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        """The batch with the three columns."""
        sampled = samples(texts(batch))
        scripts = _scripts(sampled)
        if self.model == "py3langid":
            found = _by_bayes(sampled, scripts)
        else:
            found = _by_fasttext(batch.column("text").to_pylist(), scripts, self.path)
        labels = [f"{code}_{script}" for (code, _), script in zip(found, scripts, strict=True)]
        batch = with_column(batch, "language", pa.array(labels, pa.string()))
        scores = [round(score, _DIGITS) for _, score in found]
        batch = with_column(batch, "language_score", pa.array(scores, pa.float64()))
        return with_column(batch, "script", pa.array(scripts, pa.string()))


def identify(text: str, model: Model = "py3langid") -> tuple[str, float]:
    """(label, score) of one text: for trying out; many texts go faster through the operator."""
    batch = pa.RecordBatch.from_pydict({"text": pa.array([text], pa.large_string())})
    row = Identify(model)(batch).to_pylist()[0]
    return row["language"], row["language_score"]


def language_probabilities(sampled: Sequence[str], scripts: Sequence[str]) -> NDArray[np.float64]:
    """(texts, languages) float64: each text's probability by language, in the order of :func:`labels.languages`.

    Only languages written in the text's script have any; a row whose script no language has is all zeros.
    """
    encoded = [as_model_reads(text) for text in sampled]
    data = np.frombuffer(b"".join(encoded), np.uint8)
    offsets = np.fromiter(accumulate((len(text) for text in encoded), initial=0), np.int64, len(encoded) + 1)
    model, classes = load_bayes(), _classes()
    masks = {script: _mask(script) for script in set(scripts)}
    allowed = np.array([masks[script] for script in scripts]).reshape(len(sampled), len(model.codes))
    by_class = model.probabilities(data, offsets, allowed)
    by_language = np.zeros((len(sampled), len(languages())))
    # Two classes of one language (Serbian in either script) count together.
    for place, at in enumerate(classes):
        by_language[:, at] += by_class[:, place]
    places = {code: at for at, code in enumerate(languages())}
    for row, text in zip(by_language, sampled, strict=True):
        settle(row, places, text)
    return by_language


def _by_bayes(sampled: Sequence[str], scripts: Sequence[str]) -> list[tuple[str, float]]:
    if not sampled:
        return []
    probabilities = language_probabilities(sampled, scripts)
    codes = list(languages())
    best, scores = probabilities.argmax(axis=1).tolist(), probabilities.max(axis=1).tolist()
    return [(codes[at], score) if score > 0 else (UNKNOWN, 0.0) for at, score in zip(best, scores, strict=True)]


def _by_fasttext(whole: Sequence[str | None], scripts: Sequence[str], path: str | None) -> list[tuple[str, float]]:
    known = {language.fasttext: language for language in languages().values() if language.fasttext}
    found = []
    for candidates, script in zip(fasttext176.ranked([text or "" for text in whole], path), scripts, strict=True):
        fitting = ((known[code].code, score) for code, score in candidates if code in known)
        found.append(
            next(((code, score) for code, score in fitting if script in languages()[code].scripts), (UNKNOWN, 0.0))
        )
    return found


def _scripts(sampled: Sequence[str]) -> list[str]:
    encoded = [text.encode("utf-8", "replace") for text in sampled]
    offsets = np.fromiter(accumulate((len(text) for text in encoded), initial=0), np.int64, len(encoded) + 1)
    return main_scripts(script_letters(np.frombuffer(b"".join(encoded), np.uint8), offsets))


@lru_cache(maxsize=1)
def _classes() -> tuple[int, ...]:
    """For each class of the model, the place of its language."""
    places = {language.bayes: at for at, language in enumerate(languages().values()) if language.bayes}
    return tuple(places[code] for code in load_bayes().codes)


@lru_cache(maxsize=256)
def _mask(script: str) -> NDArray[np.bool_]:
    """(classes,) bool: which classes are of a language that is written in the script."""
    by_code = {language.bayes: language for language in languages().values() if language.bayes}
    return np.array([script in by_code[code].scripts for code in load_bayes().codes])


@lru_cache(maxsize=8)
def _digest(name: str) -> str:
    return hashlib.sha256(resources.files(__package__).joinpath(name).read_bytes()).hexdigest()


@lru_cache(maxsize=2)
def _model_digest(path: str | None) -> str:
    return fasttext176.model_digest(path)
