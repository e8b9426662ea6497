"""The stages and sources of a made-up run."""

from __future__ import annotations

from typing import Annotated, ClassVar

from pydantic import Field

from groundup.artifact.stage import InputRef, StageConfig
from groundup.artifact.terms import SourceTerms

STORIES = SourceTerms(
    source="stories.jsonl.gz",
    licence="CDLA-Sharing-1.0",
    origin="https://example.org/TinyStories",
    sha256="1" * 64,
    documents=2119,
)
BOOKS = SourceTerms(
    source="books.jsonl.gz", licence="public-domain", origin="https://example.org/books", sha256="2" * 64, documents=5
)
HTML = SourceTerms(
    source="sqlite-doc.tar.xz", licence="blessing", origin="Debian package sqlite3-doc", sha256="3" * 64, documents=640
)
TALKS = SourceTerms(
    source="instructions.jsonl.gz", licence="CC-BY-4.0", origin="handwritten", sha256="4" * 64, documents=1200
)
PAIRS = SourceTerms(
    source="preferences.jsonl.gz", licence="Apache-2.0", origin="a public sample", sha256="5" * 64, documents=300
)


class PagesConfig(StageConfig):
    """Reads raw pages as they are and writes down where they come from.

    Every file brings its licence and its origin: whoever asks later what went into the model gets an answer.
    """

    stage: ClassVar[str] = "source"
    kind: ClassVar[str] = "pages"
    files: tuple[str, ...] = Field((), description="files or archives to read")


class TalksConfig(PagesConfig):
    """Reads conversations and brings them into one form."""

    stage: ClassVar[str] = "conversations"
    kind: ClassVar[str] = "conversations"


class PairsConfig(PagesConfig):
    """Reads pairs of answers, one of which people preferred."""

    stage: ClassVar[str] = "preferences"
    kind: ClassVar[str] = "preferences"


class CorpusConfig(StageConfig):
    """Turns pages into clean text, one decision at a time, and counts each of them.

    Text is taken out of HTML, repaired, and identified by language. Then the ``gopher_quality`` and
    ``gopher_repetition`` filters drop what does not read like prose:

    - too few stop words,
    - too many symbols or bullet points,
    - the same lines over and over.

    Near-duplicates go last, since a text that a model has seen fifty times is learned by heart.
    """

    stage: ClassVar[str] = "curate"
    kind: ClassVar[str] = "corpus"
    pages: Annotated[tuple[str, ...], InputRef("pages")] = Field(description="pages to curate")
    languages: tuple[str, ...] = Field(("eng_Latn",), description="languages kept, as ISO 639-3 and ISO 15924")
    held_out: float = Field(0.05, description="share of documents kept away from training")


class TokenizerConfig(StageConfig):
    """Learns which byte sequences deserve a number of their own, by merging the most frequent pair again and again."""

    stage: ClassVar[str] = "tokenizer"
    kind: ClassVar[str] = "tokenizer"
    corpus: Annotated[str, InputRef("corpus")] = Field(description="corpus to learn from")
    vocab_size: int = Field(2048, description="entries of the vocabulary, special tokens included")


class TokensConfig(StageConfig):
    """Turns the corpus into one long row of numbers and remembers where each document begins."""

    stage: ClassVar[str] = "tokens"
    kind: ClassVar[str] = "tokens"
    corpus: Annotated[str, InputRef("corpus")] = Field(description="corpus to encode")
    tokenizer: Annotated[str, InputRef("tokenizer")] = Field(description="tokenizer to encode with")


class BaseConfig(StageConfig):
    """Trains a transformer to guess the next token. Nothing else: grammar and facts come from guessing well."""

    stage: ClassVar[str] = "pretrain"
    kind: ClassVar[str] = "model"
    tokens: Annotated[str, InputRef("tokens")] = Field(description="tokens to train on")
    depth: int = Field(4, description="transformer blocks; the other sizes follow from it")
    learning_rate: float = Field(3e-3, description="peak learning rate of AdamW")


class ChatConfig(StageConfig):
    """Shows the model conversations, and counts only what the assistant says."""

    stage: ClassVar[str] = "sft"
    kind: ClassVar[str] = "model"
    model: Annotated[str, InputRef("model")] = Field(description="model to start from")
    conversations: Annotated[str, InputRef("conversations")] = Field(description="conversations to learn from")


class AlignedConfig(StageConfig):
    """Moves the model towards the answers that people preferred, and not far from where it was."""

    stage: ClassVar[str] = "dpo"
    kind: ClassVar[str] = "model"
    model: Annotated[str, InputRef("model")] = Field(description="model to start from")
    preferences: Annotated[str, InputRef("preferences")] = Field(description="pairs to learn from")


class ScoresConfig(StageConfig):
    """Measures what the models know on documents that they never saw, beside two simple rivals."""

    stage: ClassVar[str] = "evaluate"
    kind: ClassVar[str] = "scores"
    models: Annotated[tuple[str, ...], InputRef("model")] = Field(description="models to measure")
    corpus: Annotated[str, InputRef("corpus")] = Field(description="corpus with held-out documents")
    tokens: Annotated[str, InputRef("tokens")] = Field(description="tokens of the rivals")


class PackConfig(StageConfig):
    """Puts everything that another tool needs into one folder, with a card that tells where it came from."""

    stage: ClassVar[str] = "bundle"
    kind: ClassVar[str] = "bundle"
    model: Annotated[str, InputRef("model")] = Field(description="model to pack")
    scores: Annotated[str | None, InputRef("scores")] = Field(None, description="scores for the card")
