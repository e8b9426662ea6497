"""What a recipe may say about tokenizers."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated, ClassVar, Final, Literal

from pydantic import Field, model_validator

from groundup.artifact.stage import InputRef, Node, StageConfig, need
from groundup.base.config import Config, execution
from groundup.base.errors import RequestError
from groundup.base.runner.executor import ExecutorName
from groundup.text.special import MOST_RESERVED, reserved_by_default, special_tokens

Algorithm = Literal["bpe", "sentencepiece-bpe", "unigram"]
SplitName = Literal["llama3", "gpt2", "cl100k", "o200k", "qwen2"]
Group = Literal["language", "source"]

_MOST_WEIGHT: Final = 1e6


class Balance(Config):
    """Small groups count for more: a group's share of the text becomes share**alpha, scaled to add up to 1.

    Conneau and Lample 2019 ("XLM", section 3.1) learn their vocabulary so with 0.5, multilingual BERT with 0.7, XLM-R
    with 0.3.
    """

    by: Group = Field("language", description="what the groups are")
    alpha: float = Field(0.3, ge=0, le=1, description="1 leaves the shares as they are, 0 makes all of them equal")


class TokenizerConfig(StageConfig):
    """A model reads numbers, not letters. The tokenizer is the list of pieces that text is cut into.

    Byte-level BPE starts from the 256 bytes, so that any text can be written, and keeps joining the pair of
    pieces that stands side by side most often in the training documents, until the list is as long as asked.
    Frequent words end up as one piece, rare ones as several. SentencePiece's two kinds start from characters, and write
    those that are rare as bytes. Held-out documents are not looked at.

    The words of the documents are counted first, on disk and in parallel, so the corpus may be larger than memory. What
    is finished survives a kill.
    """

    stage: ClassVar[str] = "tokenizer"
    kind: ClassVar[str] = "tokenizer"
    runner: ClassVar[str] = "groundup.stages.tokenize.train_tokenizer:run"
    version: ClassVar[int] = 3

    corpus: Annotated[str, InputRef("corpus")] = Field(description="the corpus to learn from")
    vocab_size: int = Field(4096, ge=300, description="entries, bytes and special tokens included")
    algorithm: Algorithm = Field("bpe", description="byte-level BPE, or one of SentencePiece's kinds")
    split: SplitName | None = Field(
        None, description="how byte-level BPE cuts text before merging, by published name; llama3 by default"
    )
    min_frequency: int = Field(0, ge=0, description="byte-level BPE joins no pair that is there less often than this")
    weights: dict[str, Annotated[float, Field(ge=0, le=_MOST_WEIGHT)]] = Field(
        {}, description="how often the text of a language (fra_Latn) or of a source counts; 1 for what is not named"
    )
    balance: Balance | None = Field(None, description="give small languages or sources a larger share; off by default")
    special_tokens: tuple[str, ...] = Field(
        (), description="special tokens besides the standard ones (documents, turns, tools, images, audio)"
    )
    language_tokens: bool = Field(
        False, description="add a special token such as <|fra_Latn|> for each language of the corpus"
    )
    reserved: int | None = Field(
        None,
        ge=0,
        le=4 * MOST_RESERVED,
        description="special tokens kept for later use, the last entries; by default one in 128, and at most 256, "
        "which is the number to have in a model that is meant to last",
    )
    max_words: int | None = Field(
        None,
        ge=1,
        description="learn from so many different words, the most frequent; by default as many as 2 GiB of memory hold",
    )
    workers: int | None = execution(None, ge=1, description="processes that count words; by default one a core")
    executor: ExecutorName = execution(
        "local", description="where words are counted: processes of this machine, or Ray (RAY_ADDRESS, or a local one)"
    )

    @property
    def num_reserved(self) -> int:
        """How many tokens are kept for later use."""
        return reserved_by_default(self.vocab_size) if self.reserved is None else self.reserved

    def all_special_tokens(self, languages: Iterable[str] = ()) -> tuple[str, ...]:
        """Every special token, the last ``num_reserved`` in reserve; RequestError if one is there twice, or no room."""
        found = special_tokens(self.special_tokens, languages, self.num_reserved)
        least = len(found) + 256
        need(
            self.vocab_size > least,
            f"vocab_size is {self.vocab_size}, but special tokens and 256 bytes need more than {least}",
        )
        return found

    @model_validator(mode="after")
    def _fits(self) -> TokenizerConfig:
        if self.algorithm != "bpe":
            for name in ("split", "min_frequency"):
                if getattr(self, name):
                    raise ValueError(f"{name} is for byte-level BPE; {self.algorithm} has none")
        return self

    def check(self, node: Node) -> None:
        """Special tokens that are there twice, or leave no room."""
        try:
            self.all_special_tokens()
        except RequestError as error:
            raise RequestError(f"artifact {node.name!r}: {error}") from None
