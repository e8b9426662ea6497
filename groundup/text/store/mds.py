"""MosaicML streaming's format (MDS, version 2), written and read without the package: a document a sample.

``shard.00000.mds`` and so on: uint32 number of samples, S; uint32 (S + 1,) where each begins and the last one ends, in
bytes of the file; the shard's description as JSON; the samples. A sample has the uint32 size of each of its columns, in
the order of their names, and then their bytes. Here they are ``id``, UTF-8, and ``tokens``, an array of one dimension
(a byte of 4 * dimensions + code of the type of the shape, the shape, the values). ``index.json`` describes all shards.
(mosaicml-streaming 0.13, ``streaming/base/format/mds``; their package wants an older NumPy than ours.)
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any, Final

import numpy as np

from groundup.base.errors import DataError
from groundup.text.store.megatron import Ids

SHARD_BYTES: Final = 1 << 26
INDEX: Final = "index.json"

_COLUMNS: Final = ("id", "tokens")
_SHAPES: Final = ("<u1", "<u2", "<u4", "<u8")
_TOKENS: Final = "ndarray"


def write(
    folder: Path, documents: Iterable[tuple[str, Ids]], dtype: np.dtype[Any], shard_bytes: int = SHARD_BYTES
) -> None:
    """Write (id, ids) of documents into a new folder; one shard is in memory at a time."""
    folder.mkdir(parents=True)
    config = {
        "version": 2,
        "format": "mds",
        "compression": None,
        "hashes": [],
        "size_limit": shard_bytes,
        "column_names": list(_COLUMNS),
        "column_encodings": ["str", f"{_TOKENS}:{dtype.name}"],
        "column_sizes": [None, None],
    }
    described = json.dumps(config, sort_keys=True).encode()
    shards: list[dict[str, Any]] = []
    empty = 4 + 4 + len(described)
    samples: list[bytes] = []
    size = empty

    def flush() -> None:
        name = f"shard.{len(shards):05d}.mds"
        places = np.cumsum([0, *map(len, samples)]).astype("<u4") + np.uint32(
            4 + 4 * (len(samples) + 1) + len(described)
        )
        whole = b"".join([len(samples).to_bytes(4, "little"), places.tobytes(), described, *samples])
        (folder / name).write_bytes(whole)
        raw = {"basename": name, "bytes": len(whole), "hashes": {}}
        shards.append({**config, "samples": len(samples), "raw_data": raw, "zip_data": None})

    for name, ids in documents:
        sample = _sample(name, ids.astype(dtype, copy=False))
        if samples and size + len(sample) + 4 > shard_bytes:
            flush()
            samples, size = [], empty
        samples.append(sample)
        size += len(sample) + 4
    if samples:
        flush()
    (folder / INDEX).write_text(json.dumps({"version": 2, "shards": shards}, sort_keys=True))


def read(folder: Path) -> Iterator[tuple[str, Ids]]:
    """The (id, ids) of all documents in order, of any folder whose column ``tokens`` is an array of whole numbers.

    The id is empty where there is no such column. DataError if the folder is damaged, or of other samples.
    """
    try:
        shards = json.loads((folder / INDEX).read_text())["shards"]
        for shard in shards:
            if shard["format"] != "mds" or shard["version"] != 2 or shard["compression"]:
                raise DataError(f"{folder} is not of uncompressed MDS shards of version 2")
            path = folder / Path(shard["raw_data"]["basename"]).name
            raw = path.read_bytes()
            count = int.from_bytes(raw[:4], "little")
            places = np.frombuffer(raw, "<u4", count + 1, 4)
            if places[-1] != len(raw) or (np.diff(places.astype(np.int64)) < 0).any():
                raise DataError(f"{path} is clipped, or damaged")
            yield from _samples(raw, places.tolist(), shard)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, IndexError) as error:
        raise DataError(f"{folder} is not a readable MDS folder: {error}") from None


def _sample(name: str, ids: Ids) -> bytes:
    code = next(code for code, kind in enumerate(_SHAPES) if len(ids) <= np.iinfo(kind).max)
    array = bytes([4 + code]) + np.array([len(ids)], _SHAPES[code]).tobytes() + ids.tobytes()
    text = name.encode()
    return np.array([len(text), len(array)], "<u4").tobytes() + text + array


def _samples(raw: bytes, places: list[int], shard: dict[str, Any]) -> Iterator[tuple[str, Ids]]:
    names, encodings, fixed = shard["column_names"], shard["column_encodings"], shard["column_sizes"]
    kind, _, rest = encodings[names.index("tokens")].partition(":")
    if kind != _TOKENS:
        raise DataError(f"the column 'tokens' is {kind}, not {_TOKENS}")
    dtype, _, shape = rest.partition(":")
    if dtype and np.dtype(dtype).kind not in "iu":
        raise DataError(f"the column 'tokens' is of {dtype}, not of whole numbers")
    for start, end in pairwise(places):
        sample, at, sizes = raw[start:end], 0, []
        for size in fixed:
            if size is None:
                size, at = int.from_bytes(sample[at : at + 4], "little"), at + 4
            sizes.append(size)
        ends = np.cumsum([at, *sizes]).tolist()
        if ends[-1] != len(sample):
            raise DataError(f"a sample has {len(sample)} bytes, its columns {ends[-1]}: it is damaged")
        columns = {name: sample[a:b] for name, a, b in zip(names, ends[:-1], ends[1:], strict=True)}
        yield columns.get("id", b"").decode(), _array(columns["tokens"], dtype, bool(shape))


def _array(raw: bytes, dtype: str, shaped: bool) -> Ids:
    if shaped:
        return np.frombuffer(raw, dtype)
    if not dtype:
        raise DataError("the column 'tokens' has no fixed type")
    sizes = np.frombuffer(raw, _SHAPES[raw[0] % 4], raw[0] // 4, 1)
    ids = np.frombuffer(raw, dtype, offset=1 + sizes.nbytes)
    if len(ids) != int(sizes.prod(dtype=np.uint64)):
        raise DataError(f"an array of {len(ids)} ids says that it has the shape {sizes.tolist()}: it is damaged")
    return ids
