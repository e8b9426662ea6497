"""Stops an answer before it repeats 8 words in a row of a text that was withdrawn.

The words of an answer are hashed as they come, and each run of 8 is looked up in the workspace's filter
(:mod:`groundup.rights.verbatim`). So that a run's last word is never sent, a word is held back until it is settled by
what follows: text comes at most one word later than it would, and of withdrawn text no more than 7 words in a row get
out. Only words of the answer count; a person who asks may quote what they like.
"""

from __future__ import annotations

from collections.abc import Iterator

from groundup.rights.fingerprint import SPAN, WordStream
from groundup.rights.verbatim import Verbatim


class Withheld:
    """One answer on its way: ``push`` pieces of text and send what comes back; ``finish`` at its end.

    ``stopped`` is set once a run is about to be repeated; nothing comes after that.
    """

    def __init__(self, verbatim: Verbatim | None) -> None:
        self._verbatim = verbatim
        self._words = WordStream(SPAN)
        self.stopped = False

    def push(self, piece: str) -> str:
        """What may be sent now."""
        if self.stopped:
            return ""
        if self._verbatim is None or not len(self._verbatim):
            return piece
        return self._passed(self._words.push(piece))

    def finish(self) -> str:
        """What was held back and may be sent."""
        return self._passed(self._words.finish())

    def _passed(self, settled: Iterator[tuple[str, list[int]]]) -> str:
        passed = []
        for segment, runs in settled:
            if self.stopped or (runs and self._verbatim is not None and self._verbatim.any_of(runs)):
                self.stopped = True
                break
            passed.append(segment)
        return "".join(passed)
