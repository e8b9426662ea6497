"""How far files may unpack: the limits, streams that end there, and what is raised of broken ones.

A few kilobytes that unpack to terabytes are a bomb and no data set. What is small may unpack to anything, the rest to
so many times its size.
"""

from __future__ import annotations

import gzip
import io
import lzma
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import IO, Any, Final, cast

from groundup.base.errors import DataError
from groundup.base.units import human_bytes
from groundup.stages.source.decompress import DICTIONARY, HungryError
from groundup.stages.source.places import Place, Skip

_BUFFER: Final = 1 << 18
_BROKEN: Final = (
    EOFError,
    gzip.BadGzipFile,
    lzma.LZMAError,
    zlib.error,
    tarfile.TarError,
    zipfile.BadZipFile,
    RecursionError,  # tarfile: a header that is followed by a header, and so on
    NotImplementedError,  # zipfile: a feature of the format that it doesn't have
)
SMALL: Final = 64 << 20
"""Bytes that anything may unpack to, whatever its ratio."""
_SMALL_FILES: Final = 16
"""How many files of that size an archive may unpack to, whatever its ratio."""


class DamageError(DataError):
    """A file is broken, cut off, or unpacks to more than it may; ``reason`` is what it is counted under."""

    reason = "damaged"

    def __init__(self, title: str, what: str) -> None:
        super().__init__(f"{title} {what}")
        self.title = title


class BombError(DamageError):
    """A file unpacks to more than it may."""

    reason = "unpacks_too_far"


class EncryptedError(DamageError):
    """A member of an archive needs a password."""

    reason = "encrypted"


class MethodError(DamageError):
    """A member of an archive is packed by a method that can't be unpacked in bounded memory, or not at all."""

    reason = "zip_method"


def no_skip(reason: str, name: str, what: str) -> None:
    """Leave out without a word: for callers that have no tally."""


@dataclass
class Rules:
    """How far a file may unpack, and what happens to what can't be read.

    If ``strict``, damage is raised as DamageError; else ``skip`` is told and the next file follows. ``as_is`` says of a
    name whether its reader wants it still compressed.
    """

    max_member: int = 256 << 30
    max_unpacked: int = 4 << 40
    max_ratio: float = 200.0
    strict: bool = True
    skip: Skip = no_skip
    as_is: Callable[[str], bool] = field(default=lambda name: False)
    _last: str = ""

    def lost(self, error: DamageError, name: str) -> None:
        """Raise or count damage, once a file: its reader, its unpacking and that of its archive may all meet it."""
        if self.strict:
            raise error
        if error.title != self._last and not self._last.startswith(f"{error.title}: "):
            self.skip(error.reason, name, str(error))
        self._last = error.title


@dataclass
class Whole:
    """What the compressed files of an archive have unpacked to together, and what they may in all."""

    title: str
    most: int
    count: int = 0

    @classmethod
    def of(cls, place: Place, rules: Rules) -> Whole:
        """For an archive; where its size can't be known only ``max_unpacked`` counts."""
        by_size = max(_SMALL_FILES * SMALL, int(rules.max_ratio * place.size)) if place.size else rules.max_unpacked
        return cls(place.title, min(rules.max_unpacked, by_size))

    def add(self, count: int) -> None:
        """BombError beyond the limit."""
        self.count += count
        self.check()

    def check(self) -> None:
        """The same before a further file is opened: the rest of the archive is left out."""
        if self.count > self.most:
            what = f"unpacks to more than {human_bytes(self.most)}; see max_ratio and max_unpacked"
            raise BombError(f"{self.title} in all", what)


class _Unpacked(io.RawIOBase):
    """A stream whose damage is an error that names the file, and that ends where it would unpack too far."""

    def __init__(
        self,
        title: str,
        inner: Any,
        limit: int,
        ratio: float,
        packed: Callable[[], int] | None,
        size: int | None,
        add: Callable[[int], None] | None,
    ) -> None:
        self._title = title
        self._inner = inner
        self._size = size
        self._limit = limit
        self._ratio = ratio
        self._packed = packed
        self._add = add
        self._count = 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        room = self._limit - self._count
        with explained(self._title):
            data = self._inner.read(min(len(buffer), room) or 1)
        if data and not room:
            limit = human_bytes(self._limit)
            raise BombError(self._title, f"unpacks to more than {limit}; see max_unpacked and max_member")
        buffer[: len(data)] = data
        self._count += len(data)
        if self._add is not None:
            self._add(len(data))
        if not data and self._size is not None and self._count < self._size:
            raise DamageError(self._title, f"is cut off ({self._count} of {self._size} bytes); fetch it again")
        if self._packed is not None and self._count > max(SMALL, self._ratio * max(1, self._packed())):
            raise BombError(self._title, f"unpacks to more than {self._ratio:g} times its size; see max_ratio")
        return len(data)


def bounded(
    title: str,
    inner: Any,
    limit: int,
    ratio: float,
    packed: Callable[[], int] | None = None,
    size: int | None = None,
    add: Callable[[int], None] | None = None,
) -> io.BufferedReader:
    """The stream ``inner``, whose errors name ``title``: BombError beyond ``limit`` bytes or the ratio.

    ``packed`` says how many packed bytes were read so far (no ratio without it), ``size`` how many there must be, and
    ``add`` is told of all that come out.
    """
    raw = _Unpacked(title, inner, limit, ratio, packed, size, add)
    return cast(io.BufferedReader, io.BufferedReader(raw, _BUFFER))


def told(stream: IO[bytes]) -> Callable[[], int]:
    """A function that says how far a stream has been read, the last answer where it can't say."""
    last = 0

    def tell() -> int:
        nonlocal last
        with suppress(OSError, ValueError):
            last = stream.tell()
        return last

    return tell


@contextmanager
def explained(title: str) -> Iterator[None]:
    """Whatever a library raises of broken files becomes DamageError."""
    try:
        yield
    except HungryError:
        what = f"takes more than {human_bytes(DICTIONARY)} of memory to unpack; unpack it first"
        raise BombError(title, what) from None
    except _BROKEN as error:
        reason = str(error) or type(error).__name__
        raise DamageError(title, f"is damaged or cut off ({reason}); fetch it again") from None
