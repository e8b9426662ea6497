"""Pieces of equal score in SentencePiece's BPE: of all pairs that make one of them, the leftmost in the text is joined.

A list of merges has an order among pieces instead: the longest first. Both come to the same for the one case that is
common, the runs of blanks that Llama's and Mistral's models were given with one score: shown by trying all lengths.
Others are refused.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

import tokenizers
from tokenizers import models

from groundup.base.errors import DataError
from groundup.text.adopt.merges import pairs

_LENGTHS: Final = 8
"""Runs are tried up to so many times the longest piece."""


def check_tied(pieces: Sequence[str], ids: Mapping[str, int]) -> None:
    """DataError unless the ``pieces`` of one score, in the order in which their merges are listed, come out alike."""
    if len(pieces) < 2:
        return
    first = pieces[0][0]
    if any(piece != first * len(piece) for piece in pieces):
        raise DataError(f"the pieces {pieces[0]!r} and {pieces[1]!r} have the same score: their order can't be kept")
    runs = {first: ids[first], **{piece: ids[piece] for piece in pieces}} if first in ids else {}
    if not runs:
        return  # the caller refuses pieces whose characters are no pieces
    merges = list(pairs(pieces, runs))
    library = tokenizers.Tokenizer(models.BPE(vocab=runs, merges=merges))
    lengths = {len(piece) for piece in pieces}
    for length in range(1, _LENGTHS * max(lengths) + 1):
        made = [len(token) for token in library.encode(first * length).tokens]
        if made != leftmost(length, lengths):
            raise DataError(f"runs of {first!r} are pieces of the same score, and their order can't be kept")


def leftmost(length: int, lengths: set[int]) -> list[int]:
    """The lengths of the pieces of a run when the leftmost pair that makes a piece is joined, again and again.

    >>> leftmost(5, {2, 4})
    [4, 1]
    """
    sizes: list[int] = []
    for _ in range(length):
        # What stands to the left of the newest piece can't be joined, so a new pair is always at the end.
        sizes.append(1)
        while len(sizes) > 1 and sizes[-2] + sizes[-1] in lengths:
            sizes[-2:] = [sizes[-2] + sizes[-1]]
    return sizes
