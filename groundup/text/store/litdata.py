"""litdata's format for token streams, written and read without the package: a document an item.

``chunk-0-0.bin`` and so on: uint32 number of items, N; uint32 (N + 1,) where each begins and the last one ends, in
bytes of the file; the items, which are ids and nothing else. ``index.json`` lists the chunks with their items, bytes
and tokens (``dim``), and says of which type the ids are: ``no_header_tensor:`` and a number out of litdata's list.
litdata's ``TokensLoader`` cuts each chunk into blocks, whatever the documents, and leaves out what remains.
(litdata 0.2.76, ``streaming/writer.py`` and ``item_loader.py``; their package wants torchvision.)
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

CHUNK_BYTES: Final = 1 << 26
INDEX: Final = "index.json"

_TENSORS: Final = {11: "u1", 12: "i1", 13: "<i2", 14: "<i2", 15: "<i4", 16: "<i4", 17: "<i8", 18: "<i8", 20: "<u2"}
_ARRAYS: Final = {0: "i1", 1: "<i2", 2: "<i4", 3: "<i8", 4: "u1", 5: "<u2", 6: "<u4", 7: "<u8"}
"""Numbers of the types of whole numbers in litdata's lists, for tensors and for NumPy's arrays."""
_SPEC: Final = '[1, {"type": null, "context": null, "children_spec": []}]'
"""The tree of an item that is one tensor, in torch's notation (torch.utils._pytree, treespec_dumps)."""


def write(
    folder: Path, documents: Iterable[tuple[str, Ids]], dtype: np.dtype[Any], chunk_bytes: int = CHUNK_BYTES
) -> None:
    """Write the ids of documents, (id, ids), into a new folder; one chunk is in memory at a time. Ids are not kept."""
    folder.mkdir(parents=True)
    code = max(code for code, kind in _TENSORS.items() if np.dtype(kind) == dtype and code not in (18, 14))
    chunks: list[dict[str, Any]] = []
    items: list[bytes] = []

    def flush() -> None:
        name = f"chunk-0-{len(chunks)}.bin"
        places = np.cumsum([4 + 4 * (len(items) + 1), *map(len, items)]).astype("<u4")
        whole = b"".join([len(items).to_bytes(4, "little"), places.tobytes(), *items])
        (folder / name).write_bytes(whole)
        size = sum(map(len, items))
        chunks.append(
            {"chunk_bytes": len(whole), "chunk_size": len(items), "dim": size // dtype.itemsize, "filename": name}
        )

    size = 0  # of the items alone: that is how litdata counts
    for _, ids in documents:
        item = ids.astype(dtype, copy=False).tobytes()
        if items and size + len(item) > chunk_bytes:
            flush()
            items, size = [], 0
        items.append(item)
        size += len(item)
    if items:
        flush()
    config = {
        "compression": None,
        "chunk_size": None,
        "chunk_bytes": chunk_bytes,
        "data_format": [f"no_header_tensor:{code}"],
        "data_spec": _SPEC,
        "encryption": None,
        "item_loader": "TokensLoader",
    }
    (folder / INDEX).write_text(json.dumps({"chunks": chunks, "config": config}, sort_keys=True))


def read(folder: Path) -> Iterator[tuple[str, Ids]]:
    """The ids of all items in order, each with an empty name; DataError if the folder is damaged or of other items."""
    try:
        index = json.loads((folder / INDEX).read_text())
        config = index["config"]
        if len(config["data_format"]) != 1 or config["compression"] or config.get("encryption"):
            raise DataError(f"{folder} does not hold plain tokens")
        kind, _, code = config["data_format"][0].partition(":")
        known = {"no_header_tensor": _TENSORS, "no_header_numpy": _ARRAYS}.get(kind, {})
        if int(code or -1) not in known:
            raise DataError(f"{folder} holds {config['data_format'][0]}, not token ids")
        dtype = np.dtype(known[int(code)])
        for chunk in index["chunks"]:
            path = folder / Path(chunk["filename"]).name
            raw = path.read_bytes()
            count = int.from_bytes(raw[:4], "little")
            places = np.frombuffer(raw, "<u4", count + 1, 4)
            if places[-1] != len(raw) or (np.diff(places.astype(np.int64)) < 0).any():
                raise DataError(f"{path} is clipped, or damaged")
            for start, end in pairwise(places.tolist()):
                yield "", np.frombuffer(raw[start:end], dtype)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise DataError(f"{folder} is not a readable litdata folder: {error}") from None
