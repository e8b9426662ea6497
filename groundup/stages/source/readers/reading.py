"""A page as it came, and the reading of one source: what its readers are told, and what they leave out and why."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, Final, TypeVar

from groundup.base.errors import DataError
from groundup.base.guard import Failure, Guard
from groundup.base.units import human_bytes
from groundup.stages.source.bounded import Rules
from groundup.stages.source.config import SourceFile
from groundup.stages.source.unpack import Member

Item = TypeVar("Item")
Value = TypeVar("Value")

LISTED: Final = 1000
"""Things left out that are listed by name, for each reason; more are only counted."""

_LONGEST: Final = 400
"""Characters of a name or a message that are listed: a title of megabytes, a thousand times, would fill the memory."""

_PATIENCE: Final = 1000
"""Bad rows after which a file that has not given one good row is given up."""

_DATE: Final = re.compile(r"\d{4}-\d{2}-\d{2}([T ]\d{2}:\d{2}(:\d{2}(\.\d+)?)?(Z|[+-]\d{2}:?\d{2})?)?")


@dataclass(frozen=True)
class Page:
    """A page as it came. ``encoding`` is None where it has to be detected.

    ``date`` is when it was captured or written, in ISO 8601; ``headers`` the HTTP response headers as JSON. ``author``
    is who wrote it, where it says so. ``permission`` is ``allowed`` once signals of its owner were looked for.
    """

    record: str
    media_type: str
    encoding: str | None
    url: str | None
    content: bytes
    date: str | None = None
    headers: str | None = None
    author: str | None = None
    permission: str | None = None


@dataclass(frozen=True)
class Skipped:
    """Something that was left out, and why."""

    record: str
    reason: str
    detail: str


@dataclass
class Reading:
    """One source being read.

    ``max_size`` bounds the bytes of a page. ``strict`` makes what would be counted an error. ``scratch`` is where a
    reader may keep what doesn't fit in memory.
    """

    file: SourceFile
    max_size: int = 8 << 20
    strict: bool = False
    rules: Rules = field(default_factory=Rules)
    scratch: str | None = None
    tally: Counter[str] = field(default_factory=Counter)
    listed: list[Skipped] = field(default_factory=list)
    found: int = 0
    problem: str = ""
    guards: dict[Callable[[int], Guard[Any, Any]], Guard[Any, Any]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.rules.skip = self.skip
        self.rules.strict = self.strict

    def skip(self, reason: str, record: str, detail: str = "", count: int = 1) -> None:
        """Count something as left out."""
        self.tally[reason] += count
        if self.tally[reason] <= LISTED:
            self.listed.append(Skipped(_cut(record), reason, _cut(detail)))

    def refuse(self, reason: str, record: str, message: str) -> None:
        """Count something that can't be read; DataError if strict, or if nothing of the source was readable so far.

        "So far" is after many tries: one broken row at the start of a good file costs that row only.
        """
        if self.strict:
            raise DataError(message)
        self.problem = self.problem or _cut(message)
        self.skip(reason, record, message)
        if not self.found and self.tally[reason] >= _PATIENCE:
            raise DataError(f"{self.problem} (and so on, {_PATIENCE} times, with no page found)")

    def misnamed(self, reason: str, record: str, message: str) -> None:
        """The same for a field that isn't there: an error at once if no page was found, as its name is likely wrong."""
        if self.strict or not self.found:
            raise DataError(message)
        self.skip(reason, record, message)

    def guard(self, make: Callable[[int], Guard[Item, Value]]) -> Guard[Item, Value]:
        """The guard of a parser, made of ``max_size`` when it is first asked for. It ends with :meth:`close`."""
        if make not in self.guards:
            self.guards[make] = make(self.max_size)
        return self.guards[make]

    def close(self) -> None:
        """End the processes of all guards."""
        for guard in self.guards.values():
            guard.close()


def overrun(failure: Failure, guard: Guard[Any, Any]) -> tuple[str, str] | None:
    """The reason that a failure is counted under and what happened, if it is that of a limit."""
    match failure.rule:
        case "too_slow":
            return "too_slow", f"can't be parsed in {guard.seconds:g} seconds"
        case "too_large":
            return "out_of_memory", f"can't be parsed in {human_bytes(guard.memory_bytes)} of memory"
        case _:
            return None


def _cut(text: str) -> str:
    return text if len(text) <= _LONGEST else text[:_LONGEST] + "…"


Reader = Callable[[Member, Reading], Iterator[Page]]
"""The pages of one file. Damage of the file is raised; what else can't be used is counted in the reading."""


def where(member: Member, reading: Reading) -> str:
    """How a message names a file: by the source alone if it is the whole source."""
    whole = reading.file.path or reading.file.url
    base = whole.partition("?")[0].rstrip("/").rpartition("/")[2] or reading.file.name
    return base if member.lone else f"{base}: {member.name}"


def iso_date(value: object) -> str | None:
    """A date as it is written if it is one in ISO 8601, else None.

    >>> iso_date("2024-05-18T01:58:10Z"), iso_date("18 May"), iso_date(3)
    ('2024-05-18T01:58:10Z', None, None)
    """
    if isinstance(value, str) and _DATE.fullmatch(value.strip()):
        return value.strip()
    return None
