"""Files that are whole or absent: written beside, synced, renamed. Also hashing and the workspace lock."""

from __future__ import annotations

import errno
import fcntl
import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from groundup.base.errors import GroundupError, ResourceError

_FULL: Final = 2**16


def sync_folder(folder: Path) -> None:
    """Make a rename inside ``folder`` durable (POSIX: a directory entry is data of the directory)."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def sync_file(path: Path) -> None:
    """Force a file's content to the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def write_atomic(path: Path, write: Callable[[Path], None]) -> None:
    """Let ``write`` fill a temporary neighbour of ``path``, then rename it over ``path``."""
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        try:
            write(beside)
        except (OSError, GroundupError):
            raise
        except Exception as error:
            # Some libraries report a full disk as an error of their own.
            if shutil.disk_usage(path.parent).free < _FULL:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path)) from error
            raise
        sync_file(beside)
        beside.replace(path)
        sync_folder(path.parent)
    finally:
        beside.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Write ``text`` as UTF-8, atomically."""
    write_atomic(path, lambda beside: _plain_write(beside, text))


def _plain_write(path: Path, text: str) -> None:
    path.write_text(text, encoding="utf-8")


def write_json(path: Path, value: object) -> None:
    """Write ``value`` as indented JSON, atomically."""
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False) + "\n")


def read_json(path: Path) -> Any:
    """Read a JSON file; OSError or ValueError as they come."""
    return json.loads(path.read_text(encoding="utf-8"))


def sha256_file(path: Path) -> str:
    """The hex SHA-256 of a file's bytes."""
    with path.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


def sha256_path(path: Path) -> str:
    """The SHA-256 of a file, or of a folder's sorted relative names and contents."""
    if path.is_file():
        return sha256_file(path)
    whole = hashlib.sha256()
    for name in sorted(str(p.relative_to(path)) for p in path.rglob("*") if p.is_file()):
        whole.update(f"{name}\0{sha256_file(path / name)}\n".encode())
    return whole.hexdigest()


def sha256_json(value: object) -> str:
    """The SHA-256 of a value's canonical JSON: sorted keys, no spaces, so that equal values hash equally."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


@contextmanager
def folder_lock(folder: Path) -> Iterator[None]:
    """Hold an exclusive lock on ``folder`` while the body runs; it ends with the process, however that ends."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "lock"
    handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno not in (errno.EAGAIN, errno.EACCES):
                raise
            holder = os.read(handle, 64).decode(errors="replace").strip() or "unknown"
            raise ResourceError(
                f"another run (process {holder}) is using {folder}; wait for it, or use another --workspace"
            ) from None
        os.ftruncate(handle, 0)
        os.pwrite(handle, f"{os.getpid()}\n".encode(), 0)
        yield
    finally:
        os.close(handle)
