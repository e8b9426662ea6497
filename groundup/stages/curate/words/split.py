"""The operator that splits texts into words and lines, once for all filters that follow.

Splitters:

- ``unicode``: words are runs of letters and digits with their inner apostrophes ("don't" is one word); a run of other
  characters that are not white space ("!\\"", "...") is a word of its own. Combining marks and joiners stay with the
  letter before them, so that words of Indic scripts are not cut at vowel signs (UAX 29, rule WB4). Scripts that put no
  spaces between words (Han, Hiragana, Thai, Lao, Khmer, Myanmar) are cut into single letters with their marks; runs of
  Katakana are words.
- ``whitespace``: whatever stands between white space, as ``str.split`` (Dolma, NeMo Curator).
- ``spacy-en`` and other languages of spaCy: the tokens of its blank pipeline (datatrove).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final

import pyarrow as pa

from groundup.base.errors import RequestError, nearest
from groundup.stages.curate.engine.columns import texts
from groundup.stages.curate.engine.operator import Spec, staying
from groundup.stages.curate.words.classes import UNICODE
from groundup.stages.curate.words.words import SPLIT_COLUMNS, split_lines, split_words

SPLITTERS: Final = ("unicode", "whitespace", "spacy-en", "spacy-fr")


@dataclass(frozen=True)
class Split:
    """Writes ``words.*`` and ``lines.*``; rows that were dropped get none. Raises RequestError for an unknown name."""

    words: str = "unicode"

    def __post_init__(self) -> None:
        if self.words not in SPLITTERS:
            raise RequestError(f"no splitter {self.words!r}{nearest(self.words, SPLITTERS)}")

    @cached_property
    def spec(self) -> Spec:
        """Results depend on the Unicode version, and for spaCy's words on its version."""
        parameters: dict[str, Any] = {"words": self.words, "unicode": UNICODE}
        if self.words.startswith("spacy-"):
            from groundup.stages.curate.words.spacy import version

            parameters["spacy"] = version()
        return Spec("split", 1, "tag", ("text",), SPLIT_COLUMNS, parameters)

    def __call__(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        """The batch with its words and lines."""
        column, skip = texts(batch), ~staying(batch)
        if self.words.startswith("spacy-"):
            from groundup.stages.curate.words.spacy import split_spacy

            words = split_spacy(column, skip, self.words.removeprefix("spacy-"))
        else:
            words = split_words(column, skip, whitespace=self.words == "whitespace")
        return split_lines(column, skip).on(words.on(batch))
