"""What may be said about curation: which languages, filters, redactions and thresholds."""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping
from typing import Annotated, ClassVar, Final, Literal

from pydantic import Field, field_validator

from groundup.artifact.stage import InputRef, Node, StageConfig
from groundup.base.config import Config, execution
from groundup.base.errors import missing_extra, nearest
from groundup.stages.curate.languages import LABELS
from groundup.text.benchmark import Benchmark, evaluated

FilterName = Literal["gopher_quality", "gopher_repetition", "fineweb"]
RedactKind = Literal["email", "ip", "phone", "card", "iban", "ssn"]

PACKAGES: Final = ("ftfy", "py3langid", "resiliparse")


class GopherQuality(Config):
    """Does this look like running text? Rae et al. 2021 (Gopher), appendix A.1.1; names as in datatrove."""

    min_doc_words: int = Field(50, ge=0, description="fewest words, punctuation not counted")
    max_doc_words: int = Field(100_000, ge=1, description="most words, punctuation not counted")
    min_avg_word_length: float = Field(3, ge=0, description="least mean word length in characters")
    max_avg_word_length: float = Field(10, ge=0, description="greatest mean word length in characters")
    max_symbol_word_ratio: float = Field(0.1, ge=0, description="most '#' signs, and most ellipses, a word")
    max_bullet_lines_ratio: float = Field(0.9, ge=0, le=1, description="greatest share of lines that start a list item")
    max_ellipsis_lines_ratio: float = Field(0.3, ge=0, le=1, description="greatest share of lines that trail off")
    max_non_alpha_words_ratio: float = Field(
        0.8, ge=0, le=1, description="least share of words with a letter; the published name says the opposite"
    )
    min_stop_words: int = Field(
        2, ge=0, le=8, description="fewest different words of: the, be, to, of, and, that, have, with"
    )


class GopherRepetition(Config):
    """Does it repeat itself? Rae et al. 2021 (Gopher), table A1; names as in datatrove. A share above is refused."""

    dup_line_frac: float = Field(0.30, ge=0, le=1, description="greatest share of lines that repeat an earlier one")
    dup_para_frac: float = Field(0.30, ge=0, le=1, description="greatest share of paragraphs that repeat")
    dup_line_char_frac: float = Field(0.20, ge=0, le=1, description="greatest share of characters in repeated lines")
    dup_para_char_frac: float = Field(0.20, ge=0, le=1, description="greatest share of characters in such paragraphs")
    top_n_grams: tuple[tuple[int, float], ...] = Field(
        ((2, 0.20), (3, 0.18), (4, 0.16)),
        description="(n, share): greatest share of characters in the most frequent run of n words",
    )
    dup_n_grams: tuple[tuple[int, float], ...] = Field(
        ((5, 0.15), (6, 0.14), (7, 0.13), (8, 0.12), (9, 0.11), (10, 0.10)),
        description="(n, share): greatest share of characters in runs of n words that occurred before",
    )


class FineWeb(Config):
    """Is it prose, or a list? Penedo et al. 2024 (FineWeb), section 3.6; names as in datatrove."""

    line_punct_thr: float = Field(0.12, ge=0, le=1, description="least share of lines that end a sentence")
    short_line_thr: float = Field(0.67, ge=0, le=1, description="greatest share of short lines")
    short_line_length: int = Field(30, ge=0, description="a line of at most this many characters is short")
    char_duplicates_ratio: float = Field(0.01, ge=0, le=1, description="greatest share of characters in repeated lines")
    new_line_ratio: float = Field(0.3, ge=0, description="most line breaks a word")


class NearDuplicates(Config):
    """MinHash finds candidates (Broder 1997; 5-word shingles and 14 bands of 8, as FineWeb), then each is verified."""

    shingle_words: int = Field(5, ge=1, description="words in a shingle")
    bands: int = Field(14, ge=1, description="bands of the signature; a pair that agrees in one band is a candidate")
    rows: int = Field(8, ge=1, description="hashes in a band; P(candidate) = 1 - (1 - jaccard**rows)**bands")
    min_jaccard: float = Field(
        0.75, gt=0, le=1, description="least true Jaccard similarity of the shingles, from 0 to 1, to drop a candidate"
    )


class CurateConfig(StageConfig):
    """Turns raw pages into text worth learning from.

    A model becomes what it reads, so most of what pages hold has to go: menus and scripts around the text, broken
    characters, other languages, lists and gibberish, personal data, text that is there twice, and the questions that
    the model will be examined with. The steps run in a fixed order: extract, repair, identify the language, filter by
    published rules, redact, remove exact and near duplicates, decontaminate, split.

    Nothing goes silently: each page that is dropped is kept in ``rejects.parquet`` with one named reason. The result
    is the same for any number of workers and any order of the inputs.
    """

    stage: ClassVar[str] = "curate"
    kind: ClassVar[str] = "corpus"
    runner: ClassVar[str] = "groundup.stages.curate.run:run"

    pages: Annotated[tuple[str, ...], InputRef("pages")] = Field(min_length=1, description="the pages to curate")
    languages: tuple[str, ...] = Field(
        ("eng_Latn",), min_length=1, description="languages to keep, ISO 639-3 and script, such as eng_Latn"
    )
    min_language_score: float = Field(
        0.3, ge=0, le=1, description="least confidence of the language identification, from 0 to 1"
    )
    filters: tuple[FilterName, ...] = Field(
        ("gopher_quality", "gopher_repetition", "fineweb"), description="the filters to apply, in this order"
    )
    gopher_quality: GopherQuality = Field(GopherQuality(), description="thresholds of the Gopher quality rules")
    gopher_repetition: GopherRepetition = Field(
        GopherRepetition(), description="thresholds of the Gopher repetition rules"
    )
    fineweb: FineWeb = Field(FineWeb(), description="thresholds of the FineWeb rules")
    redact: tuple[RedactKind, ...] = Field(
        ("email", "ip", "phone", "card", "iban", "ssn"), description="kinds of personal data to replace by a label"
    )
    near_duplicates: NearDuplicates | None = Field(
        NearDuplicates(), description="near-duplicate removal; null to keep near duplicates (exact ones always go)"
    )
    decontaminate: tuple[Benchmark, ...] | None = Field(
        None, description="benchmarks whose items are kept out; by default every one that the recipe evaluates"
    )
    held_out: float = Field(0.05, ge=0, lt=1, description="share of documents set aside for validation, from 0 to 1")
    seed: int = Field(0, description="seed of the split into train and held_out")
    workers: int | None = execution(None, ge=1, description="worker processes; by default one a core")

    @field_validator("languages")
    @classmethod
    def _known(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for label in value:
            if label not in LABELS.values():
                hint = nearest(label, LABELS.values())
                raise ValueError(f"unknown language {label!r}{hint if hint.startswith('; did') else ''}")
        return value

    def fill(self, recipe: Mapping[str, StageConfig]) -> StageConfig:
        """Take the benchmarks from the rest of the recipe unless they were named."""
        if self.decontaminate is not None:
            return self
        return self.model_copy(update={"decontaminate": evaluated(recipe)})

    def check(self, node: Node) -> None:
        """The packages of the ``curate`` extra must be there."""
        for package in PACKAGES:
            if importlib.util.find_spec(package) is None:
                raise missing_extra(package, "curate")
