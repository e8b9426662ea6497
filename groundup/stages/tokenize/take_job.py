"""The job of taking ids over: a folder that another program wrote becomes what the job of encoding makes of text."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from groundup.base.errors import DataError
from groundup.base.files import sha256_json
from groundup.base.seeds import unit_interval
from groundup.stages.tokenize.encode_job import ROWS
from groundup.text.store.handover import read_documents
from groundup.text.store.megatron import Ids, token_dtype
from groundup.text.store.order import document_key
from groundup.text.store.store import SPLITS
from groundup.text.token_bytes import bytes_of_tokens
from groundup.text.tokenizer import Tokenizer

_VERSION: Final = 1
_AT_ONCE: Final = 4096
"""Documents whose rows are in memory."""


@dataclass(frozen=True)
class Take:
    """What is done to each folder. ``tokenizer`` is a folder, ``sha256`` that of its tokenizer.json.

    A share ``held_out`` of the documents, drawn by a hash of their ids, is set aside.
    """

    tokenizer: Path
    sha256: str
    licence: str
    held_out: float

    @property
    def digest(self) -> str:
        """The hash of what defines the result."""
        return sha256_json([_VERSION, self.sha256, self.licence, self.held_out])

    def __call__(self, payload: Path, folder: Path) -> dict[str, Any]:
        """Take over the folder ``payload``. DataError if it is damaged, or has ids that the tokenizer doesn't have."""
        tokenizer = Tokenizer.load(self.tokenizer)
        sizes = bytes_of_tokens(tokenizer, tokenizer.vocab_size)
        count = partial(_decoded, tokenizer) if sizes is None else partial(_summed, np.array(sizes))
        tokens, documents = dict.fromkeys(SPLITS, 0), dict.fromkeys(SPLITS, 0)
        found = self._split(payload, tokenizer)
        handles = {split: (folder / f"{split}.ids").open("wb") for split in SPLITS}
        writers = {split: pq.ParquetWriter(folder / f"{split}.parquet", ROWS) for split in SPLITS}
        try:
            while batch := list(islice(found, _AT_ONCE)):
                for split in SPLITS:
                    rows: list[dict[str, Any]] = []
                    for name, ids in ((name, ids) for where, name, ids in batch if where == split):
                        handles[split].write(ids.data)
                        about = {"id": name, "source": payload.name, "licence": self.licence, "copies": 1}
                        rows.append({**about, "tokens": len(ids), "bytes": count(ids), "key": document_key(name)})
                    writers[split].write_table(pa.Table.from_pylist(rows, schema=ROWS))
                    documents[split] += len(rows)
                    tokens[split] += sum(row["tokens"] for row in rows)
        finally:
            for split in SPLITS:
                handles[split].close()
                writers[split].close()
        return {"tokens": tokens, "documents": documents, "copies": 1}

    def _split(self, payload: Path, tokenizer: Tokenizer) -> Iterator[tuple[str, str, Ids]]:
        """The split, id and ids of each document, the latter closed with the end-of-text id and of the store's type."""
        dtype = token_dtype(tokenizer.vocab_size)
        for number, (given, ids) in enumerate(read_documents(payload)):
            name = given or f"{payload.name}-{number:09d}"
            if len(ids) and not (int(ids.min()) >= 0 and int(ids.max()) < tokenizer.vocab_size):
                raise DataError(
                    f"document {name} of {payload} has ids from {int(ids.min())} to {int(ids.max())}, the tokenizer "
                    f"{tokenizer.vocab_size} entries: name the one that made them"
                )
            closed = ids.astype(dtype)
            if not len(closed) or int(closed[-1]) != tokenizer.eos_id:
                closed = np.append(closed, np.array([tokenizer.eos_id], dtype))
            yield SPLITS[unit_interval(0, "held_out", name) < self.held_out], name, closed


def _summed(sizes: Ids, ids: Ids) -> int:
    return int(sizes[ids].sum())


def _decoded(tokenizer: Tokenizer, ids: Ids) -> int:
    return len(tokenizer.decode(ids.tolist()).encode())
