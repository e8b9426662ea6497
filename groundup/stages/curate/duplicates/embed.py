"""Embeddings that need no model: TF-IDF of words, projected at random (Achlioptas 2003, signs in place of normals).

Inner products of projections are those of the TF-IDF vectors within about 1 / sqrt(dim). What it sees is shared words,
not meaning: a stand-in for a trained embedder, whose vectors :mod:`.semantic` takes as well.
"""

from __future__ import annotations

from typing import Any, Final, TypeVar

import numpy as np
from numpy.typing import NDArray

from groundup.stages.curate.duplicates import normal
from groundup.stages.curate.engine.columns import Texts

Floats = NDArray[np.float32]
F = TypeVar("F", bound=np.floating[Any])

SLOTS: Final = 1 << 20
"""Document frequencies are counted by hash: words that share a slot share a weight."""


def document_frequencies(rows: Texts) -> NDArray[np.int64]:
    """How many of the texts have a word of each slot: (slots,) int64. Those of several batches add up."""
    counts = np.zeros(SLOTS, np.int64)
    for words in _words(rows):
        counts[np.unique(_slots(words))] += 1
    return counts


def tfidf_embeddings(rows: Texts, frequencies: NDArray[np.int64], num_documents: int, dim: int = 256) -> Floats:
    """The embedding of each text, (rows, dim) float32, of length 1; 0 for a text without words.

    ``frequencies`` and ``num_documents`` are of the corpus. A word weighs (1 + log count) * log(documents / with it).
    """
    from groundup.stages.curate.duplicates import embed_kernels

    idf = np.log((1 + num_documents) / (1 + frequencies)).astype(np.float32) + np.float32(1e-3)
    out = np.zeros((len(rows.offsets) - 1, dim), np.float32)
    for row, words in enumerate(_words(rows)):
        distinct, counts = np.unique(words, return_counts=True)
        embed_kernels.project(distinct, counts, idf[_slots(distinct)], out[row])
    return unit(out)


def unit(vectors: NDArray[F]) -> NDArray[F]:
    """Vectors, (rows, dim), of length 1; those of no length as they are."""
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    out = np.zeros_like(vectors)
    np.divide(vectors, lengths, out=out, where=lengths > 0)
    return out


def _slots(words: NDArray[np.uint64]) -> NDArray[np.int64]:
    return (words >> np.uint64(44)).astype(np.int64)


def _words(rows: Texts) -> list[NDArray[np.uint64]]:
    from groundup.stages.curate.duplicates import word_kernels
    from groundup.stages.curate.duplicates.compiled import read_only

    values = np.empty(int(np.sum(np.diff(rows.offsets) // 2 + 1)) + 1, np.uint64)
    bounds = np.empty(len(rows.offsets), np.int64)
    data, offsets = read_only(*rows)
    word_kernels.words_of_rows(data, offsets, *normal.table(), values, bounds)
    return np.split(values[: bounds[-1]], bounds[1:-1])
