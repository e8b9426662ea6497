"""Kernels that look at the beginnings and ends of pieces of text."""

from __future__ import annotations

from typing import Any

import numba
import numpy as np

from groundup.stages.curate.words.classes import LINE_END, SPACE
from groundup.stages.curate.words.kernels import decode


def strings(values: list[str]) -> tuple[Any, Any]:
    """(bytes, bounds) of several strings for a kernel."""
    encoded = [value.encode() for value in values]
    bounds = np.cumsum([0, *map(len, encoded)]).astype(np.int64)
    return np.frombuffer(b"".join(encoded) or b"\0", np.uint8), bounds


@numba.njit(cache=True, nogil=True)
def starts_with(data: Any, begin: int, end: int, marks: Any, bounds: Any) -> bool:
    """Whether the text begins with one of the marks."""
    for mark in range(len(bounds) - 1):
        size = bounds[mark + 1] - bounds[mark]
        if size <= end - begin:
            same = True
            for i in range(size):
                if data[begin + i] != marks[bounds[mark] + i]:
                    same = False
                    break
            if same:
                return True
    return False


@numba.njit(cache=True, nogil=True)
def ends_with(data: Any, begin: int, end: int, marks: Any, bounds: Any) -> bool:
    """Whether the text ends with one of the marks."""
    for mark in range(len(bounds) - 1):
        size = bounds[mark + 1] - bounds[mark]
        if size <= end - begin and starts_with(data, end - size, end, marks, bounds[mark : mark + 2]):
            return True
    return False


@numba.njit(cache=True, nogil=True)
def trimmed(data: Any, begin: int, end: int, classes: Any) -> tuple[int, int]:
    """The bounds without white space at both ends (``str.strip``)."""
    while begin < end:
        code, size = decode(data, begin, end)
        if not classes[code] & SPACE:
            break
        begin += size
    while end > begin:
        at = end - 1
        while at > begin and (data[at] & 0xC0) == 0x80:
            at -= 1
        code, _ = decode(data, at, end)
        if not classes[code] & SPACE:
            break
        end = at
    return begin, end


@numba.njit(cache=True, nogil=True)
def line_stop(data: Any, at: int, end: int, classes: Any, feeds: bool) -> tuple[int, int]:
    """(end of the line that begins at ``at``, beginning of the next): at ``\\n`` only, or as ``str.splitlines``."""
    while at < end:
        byte = data[at]
        if byte == 10:
            return at, at + 1
        if not feeds and (byte < 32 or byte >= 0xC2):
            code, size = decode(data, at, end)
            if classes[code] & LINE_END:
                if byte == 13 and at + 1 < end and data[at + 1] == 10:
                    size = 2
                return at, at + size
            at += size
        else:
            at += 1
    return end, end
