"""Which records a source has given already, in a few bytes each: a set of Python strings would fill the memory."""

from __future__ import annotations

import hashlib
from typing import Final

import numpy as np
from numpy.typing import NDArray

_NEW: Final = 1 << 16


class Hashes:
    """A growing set of 64-bit hashes: new ones in a Python set, older ones in sorted arrays that are merged by size."""

    def __init__(self) -> None:
        self._new: set[int] = set()
        self._runs: list[NDArray[np.uint64]] = []

    def add(self, value: int) -> bool:
        """Whether ``value`` is new; it is in the set afterwards."""
        if value in self._new or any(_holds(run, value) for run in self._runs):
            return False
        self._new.add(value)
        if len(self._new) >= _NEW:
            run = np.sort(np.fromiter(self._new, np.uint64, len(self._new)))
            self._new.clear()
            while self._runs and len(self._runs[-1]) <= len(run):
                run = np.sort(np.concatenate([self._runs.pop(), run]))
            self._runs.append(run)
        return True


def _holds(run: NDArray[np.uint64], value: int) -> bool:
    at = int(np.searchsorted(run, np.uint64(value)))
    return at < len(run) and int(run[at]) == value


class Seen:
    """Gives each page of a source a record of its own."""

    def __init__(self) -> None:
        self._records = Hashes()
        self._ids = Hashes()
        self._again: dict[int, int] = {}

    def new_id(self, one: str) -> bool:
        """Whether no page had this document id so far: the same name and the same content are the same page."""
        return self._ids.add(int(one[:16], 16))

    def record(self, record: str) -> str:
        """The record, with a number behind it if a page of that name came before."""
        key = int.from_bytes(hashlib.blake2b(record.encode("utf-8", "surrogatepass"), digest_size=8).digest(), "big")
        if self._records.add(key):
            return record
        self._again[key] = self._again.get(key, 1) + 1
        return f"{record} ({self._again[key]})"
