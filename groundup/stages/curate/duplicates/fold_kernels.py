"""The compiled pass that folds case and white space. Import it at the first batch, not before."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from groundup.stages.curate.duplicates import normal
from groundup.stages.curate.duplicates.compiled import kernel
from groundup.stages.curate.duplicates.word_kernels import decode

_SEPARATOR, _MANY, _VALUE = normal.SEPARATOR, normal.MANY, normal.VALUE


@kernel
def _encode(point: int, out: NDArray[np.uint8], at: int) -> int:
    if point < 0x80:
        out[at] = point
        return at + 1
    if point < 0x800:
        out[at] = 0xC0 | (point >> 6)
        out[at + 1] = 0x80 | (point & 63)
        return at + 2
    if point < 0x10000:
        out[at] = 0xE0 | (point >> 12)
        out[at + 1] = 0x80 | ((point >> 6) & 63)
        out[at + 2] = 0x80 | (point & 63)
        return at + 3
    out[at] = 0xF0 | (point >> 18)
    out[at + 1] = 0x80 | ((point >> 12) & 63)
    out[at + 2] = 0x80 | ((point >> 6) & 63)
    out[at + 3] = 0x80 | (point & 63)
    return at + 4


@kernel
def fold(
    data: NDArray[np.uint8],
    starts: NDArray[np.int64],
    stops: NDArray[np.int64],
    codes: NDArray[np.uint32],
    expansions: NDArray[np.uint32],
    out: NDArray[np.uint8],
    bounds: NDArray[np.int64],
) -> None:
    """Each span with case folded, runs of white space made one space, none at its ends.

    Span i becomes ``out[bounds[i]:bounds[i + 1]]``. Room: three bytes for one, which is the most that folding makes.
    """
    size = 0
    bounds[0] = 0
    for span in range(len(starts)):
        at, stop = starts[span], stops[span]
        first = size
        gap = False
        while at < stop:
            point: Any = np.int64(data[at])
            if point < 0x80:
                at += 1
            else:
                point, at = decode(data, at, stop)
            code: Any = np.int64(codes[point])
            if code == _SEPARATOR:
                gap = size > first
                continue
            if gap:
                out[size] = 32
                size += 1
                gap = False
            if code & _MANY:
                place = code & _VALUE
                for each in range(np.int64(expansions[place])):
                    letter: Any = np.int64(expansions[place + 1 + each])
                    size = _encode(letter, out, size)
            else:
                size = _encode(code & _VALUE, out, size)
        bounds[span + 1] = size
