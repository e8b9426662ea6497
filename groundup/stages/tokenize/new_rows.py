"""First values for new entries of a vocabulary, in the embedding and in the output projection.

- A piece of text: the mean of the rows of the old pieces that its text is cut into. Simple, and it lies where the old
  rows lie; methods such as FOCUS (Dobler and de Melo 2023) need vectors learned beside the model.
- A special token: the mean of all old rows (Hewitt 2021, "Initializing new word embeddings for pretrained language
  models"). Its score is then the mean of the old scores, thus at most the logarithm of their mean exponential, and the
  probability that it takes from the V old entries at most 1 in V + 1, whatever the context (without noise; n such
  tokens take n in V + n). So that tokens differ from the start, we add a small part of each column's deviation, drawn
  by a key, which moves a score, and the bound with it, a little.
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
    mean, deviation = _moments(table[:old])
    rows = mean.float().expand(size, -1).clone()
    rows[:old] = table[:old]
    for entry in entries:
        if entry.pieces:
            rows[entry.id] = table[list(entry.pieces)].double().mean(0)
        else:
            generator = torch.Generator().manual_seed(derive(seed, "extend", entry.name))
            rows[entry.id] = mean + noise * deviation * torch.randn(len(mean), generator=generator, dtype=torch.float64)
    return rows


def _moments(rows: Tensor) -> tuple[Tensor, Tensor]:
    """The mean and the deviation (D,) fp64 of rows (V, D); their copy, which may take gigabytes, ends here."""
    exact = rows.double()
    return exact.mean(0), exact.std(0, correction=0)
