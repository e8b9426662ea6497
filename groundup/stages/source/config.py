"""What may be said about the material a model is made from."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import PurePath
from typing import Annotated, Any, ClassVar, Literal, Self
from urllib.parse import urlsplit

from pydantic import Field, field_validator, model_validator

from groundup.artifact.stage import StageConfig
from groundup.artifact.terms import Declared, Use
from groundup.base.config import Config, FileRef, later
from groundup.base.units import ByteSize
from groundup.rights.licences.field import Licence
from groundup.stages.source.crawl_config import Crawl
from groundup.text.benchmark import Benchmark, evaluated


class Supply(Config):
    """A file of material with the two things that nobody can find out later: its licence and where it came from."""

    path: Annotated[str, FileRef()] = Field(description="path of the file")
    licence: Licence = Field(
        min_length=1, description="licence, as an SPDX expression such as CC0-1.0, or LicenseRef-NAME; docs/terms.md"
    )
    origin: str = Field(min_length=1, description="where the file came from: a repository, package or address")
    terms: str = later("", description="terms of service that hold beside the licence: their address or name")
    use: Use = later("train", description="what it may be used for: train, evaluate (and never train), or never")
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


Format = Literal[
    "auto", "html", "text", "markdown", "jsonl", "parquet", "warc", "arc", "wikipedia", "code", "mbox", "maildir",
    "stackexchange", "threads", "pdf", "huggingface",
]  # fmt: skip


class SourceFile(Supply):
    """Pages to read: a file, a folder of files, an archive of files (.tar, .zip, and compressed), an address such as
    s3://bucket/folder that fsspec can open, or a data set of the Hugging Face hub (hf://owner/name).

    Any file may be compressed (.gz, .bz2, .xz, .zst).
    """

    path: Annotated[str, FileRef()] = Field(
        "", description="path of the file or folder; an address (s3://, https://, hf://) goes to 'url' or 'dataset'"
    )
    url: str = Field("", description="address of a file, a folder or a pattern with *, in place of a path")
    dataset: str = Field(
        "", description="data set of the Hugging Face hub, or a folder laid out as one, in place of a path"
    )
    subset: str | None = Field(None, description="configuration of the data set; its default one otherwise")
    split: str = Field("train", description="split of the data set")
    revision: str | None = Field(None, description="commit of the data set, so that a later run reads the same rows")
    format: Format = Field("auto", description="what the files hold; auto goes by the ending of each name")
    text_field: str = Field("text", description="field of a JSONL or Parquet row that holds the text")
    title_field: str | None = Field(None, description="field of a row that names it in records; else its line")
    author_field: str | None = Field(
        None, description="field of a row that says who wrote it; by default 'author' or 'creator', where there is one"
    )
    rows: Literal["text", "markdown", "html"] = Field("text", description="what the text of a row is")
    signals: Literal["respect", "ignore"] = Field(
        "respect", description="leave out pages whose own headers or markup say that they must not be trained on"
    )
    split_headings: bool = Field(
        False, description="make each section under a Markdown heading a page of its own (chapters of a book)"
    )
    verify_digests: bool = Field(
        False, description="leave out records of a WARC whose content doesn't match the digest beside it; a bit slower"
    )
    namespaces: tuple[int, ...] = Field((0,), description="namespaces of a wiki whose pages are kept; 0 has articles")
    wikitext: Literal["text", "raw"] = Field(
        "text", description="turn wikitext into plain text, or keep it as it is (media type text/x-wiki)"
    )

    def file_paths(self) -> Iterator[str]:
        """The local path, if it is one."""
        return (path for path in super().file_paths() if path)

    def identity(self, hashes: Mapping[str, str]) -> dict[str, Any]:
        """The fields that define the result; what lies at an address counts by the address."""
        return super().identity({"": "", **hashes})

    @property
    def place(self) -> str:
        """What was named, for messages: the path, or the address without what follows a question mark."""
        return self.path or self.url.partition("?")[0] or f"hf://{self.dataset}"

    @model_validator(mode="before")
    @classmethod
    def _named(cls, data: object) -> object:
        if not isinstance(data, Mapping):
            return data
        fields = dict(data)
        path = fields.get("path")
        if isinstance(path, str) and "://" in path:
            del fields["path"]
            if path.startswith("hf://"):
                fields["dataset"] = path.removeprefix("hf://").removeprefix("datasets/")
            else:
                fields["url"] = path
        if fields.get("dataset"):
            fields.setdefault("format", "huggingface")
        named = fields.get("path") or fields.get("url") or fields.get("dataset")
        if isinstance(named, str) and not fields.get("name"):
            fields["name"] = PurePath(named.partition("?")[0]).name
        return fields

    @model_validator(mode="after")
    def _one_place(self) -> Self:
        if sum(map(bool, (self.path, self.url, self.dataset))) != 1:
            raise ValueError("name one place: 'path', 'url' or 'dataset'")
        if (self.format == "huggingface") != bool(self.dataset):
            raise ValueError("'format: huggingface' goes with 'dataset', and with nothing else")
        if urlsplit(self.url).password:
            raise ValueError("an address must not hold a password: put it where the storage's client looks for one")
        return self


class _Files(StageConfig):
    def declared(self) -> tuple[Declared, ...]:
        """The terms of every file, and of a crawl."""
        supplies = [*getattr(self, "files", ()), *filter(None, [getattr(self, "crawl", None)])]
        return tuple(Declared(one.name, one.licence, getattr(one, "use", "train")) for one in supplies)

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
    What can't be read is counted by reason, and the rest of the file is read all the same.
    """

    version: ClassVar[int] = 5

    stage: ClassVar[str] = "source"
    kind: ClassVar[str] = "pages"
    brings_in: ClassVar[bool] = True
    runner: ClassVar[str] = "groundup.stages.source.run:run"

    files: tuple[SourceFile, ...] = Field((), description="the files, folders and archives to read")
    crawl: Crawl | None = later(None, description="pages to ask for over the network, beside the files or instead")
    strict: bool = Field(False, description="stop at the first damaged file or bad row, in place of counting it")
    max_page_size: ByteSize = Field(
        ByteSize.parse("8 MiB"), description="a longer page or row is left out and counted, such as '8 MiB'"
    )
    max_member: ByteSize = Field(
        ByteSize.parse("256 GiB"), description="bytes that a file in an archive may unpack to, such as '1 GiB'"
    )
    max_unpacked: ByteSize = Field(
        ByteSize.parse("4 TiB"), description="bytes that a compressed file or archive may unpack to in all"
    )
    max_ratio: float = Field(200.0, gt=1, description="times its size that a file may unpack to, beyond 64 MiB")

    @model_validator(mode="after")
    def _something(self) -> Self:
        if not self.files and self.crawl is None:
            raise ValueError("name what to read: 'files', 'crawl' or both")
        if self.crawl is not None and any(file.name == self.crawl.name for file in self.files):
            raise ValueError(f"a file and the crawl are both called {self.crawl.name!r}; set 'name' to tell them apart")
        return self


class _Dialogues(_Files):
    brings_in: ClassVar[bool] = True

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
