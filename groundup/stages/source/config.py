"""What may be said about the material a model is made from."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import PurePath
from typing import Annotated, ClassVar, Literal, Self

from pydantic import Field, field_validator, model_validator

from groundup.artifact.stage import StageConfig
from groundup.base.config import Config, FileRef
from groundup.base.units import ByteSize
from groundup.text.benchmark import Benchmark, evaluated


class Supply(Config):
    """A file of material with the two things that nobody can find out later: its licence and where it came from."""

    path: Annotated[str, FileRef()] = Field(description="path of the file")
    licence: str = Field(min_length=1, description="licence, as an SPDX identifier where there is one, such as CC0-1.0")
    origin: str = Field(min_length=1, description="where the file came from: a repository, package or address")
    name: str = Field("", description="name of the source in records and reports; by default the name of the file")
    limit: int | None = Field(None, ge=1, description="keep this many pages or rows, drawn at random; all by default")
    seed: int = Field(0, description="seed of that draw")

    @field_validator("licence", "origin")
    @classmethod
    def _not_blank(cls, value: str) -> str:
        if not value.strip():
            raise ValueError("must say something: material without a known licence and origin can't be used")
        return value.strip()

    @model_validator(mode="before")
    @classmethod
    def _named(cls, data: object) -> object:
        if isinstance(data, Mapping) and isinstance(data.get("path"), str) and not data.get("name"):
            return {**data, "name": PurePath(data["path"]).name}
        return data


class SourceFile(Supply):
    """Pages to read: one file, a folder of files, or an archive of files (.tar, .tar.gz, .tar.xz, .tar.bz2, .zip)."""

    format: Literal["auto", "html", "text", "markdown", "jsonl"] = Field(
        "auto", description="what the files hold; auto goes by the ending of each name"
    )
    text_field: str = Field("text", description="field of a JSONL row that holds the text")
    title_field: str | None = Field(None, description="field of a JSONL row that names it in records; else its line")
    split_headings: bool = Field(
        False, description="make each section under a Markdown heading a page of its own (chapters of a book)"
    )


class _Files(StageConfig):
    @model_validator(mode="after")
    def _distinct(self) -> Self:
        names = [supply.name for supply in getattr(self, "files", ())]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(f"two files are called {twice[0]!r}; set 'name' to tell them apart")
        return self


class SourceConfig(_Files):
    """Brings raw pages in, as they are.

    Nothing is cleaned here: HTML keeps its bytes, so that a better extraction can be run later on the same pages.
    What this stage adds is the paper trail. Every page gets an id that depends on its content and origin, and every
    file must name its licence and where it came from; both follow the text into each model that is trained on it.
    """

    stage: ClassVar[str] = "source"
    kind: ClassVar[str] = "pages"
    runner: ClassVar[str] = "groundup.stages.source.run:run"

    files: tuple[SourceFile, ...] = Field(min_length=1, description="the files, folders and archives to read")
    max_page_size: ByteSize = Field(
        ByteSize.parse("8 MiB"), description="a longer page or row is left out and counted, such as '8 MiB'"
    )


class _Dialogues(_Files):
    files: tuple[Supply, ...] = Field(min_length=1, description="JSONL files, plain or compressed, to read")
    decontaminate: tuple[Benchmark, ...] | None = Field(
        None, description="benchmarks whose items are kept out; by default every one that the recipe evaluates"
    )
    held_out: float = Field(0.05, ge=0, lt=1, description="share of the rows set aside for validation, from 0 to 1")
    seed: int = Field(0, description="seed of the split into train and held_out")

    def fill(self, recipe: Mapping[str, StageConfig]) -> StageConfig:
        """Take the benchmarks from the rest of the recipe unless they were named."""
        if self.decontaminate is not None:
            return self
        return self.model_copy(update={"decontaminate": evaluated(recipe)})


class ConversationsConfig(_Dialogues):
    """Brings in conversations that teach a model to answer.

    Data sets come in many shapes (messages, ShareGPT, Alpaca, prompt and response); all become turns that alternate
    between user and assistant. Rows that can't teach anything (no answer, broken order of turns, unfilled template)
    are dropped with a named reason, exact repeats and items of the benchmarks as well.
    """

    stage: ClassVar[str] = "conversations"
    kind: ClassVar[str] = "conversations"
    runner: ClassVar[str] = "groundup.stages.source.dialogues:run_conversations"


class PreferencesConfig(_Dialogues):
    """Brings in pairs of answers of which people prefer one.

    Each pair has a prompt, a chosen and a rejected answer. Pairs that say nothing (both answers equal, one empty,
    prompts that differ) are dropped with a named reason, exact repeats and items of the benchmarks as well.
    """

    stage: ClassVar[str] = "preferences"
    kind: ClassVar[str] = "preferences"
    runner: ClassVar[str] = "groundup.stages.source.dialogues:run_preferences"
