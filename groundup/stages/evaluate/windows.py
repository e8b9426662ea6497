"""Cuts a document into windows that a model can read, so that each token is scored once with long context.

The model reads ``context + continuation`` without the last token and predicts the continuation, so a window
reads at most ``max_seq_len`` tokens. A small stride gives every token more context and costs more reading.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple


class Window(NamedTuple):
    """Token ids that are only read, and those that are scored after them."""

    context: list[int]
    continuation: list[int]


def windows(tokens: Sequence[int], prefix: int, max_seq_len: int, stride: int) -> Iterator[Window]:
    """Windows over ``tokens``, which start after the id ``prefix``; each token is in one continuation.

    The first window scores up to ``max_seq_len`` tokens, the others up to ``stride``, the most context that fits
    before them. ``1 <= stride <= max_seq_len``; at ``stride = max_seq_len`` this is lm-eval's rolling window.

    >>> for window in windows([1, 2, 3, 4, 5, 6, 7], prefix=0, max_seq_len=4, stride=2):
    ...     print(window.context, window.continuation)
    [0] [1, 2, 3, 4]
    [2, 3, 4] [5, 6]
    [3, 4, 5, 6] [7]
    """
    assert 1 <= stride <= max_seq_len
    ids = [prefix, *tokens]
    done = 1
    while done < len(ids):
        end = min(len(ids), done + (max_seq_len if done == 1 else stride))
        start = max(0, end - 1 - max_seq_len)
        yield Window(ids[start:done], ids[done:end])
        done = end
