"""Streams of one compressed file, by the ending of its name: gzip, xz, bzip2 and Zstandard, in bounded memory.

What memory a format takes: gzip 32 KiB, bzip2 4 MB, Zstandard at most 128 MiB (its library's own limit), xz what the
file says, up to 4 GiB. So only xz needs a limit, which Python's LZMAFile doesn't have.
"""

from __future__ import annotations

import bz2
import gzip
import lzma
from typing import IO, Any, Final, cast

import pyarrow as pa

from groundup.base.errors import DataError

DICTIONARY: Final = 256 << 20
"""Bytes of memory that unpacking an .xz file may take; those that `xz -9` makes take 65 MiB."""

_XZ: Final = b"\xfd7zXZ\0"
_BUFFER: Final = 1 << 18


class HungryError(Exception):
    """Unpacking would take too much memory."""


def decompressed(handle: IO[bytes], packed: str) -> Any:
    """What a compressed stream holds, by the ending of its name: .gz, .xz, .bz2, .zst, or nothing."""
    match packed:
        case ".gz":
            return gzip.GzipFile(fileobj=handle)
        case ".xz":
            return _Xz(handle)
        case ".bz2":
            return bz2.BZ2File(handle)
        case ".zst":
            return _Zstandard(handle)
        case _:
            return handle


class _Zstandard:
    """Zstandard frames one after another, by Arrow's codec, which needs no further package."""

    def __init__(self, handle: IO[bytes]) -> None:
        self._inner = pa.CompressedInputStream(cast(Any, handle), "zstd")

    def read(self, size: int) -> bytes:
        try:
            return bytes(self._inner.read(size))
        except DataError:
            raise
        except OSError as error:
            if error.errno is not None:
                raise
            raise EOFError(str(error)) from None


class _Xz:
    """Streams of .xz, one after another."""

    def __init__(self, handle: IO[bytes]) -> None:
        self._inner = handle
        self._held = b""
        self._worker = lzma.LZMADecompressor(memlimit=DICTIONARY)

    def read(self, size: int) -> bytes:
        while True:
            if self._worker.eof and not self._next():
                return b""
            if self._worker.needs_input and not self._held:
                self._held = self._inner.read(_BUFFER)
                if not self._held:
                    raise EOFError("it ends too early")
            packed, self._held = self._held, b""
            try:
                data = self._worker.decompress(packed, size)
            except lzma.LZMAError as error:
                if "emory" in str(error):
                    raise HungryError from None
                raise
            if data:
                return data

    def _next(self) -> bool:
        """Begin the next stream, if one follows; zeros between two and whatever else stands behind are passed over."""
        rest = self._worker.unused_data.lstrip(b"\0")
        while len(rest) < len(_XZ) and (more := self._inner.read(_BUFFER)):
            rest = (rest + more).lstrip(b"\0")
        if not rest.startswith(_XZ):
            return False
        self._worker = lzma.LZMADecompressor(memlimit=DICTIONARY)
        self._held = rest
        return True
