"""What a recipe may say about tokenizers and token stores."""

from __future__ import annotations

from typing import Annotated, ClassVar

from pydantic import Field

from groundup.artifact.stage import InputRef, StageConfig


class TokenizerConfig(StageConfig):
    """A model reads numbers, not letters. The tokenizer is the list of pieces that text is cut into.

    Byte-level BPE starts from the 256 bytes, so that any text can be written, and keeps joining the pair of
    pieces that stands side by side most often in the training documents, until the list is as long as asked.
    Frequent words end up as one piece, rare ones as several. Held-out documents are not looked at.
    """

    stage: ClassVar[str] = "tokenizer"
    kind: ClassVar[str] = "tokenizer"
    runner: ClassVar[str] = "groundup.stages.tokenize.train_tokenizer:run"

    corpus: Annotated[str, InputRef("corpus")] = Field(description="the corpus to learn from")
    vocab_size: int = Field(4096, ge=300, description="entries, bytes and special tokens included")


class TokensConfig(StageConfig):
    """The corpus as numbers, in the order in which the model will read it.

    Every document is encoded and closed with an end-of-text token. The documents are packed back to back and cut
    into rows as long as the model's context. The order of the rows is shuffled anew for each epoch by a key, and
    written down, so that every training step can be traced to its documents, whose ranges are kept too. Held-out
    documents go to a store of their own.
    """

    stage: ClassVar[str] = "tokens"
    kind: ClassVar[str] = "tokens"
    runner: ClassVar[str] = "groundup.stages.tokenize.encode:run"

    corpus: Annotated[str, InputRef("corpus")] = Field(description="the corpus to encode")
    tokenizer: Annotated[str, InputRef("tokenizer")] = Field(description="the tokenizer to encode it with")
    max_seq_len: int = Field(256, ge=16, description="row length and the model's context, in tokens")
    epochs: int = Field(4, gt=0, description="passes over the data for which an order is written down")
    seed: int = Field(1, ge=0, description="of the order")
