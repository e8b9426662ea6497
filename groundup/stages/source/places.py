"""Where bytes come from: a local file or folder, or any address that fsspec can open. One place a file, read in order.

Nothing here goes to the network unless the recipe names an address such as ``s3://bucket/pages``.
"""

from __future__ import annotations

import io
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path, PurePath, PurePosixPath
from typing import IO, Any, Final, cast
from urllib.parse import urlsplit

from groundup.base.errors import DataError, RequestError, missing_extra

BUFFER: Final = 1 << 20

Skip = Callable[[str, str, str], None]
"""Called with (reason, name, what happened) for each thing left out."""


@dataclass
class Meter:
    """Packed bytes read so far, of how many."""

    total: int = 0
    done: int = 0


@dataclass(frozen=True)
class Place:
    """One file: ``name`` relative to what was named, its size in bytes, and how to open it.

    ``lone`` if it is the very file that was named, not one of many in a folder. ``title`` is for messages.
    """

    name: str
    title: str
    size: int
    source: Callable[[], IO[bytes]]
    lone: bool = False
    meter: Meter = field(default_factory=Meter)

    def open(self) -> io.BufferedReader:
        """The file's bytes; what is read is added to the meter."""
        metered = _Metered(self.source(), self.size, self.meter)
        return cast(io.BufferedReader, io.BufferedReader(metered, BUFFER))


class _Metered(io.RawIOBase):
    """Adds what is read to a meter; once closed, the file counts as read, however much of it was."""

    def __init__(self, inner: IO[bytes], size: int, meter: Meter) -> None:
        self._inner = inner
        self._left = size
        self._meter = meter

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return self._inner.seekable()

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        return self._inner.seek(offset, whence)

    def readinto(self, buffer: Any) -> int:
        data = self._inner.read(len(buffer))
        buffer[: len(data)] = data
        self._count(len(data))
        return len(data)

    def close(self) -> None:
        if not self.closed:
            self._count(self._left)
            self._inner.close()
        super().close()

    def _count(self, read: int) -> None:
        new = min(read, self._left)
        self._left -= new
        self._meter.done += new


def local(path: Path, skip: Skip, meter: Meter | None = None) -> Iterator[Place]:
    """The files that a path means: itself, or all below a folder in the order of their names.

    Links in a folder are not followed (they may lead out of it, or round in circles) and are counted as ``symlink``;
    what is no ordinary file as ``special_file``, what may not be opened as ``unreadable``.
    """
    meter = meter if meter is not None else Meter()
    if not path.is_dir():
        yield Place(path.name, path.name, path.stat().st_size, lambda: path.open("rb"), True, meter)
        return

    def complain(error: OSError) -> None:
        where = PurePath(error.filename or path)
        inside = where.relative_to(path) if where.is_relative_to(path) else where
        skip("unreadable", str(inside), f"{path.name}: {inside} can't be read ({error.strerror})")

    found: list[str] = []
    for folder, folders, names in os.walk(path, onerror=complain):
        base = Path(folder)
        for name in [*folders, *names]:
            if (base / name).is_symlink():
                skip("symlink", str((base / name).relative_to(path)), "a link, which is not followed")
            elif name in names:
                found.append(str((base / name).relative_to(path)))
    for inner in sorted(found, key=lambda name: Path(name).parts):
        whole = path / inner
        if not whole.is_file():
            skip("special_file", inner, "neither a file nor a folder")
        elif not os.access(whole, os.R_OK):
            skip("unreadable", inner, f"{path.name}: {inner} can't be read (permission denied)")
        else:
            yield Place(inner, f"{path.name}: {inner}", whole.stat().st_size, _opener(whole), False, meter)


def _opener(path: Path) -> Callable[[], IO[bytes]]:
    return lambda: path.open("rb")


def remote(url: str, meter: Meter | None = None) -> Iterator[Place]:
    """The files at an fsspec address: one file, all below a folder, or those that a pattern with ``*`` matches.

    DataError of one line if it can't be reached.
    """
    try:
        from fsspec.core import url_to_fs  # type: ignore[import-untyped, unused-ignore]
    except ImportError:
        raise missing_extra("fsspec", "fsspec") from None
    meter = meter if meter is not None else Meter()
    shown = url.partition("?")[0]
    with _reached(shown):
        system, root = url_to_fs(url)
        if "*" in root:
            paths = sorted(path for path in system.glob(root) if system.isfile(path))
            base = str(PurePosixPath(root.partition("*")[0] + "x").parent)
        elif system.isdir(root):
            paths, base = sorted(system.find(root)), root
        else:
            paths, base = [root], ""
        sizes = [int(system.size(path) or 0) for path in paths]
    for path, size in zip(paths, sizes, strict=True):
        lone = not base
        name = PurePosixPath(urlsplit(path).path if "://" in path else path).name
        inner = name if lone else path.removeprefix(base).lstrip("/")
        yield Place(inner, name, size, _remote_opener(system, path, shown), lone, meter)


def _remote_opener(system: Any, path: str, shown: str) -> Callable[[], IO[bytes]]:
    def opened() -> IO[bytes]:
        with _reached(shown):
            return cast(IO[bytes], _Remote(shown, system.open(path, "rb")))

    return opened


class _Remote(io.RawIOBase):
    """A remote file whose failures are errors of one line."""

    def __init__(self, shown: str, inner: Any) -> None:
        self._shown = shown
        self._inner = inner

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return bool(self._inner.seekable())

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        return int(self._inner.seek(offset, whence))

    def readinto(self, buffer: Any) -> int:
        with _reached(self._shown):
            data = self._inner.read(len(buffer))
        buffer[: len(data)] = data
        return len(data)

    def close(self) -> None:
        self._inner.close()
        super().close()


class _reached:  # noqa: N801 (used as a statement)
    """Turns whatever a storage's client raises into a DataError of one line."""

    def __init__(self, shown: str) -> None:
        self._shown = shown

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        if isinstance(error, ImportError):
            what = "".join(str(error).splitlines()[:1])
            raise RequestError(f"{self._shown} needs another package: {what}") from None
        if isinstance(error, Exception) and not isinstance(error, DataError):
            what = "".join(str(error).splitlines()[:1])[:200]
            raise DataError(f"{self._shown} can't be read ({type(error).__name__}: {what})") from None
