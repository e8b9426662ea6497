"""Merges out of a vocabulary in order of rank: for libraries that join any two pieces whose concatenation is a piece.

tiktoken and SentencePiece's BPE know no list of merges: they join the two neighbours whose concatenation has the best
rank, the leftmost first. The ``tokenizers`` library joins pairs that are listed. So every way to cut a piece into two
pieces is listed, all those of a better piece before those of a worse one. Ways to cut the same piece only compete where
two of them overlap in the text, x y z with xy = yz; which of them comes first is settled in ``pairs``.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import TypeVar

P = TypeVar("P", str, bytes)


def pairs(ranked: Iterable[P], ids: Mapping[P, int]) -> Iterator[tuple[P, P]]:
    """The merges of ``ranked`` pieces, best first. ``ids`` are the pieces that may be halves.

    The ways to cut one piece go by the halves' ids: the pair made of older pieces is the one that came to be in
    training.

    >>> list(pairs(["ab", "abc"], {"a": 0, "b": 1, "c": 2, "ab": 3, "bc": 4, "abc": 5}))
    [('a', 'b'), ('a', 'bc'), ('ab', 'c')]
    """
    for piece in ranked:
        found = []
        for cut in range(1, len(piece)):
            left, right = piece[:cut], piece[cut:]
            if left in ids and right in ids:
                found.append((ids[left], ids[right], left, right))
        found.sort()
        for _, _, left, right in found:
            yield left, right
