"""Which documents a step of training read, and which steps read a document.

Nothing is looked up in a log: what a step reads is a function of the step, so the steps of a model are built again from
its record and its token stores, and asked. A fine-tuned model is followed to the one that was pretrained.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from groundup.artifact.record import Record
from groundup.artifact.sql.files import READS, reads_folder, short
from groundup.artifact.stage import Artifact
from groundup.artifact.store import Store
from groundup.base.errors import ArtifactError, RequestError
from groundup.base.progress import Progress
from groundup.stages.pretrain.config import PretrainConfig
from groundup.stages.pretrain.run import packed_steps
from groundup.train.reads import all_reads
from groundup.train.stream import PackedSteps

Numbers = npt.NDArray[np.int64]

_MODELS: Final = ("model", "bundle")
_ABOUT: Final = ("id", "source", "url", "licence")


@dataclass(frozen=True)
class Read:
    """What a step read of a document.

    ``ranges`` are (row of the step, position in the row, first of the document's tokens, the one behind the last); what
    is read of a document are the tokens that were to be predicted.
    """

    id: str
    source: str
    url: str | None
    licence: str | None
    store: str
    tokens: int
    ranges: tuple[tuple[int, int, int, int], ...]

    def line(self) -> str:
        """For people."""
        parts = ", ".join(f"{start}–{end} in row {row}" for row, _, start, end in self.ranges)
        where = f"  {self.url}" if self.url else ""
        return f"{self.id}  {self.store}/{self.source}  {self.licence or 'licence unknown'}  tokens {parts}{where}"


@dataclass(frozen=True)
class Step:
    """What a step read: ``tokens`` of documents in rows of ``positions`` altogether."""

    model: str
    step: int
    positions: int
    documents: tuple[Read, ...]

    @property
    def tokens(self) -> int:
        """Tokens read of all documents."""
        return sum(document.tokens for document in self.documents)

    def as_json(self) -> dict[str, Any]:
        """As plain data."""
        return {**asdict(self), "tokens": self.tokens}

    def lines(self) -> Iterator[str]:
        """For people."""
        yield f"step {self.step} of {self.model}: {self.tokens} tokens of {len(self.documents)} documents"
        yield from (document.line() for document in self.documents)


@dataclass(frozen=True)
class Readings:
    """When a document was read: ``steps`` are (step, how many of its tokens), in order."""

    model: str
    document: str
    stores: tuple[str, ...]
    steps: tuple[tuple[int, int], ...]

    def as_json(self) -> dict[str, Any]:
        """As plain data."""
        found = [{"step": step, "tokens": tokens} for step, tokens in self.steps]
        return {**asdict(self), "steps": found, "tokens": sum(tokens for _, tokens in self.steps)}

    def lines(self) -> Iterator[str]:
        """For people."""
        total = sum(tokens for _, tokens in self.steps)
        yield f"document {self.document} in {', '.join(self.stores)}: {total} tokens read by {self.model}"
        yield from (f"step {step}  {tokens} tokens" for step, tokens in self.steps)


@dataclass(frozen=True)
class Trained:
    """A pretrained model with its token stores: what it read, at each step."""

    record: Record
    stores: tuple[Artifact, ...]

    @classmethod
    def find(cls, store: Store, model: Artifact) -> Trained:
        """The model, or the one that it was made from; RequestError if none was pretrained in this workspace."""
        record = _pretrained(store, model.record)
        stores = tuple(store.open(link.digest, verify=False) for link in record.inputs["tokens"])
        return cls(record, stores)

    @cached_property
    def steps(self) -> PackedSteps:
        """All steps of the run; ArtifactError if the stores give others now than they did then."""
        config = PretrainConfig.parse(self.record.config, f"the record of {self.record.name}")
        metrics = self.stores[0].record.metrics
        shape = config.model_config_for(int(metrics["vocab_size"]), int(metrics["max_seq_len"]))
        steps = packed_steps(config, self.stores, shape)
        made = self.record.metrics
        if steps.num_steps != made["steps"] or steps.fingerprint != made.get("data", steps.fingerprint):
            raise ArtifactError(
                f"{self.record.name!r} was trained by another version of groundup on another order: its steps can't "
                "be told any more; train it again to trace it"
            )
        return steps

    def step(self, number: int) -> Step:
        """What a step read; RequestError if the run had none of this number."""
        steps = self.steps
        if not 0 <= number < steps.num_steps:
            raise RequestError(
                f"{self.record.name!r} has no step {number}: it was trained for {steps.num_steps}, from 0 to "
                f"{steps.num_steps - 1}"
            )
        rows = steps.rows_of(number)
        found: list[Read] = []
        for at, (source, artifact) in enumerate(zip(steps.sources, self.stores, strict=True)):
            mine = [(place, row) for place, (chosen, row) in enumerate(rows) if chosen == at]
            if not mine:
                continue
            places, numbers = np.array([place for place, _ in mine]), np.array([row for _, row in mine])
            segments, which = source.order.segments(numbers)
            starts, lengths = source.order.starts[segments], source.order.lengths[segments]
            documents = source.store.documents_at(starts)
            ranges: dict[int, list[tuple[int, int, int, int]]] = {}
            inside = starts + 1 - source.store.offsets[documents]
            before = np.cumsum(lengths, dtype=np.int64) - lengths
            position = before - before[np.searchsorted(which, np.arange(len(mine)))][which]
            columns = (documents, places[which], position, inside, inside + lengths)
            for document, *part in zip(*(column.tolist() for column in columns), strict=True):
                ranges.setdefault(document, []).append((part[0], part[1], part[2], part[3]))
            for document, about in _described(artifact, sorted(ranges)).items():
                parts = tuple(sorted(ranges[document]))
                tokens = sum(end - start for _, _, start, end in parts)
                found.append(Read(**about, store=artifact.record.name, tokens=tokens, ranges=parts))
        return Step(self.record.name, number, len(rows) * steps.seq_len, tuple(found))

    def document(self, name: str) -> Readings:
        """The steps that read a document; RequestError if none of the stores has it to train on."""
        tokens: dict[int, int] = {}
        stores = []
        for at, (source, artifact) in enumerate(zip(self.steps.sources, self.stores, strict=True)):
            places = _places(artifact, name)
            if len(places):
                stores.append(artifact.record.name)
            for document in places.tolist():
                first, end = source.store.offsets[document : document + 2]
                segments = np.flatnonzero((source.order.starts >= first - 1) & (source.order.starts < end - 1))
                steps = self.steps.steps_of(at, source.order.row_of(segments))
                for step, length in zip(steps.tolist(), source.order.lengths[segments].tolist(), strict=True):
                    if step >= 0:
                        tokens[step] = tokens.get(step, 0) + length
        if not stores:
            raise RequestError(
                f"no document {name!r} among those that {self.record.name!r} was trained on; 'groundup show --why' "
                "tells what became of a page"
            )
        return Readings(self.record.name, name, tuple(stores), tuple(sorted(tokens.items())))


def keep_reads(store: Store, trained: Trained, progress: Progress) -> Path:
    """What every step of a model read, as ``indexes/<digest16>/reads/00000.parquet`` in the workspace; the folder.

    It is made when it isn't there, from the order of the token stores, in memory that doesn't grow with the run.
    """
    folder = reads_folder(store, trained.record)
    if folder.is_dir():
        return folder
    steps, names = trained.steps, np.array([short(one.record.digest) for one in trained.stores])
    beside = folder.with_name(f"reads-{os.getpid()}")
    shutil.rmtree(beside, ignore_errors=True)
    beside.mkdir(parents=True)
    try:
        with pq.ParquetWriter(beside / "00000.parquet", READS, compression="zstd") as file:
            for done, found in all_reads(steps):
                columns: dict[str, Any] = {
                    "store": pa.array(names[found.source]),
                    "place": found.document,
                    "epoch": found.epoch.astype(np.int32),
                    "step": found.step,
                    "tokens": found.tokens.astype(np.int32),
                }
                file.write_table(pa.table(columns, schema=READS))
                progress.update(f"what {trained.record.name} read", done, steps.num_steps, "steps")
        beside.rename(folder)
    except OSError:
        if not folder.is_dir():  # else another process was here first, with the same
            raise
    finally:
        shutil.rmtree(beside, ignore_errors=True)
    return folder


def _pretrained(store: Store, record: Record) -> Record:
    if record.kind not in _MODELS:
        raise RequestError(f"{record.name!r} is a {record.kind}, not a model or bundle: it has no steps")
    name = record.name
    while record.stage != "pretrain":
        links = [link for field in sorted(record.inputs) for link in record.inputs[field] if link.kind in _MODELS]
        if not links:
            raise RequestError(f"{name!r} was not pretrained in this workspace: what it read is not known here")
        record = store.open(links[0].digest, verify=False).record
    return record


def _described(artifact: Artifact, documents: Sequence[int]) -> dict[int, dict[str, Any]]:
    """What is known of documents of the training split, which are the first rows of the table."""
    found: dict[int, dict[str, Any]] = {}
    wanted, first = np.asarray(documents), 0
    with pq.ParquetFile(artifact.file("documents.parquet")) as file:
        for group in range(file.num_row_groups):
            end = first + file.metadata.row_group(group).num_rows
            here = wanted[(wanted >= first) & (wanted < end)]
            if len(here):
                rows = file.read_row_group(group, columns=list(_ABOUT)).take(here - first).to_pylist()
                found |= dict(zip(here.tolist(), rows, strict=True))
            first = end
    return found


def _places(artifact: Artifact, name: str) -> Numbers:
    """Which documents of the training split have this id: several if a mixture reads it more than once."""
    found, first = [np.zeros(0, np.int64)], 0
    with pq.ParquetFile(artifact.file("documents.parquet")) as file:
        for group in range(file.num_row_groups):
            table = file.read_row_group(group, columns=["id", "split"])
            matches = (table["id"].to_numpy() == name) & (table["split"].to_numpy() == "train")
            found.append(first + np.flatnonzero(matches))
            first += table.num_rows
    return np.concatenate(found)
