"""The job of encoding: some row groups of a corpus become ids, and a sample of them is held against the library.

A job's folder has, for each split, ``SPLIT.ids`` (the documents back to back, each closed with the end-of-text id) and
``SPLIT.parquet`` (a row a document).
"""

from __future__ import annotations

import json
import multiprocessing
import os
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from groundup.base.errors import DataError
from groundup.base.files import sha256_json
from groundup.base.runner.units import Unit, read
from groundup.base.seeds import unit_interval
from groundup.text.bpe.encoded import Encoded
from groundup.text.document import COPIES
from groundup.text.special import language_token
from groundup.text.store.megatron import token_dtype
from groundup.text.store.order import document_key
from groundup.text.store.store import SPLITS
from groundup.text.tokenizer import Tokenizer

_VERSION: Final = 1
_SAMPLE: Final = 1 / 64
"""Share of the documents that are encoded by the library too, beside the first of every job."""
_TEXT: Final = ("id", "source", "url", "licence")
_FIELDS: Final[list[Any]] = [
    *(pa.field(name, pa.string()) for name in _TEXT),
    pa.field("copies", pa.int32()),
    pa.field("tokens", pa.int64()),
    pa.field("bytes", pa.int64()),
    pa.field("key", pa.uint64()),
]
ROWS: Final = pa.schema(_FIELDS)
"""A row a document of a job. ``key`` is what it is sorted by."""


@dataclass(frozen=True)
class Encode:
    """What is done to each unit of a corpus; ``tokenizer`` is a folder, ``sha256`` that of its tokenizer.json."""

    tokenizer: Path
    sha256: str
    language_tokens: bool

    @property
    def digest(self) -> str:
        """The hash of what defines the ids."""
        return sha256_json({"version": _VERSION, "tokenizer": self.sha256, "language_tokens": self.language_tokens})

    @cached_property
    def _loaded(self) -> Tokenizer:
        if multiprocessing.parent_process() is not None:
            os.environ.setdefault("RAYON_NUM_THREADS", "1")  # the library's threads: there is a process a core already
        return Tokenizer.load(self.tokenizer)

    def __getstate__(self) -> dict[str, Any]:
        # A loaded tokenizer stays in the process that loaded it.
        return {name: getattr(self, name) for name in ("tokenizer", "sha256", "language_tokens")}

    def __call__(self, payload: Unit, folder: Path) -> dict[str, Any]:
        """Encode the unit ``payload``; DataError if the library gives other ids, or text does not come back."""
        tokenizer = self._loaded
        dtype = token_dtype(tokenizer.vocab_size)
        tokens, documents, most = dict.fromkeys(SPLITS, 0), dict.fromkeys(SPLITS, 0), 1
        with pq.ParquetFile(payload.path) as file:
            names = set(file.schema_arrow.names)
        columns = [name for name in (*_TEXT, "language", "text", "split", COPIES) if name in names]
        handles = {split: (folder / f"{split}.ids").open("wb") for split in SPLITS}
        writers = {split: pq.ParquetWriter(folder / f"{split}.parquet", ROWS) for split in SPLITS}
        checked = False
        try:
            for batch in read(payload, columns):
                for split in SPLITS:
                    rows = pa.Table.from_batches([batch]).filter(pc.equal(batch["split"], pa.scalar(split)))
                    if not rows.num_rows:
                        continue
                    encoded = tokenizer.encode_column(rows["text"])
                    _check(tokenizer, rows, encoded, first=not checked)
                    checked = True
                    closed = close(encoded, self._leading(tokenizer, rows), tokenizer.eos_id)
                    handles[split].write(closed.ids.astype(dtype).data)
                    table = _describe(rows, closed)
                    writers[split].write_table(table)
                    tokens[split] += len(closed.ids)
                    documents[split] += rows.num_rows
                    most = max(most, int(pc.max(table["copies"]).as_py()))
        finally:
            for split in SPLITS:
                handles[split].close()
                writers[split].close()
        return {"tokens": tokens, "documents": documents, "copies": most}

    def _leading(self, tokenizer: Tokenizer, rows: pa.Table) -> npt.NDArray[np.int64] | None:
        """The token of each document's language, int64 (documents,), -1 where the tokenizer has none."""
        if not self.language_tokens:
            return None
        known = tokenizer.special_tokens
        return np.array(
            [known.get(language_token(name), -1) for name in map(str, rows["language"].to_pylist())], np.int64
        )


def close(encoded: Encoded, leading: npt.NDArray[np.int64] | None, eos_id: int) -> Encoded:
    """Documents with the end-of-text id behind each, and before each its ``leading`` id where that isn't -1.

    >>> close(Encoded(np.array([5, 6, 7], np.uint32), np.array([0, 2, 3])), np.array([-1, 9]), 0).ids.tolist()
    [5, 6, 0, 9, 7, 0]
    """
    sizes = np.diff(encoded.bounds)
    lead = np.zeros(len(sizes), np.int64) if leading is None else (leading >= 0).astype(np.int64)
    bounds = np.concatenate([[0], np.cumsum(sizes + lead + 1)])
    ids = np.empty(int(bounds[-1]), np.uint32)
    text = np.ones(len(ids), bool)
    text[bounds[1:] - 1] = False
    ids[bounds[1:] - 1] = eos_id
    if leading is not None:
        places = bounds[:-1][lead > 0]
        text[places] = False
        ids[places] = leading[lead > 0]
    ids[text] = encoded.ids
    return Encoded(ids, bounds)


def _check(tokenizer: Tokenizer, rows: pa.Table, encoded: Encoded, *, first: bool) -> None:
    """DataError unless a sample of the documents, and the first of the job, has the library's ids and comes back."""
    names: list[Any] = rows["id"].to_pylist()
    for number, name in enumerate(names):
        if not (first and number == 0) and unit_interval(0, "check", name) >= _SAMPLE:
            continue
        text = rows["text"][number].as_py()
        ids = encoded.row(number).tolist()
        if ids != tokenizer.encode(text):
            raise DataError(f"document {name} has other ids than the library gives it: report this, with the tokenizer")
        if first and number == 0 and _keeps_text(tokenizer) and tokenizer.decode(ids) != text:
            raise DataError(f"document {name} does not survive encoding and decoding: the tokenizer is damaged")


def _keeps_text(tokenizer: Tokenizer) -> bool:
    """Whether decoding must give the very text: bytes as they are, no normalisation, no space put before it."""
    described = tokenizer.describe()
    decoder, spaced = described.get("decoder") or {}, '"add_prefix_space": true'
    plain = described.get("normalizer") is None and decoder.get("type") == "ByteLevel"
    return plain and spaced not in json.dumps(described.get("pre_tokenizer"))


def _describe(rows: pa.Table, closed: Encoded) -> pa.Table:
    count = rows.num_rows
    given = {name: rows[name] if name in rows.column_names else pa.nulls(count, pa.string()) for name in _TEXT}
    copies = rows[COPIES] if COPIES in rows.column_names else pa.array([1] * count, pa.int32())
    keys = np.array([document_key(str(name)) for name in rows["id"].to_pylist()], np.uint64)
    sizes = pc.cast(pc.binary_length(rows["text"]), pa.int64())
    columns = {
        **given, "copies": copies, "tokens": pa.array(np.diff(closed.bounds)), "bytes": sizes, "key": pa.array(keys)
    }  # fmt: skip
    return pa.table(columns, schema=ROWS)
