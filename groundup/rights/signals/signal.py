"""One statement of an owner about the use of a page, and what asking a site for a file of such statements gave."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final, Literal, cast

Verdict = Literal["allowed", "refused", "unknown"]
Protocol = Literal["robots", "robots-ai", "content-usage", "tdm", "ai-txt", "noai", "licence"]
Place = Literal["robots.txt", "header", "meta", "well-known", "link", "ai.txt"]

EVIDENCE: Final = 4096
"""Bytes of evidence that are kept of a statement; what is longer is cut off."""

MOST: Final = 200
"""Signals that are kept of one page, and of the files of its site."""

LONGEST_VALUE: Final = 400
"""Characters of a normalised statement: addresses in it can be as long as their authors like."""


@dataclass(frozen=True, order=True)
class Signal:
    """What one document says about one page under one protocol.

    ``verdict`` is about our purpose, training a generative model: ``unknown`` where the document could not be read.
    ``value`` is the statement in a normal form, such as ``train-ai=n``; ``evidence`` the very bytes that make it, at
    most EVIDENCE of them; ``url`` the document in which they stand.
    """

    protocol: Protocol
    place: Place
    verdict: Verdict
    value: str
    evidence: bytes
    url: str

    def __post_init__(self) -> None:
        object.__setattr__(self, "evidence", self.evidence[:EVIDENCE])
        object.__setattr__(self, "value", printable(self.value))


@dataclass(frozen=True)
class SiteFile:
    """What asking a site for one of its files gave.

    ``status`` is that of the last answer, behind redirects; None if there was none: no connection, too slow, too many
    redirects. ``headers`` have lower-case names. ``complete`` is False if ``body`` was cut off at a limit. ``at`` is
    when it was asked, in ISO 8601 (UTC).
    """

    url: str
    status: int | None
    body: bytes
    headers: Mapping[str, str]
    complete: bool
    at: str

    @property
    def found(self) -> bool:
        """Whether there is a file to read."""
        return self.status is not None and 200 <= self.status < 300

    @property
    def absent(self) -> bool:
        """Whether the site said that there is none.

        That is any 4xx (RFC 9309, 2.3.1.3), but for 429: a site that asks to be left alone for now has said nothing
        about what is in the file.
        """
        return self.status is not None and 400 <= self.status < 500 and self.status != 429

    def trouble(self) -> str:
        """Why it could not be read, in a few words."""
        return "no answer" if self.status is None else f"status {self.status}"


def printable(text: str) -> str:
    """``text`` on one line without control characters, at most LONGEST_VALUE characters: it is printed and stored.

    >>> printable("train-ai=n\\r\\n\\x1b[31m")
    'train-ai=n [31m'
    """
    clean = "".join(letter if letter.isprintable() else " " for letter in text)
    clean = " ".join(clean.split())
    return clean if len(clean) <= LONGEST_VALUE else clean[: LONGEST_VALUE - 1] + "…"


def distinct(signals: Iterable[Signal]) -> list[Signal]:
    """Each signal once, in order; of more than MOST the first, so that no page can fill a table with repetitions."""
    return list(dict.fromkeys(signals))[:MOST]


def strictest(verdicts: list[Verdict]) -> Verdict:
    """The most restrictive of them: refused, else unknown, else allowed.

    >>> strictest(["allowed", "unknown"]), strictest([])
    ('unknown', 'allowed')
    """
    return cast(Verdict, max(verdicts, key=RESTRICTION.__getitem__, default="allowed"))


RESTRICTION: Final[Mapping[Verdict, int]] = {"allowed": 0, "unknown": 1, "refused": 2}
