"""Token stores made by hand, and a task around them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from memory_store import write_order
from tiny import tiny_tokenizer

from groundup.artifact.record import FORMAT, Cost, FileEntry, Record
from groundup.artifact.stage import Artifact, Task
from groundup.artifact.terms import Terms
from groundup.base.progress import Silent
from groundup.text.store.megatron import token_dtype, write_store

SEQ_LEN = 16

Document = tuple[str, str, list[int]]
"""Id, source, token ids without the closing one."""


def documents(prefix: str, source: str, count: int, length: int = 23, first: int = 0) -> list[Document]:
    """So many documents with ids of their own; texts differ by document and by prefix."""
    generator = np.random.default_rng([first, *prefix.encode()])
    return [
        (f"{prefix}{first + number}", source, generator.integers(0, 250, length).tolist()) for number in range(count)
    ]


def store(
    folder: Path, train: Sequence[Document], held_out: Sequence[Document], epochs: int = 4, name: str = ""
) -> Artifact:
    """A token store of these documents as an artifact."""
    folder.mkdir(parents=True)
    tokenizer = tiny_tokenizer()
    rows, totals = [], {}
    for split, docs in (("train", train), ("held_out", held_out)):
        position = 0
        for one, source, ids in docs:
            end = position + len(ids) + 1
            rows.append(
                {"id": one, "source": source, "split": split, "start": position, "end": end, "bytes": 3 * len(ids)}
            )
            position = end
        closed = [[*ids, tokenizer.eos_id] for _, _, ids in docs]
        totals[split] = write_store(folder / split, closed, token_dtype(tokenizer.vocab_size))
    pq.write_table(pa.Table.from_pylist(rows), folder / "documents.parquet")
    each = write_order(folder, [len(ids) + 1 for _, _, ids in train], SEQ_LEN, epochs)
    return Artifact(
        folder, record("tokens", name or folder.name, {"max_seq_len": SEQ_LEN, "rows": each, "epochs": epochs})
    )


def record(kind: str, name: str, metrics: dict[str, Any]) -> Record:
    """A record that says little."""
    cost = Cost(seconds=0, cpu_seconds=0, peak_memory_bytes=0, energy_joules=0, watts_per_core=6, attempts=1)
    files = {"documents.parquet": FileEntry(bytes=0, sha256="")} if kind == "tokens" else {}
    return Record(
        format=FORMAT, name=name, kind=kind, digest="0" * 64, stage=kind, stage_version=1, config={}, inputs={},
        code_version="0", environment={}, created="", cost=cost, metrics=metrics, terms=Terms(), files=files,
        payload="",
    )  # fmt: skip


def task(folder: Path, tokens: Artifact, variants: Sequence[Artifact], validation: Sequence[Artifact] = ()) -> Task:
    """A task of the ablation stage on these stores."""
    (folder / "tokenizer").mkdir()
    tiny_tokenizer().save(folder / "tokenizer", SEQ_LEN)
    for name in ("payload", "scratch"):
        (folder / name).mkdir()
    inputs = {
        "tokenizer": (Artifact(folder / "tokenizer", record("tokenizer", "tokenizer", {})),),
        "tokens": (tokens,),
        "variants": tuple(variants),
        "validation": tuple(validation),
    }
    return Task("ablation", "0" * 64, inputs, {}, folder / "payload", folder / "scratch", Silent())
