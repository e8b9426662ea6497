"""The filter for verbatim output: hashes of all runs of 8 words of withdrawn texts, and nothing of the texts.

``register/verbatim.bin`` is a header of 16 bytes (``GUVERB01``, then the number of hashes, little-endian) and the
hashes as uint64, ascending. All runs are kept, not a winnowed choice of them (Schleimer et al. 2003): 8 bytes a word of
withdrawn text buys that a span is seen at its eighth word, wherever it begins.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import numpy as np

from groundup.base.errors import ArtifactError
from groundup.base.files import write_atomic
from groundup.rights.fingerprint import Hashes

_MAGIC: Final = b"GUVERB01"
_HEADER: Final = 16


@dataclass(frozen=True)
class Verbatim:
    """Hashes of runs of words that are not to be repeated, ascending."""

    hashes: Hashes = field(default_factory=lambda: np.zeros(0, np.uint64))

    @staticmethod
    def path(workspace: Path) -> Path:
        """Where a workspace keeps its filter."""
        return workspace / "register" / "verbatim.bin"

    @classmethod
    def load(cls, workspace: Path) -> Verbatim:
        """A workspace's filter, memory-mapped; an empty one if it has none. ArtifactError if it is damaged."""
        path = cls.path(workspace)
        try:
            with path.open("rb") as file:
                header = file.read(_HEADER)
        except FileNotFoundError:
            return cls()
        count = int.from_bytes(header[8:], "little")
        if header[:8] != _MAGIC or len(header) < _HEADER or path.stat().st_size != _HEADER + 8 * count:
            raise ArtifactError(f"{path} is damaged; make it again with: groundup withdraw --pending")
        return cls(np.memmap(path, "<u8", "r", _HEADER, (count,)) if count else np.zeros(0, np.uint64))

    def save(self, workspace: Path) -> None:
        """Write the filter, whole or not at all."""
        data = _MAGIC + len(self.hashes).to_bytes(8, "little") + self.hashes.astype("<u8").tobytes()
        write_atomic(self.path(workspace), lambda beside: _write(beside, data))

    def beside(self, more: Hashes) -> Verbatim:
        """This filter with more hashes."""
        return Verbatim(np.union1d(self.hashes, more))

    def __len__(self) -> int:
        return len(self.hashes)

    def any_of(self, hashes: Iterable[int]) -> bool:
        """Whether one of the runs is in the filter: a binary search each, a microsecond or two."""
        for one in hashes:
            value = np.uint64(one)
            place = int(np.searchsorted(self.hashes, value))
            if place < len(self.hashes) and self.hashes[place] == value:
                return True
        return False


def _write(path: Path, data: bytes) -> None:
    path.write_bytes(data)
