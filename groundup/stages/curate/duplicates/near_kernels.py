"""The compiled parts of near-duplicate search. Import it at the first use, not before."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from groundup.stages.curate.duplicates.compiled import kernel
from groundup.stages.curate.duplicates.word_kernels import mix

UNDECIDED: Final = np.int8(0)
KEPT: Final = np.int8(1)
DROPPED: Final = np.int8(2)

UNKNOWN: Final = np.int8(0)
LIKE: Final = np.int8(1)
UNLIKE: Final = np.int8(2)

Ints = NDArray[np.int64]
Numbers = NDArray[Any]
"""Places in an array: int32 where that is enough, else int64. All of a call are of one type."""
Marks = NDArray[np.int8]


@kernel
def jaccards(
    values: NDArray[np.uint64], offsets: Ints, left: Ints, right: Ints, least: float, out: NDArray[np.float64]
) -> None:
    """The Jaccard similarity of rows ``left[i]`` and ``right[i]`` of ascending distinct hashes; 0 if below ``least``.

    Two empty sets are alike. A pair is given up as soon as the rest can't make up for what differed.
    """
    for pair in range(len(left)):
        a, end_a = offsets[left[pair]], offsets[left[pair] + 1]
        b, end_b = offsets[right[pair]], offsets[right[pair] + 1]
        total = (end_a - a) + (end_b - b)
        if total == 0:
            out[pair] = 1.0
            continue
        needed = np.int64(least / (1.0 + least) * total) - 1  # one less, for rounding: the quotient below decides
        shared = np.int64(0)
        while a < end_a and b < end_b and shared + min(end_a - a, end_b - b) >= needed:
            x, y = values[a], values[b]
            shared += x == y
            a += x <= y
            b += y <= x
        similarity = shared / (total - shared)
        out[pair] = similarity if similarity >= least else 0.0


@kernel
def names_of(members: Numbers, offsets: Ints, salts: NDArray[np.uint64], out: NDArray[np.uint64]) -> None:
    """Into ``out`` (salts, buckets): for each salt, the sum of the hashes of each bucket's members."""
    for bucket in range(len(offsets) - 1):
        for salt in range(len(salts)):
            name = np.uint64(0)
            for at in range(offsets[bucket], offsets[bucket + 1]):
                name += mix(np.uint64(members[at]) + salts[salt])
            out[salt, bucket] = name


@kernel
def entries_of(members: Numbers, own: Numbers, own_offsets: Ints) -> None:
    """Into ``own`` (entries,) the places of each member in ``members``, ascending, and where each one's begin.

    ``own_offsets`` (members + 1,) is zero before.
    """
    for member in members:
        own_offsets[member + 1] += 1
    for member in range(len(own_offsets) - 1):
        own_offsets[member + 1] += own_offsets[member]
    filled = own_offsets[:-1].copy()
    for entry in range(len(members)):
        own[filled[members[entry]]] = entry
        filled[members[entry]] += 1


@kernel
def _alive(skip: Numbers, at: int) -> int:
    """The first place from ``at`` on that was not struck out; paths are halved on the way (union-find)."""
    while skip[at] != at:
        skip[at] = skip[skip[at]]
        at = skip[at]
    return at


@kernel
def sweep(
    undecided: Ints,
    members: Numbers,
    starts: Numbers,
    own: Numbers,
    own_offsets: Ints,
    most: int,
    state: Marks,
    skip: Numbers,
    cursor: Numbers,
    verdict: Marks,
    seen: Numbers,
    asked: Numbers,
) -> int:
    """Decide what can be decided, in order of right to stay; write the entries that need a comparison, return how many.

    An entry is a place in ``members``; ``own[own_offsets[d]:own_offsets[d + 1]]`` are those of document d, and
    ``starts[e]`` is where entry e's bucket begins. ``cursor[e]`` is the member that e is to be compared with next,
    ``verdict[e]`` the outcome, ``seen[e]`` the number of kept members it was compared with.
    """
    count = 0
    for document in undecided:
        dropped, clear = False, True
        first = count
        for place in range(own_offsets[document], own_offsets[document + 1]):
            entry = own[place]
            while seen[entry] < most:
                at = _alive(skip, cursor[entry])
                if at != cursor[entry]:
                    cursor[entry] = at
                    verdict[entry] = UNKNOWN
                if at >= entry:
                    break
                other = state[members[at]]
                if verdict[entry] == UNLIKE and other == KEPT:
                    seen[entry] += 1
                    cursor[entry] = at + 1
                    verdict[entry] = UNKNOWN
                    continue
                if verdict[entry] == LIKE and other == KEPT:
                    dropped = True
                if verdict[entry] == UNKNOWN:
                    asked[count] = entry
                    count += 1
                clear = False
                break
            if dropped:
                break
        if dropped:
            count = first
            state[document] = DROPPED
            for place in range(own_offsets[document], own_offsets[document + 1]):
                skip[own[place]] = own[place] + 1
        elif clear:
            state[document] = KEPT
    return count


@kernel
def kept_ahead(
    documents: Ints,
    members: Numbers,
    starts: Numbers,
    own: Numbers,
    own_offsets: Ints,
    most: int,
    skip: Numbers,
    out: Ints,
) -> Ints:
    """Which kept documents each was compared with: into ``out`` (room for ``most`` an entry), and the bounds of rows.

    To be called when all is decided.
    """
    bounds = np.zeros(len(documents) + 1, np.int64)
    count = 0
    for row in range(len(documents)):
        document = documents[row]
        for place in range(own_offsets[document], own_offsets[document + 1]):
            entry = own[place]
            at = _alive(skip, starts[entry])
            for _ in range(most):
                if at >= entry:
                    break
                out[count] = members[at]
                count += 1
                at = _alive(skip, at + 1)
        bounds[row + 1] = count
    return bounds
