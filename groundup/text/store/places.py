"""Where a token store lies: a folder, whose files are memory-mapped, or an address of fsspec, read by ranges of bytes.

Indices and orders are read whole from an address: 12 bytes a document and about 12 a piece and epoch.
"""

from __future__ import annotations

from functools import cached_property
from io import BytesIO
from pathlib import Path
from typing import Any, Final, Protocol

import numpy as np

from groundup.base.errors import ArtifactError, RequestError, missing_extra
from groundup.text.store.megatron import Ids
from groundup.text.store.order import Numbers

_SCHEME: Final = "://"


class RemoteIds:
    """Token ids that lie elsewhere. Every call fetches what it returns; nothing is kept."""

    def __init__(self, files: Any, path: str, dtype: np.dtype[Any]) -> None:
        self._files, self._path, self.dtype = files, path, dtype
        size = int(files.size(path))
        if size % dtype.itemsize:
            raise ArtifactError(f"{path} is clipped: {size} bytes are no whole number of ids")
        self._length = size // dtype.itemsize

    def __len__(self) -> int:
        return self._length

    def __getitem__(self, part: slice) -> Ids:
        start, stop, _ = part.indices(self._length)
        return self._fetch(np.array([start]), np.array([max(start, stop)]))[0]

    @cached_property
    def _last(self) -> Ids:
        return self[-1:]

    def take(self, starts: Numbers, lengths: Numbers) -> tuple[Ids, Ids]:
        """The ids of segments, back to back, and the one behind each, by one request. Place -1 is that of the last id.

        In memory at a time: the ids twice, as they come and back to back.
        """
        found = self._fetch(np.maximum(starts, 0), starts + lengths + 1)
        parts = [np.zeros(0, self.dtype)]
        for part, start in zip(found, starts.tolist(), strict=True):
            parts += [self._last, part[:-1]] if start < 0 else [part[:-1]]
        return np.concatenate(parts), np.array([part[-1] for part in found], self.dtype)

    def _fetch(self, starts: Numbers, stops: Numbers) -> list[Ids]:
        width = self.dtype.itemsize
        bounds = (starts * width).tolist(), (stops * width).tolist()
        found = self._files.cat_ranges([self._path] * len(starts), *bounds, on_error="raise")
        for data, first, last in zip(found, *bounds, strict=True):
            if len(data) != last - first:
                raise ArtifactError(f"{self._path} gave {len(data)} bytes of {last - first}: it is clipped")
        return [np.frombuffer(data, self.dtype) for data in found]


AnyIds = Ids | RemoteIds
"""Token ids in memory or memory-mapped, or elsewhere."""


class Place(Protocol):
    """The files of a store."""

    def has(self, name: str) -> bool:
        """Whether there is such a file or folder."""
        ...

    def read(self, name: str) -> bytes:
        """A whole file."""
        ...

    def load(self, name: str) -> Any:
        """A ``.npy`` file as an array, any other as bytes."""
        ...

    def ids(self, name: str, dtype: np.dtype[Any]) -> AnyIds:
        """A file of ids."""
        ...


class _Local:
    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def __str__(self) -> str:
        return str(self._folder)

    def has(self, name: str) -> bool:
        return (self._folder / name).exists()

    def read(self, name: str) -> bytes:
        return (self._folder / name).read_bytes()

    def load(self, name: str) -> Any:
        path = self._folder / name
        if path.suffix != ".npy":
            return path.read_bytes()
        found = np.load(path, mmap_mode="r") if path.stat().st_size > 128 else np.load(path)
        return np.asarray(found)

    def ids(self, name: str, dtype: np.dtype[Any]) -> AnyIds:
        path = self._folder / name
        # The plain array below the mapping: NumPy makes a new object of its own kind at each slice of the latter.
        return np.asarray(np.memmap(path, dtype=dtype, mode="r")) if path.stat().st_size else np.empty(0, dtype)


class _Remote:
    def __init__(self, address: str) -> None:
        try:
            from fsspec.core import url_to_fs  # type: ignore[import-untyped,unused-ignore]
        except ModuleNotFoundError:
            raise missing_extra("fsspec", "fsspec") from None
        self._address = address.rstrip("/")
        try:
            self._files, self._root = url_to_fs(self._address)
        except (ImportError, ValueError) as error:  # a scheme that nobody knows, or whose package isn't here
            raise RequestError(f"{address} can't be opened: {error}") from None

    def __str__(self) -> str:
        return self._address

    def has(self, name: str) -> bool:
        return bool(self._files.exists(f"{self._root}/{name}"))

    def read(self, name: str) -> bytes:
        return bytes(self._files.cat_file(f"{self._root}/{name}"))

    def load(self, name: str) -> Any:
        raw = self.read(name)
        return np.load(BytesIO(raw)) if name.endswith(".npy") else raw

    def ids(self, name: str, dtype: np.dtype[Any]) -> AnyIds:
        return RemoteIds(self._files, f"{self._root}/{name}", dtype)


def place_of(folder: Path | str) -> Place:
    """A folder of this machine, or an address of the form ``scheme://…``; RequestError if fsspec can't open it."""
    return _Remote(folder) if isinstance(folder, str) and _SCHEME in folder else _Local(Path(folder))
