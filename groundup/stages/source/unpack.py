"""Files out of files: folders, archives and compression, read as streams and never written to disk.

Everything is read to its last byte, so that a download that was cut off is found out. What a file unpacks to is
bounded, file by file and in all: a few kilobytes that unpack to terabytes are a bomb and no data set. Links are never
followed, and names that lead out of an archive are left out.
"""

from __future__ import annotations

import gzip
import io
import lzma
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path, PurePosixPath
from typing import IO, Any, Final, cast

from groundup.base.errors import DataError
from groundup.base.units import human_bytes
from groundup.stages.source.decompress import DICTIONARY, HungryError, decompressed
from groundup.stages.source.places import Place, Skip, local

_TAR_BLOCK: Final = 512
_DRAIN: Final = 1 << 20
_BUFFER: Final = 1 << 18
_PACKED: Final = frozenset({".gz", ".xz", ".bz2", ".zst"})
_ARCHIVES: Final = frozenset({".zip", ".tar", ".tgz", ".7z", ".rar"})
_SHORT: Final = {".tgz": ".tar.gz", ".tbz2": ".tar.bz2", ".txz": ".tar.xz", ".tzst": ".tar.zst"}
_BROKEN: Final = (
    EOFError,
    gzip.BadGzipFile,
    lzma.LZMAError,
    zlib.error,
    tarfile.TarError,
    zipfile.BadZipFile,
    RecursionError,  # tarfile: a header that is followed by a header, and so on
    NotImplementedError,  # zipfile: a compression method that it doesn't have
)
SMALL: Final = 64 << 20
"""Bytes that anything may unpack to, whatever its ratio."""
_SMALL_FILES: Final = 16
"""How many files of that size an archive may unpack to, whatever its ratio."""
_LONGEST_HEADER: Final = 1 << 20
"""Bytes of what stands before a file in a tar for its name and times, which tarfile reads whole."""
_READ_WHOLE: Final = (
    tarfile.XHDTYPE,
    tarfile.XGLTYPE,
    tarfile.SOLARIS_XHDTYPE,
    tarfile.GNUTYPE_LONGNAME,
    tarfile.GNUTYPE_LONGLINK,
)


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


def _no_skip(reason: str, name: str, what: str) -> None:
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
    skip: Skip = _no_skip
    as_is: Callable[[str], bool] = field(default=lambda name: False)
    _last: str = ""

    def lost(self, error: DamageError, name: str) -> None:
        """Raise or count damage, once a file: its reader, its unpacking and that of its archive may all meet it."""
        if self.strict:
            raise error
        if error.title != self._last and not self._last.startswith(f"{error.title}: "):
            self.skip(error.reason, name, str(error))
        self._last = error.title


@dataclass(frozen=True)
class Member:
    """One file found: its name (relative in a folder or archive) and its bytes, to be read before the next one.

    ``lone`` if it is the file that was named, not one of many in a folder or archive. ``place`` is set if the stream
    is the very file, so that a reader may open it again or seek in it.
    """

    name: str
    stream: io.BufferedReader
    lone: bool = False
    place: Place | None = None


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
        with _explained(self._title):
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


def _bounded(
    title: str,
    inner: Any,
    limit: int,
    ratio: float,
    packed: Callable[[], int] | None = None,
    size: int | None = None,
    add: Callable[[int], None] | None = None,
) -> io.BufferedReader:
    raw = _Unpacked(title, inner, limit, ratio, packed, size, add)
    return cast(io.BufferedReader, io.BufferedReader(raw, _BUFFER))


def members(path: Path) -> Iterator[Member]:
    """The files that a local path holds, whole or not at all: DamageError if anything is damaged or cut off."""
    yield from unpack(local(path, _no_skip), Rules())


def unpack(places: Iterable[Place], rules: Rules) -> Iterator[Member]:
    """The files that places hold: each itself, or the files of an archive.

    Compressed files are opened and lose the ending that says so.
    """
    for place in places:
        try:
            yield from _file(place, rules)
        except DamageError as error:
            rules.lost(error, place.name)
        except OSError as error:
            if rules.strict or place.lone:
                raise
            rules.skip("unreadable", place.name, f"{place.title} can't be read ({error.strerror or error})")


def _file(place: Place, rules: Rules) -> Iterator[Member]:
    folder = PurePosixPath("" if place.lone else place.name).parent
    with place.open() as handle, _explained(place.title):
        title = PurePosixPath(place.name).name
        for short, long in _SHORT.items():
            title = title.removesuffix(short) + long if title.endswith(short) else title
        if title.endswith(".zip"):
            yield from _inside(folder, _zip(place, handle, rules))
            return
        ending = PurePosixPath(title).suffix
        packed = ending if ending in _PACKED else ".gz" if handle.peek(2)[:2] == b"\x1f\x8b" else ""
        name = title.removesuffix(packed) if packed else title
        if rules.as_is(name) and packed in ("", ".gz", ".zst"):
            yield Member(_joined(folder, name), handle, place.lone, place)
            return
        if not packed and not name.endswith(".tar"):
            yield Member(_joined(folder, name), handle, place.lone, place)
            return
        stream = _bounded(place.title, decompressed(handle, packed), rules.max_unpacked, rules.max_ratio, handle.tell)
        if name.endswith(".tar"):
            yield from _inside(folder, _tar(place, stream, rules))
        else:
            yield Member(_joined(folder, name), stream, place.lone)
        while stream.read(_DRAIN):  # checksums stand at the end
            pass
        if not packed and not _tar_is_whole(place):
            raise DamageError(place.title, "is cut off (no end mark); fetch it again")


def _joined(folder: PurePosixPath, name: str) -> str:
    return str(folder / name)


def _inside(folder: PurePosixPath, found: Iterable[Member]) -> Iterator[Member]:
    for member in found:
        yield Member(_joined(folder, member.name), member.stream) if folder.parts else member


class _TarInfo(tarfile.TarInfo):
    """A header of a tar; one that would be read whole may not be long."""

    @classmethod
    def frombuf(cls, buf: bytes | bytearray, encoding: str, errors: str) -> _TarInfo:
        """The header of 512 bytes; ReadError if what it announces is too long for a name."""
        made = super().frombuf(buf, encoding, errors)
        if made.type in _READ_WHOLE and made.size > _LONGEST_HEADER:
            raise tarfile.ReadError("a name in it is too long")
        return made


def _tar(place: Place, stream: IO[bytes], rules: Rules) -> Iterator[Member]:
    whole = _Whole.of(place, rules)
    with tarfile.open(fileobj=stream, mode="r|", tarinfo=_TarInfo) as archive:
        for entry in archive:
            whole.check()
            if entry.isdir():
                continue
            if entry.issym() or entry.islnk():
                rules.skip("symlink", entry.name, "a link, which is not followed")
            elif not entry.isfile() or entry.issparse():
                rules.skip("special_file", entry.name, "no ordinary file")
            else:
                content = archive.extractfile(entry)
                assert content is not None
                yield from _entry(place, entry.name, content, rules, whole, None, entry.size)
            cast(Any, archive).members = []  # tarfile keeps every entry, which adds up in archives of millions


def _zip(place: Place, handle: IO[bytes], rules: Rules) -> Iterator[Member]:
    whole = _Whole.of(place, rules)
    with zipfile.ZipFile(handle) as archive:
        for entry in archive.infolist():
            whole.check()
            if entry.is_dir():
                continue
            if (entry.external_attr >> 16) & 0o170000 == 0o120000:
                rules.skip("symlink", entry.filename, "a link, which is not followed")
                continue
            if entry.flag_bits & 1:
                error = EncryptedError(f"{place.title}: {entry.filename}", "is encrypted; unpack it first")
                rules.lost(error, entry.filename)
                continue
            try:
                with _explained(place.title):
                    stream = archive.open(entry)
            except DamageError as broken:
                rules.lost(broken, entry.filename)
                continue
            with stream:
                packed = partial(int, entry.compress_size)
                yield from _entry(place, entry.filename, stream, rules, whole, packed, entry.file_size)


@dataclass
class _Whole:
    """What the compressed files of an archive have unpacked to together, and what they may in all."""

    title: str
    most: int
    count: int = 0

    @classmethod
    def of(cls, place: Place, rules: Rules) -> _Whole:
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


def _entry(
    place: Place,
    name: str,
    content: IO[bytes],
    rules: Rules,
    whole: _Whole,
    packed_size: Callable[[], int] | None,
    size: int,
) -> Iterator[Member]:
    """A member of an archive; a compressed one is opened, an archive in an archive is not.

    ``packed_size`` is given if the archive itself compresses its members: then what comes out counts to ``whole``.
    """
    path = PurePosixPath(name)
    if ".." in path.parts:
        rules.skip("path_leaves_archive", name, "its name leads out of the archive")
        return
    name = str(path).lstrip("/")
    if path.suffix in _ARCHIVES or any(name.endswith(f".tar{packed}") for packed in _PACKED):
        rules.skip("nested_archive", name, "an archive in an archive; unpack the outer one")
        return
    title, add = f"{place.title}: {name}", whole.add if packed_size is not None else None
    stream = _bounded(title, content, rules.max_member, rules.max_ratio, packed_size, size, add)
    inner = name.removesuffix(path.suffix) if path.suffix in _PACKED else name
    if inner != name and not (rules.as_is(inner) and path.suffix in (".gz", ".zst")):
        with _explained(place.title):
            opened = decompressed(stream, path.suffix)
        at = [0]
        told = _told(stream, at)
        stream = _bounded(title, opened, rules.max_member, rules.max_ratio, told, None, whole.add)
    yield Member(inner, stream)


def _told(stream: IO[bytes], at: list[int]) -> Callable[[], int]:
    """How far a stream has been read, the last answer where it can't say."""

    def told() -> int:
        with suppress(OSError, ValueError):
            at[0] = stream.tell()
        return at[0]

    return told


def _tar_is_whole(place: Place) -> bool:
    """A plain tar has no checksum over all; that it is whole shows in the zero block at its end (POSIX.1-2001)."""
    with place.source() as handle:
        if not handle.seekable():
            return True
        handle.seek(max(0, place.size - _TAR_BLOCK))
        return not (place.size % _TAR_BLOCK or any(handle.read(_TAR_BLOCK)))


@contextmanager
def _explained(title: str) -> Iterator[None]:
    try:
        yield
    except HungryError:
        raise BombError(title, f"takes more than {human_bytes(DICTIONARY)} of memory to unpack") from None
    except _BROKEN as error:
        reason = str(error) or type(error).__name__
        raise DamageError(title, f"is damaged or cut off ({reason}); fetch it again") from None


def read_whole(stream: IO[bytes], limit: int) -> bytes | None:
    """The bytes of a stream, or None (and the stream read past) if there are more than ``limit``."""
    content = stream.read(limit + 1)
    if len(content) <= limit:
        return content
    while stream.read(_DRAIN):
        pass
    return None


def read_lines(stream: io.BufferedReader, limit: int) -> Iterator[tuple[int, int, bytes | None]]:
    """(line number from 1, offset of its first byte, the line) for each line; None for one longer than ``limit``."""
    number = offset = 0
    while line := stream.readline(limit + 1):
        number += 1
        start, length, kept = offset, len(line), line if len(line) <= limit else None
        while not line.endswith(b"\n") and length > limit:
            line = stream.readline(_DRAIN)
            length += len(line)
            if not line:
                break
        offset += length
        yield number, start, kept
