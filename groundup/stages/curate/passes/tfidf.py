"""Embeddings of documents by TF-IDF of their words, which needs two looks at the texts of all units."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from groundup.base.files import sha256_json
from groundup.base.runner.jobs import Done
from groundup.stages.curate.duplicates.embed import SLOTS, document_frequencies, tfidf_embeddings
from groundup.stages.curate.duplicates.semantic import on_grid
from groundup.stages.curate.engine.columns import texts
from groundup.stages.curate.passes.inputs import UnitInput, staying_rows
from groundup.stages.curate.passes.vectors import ID, vectors_writer, with_vectors

TFIDF_DIM: Final = 256


@dataclass(frozen=True)
class SlotCount:
    """Writes ``slots.parquet``, (slot, count): in how many of a unit's staying documents the words of a slot are."""

    @property
    def digest(self) -> str:
        """What defines the work."""
        return sha256_json(["word slots", 1])

    def __call__(self, payload: Any, folder: Path) -> dict[str, Any]:
        """Count."""
        counts, documents = np.zeros(SLOTS, np.int64), 0
        for rows, batch in staying_rows(payload, ["text"]):
            counts += document_frequencies(texts(batch))
            documents += len(rows)
        slots = np.flatnonzero(counts)
        pq.write_table(pa.table({"slot": slots, "count": counts[slots]}), folder / "slots.parquet", compression="zstd")
        return {"documents": documents}


def all_frequencies(counted: Sequence[Done]) -> tuple[NDArray[np.int64], int]:
    """The document frequencies of the corpus, and how many documents it has, from those of its units."""
    frequencies = np.zeros(SLOTS, np.int64)
    for done in counted:
        table = pq.read_table(done.file("slots.parquet"))
        frequencies[table.column("slot").to_numpy()] += table.column("count").to_numpy()
    return frequencies, sum(done.facts["documents"] for done in counted)


@dataclass(frozen=True)
class Weighed:
    """A unit, with the file of the corpus's document frequencies and how many documents it has."""

    unit: UnitInput
    frequencies: Path
    documents: int


@dataclass(frozen=True)
class Tfidf:
    """Writes ``vectors.parquet`` of a unit's staying documents by TF-IDF of their words."""

    @property
    def digest(self) -> str:
        """What defines the work."""
        return sha256_json(["tf-idf", 1, TFIDF_DIM])

    def __call__(self, payload: Any, folder: Path) -> dict[str, Any]:
        """Embed the texts."""
        job: Weighed = payload
        frequencies = np.load(job.frequencies)
        documents = vectors = 0
        with vectors_writer(folder, TFIDF_DIM) as file:
            for rows, batch in staying_rows(job.unit, ["id", "chars", "text"]):
                points = on_grid(tfidf_embeddings(texts(batch), frequencies, job.documents, TFIDF_DIM))
                table = with_vectors(job.unit.number, rows, batch.column("chars"), batch.column(ID), points)
                file.write_table(table)
                documents += len(rows)
                vectors += table.num_rows
        return {"documents": documents, "vectors": vectors, "dim": TFIDF_DIM}
