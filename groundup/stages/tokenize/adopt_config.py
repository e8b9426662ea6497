"""What a recipe may say about a tokenizer of others, and about more entries for one."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, ClassVar, Self

from pydantic import Field, model_validator

from groundup.artifact.stage import InputRef, StageConfig
from groundup.artifact.terms import Declared
from groundup.base.config import FileRef, execution
from groundup.base.runner.executor import ExecutorName
from groundup.rights.licences.field import Licence


class AdoptConfig(StageConfig):
    """A model's tokenizer can't be changed later, so whoever goes on from an open model needs that model's tokenizer.

    It is read from the file that it comes in: a tokenizer.json, a SentencePiece .model, tiktoken's ranks, GPT-2's two
    files or Mistral's tekken. What is written gives the same ids, which is checked against the original library where
    that is installed. Text from people never makes a special token. New special tokens, and pieces learned from a
    corpus, can be put behind the entries that are there; those keep their ids. In place of files, a tokenizer or model
    of this recipe can be the start.
    """

    stage: ClassVar[str] = "adopt"
    kind: ClassVar[str] = "tokenizer"
    runner: ClassVar[str] = "groundup.stages.tokenize.adopt:run"

    files: tuple[Annotated[str, FileRef()], ...] = Field(
        (), description="the tokenizer's file or folder; GPT-2 has two files, encoder.json and vocab.bpe"
    )
    tokenizer: Annotated[str, InputRef("tokenizer", "model")] | None = Field(
        None, description="a tokenizer, or a model's, to start from in place of files"
    )
    licence: Licence = Field("", description="licence of the files: an SPDX expression or LicenseRef-NAME")
    origin: str = Field("", description="where the files came from: a repository, package or address")
    split: str | None = Field(
        None,
        description="how text is split before merging, where files don't say it (ranks): gpt2, cl100k, llama3, qwen2, "
        "o200k, tekken, or a regex",
    )
    special_tokens: dict[str, int] | tuple[str, ...] = Field(
        (),
        description="entries that text shall never make, such as <think>: a list, or a mapping to ids where a file of "
        "ranks leaves gaps",
    )
    add_tokens: tuple[str, ...] = Field((), description="new special tokens, such as those of a chat format or tools")
    bos: str | None = Field(None, description="token that starts a text; by default what the files say")
    eos: str | None = Field(None, description="token that ends a text or a turn; by default what the files say")
    pad: str | None = Field(None, description="token that fills up rows; by default what the files say, or eos")
    chat_template: Annotated[str, FileRef()] | None = Field(
        None, description="file with a chat template (jinja); by default what lies beside the files, or ChatML"
    )
    corpus: Annotated[str, InputRef("corpus")] | None = Field(
        None, description="a corpus: the tokenizer is measured on its held-out documents, and learns from the others"
    )
    extra_pieces: int = Field(
        0, ge=0, description="pieces to learn from the corpus's training documents (byte-level BPE only)"
    )
    workers: int | None = execution(None, ge=1, description="processes that count words; by default one a core")
    executor: ExecutorName = execution(
        "local", description="where words are counted: processes of this machine, or Ray (RAY_ADDRESS, or a local one)"
    )

    def declared(self) -> tuple[Declared, ...]:
        """The terms of the files."""
        return tuple(Declared(Path(path).name, self.licence) for path in self.files)

    @model_validator(mode="after")
    def _whole(self) -> Self:
        if bool(self.files) == (self.tokenizer is not None):
            raise ValueError("name what to start from: 'files', or 'tokenizer', and not both")
        if self.files and not (self.licence.strip() and self.origin.strip()):
            raise ValueError("'licence' and 'origin' must say something: files without them can't be used")
        if self.tokenizer is not None:
            ours = ("licence", "origin", "split", "special_tokens", "bos", "eos", "pad", "chat_template")
            given = next((name for name in ours if getattr(self, name)), None)
            if given is not None:
                raise ValueError(f"{given!r} goes with 'files', not with 'tokenizer'")
            if not (self.add_tokens or self.extra_pieces):
                raise ValueError("there is nothing to add: set 'add_tokens' or 'extra_pieces'")
        if self.extra_pieces and self.corpus is None:
            raise ValueError("'extra_pieces' are learned from a 'corpus': name one")
        return self
