"""Which source the i-th row comes from: a pure function of i, so that no process has to be asked.

Row k of a source with share w is due at time (k + 1/2) / w, where one row is read in a unit of time; the rows of all
sources are read as they fall due. So a source's rows come evenly spaced, and of the first n rows it has its share to
within the number of sources. (The idea is that of Webster's, or Sainte-Laguë's, apportionment.)
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from groundup.base.errors import RequestError

Numbers = npt.NDArray[np.int64]


def shares(weights: Sequence[float]) -> list[float]:
    """Weights scaled to sum to one; RequestError unless all are above zero and finite."""
    if not weights or not all(0 < weight < float("inf") for weight in weights):
        raise RequestError(f"weights of a mixture must be above zero, got {list(weights)}")
    return [weight / sum(weights) for weight in weights]


def interleave(weights: Sequence[float], first: int, count: int) -> tuple[Numbers, Numbers]:
    """Source, and place in that source's own order, of the rows ``first`` to ``first + count``: int64 (count,) each.

    >>> [array.tolist() for array in interleave([2, 1], 0, 6)]
    [[0, 1, 0, 0, 1, 0], [0, 0, 1, 2, 1, 3]]
    """
    if len(weights) == 1:
        return np.zeros(count, dtype=np.int64), np.arange(first, first + count)
    parts = shares(weights)
    # All rows due before `start` are among the first `first`: of each source at most w * start + 1/2.
    start = max(0.0, first - len(parts) / 2 - 1)
    before = [_due_before(part, start) for part in parts]
    ahead = count + first - sum(before)
    sources = np.concatenate([np.full(int(part * ahead) + 3, s) for s, part in enumerate(parts)])
    places = np.concatenate([np.arange(n, n + int(part * ahead) + 3) for n, part in zip(before, parts, strict=True)])
    due = (places + 0.5) / np.asarray(parts)[sources]
    chosen = np.lexsort((sources, due))[first - sum(before) :][:count]
    return sources[chosen].astype(np.int64), places[chosen].astype(np.int64)


def counts(weights: Sequence[float], total: int) -> list[int]:
    """How many of the first ``total`` rows each source has."""
    if total == 0:
        return [0] * len(weights)
    if len(weights) == 1:
        return [total]
    parts = shares(weights)
    sources, places = interleave(weights, total - 1, 1)
    last, time = int(sources[0]), (int(places[0]) + 0.5) / parts[int(sources[0])]
    found = [_due_before(part, time) for part in parts]
    return [n + ((n + 0.5) / parts[s] == time and s <= last) for s, n in enumerate(found)]


def position(weights: Sequence[float], source: int, place: int) -> int:
    """Which of all rows is number ``place`` of a source: the inverse of ``interleave``.

    >>> [position([2, 1], 0, 2), position([2, 1], 1, 1)]
    [3, 4]
    """
    if len(weights) == 1:
        return place
    parts = shares(weights)
    time = (place + 0.5) / parts[source]
    found = place
    for other, part in enumerate(parts):
        if other != source:
            before = _due_before(part, time)
            found += before + (other < source and (before + 0.5) / part == time)
    return found


def _due_before(part: float, time: float) -> int:
    """How many rows of a source with this share are due before ``time``, by the very comparison that sorts them."""
    number = max(0, int(part * time - 0.5))
    while (number + 0.5) / part < time:
        number += 1
    while number and (number - 0.5) / part >= time:
        number -= 1
    return number
