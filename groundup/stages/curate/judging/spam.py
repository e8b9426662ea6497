"""Signs of spam: stuffed words, link farms, sales phrases, machine gibberish, hidden and disguised characters.

Statistics after Ntoulas et al. 2006, "Detecting Spam Web Pages through Content Analysis" (sections 4.4 to 4.8): how
much a page compresses, the share of its commonest word, how likely its letters are. Theirs decide together, in a tree
trained on labelled pages; we have no labelled spam, so each of our rules stands alone, at a limit that ordinary text
stays far from (docs/judging.md has the figures). They find blatant cases. Well-written spam passes.
"""

from __future__ import annotations

import hashlib
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property, lru_cache
from importlib import resources
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from groundup.base.errors import RequestError, nearest
from groundup.stages.curate.engine.columns import texts
from groundup.stages.curate.engine.operator import Spec, staying, with_column
from groundup.stages.curate.filters.rules import Decide, Rule
from groundup.stages.curate.judging import words
from groundup.stages.curate.judging.linear import frozen
from groundup.stages.curate.judging.words import Table

STATISTICS: Final = (
    "letters",
    "hidden",
    "mixed_alphabets",
    "link_share",
    "links",
    "commas",
    "top_word",
    "phrases",
    "compression",
)
LEAST_WORDS: Final = 50
"""Shares of words say nothing of a shorter text: all statistics but ``hidden`` and ``link_share`` are NaN there."""

RULES: Final = (
    Rule("hidden", "above", 0.01, "hidden_characters"),
    Rule("mixed_alphabets", "above", 0.05, "mixed_alphabets"),
    Rule("link_share", "above", 0.5, "link_farm"),
    Rule("links", "above", 0.2, "link_farm"),
    Rule("top_word", "above", 0.25, "stuffed_word"),
    Rule("commas", "above", 0.5, "keyword_list"),
    Rule("phrases", "above", 0.04, "sales_phrases"),
    Rule("compression", "above", 6.0, "repeats_itself"),
    Rule("letters", "below", -5.5, "gibberish"),
)
"""Limits of our own. ``letters``: mean log2 probability of English letters; ``compression``: bytes over zlib's bytes
(Ntoulas et al. find 70 % spam above 4.0; at 6 tables and indexes of honest manuals are left alone)."""

_PHRASES: Final = "spam_phrases.txt"
_TRIGRAMS: Final = "trigrams.npz"
_ENGLISH: Final = ("eng", "und", "")
_DIGITS: Final = 6
_PLACES: Final = 1 << 14


@dataclass(frozen=True)
class Spam:
    """Tags rows with ``spam.*`` (float64; NaN where a statistic has no meaning or a row was dropped).

    ``letters`` and ``phrases`` are for English: rows of another ``language`` have NaN. ``phrases``: more files of
    phrases, one a line.
    """

    phrases: tuple[str, ...] = ()

    @cached_property
    def spec(self) -> Spec:
        """The version of zlib is part of it: another may compress to other sizes."""
        assets = {name: hashlib.sha256(_resource(name)).hexdigest() for name in (_PHRASES, _TRIGRAMS)}
        for number, path in enumerate(self.phrases):
            if not Path(path).is_file():
                raise RequestError(f"no list of phrases at {path}")
            assets[f"phrases {number}"] = hashlib.sha256(Path(path).read_bytes()).hexdigest()
        parameters = {"zlib": zlib.ZLIB_RUNTIME_VERSION, "least_words": LEAST_WORDS}
        writes = tuple(f"spam.{name}" for name in STATISTICS)
        return Spec("spam.measure", 1, "tag", ("text", "language", "step"), writes, parameters, assets)

    def __call__(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        """The batch with the statistics."""
        from groundup.stages.curate.judging import spam_kernels

        column, skip = texts(batch), ~staying(batch)
        data, offsets = frozen(column)
        chars, counted = np.full((len(skip), 6), np.nan), np.full((len(skip), 2), np.nan)
        spam_kernels.characters(data, offsets, skip, _trigrams(), chars)
        spam_kernels.stuffing(data, offsets, skip, np.zeros((_PLACES, 2), np.int64), counted)
        phrases, _ = _table(self.phrases).count(column, skip)
        found = np.column_stack([chars, counted[:, 1], phrases[:, 0], np.full(len(skip), np.nan)])
        with np.errstate(divide="ignore", invalid="ignore"):
            number = counted[:, 0]
            for name in ("links", "commas", "phrases"):
                found[:, STATISTICS.index(name)] /= number
        for name in ("letters", "mixed_alphabets", "links", "commas", "top_word", "phrases"):
            found[~(number >= LEAST_WORDS), STATISTICS.index(name)] = np.nan
        foreign = ~_english(batch)
        for name in ("letters", "phrases"):
            found[foreign, STATISTICS.index(name)] = np.nan
        found[skip] = np.nan
        for row in np.flatnonzero(~skip & (number >= LEAST_WORDS)).tolist():
            content = data[offsets[row] : offsets[row + 1]]
            found[row, -1] = len(content) / len(zlib.compress(content.data, 6))
        for at, name in enumerate(STATISTICS):
            batch = with_column(batch, f"spam.{name}", pa.array(np.round(found[:, at], _DIGITS)))
        return batch


def decide_spam(limits: Mapping[str, float | None] | None = None) -> Decide:
    """The decision ``spam:RULE`` by ``RULES``. ``limits`` sets statistics' limits anew; None leaves one out."""
    limits = limits or {}
    known = [rule.statistic for rule in RULES]
    for name in limits:
        if name not in known:
            raise RequestError(f"no statistic {name!r} of spam has a rule{nearest(name, known)}")
    rules = []
    for rule in RULES:
        limit = limits.get(rule.statistic, rule.limit)
        if limit is not None:
            rules.append(rule._replace(limit=float(limit)))
    return Decide("spam", tuple(rules))


def fit_trigrams(contents: list[bytes]) -> NDArray[np.int8]:
    """(27, 27, 27) int8: log2 of each letter's probability after two others, in eighths; add-one smoothing."""
    from groundup.stages.curate.judging import spam_kernels

    counts = np.zeros((spam_kernels.LETTERS,) * 3, np.int64)
    for content in contents:
        spam_kernels.count_trigrams(np.frombuffer(content, np.uint8), counts)
    chances = (counts + 1) / (counts + 1).sum(axis=2, keepdims=True)
    eighths: NDArray[np.int8] = np.maximum(np.round(8 * np.log2(chances)), -127).astype(np.int8)
    return eighths


def _english(batch: pa.RecordBatch) -> NDArray[np.bool_]:
    at = batch.schema.get_field_index("language")
    labels: list[Any] = batch.column(at).to_pylist() if at >= 0 else [None] * batch.num_rows
    return np.array([(label or "").split("_")[0] in _ENGLISH for label in labels], np.bool_)


def _resource(name: str) -> bytes:
    return resources.files(__package__).joinpath(name).read_bytes()


@lru_cache(maxsize=1)
def _trigrams() -> NDArray[np.float32]:
    with resources.files(__package__).joinpath(_TRIGRAMS).open("rb") as file, np.load(file) as stored:
        table = stored["eighths"].astype(np.float32) / 8
    table.flags.writeable = False
    return np.asarray(table)


@lru_cache(maxsize=4)
def _table(paths: tuple[str, ...]) -> Table:
    contents = [_resource(_PHRASES).decode(), *(Path(path).read_text("utf-8", "replace") for path in paths)]
    lines = (line.strip() for content in contents for line in content.splitlines())
    phrases = {line: frozenset({"sales"}) for line in lines if line and not line.startswith("#")}
    return words.build_table(phrases, ("sales",))
