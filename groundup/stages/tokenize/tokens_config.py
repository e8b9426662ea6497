"""What a recipe may say about token stores."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, ClassVar, Self

from pydantic import Field, model_validator

from groundup.artifact.stage import InputRef, Node, StageConfig, need
from groundup.artifact.terms import Declared
from groundup.base.config import FileRef, execution, later
from groundup.base.runner.executor import ExecutorName
from groundup.rights.licences.field import Licence
from groundup.text.store.packing import Packing


class TokensConfig(StageConfig):
    """The corpus as numbers, in the order in which the model will read it.

    Every document is encoded and closed with an end-of-text token. Long documents are cut into pieces; for each epoch
    the pieces are shuffled anew by a key and put into rows as long as the model's context, back to back (`concat`) or
    whole with as little padding as can be (`best-fit`). The order is written down, so that every training step can be
    traced to its documents, whose ranges are kept too. Held-out documents go to a store of their own. Documents that
    another program has encoded come as `files` in place of a corpus.
    """

    stage: ClassVar[str] = "tokens"
    kind: ClassVar[str] = "tokens"
    runner: ClassVar[str] = "groundup.stages.tokenize.encode:run"
    version: ClassVar[int] = 2

    corpus: Annotated[str, InputRef("corpus")] | None = Field(None, description="the corpus to encode")
    files: tuple[Annotated[str, FileRef()], ...] = later(
        (), description="in its place, folders of ids that another program wrote: MDS, litdata or Megatron"
    )
    licence: Licence = later("", description="licence of the files: an SPDX expression or LicenseRef-NAME")
    origin: str = later("", description="where the files came from")
    held_out: float = later(0.01, ge=0, lt=1, description="share of the documents of files set aside for validation")
    tokenizer: Annotated[str, InputRef("tokenizer")] = Field(
        description="the tokenizer to encode the corpus with, or with which the files were made"
    )
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

    def declared(self) -> tuple[Declared, ...]:
        """The terms of the files."""
        return tuple(Declared(Path(path).name, self.licence) for path in self.files)

    @model_validator(mode="after")
    def _whole(self) -> Self:
        if bool(self.files) == (self.corpus is not None):
            raise ValueError("name what the tokens are made of: 'corpus', or 'files', and not both")
        if self.files and not (self.licence.strip() and self.origin.strip()):
            raise ValueError("'licence' and 'origin' must say something: files without them can't be used")
        if len({Path(path).name for path in self.files}) < len(self.files):
            raise ValueError("two of the 'files' have the same name, by which their documents are called: rename one")
        if self.files and self.language_tokens:
            raise ValueError("'language_tokens' goes with 'corpus', not with 'files'")
        if self.corpus is not None and (self.licence or self.origin):
            raise ValueError("'licence' and 'origin' go with 'files': those of a corpus are known")
        return self

    def check(self, node: Node) -> None:
        need(
            self.chunk is None or self.chunk <= self.max_seq_len,
            f"artifact {node.name!r}: pieces of {self.chunk} tokens don't fit rows of {self.max_seq_len}; lower chunk",
        )
