"""Which entries of a vocabulary are used, how often, and which never: those a model could not learn.

An entry that no text uses keeps the embedding that it was born with, and a prompt that brings it up makes the model
stumble (Land & Bartolo 2024, arXiv 2405.05417, who find such entries in trained models by their embeddings; here they
are found before training, by their uses in a sample of text).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

import numpy as np
from numpy.typing import NDArray

RARE: Final = 10
"""Fewer uses than this in the sample is rare."""
_EXAMPLES: Final = 12


@dataclass(frozen=True)
class Uses:
    """Entries by how often they were used, special tokens left out.

    ``bands`` are (label, entries, tokens of the text that are these entries); ``top_share`` is the share of the text
    that the hundred commonest entries make up; ``unused`` spells some of the longest never-seen entries.
    """

    entries: int
    tokens: int
    never: int
    rare: int
    bands: tuple[tuple[str, int, int], ...]
    top_share: float
    unused: tuple[str, ...]


def uses(counts: NDArray[np.int64], special: Iterable[int], spell: Callable[[list[int]], str]) -> Uses:
    """Sort ``counts``, int64 (vocab_size,), into bands; ``spell`` decodes ids."""
    kept = np.ones(len(counts), bool)
    kept[[token for token in special if token < len(counts)]] = False
    own, ids = counts[kept], np.flatnonzero(kept)
    edges = [0, 1, RARE, 100, 1000, np.iinfo(np.int64).max]
    labels = ("never", f"1 to {RARE - 1}", f"{RARE} to 99", "100 to 999", "1,000 or more")
    inside = [(own >= low) & (own < high) for low, high in pairwise(edges)]
    bands = [(label, int(mask.sum()), int(own[mask].sum())) for label, mask in zip(labels, inside, strict=True)]
    total = int(own.sum())
    pieces = [(spell([int(token)]), int(token)) for token in ids[own == 0]]
    whole = sorted(
        (piece for piece in pieces if piece[0] and "\ufffd" not in piece[0]), key=lambda p: (-len(p[0]), p[1])
    )
    return Uses(
        entries=len(own),
        tokens=total,
        never=bands[0][1],
        rare=bands[0][1] + bands[1][1],
        bands=tuple(bands),
        top_share=float(np.sort(own)[-100:].sum() / total) if total else 0.0,
        unused=tuple(piece for piece, _ in whole[:_EXAMPLES]),
    )
