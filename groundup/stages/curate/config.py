"""What may be said about curation: which languages, filters, redactions and thresholds."""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping
from typing import Annotated, ClassVar, Final, Literal

from pydantic import Field, field_validator

from groundup.artifact.stage import InputRef, Node, StageConfig
from groundup.artifact.terms import Use
from groundup.base.config import Config, FileRef, execution, later
from groundup.base.errors import missing_extra, nearest
from groundup.base.runner.executor import ExecutorName
from groundup.rights.policy import Rules
from groundup.stages.curate.identification.keep import labels
from groundup.text.benchmark import Benchmark, evaluated

Extractor = Literal["best", "union", "blocks", "resiliparse", "trafilatura"]
LanguageModel = Literal["py3langid", "lid.176"]
Kind = Literal["secret", "email", "iban", "card", "national_id", "ip", "phone", "name", "address"]
Action = Literal["label", "mask", "fake", "drop"]
DEFAULT_KINDS: Final[tuple[Kind, ...]] = ("secret", "email", "iban", "card", "national_id", "ip", "phone")
"""Names and addresses of people are also in novels and imprints, so they are to be asked for."""

PACKAGES: Final = ("ftfy", "numba", "py3langid", "resiliparse")


class NearDuplicates(Config):
    """MinHash finds candidates (Broder 1997; 5-word shingles and 14 bands of 8, as FineWeb), then each is verified."""

    shingle_words: int = Field(5, ge=1, description="words in a shingle")
    bands: int = Field(14, ge=1, description="bands of the signature; a pair that agrees in one band is a candidate")
    rows: int = Field(8, ge=1, description="hashes in a band; P(candidate) = 1 - (1 - jaccard**rows)**bands")
    min_jaccard: float = Field(
        0.75, gt=0, le=1, description="least true Jaccard similarity of the shingles, from 0 to 1, to drop a candidate"
    )


class RepeatedText(Config):
    """Lines or paragraphs that stand in many documents, such as notices: struck from all but one, as for C4."""

    pieces: Literal["line", "paragraph"] = Field("line", description="what is compared")
    min_bytes: int = Field(40, ge=0, description="shorter pieces stay: a short line may well be said twice")


class RepeatedPassages(Config):
    """Passages that stand in several places byte for byte, struck from the middle of texts (Lee et al. 2022)."""

    min_bytes: int = Field(100, ge=64, description="shortest passage, in bytes of UTF-8; about 50 tokens are published")
    keep: Literal["first", "none"] = Field("first", description="keep one copy, or none, as published")


class SemanticDuplicates(Config):
    """Documents whose embeddings point the same way, within clusters of k-means (Abbas et al. 2023, "SemDeDup")."""

    min_cosine: float = Field(
        0.9, gt=0, le=1, description="least cosine, from 0 to 1, to drop one of two documents; 1 - epsilon of the paper"
    )
    clusters: int | None = Field(
        None, ge=1, description="how many clusters; by default one for 4,096 documents, or their root if that is less"
    )
    keep: Literal["farthest", "longest"] = Field(
        "farthest", description="who stays: the one farthest from the centroid, as published, or the longest"
    )
    embeddings: Annotated[str, FileRef()] | None = Field(
        None,
        description="Parquet file, or folder of such, with columns id and embedding; by default TF-IDF of the words, "
        "which sees words and not meaning",
    )


class UrlFilter(Config):
    """Lists of addresses whose pages are not wanted: of your own, in UT1's format, and a short one that ships."""

    domains: tuple[Annotated[str, FileRef()], ...] = Field((), description="files of domains, or folders of such files")
    urls: tuple[Annotated[str, FileRef()], ...] = Field((), description="files of whole addresses")
    banned_words: tuple[Annotated[str, FileRef()], ...] = Field(
        (), description="files of words of which one in an address is enough"
    )
    soft_words: tuple[Annotated[str, FileRef()], ...] = Field((), description="files of words of which several are")
    soft_threshold: int = Field(2, ge=1, description="how many soft words are enough; FineWeb has 2")
    shipped: bool = Field(True, description="use the short lists that come with groundup, too")


class CurateConfig(StageConfig):
    """Turns raw pages into text worth learning from.

    A model becomes what it reads, so most of what pages hold has to go: menus and scripts around the text, broken
    characters, other languages, lists and gibberish, personal data, text that is there twice, and the questions that
    the model will be examined with. The steps run in a fixed order: extract, repair, identify the language, filter by
    published rules, redact, remove exact and near duplicates, decontaminate, split.

    Nothing goes silently: each page that is dropped is kept in ``rejects/`` with one named reason, and ``ledger/`` has
    a row for every page. The result is the same for any number of workers and any order of the inputs.
    """

    stage: ClassVar[str] = "curate"
    kind: ClassVar[str] = "corpus"
    runner: ClassVar[str] = "groundup.stages.curate.run:run"
    version: ClassVar[int] = 4

    pages: Annotated[tuple[str, ...], InputRef("pages")] = Field(min_length=1, description="the pages to curate")
    extractor: Extractor = Field("best", description="how the main text of an HTML page is found; docs/extraction.md")
    languages: tuple[str, ...] = Field(
        ("eng_Latn",), min_length=1, description="languages to keep, ISO 639-3 and script, such as eng_Latn"
    )
    language_model: LanguageModel = Field("py3langid", description="the model that identifies languages")
    min_language_score: float | None = Field(
        None, ge=0, lt=1, description="least confidence, from 0 to 1; by default one fitted to each language"
    )
    filters: tuple[str, ...] = Field(
        ("groundup",), description="sets of filters to apply, in this order; docs/filters.md lists them"
    )
    limits: dict[str, dict[str, float]] = Field(
        {}, description="other limits than those of the sets: filter to limit to value"
    )
    policy: Rules | None = later(
        None, description="what may be used for what (docs/terms.md); by default the rules of the recipe's policy"
    )
    purpose: Use = later("train", description="what the documents are for; a recipe under a policy finds out by itself")
    url_lists: UrlFilter | None = Field(None, description="addresses to leave out; none by default")
    quality: Annotated[str, InputRef("quality")] | None = Field(
        None, description="a quality model to judge by; none by default"
    )
    quality_threshold: float | None = Field(
        None, ge=0, le=1, description="least score of a document; by default the model's own threshold"
    )
    toxicity: dict[str, float] | None = Field(
        None, description="adult, slur, toxic, profane to limit (docs/judging.md); {} for all at their own limits"
    )
    spam: dict[str, float] | None = Field(None, description="signs of spam to limit; {} for all at their own limits")
    code: dict[str, float] = Field({}, description="other limits for source code, which no rule about prose looks at")
    redact: tuple[Kind, ...] = Field(DEFAULT_KINDS, description="kinds of personal data to take out")
    redaction: Action = Field("label", description="put a label, a mask or a fake in its place, or drop the document")
    repeated_text: RepeatedText | None = Field(
        None, description="strike lines or paragraphs that stand in several documents; off by default"
    )
    repeated_passages: RepeatedPassages | None = Field(
        None, description="strike passages that stand in several places; off by default"
    )
    near_duplicates: NearDuplicates | None = Field(
        NearDuplicates(), description="near-duplicate removal; null to keep near duplicates (exact ones always go)"
    )
    semantic_duplicates: SemanticDuplicates | None = Field(
        None, description="removal of documents with the same embedding; off by default, docs/duplicates.md"
    )
    decontaminate: tuple[Benchmark, ...] | None = Field(
        None, description="benchmarks whose items are kept out; by default every one that the recipe evaluates"
    )
    held_out: float = Field(0.05, ge=0, lt=1, description="share of documents set aside for validation, from 0 to 1")
    seed: int = Field(0, description="seed of the split into train and held_out")
    workers: int | None = execution(None, ge=1, description="worker processes; by default one a core")
    executor: ExecutorName = execution(
        "local", description="where the work is done: processes of this machine, or Ray (RAY_ADDRESS, or a local one)"
    )

    @field_validator("languages")
    @classmethod
    def _languages(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        known = labels()
        for label in value:
            if label not in known:
                hint = nearest(label, known)
                raise ValueError(f"unknown language {label!r}{hint if hint.startswith('; did') else ''}")
        return value

    def fill(self, recipe: Mapping[str, StageConfig]) -> StageConfig:
        """Take the benchmarks from the rest of the recipe unless they were named."""
        if self.decontaminate is not None:
            return self
        return self.model_copy(update={"decontaminate": evaluated(recipe)})

    def govern(self, policy: Config, use: Use) -> StageConfig:
        """Under a policy each document is judged by its licences and its host."""
        return self.model_copy(update={"policy": policy, "purpose": use})

    def check(self, node: Node) -> None:
        """The packages of the ``curate`` extra must be there."""
        for package in PACKAGES:
            if importlib.util.find_spec(package) is None:
                raise missing_extra(package, "curate")
        if self.semantic_duplicates is not None and (path := self.semantic_duplicates.embeddings) is not None:
            from groundup.stages.curate.passes.given import embedding_files

            embedding_files(node.files[path])
        from groundup.stages.curate.filters.checks import (
            check_filters,
        )  # brings the kernels, which list and help don't need

        check_filters(self.filters, self.limits, f"artifact {node.name!r}")
