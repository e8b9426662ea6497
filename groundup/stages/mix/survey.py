"""One pass over the corpora: what each document weighs, which group it is in, and what tells it apart."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from groundup.artifact.stage import Artifact
from groundup.base.errors import DataError
from groundup.base.progress import Progress
from groundup.base.seeds import unit_interval
from groundup.stages.mix.choose import Survey
from groundup.stages.mix.config import Group
from groundup.text.document import tables
from groundup.text.tokenizer import Tokenizer

_ROWS: Final = 256
_SAMPLE_BYTES: Final = 1 << 18
"""Text of each group that is encoded to learn its tokens a byte: corpora are in the order of a hash, so the first
documents are a random draw."""


@dataclass
class Groups:
    """The names of the groups, in order, and a sample of the text of each."""

    names: list[str] = field(default_factory=list)
    samples: dict[str, list[str]] = field(default_factory=dict)
    sampled: dict[str, int] = field(default_factory=dict)

    def keep(self, group: str, text: str, size: int) -> None:
        """Take a text into the sample of its group as long as there is room."""
        if self.sampled.get(group, 0) < _SAMPLE_BYTES:
            self.samples.setdefault(group, []).append(text)
            self.sampled[group] = self.sampled.get(group, 0) + size

    def tokens_per_byte(self, tokenizer: Tokenizer) -> dict[str, float]:
        """How many tokens a byte of each group's text becomes, its end-of-text tokens included."""
        return {
            group: sum(len(ids) + 1 for ids in tokenizer.encode_batch(texts)) / max(1, self.sampled[group])
            for group, texts in self.samples.items()
        }


def batches(corpora: Sequence[Artifact], columns: Sequence[str]) -> Iterator[tuple[Artifact, pa.RecordBatch]]:
    """The documents of all corpora in their order, at most _ROWS at a time; DataError if a table is damaged."""
    for corpus in corpora:
        for path in tables(corpus.path, "corpus"):
            try:
                with pq.ParquetFile(path) as file:
                    for batch in file.iter_batches(batch_size=_ROWS, columns=list(columns)):
                        if batch.num_rows:
                            yield corpus, batch
            except pa.ArrowInvalid as error:
                raise DataError(f"{path.name} is not a readable Parquet file ({str(error).splitlines()[0]})") from None


def groups_of(corpus: Artifact, batch: pa.RecordBatch, by: Group) -> list[str]:
    """The group of each document."""
    if by == "corpus":
        return [corpus.record.name] * batch.num_rows
    return [str(name) for name in batch.column(by).to_pylist()]


def documents_of(corpora: Sequence[Artifact]) -> int:
    """How many documents the corpora have, by their records."""
    return sum(int(corpus.record.metrics["documents"]) for corpus in corpora)


def survey(corpora: Sequence[Artifact], by: Group, seed: int, progress: Progress) -> tuple[Survey, Groups]:
    """Look at every document once. Memory: about 120 bytes a document, and a quarter of a MiB of text a group."""
    found, total = Groups(), documents_of(corpora)
    parts: list[list[npt.NDArray[Any]]] = [[] for _ in range(6)]
    numbers: dict[str, int] = {}
    done = 0
    columns = ["id", "text", "split", *([] if by == "corpus" else [by])]
    for corpus, batch in batches(corpora, columns):
        ids, texts, splits = ([str(value) for value in batch.column(name).to_pylist()] for name in columns[:3])
        groups = groups_of(corpus, batch, by)
        encoded = [text.encode() for text in texts]
        train = np.asarray([split == "train" for split in splits])
        for group, text, data, learns in zip(groups, texts, encoded, train.tolist(), strict=True):
            if learns:
                found.keep(group, text, len(data))
        entries = (
            np.asarray([numbers.setdefault(group, len(numbers)) for group in groups], dtype=np.int64),
            np.asarray([len(data) for data in encoded], dtype=np.int64),
            np.asarray([unit_interval(seed, "mix", document) for document in ids]),
            _hashes(encoded),
            _hashes([document.encode() for document in ids]),
            train,
        )
        for part, values in zip(parts, entries, strict=True):
            part.append(values)
        done += batch.num_rows
        progress.update("looking", done, total, "documents")
    if not done:
        raise DataError("the corpora hold no documents")
    # Groups are counted in the order of their names, so that no order of corpora changes what a number means.
    found.names = sorted(numbers)
    renumber = np.empty(len(numbers), dtype=np.int64)
    for rank, group in enumerate(found.names):
        renumber[numbers[group]] = rank
    group_of, size, draw, text_hash, name_hash, trains = (np.concatenate(part) for part in parts)
    return Survey(renumber[group_of], size, draw, text_hash, name_hash, trains), found


def _hashes(values: Sequence[bytes]) -> npt.NDArray[np.uint64]:
    """128 bits of a hash of each value: uint64 (rows, 2)."""
    whole = b"".join(hashlib.blake2b(value, digest_size=16).digest() for value in values)
    return np.frombuffer(whole, dtype=np.uint64).reshape(-1, 2)
