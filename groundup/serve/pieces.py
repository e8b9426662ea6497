"""From tokens to text as they come: whole characters only, and nothing of a stop string."""

from __future__ import annotations

from collections.abc import Sequence

from groundup.text.tokenizer import Tokenizer

_UNFINISHED = "\ufffd"


class TextPieces:
    """Turns ids into pieces of text whose joined whole is ``tokenizer.decode`` of all ids, cut at a stop string.

    A token may end inside a UTF-8 character, and inside what may become a stop string: both are held back until
    they are settled. Call ``push`` for each id and ``finish`` once at the end.
    """

    def __init__(self, tokenizer: Tokenizer, stop: Sequence[str] = ()) -> None:
        self._tokenizer = tokenizer
        self._stop = tuple(stop)
        self._ids: list[int] = []  # since the last id that ended on a whole character
        self._taken = 0  # characters of their text that are settled
        self._waiting = ""  # settled text that may be the beginning of a stop string
        self.stopped = False

    def push(self, token: int) -> str:
        """The text that is settled by one more id; empty once a stop string was found."""
        self._ids.append(token)
        text = self._tokenizer.decode(self._ids)
        # Every invalid sequence decodes to one U+FFFD, so only the last can still become another character.
        settled = text.removesuffix(_UNFINISHED)
        new = settled[self._taken :]
        if settled == text:
            self._ids, self._taken = [], 0
        else:
            self._taken = len(settled)
        return self._release(new)

    def finish(self) -> str:
        """What was held back and turned out to be text."""
        rest = self._tokenizer.decode(self._ids)[self._taken :]
        self._ids, self._taken = [], 0
        out = self._release(rest) + self._waiting
        self._waiting = ""
        return out

    def _release(self, new: str) -> str:
        if self.stopped:
            return ""
        text = self._waiting + new
        found = [place for place in (text.find(stop) for stop in self._stop) if place >= 0]
        if found:
            self.stopped, self._waiting = True, ""
            return text[: min(found)]
        held = max((_overlap(text, stop) for stop in self._stop), default=0)
        self._waiting = text[len(text) - held :]
        return text[: len(text) - held]


def _overlap(text: str, stop: str) -> int:
    """The length of the longest end of ``text`` with which ``stop`` begins.

    >>> _overlap("one tw", "two"), _overlap("one", "two")
    (2, 0)
    """
    longest = min(len(text), len(stop) - 1)
    return next((size for size in range(longest, 0, -1) if text.endswith(stop[:size])), 0)
