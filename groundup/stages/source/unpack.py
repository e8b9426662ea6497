"""Files out of files: folders, archives and compression, read as streams and never written to disk.

Everything is read to its last byte, so that a download that was cut off is an error that names the file and not a
smaller data set.
"""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Final, cast

from groundup.base.errors import DataError

_TAR_BLOCK: Final = 512
_DRAIN: Final = 1 << 20
_PACKED: Final = frozenset({".gz", ".xz", ".bz2"})
_BROKEN: Final = (EOFError, gzip.BadGzipFile, lzma.LZMAError, zlib.error, tarfile.TarError, zipfile.BadZipFile)


@dataclass(frozen=True)
class Member:
    """One file found: its name (relative in a folder or archive) and its bytes, to be read before the next one.

    ``lone`` if it is the file that was named, not one of many in a folder or archive.
    """

    name: str
    stream: io.BufferedReader
    lone: bool = False


class _Checked(io.RawIOBase):
    """A stream whose damage is a DataError that names the file."""

    def __init__(self, path: Path, inner: IO[bytes]) -> None:
        self._path = path
        self._inner = inner

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        with _explained(self._path):
            data = self._inner.read(len(buffer))
        buffer[: len(data)] = data
        return len(data)


def _checked(path: Path, inner: IO[bytes]) -> io.BufferedReader:
    return cast(io.BufferedReader, io.BufferedReader(_Checked(path, inner)))


def members(path: Path) -> Iterator[Member]:
    """The files that ``path`` holds: itself, all below it if it is a folder, or the files of an archive.

    Compressed files are opened and lose the ending that says so. DataError if anything is damaged or cut off.
    """
    if path.is_dir():
        for inner in sorted(one for one in path.rglob("*") if one.is_file()):
            for member in _file(inner):
                yield Member(str(inner.relative_to(path).parent / member.name), member.stream)
    else:
        yield from _file(path)


def _file(path: Path) -> Iterator[Member]:
    with _explained(path):
        if path.suffix == ".zip":
            yield from _zip(path)
            return
        packed = path.suffix if path.suffix in _PACKED else ".gz" if _is_gzip(path) else ""
        name = f"{path.stem}.tar" if path.suffix == ".tgz" else path.name.removesuffix(packed)
        with _opened(path, packed) as inner:
            stream = _checked(path, inner)
            if name.endswith(".tar"):
                if not packed:
                    _check_tar_end(path)
                yield from _tar(path, stream)
            else:
                yield Member(name, stream, lone=True)
            while stream.read(_DRAIN):  # checksums stand at the end
                pass


def _opened(path: Path, packed: str) -> IO[bytes]:
    match packed:
        case ".gz":
            return cast(IO[bytes], gzip.open(path))
        case ".xz":
            return cast(IO[bytes], lzma.open(path))
        case ".bz2":
            return cast(IO[bytes], bz2.open(path))
        case _:
            return path.open("rb")


def _tar(path: Path, stream: IO[bytes]) -> Iterator[Member]:
    with tarfile.open(fileobj=stream, mode="r|") as archive:
        for entry in archive:
            if entry.isfile():
                content = archive.extractfile(entry)
                assert content is not None
                yield Member(entry.name, _checked(path, content))


def _zip(path: Path) -> Iterator[Member]:
    with zipfile.ZipFile(path) as archive:
        for entry in archive.infolist():
            if entry.is_dir():
                continue
            if entry.flag_bits & 1:
                raise DataError(f"{path.name}: {entry.filename} is encrypted; unpack it first")
            with archive.open(entry) as stream:
                yield Member(entry.filename, _checked(path, stream))


def _check_tar_end(path: Path) -> None:
    """A plain tar has no checksum over all; that it is whole shows in the zero block at its end (POSIX.1-2001)."""
    size = path.stat().st_size
    with path.open("rb") as handle:
        handle.seek(max(0, size - _TAR_BLOCK))
        if size % _TAR_BLOCK or any(handle.read(_TAR_BLOCK)):
            raise DataError(f"{path.name} is cut off (no end mark); fetch it again")


def _is_gzip(path: Path) -> bool:
    with path.open("rb") as handle:
        return handle.read(2) == b"\x1f\x8b"


@contextmanager
def _explained(path: Path) -> Iterator[None]:
    try:
        yield
    except _BROKEN as error:
        reason = str(error) or type(error).__name__
        raise DataError(f"{path.name} is damaged or cut off ({reason}); fetch it again") from None


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
