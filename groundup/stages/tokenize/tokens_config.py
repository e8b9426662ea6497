"""What a recipe may say about token stores."""

from __future__ import annotations

from typing import Annotated, ClassVar

from pydantic import Field

from groundup.artifact.stage import InputRef, Node, StageConfig, need
from groundup.base.config import execution
from groundup.base.runner.executor import ExecutorName
from groundup.text.store.packing import Packing


class TokensConfig(StageConfig):
    """The corpus as numbers, in the order in which the model will read it.

    Every document is encoded and closed with an end-of-text token. Long documents are cut into pieces; for each epoch
    the pieces are shuffled anew by a key and put into rows as long as the model's context, back to back (`concat`) or
    whole with as little padding as can be (`best-fit`). The order is written down, so that every training step can be
    traced to its documents, whose ranges are kept too. Held-out documents go to a store of their own.
    """

    stage: ClassVar[str] = "tokens"
    kind: ClassVar[str] = "tokens"
    runner: ClassVar[str] = "groundup.stages.tokenize.encode:run"
    version: ClassVar[int] = 2

    corpus: Annotated[str, InputRef("corpus")] = Field(description="the corpus to encode")
    tokenizer: Annotated[str, InputRef("tokenizer")] = Field(description="the tokenizer to encode it with")
    max_seq_len: int = Field(256, ge=16, description="row length and the model's context, in tokens")
    epochs: int = Field(4, gt=0, description="passes over the data for which an order is written down")
    seed: int = Field(1, ge=0, description="of the order")
    packing: Packing = Field(
        "concat", description="concat: rows without padding, which may cut a document; best-fit: pieces stay whole"
    )
    chunk: int | None = Field(
        None, ge=16, description="longest piece of a document, in tokens; a row if not set, and never more"
    )
    language_tokens: bool = Field(
        False, description="begin each document with the token of its language, such as <|fra_Latn|>"
    )
    workers: int | None = execution(None, ge=1, description="worker processes; by default one a core")
    executor: ExecutorName = execution("local", description="where jobs run: local, or ray (a cluster of Ray)")

    def check(self, node: Node) -> None:
        need(
            self.chunk is None or self.chunk <= self.max_seq_len,
            f"artifact {node.name!r}: pieces of {self.chunk} tokens don't fit rows of {self.max_seq_len}; lower chunk",
        )
