"""Make a token store: documents as ids, their ranges, and the order in which they will be read."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from groundup.artifact.exhibit import Bars, Facts
from groundup.artifact.stage import Artifact, Outcome, Task
from groundup.base.errors import DataError
from groundup.base.units import human_count
from groundup.stages.tokenize.config import TokensConfig
from groundup.stages.tokenize.corpus import read_passes, readings
from groundup.text.shards import num_rows, shuffled_rows, token_dtype, write_store
from groundup.text.tokenizer import Tokenizer


class _Range(NamedTuple):
    """Where a document lies in its split's stream of tokens, and how long its text is."""

    id: str
    source: str
    split: str
    start: int
    end: int
    bytes: int


_TEXT = {"id", "source", "split"}
_SCHEMA = pa.schema([(name, pa.string() if name in _TEXT else pa.int64()) for name in _Range._fields])


def run(config: TokensConfig, task: Task) -> Outcome:
    """Encode both splits, check a sample of them by decoding, write ranges and order."""
    corpus = task.input("corpus")
    tokenizer = Tokenizer.load(task.input("tokenizer").path)
    rows: list[_Range] = []
    totals = {}
    for split in ("train", "held_out"):
        encoded = _encode(corpus, split, tokenizer, rows, task)
        totals[split] = write_store(task.payload / split, encoded, token_dtype(tokenizer.vocab_size))
    table = pa.Table.from_pylist([row._asdict() for row in rows], schema=_SCHEMA)
    pq.write_table(table, task.payload / "documents.parquet", compression="zstd")
    train = [row for row in rows if row.split == "train"]
    rows_in_epoch = num_rows(totals["train"], config.max_seq_len)
    if rows_in_epoch < 1:
        raise DataError(f"{totals['train']} training tokens don't fill one row of {config.max_seq_len}; add documents")
    np.save(task.payload / "order.npy", shuffled_rows(rows_in_epoch, config.epochs, config.seed))

    by_source: dict[str, int] = {}
    for row in train:
        by_source[row.source] = by_source.get(row.source, 0) + row.end - row.start
    num_bytes = sum(row.bytes for row in train)
    task.show(
        Facts(
            title="The token store in numbers",
            facts=(
                ("training tokens", human_count(totals["train"]), f"in {len(train):,} documents"),
                ("held-out tokens", human_count(totals["held_out"]), f"in {len(rows) - len(train):,} documents"),
                ("bytes a token", f"{num_bytes / totals['train']:.2f}", "on the training documents"),
                ("rows", f"{rows_in_epoch:,}", f"of {config.max_seq_len} tokens, shuffled anew each epoch"),
            ),
        ),
        Bars(
            title="Training tokens by source",
            x_label="tokens",
            bars=tuple((source, float(count), None, None) for source, count in sorted(by_source.items())),
        ),
    )
    return Outcome(
        metrics={
            "train_tokens": totals["train"],
            "held_out_tokens": totals["held_out"],
            "train_documents": len(train),
            "held_out_documents": len(rows) - len(train),
            "train_bytes": num_bytes,
            "epochs": config.epochs,
            "max_seq_len": config.max_seq_len,
            "rows": rows_in_epoch,
            "vocab_size": tokenizer.vocab_size,
            "tokens_by_source": dict(sorted(by_source.items())),
        }
    )


def _encode(corpus: Artifact, split: str, tokenizer: Tokenizer, rows: list[_Range], task: Task) -> Iterator[list[int]]:
    position = done = 0
    total = readings(corpus)
    for batch in read_passes(corpus, split, ["id", "source", "text"]):
        encoded = tokenizer.encode_batch([row["text"] for row in batch])
        if tokenizer.decode(encoded[0]) != batch[0]["text"]:
            raise DataError(
                f"document {batch[0]['id']} does not survive encoding and decoding: the tokenizer is damaged"
            )
        for row, ids in zip(batch, encoded, strict=True):
            end = position + len(ids) + 1
            rows.append(_Range(row["id"], row["source"], split, position, end, len(row["text"].encode())))
            yield [*ids, tokenizer.eos_id]
            position = end
        done += len(batch)
        task.progress.update(f"encoding {split}", done, total, "documents")
