"""First values for new entries of a vocabulary, in the embedding and in the output projection.

- A piece of text: the mean of the rows of the old pieces that its text is cut into. Dobler and de Melo 2023 (FOCUS,
  section 5) have it as a baseline; simple, and near the best where, as here, all old rows stay.
- A special token: the mean of all old rows (Hewitt 2021, "Initializing new word embeddings for pretrained language
  models"). Its score is then below the logarithm of the mean exponential of the old scores, so that the probability
  that it takes from the others is at most 1 in V + 1, whatever the context. Hewitt draws from a normal distribution
  around the mean; we add a small part of each column's deviation, drawn by a key, so that tokens differ from the start.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from groundup.base.seeds import derive
from groundup.text.adopt.extension import NewEntry


def extended(table: Tensor, old: int, size: int, entries: Sequence[NewEntry], noise: float, seed: int) -> Tensor:
    """A table (size, D) fp32 whose first ``old`` rows are those of ``table`` (V, D), V >= ``old``.

    Rows of ``table`` behind ``old`` belong to no entry of the old tokenizer, and were never trained: new entries take
    their places. Rows of the result that belong to none are the mean of all old rows.
    """
    known = table[:old].double()
    mean, deviation = known.mean(0), known.std(0, correction=0)
    rows = mean.expand(size, -1).clone()
    rows[:old] = known
    for entry in entries:
        if entry.pieces:
            rows[entry.id] = known[list(entry.pieces)].mean(0)
        else:
            generator = torch.Generator().manual_seed(derive(seed, "extend", entry.name))
            rows[entry.id] = mean + noise * deviation * torch.randn(len(mean), generator=generator, dtype=torch.float64)
    return rows.float()
