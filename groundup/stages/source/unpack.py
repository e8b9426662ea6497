"""Files out of files: folders, archives and compression, read as streams and never written to disk.

Everything is read to its last byte, so that a download that was cut off is found out. What a file unpacks to is
bounded, file by file and in all. Links are never followed, and names that lead out of an archive are left out.
"""

from __future__ import annotations

import io
import tarfile
import zipfile
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath
from typing import IO, Any, Final, cast

from groundup.stages.source.bounded import (
    DamageError,
    EncryptedError,
    MethodError,
    Rules,
    Whole,
    bounded,
    explained,
    no_skip,
    told,
)
from groundup.stages.source.decompress import decompressed
from groundup.stages.source.places import Place, local

_TAR_BLOCK: Final = 512
_DRAIN: Final = 1 << 20
_PACKED: Final = frozenset({".gz", ".xz", ".bz2", ".zst"})
_ARCHIVES: Final = frozenset({".zip", ".tar", ".tgz", ".7z", ".rar"})
_SHORT: Final = {".tgz": ".tar.gz", ".tbz2": ".tar.bz2", ".txz": ".tar.xz", ".tzst": ".tar.zst"}
_METHODS: Final = frozenset({zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED})
"""What zipfile unpacks in bounded memory: of bzip2 and LZMA it unpacks all that it has read, and that is gigabytes from
a kilobyte."""
_LONGEST_HEADER: Final = 1 << 20
"""Bytes of what stands before a file in a tar for its name and times, which tarfile reads whole."""
_READ_WHOLE: Final = (
    tarfile.XHDTYPE,
    tarfile.XGLTYPE,
    tarfile.SOLARIS_XHDTYPE,
    tarfile.GNUTYPE_LONGNAME,
    tarfile.GNUTYPE_LONGLINK,
)


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


def members(path: Path) -> Iterator[Member]:
    """The files that a local path holds, whole or not at all: DamageError if anything is damaged or cut off."""
    yield from unpack(local(path, no_skip), Rules())


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
    with place.open() as handle, explained(place.title):
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
        stream = bounded(place.title, decompressed(handle, packed), rules.max_unpacked, rules.max_ratio, handle.tell)
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
    whole = Whole.of(place, rules)
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
    whole = Whole.of(place, rules)
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
            if entry.compress_type not in _METHODS:
                title = f"{place.title}: {entry.filename}"
                rules.lost(MethodError(title, "is packed by another method than Deflate; pack it anew"), entry.filename)
                continue
            try:
                with explained(place.title):
                    stream = archive.open(entry)
            except DamageError as broken:
                rules.lost(broken, entry.filename)
                continue
            with stream:
                packed = partial(int, entry.compress_size)
                yield from _entry(place, entry.filename, stream, rules, whole, packed, entry.file_size)


def _entry(
    place: Place,
    name: str,
    content: IO[bytes],
    rules: Rules,
    whole: Whole,
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
    stream = bounded(title, content, rules.max_member, rules.max_ratio, packed_size, size, add)
    inner = name.removesuffix(path.suffix) if path.suffix in _PACKED else name
    if inner != name and not (rules.as_is(inner) and path.suffix in (".gz", ".zst")):
        with explained(place.title):
            opened = decompressed(stream, path.suffix)
        stream = bounded(title, opened, rules.max_member, rules.max_ratio, told(stream), None, whole.add)
    yield Member(inner, stream)


def _tar_is_whole(place: Place) -> bool:
    """A plain tar has no checksum over all; that it is whole shows in the zero block at its end (POSIX.1-2001)."""
    with place.source() as handle:
        if not handle.seekable():
            return True
        handle.seek(max(0, place.size - _TAR_BLOCK))
        return not (place.size % _TAR_BLOCK or any(handle.read(_TAR_BLOCK)))


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
