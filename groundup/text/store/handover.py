"""A token store handed to another program in the form that it streams from, MDS or litdata; and such a one read."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pyarrow.parquet as pq

from groundup.artifact.stage import Artifact
from groundup.base.errors import DataError, RequestError
from groundup.text.store import litdata, mds
from groundup.text.store.megatron import Ids
from groundup.text.store.store import SPLITS, TokenStore

TARGETS: Final = ("mds", "litdata")


def hand_over_tokens(tokens: Artifact, out: Path, target: str) -> list[Path]:
    """Write a token store to ``out``, a folder for each split; the folders.

    RequestError if it is not a token store, or something is in the way.
    """
    if tokens.record.kind != "tokens":
        raise RequestError(
            f"{tokens.record.name!r} is a {tokens.record.kind}, not a token store: {target} holds tokens"
        )
    if out.exists() and (out.is_file() or any(out.iterdir())):
        raise RequestError(f"{out} is already there; name a new path")
    write = {"mds": mds.write, "litdata": litdata.write}[target]
    names = _names(tokens.file("documents.parquet"))
    written = []
    for split in SPLITS:
        store = TokenStore.open(tokens.path, split)
        write(out / split, _documents(store, names), store.ids.dtype)
        written.append(out / split)
    return written


def read_documents(folder: Path) -> Iterator[tuple[str, Ids]]:
    """(id, ids) of the documents in a folder of MDS, litdata or Megatron, in order; an id is empty where none is kept.

    DataError if it is none of these or damaged, ArtifactError for Megatron's files.
    """
    pairs = sorted(folder.glob("*.idx"))
    if pairs:
        for path in pairs:
            store = TokenStore.open(folder, path.stem)
            for number in range(store.num_documents):
                yield "", store.document(number)
        return
    try:
        index = json.loads((folder / mds.INDEX).read_text())
    except (OSError, ValueError):
        raise DataError(f"{folder} has neither .idx files (Megatron) nor an index.json (MDS, litdata)") from None
    kind = mds if isinstance(index, dict) and "shards" in index else litdata
    yield from kind.read(folder)


def _names(path: Path) -> Iterator[str]:
    """The ids of all documents: those of the training split come first."""
    with pq.ParquetFile(path) as file:
        for batch in file.iter_batches(columns=["id"]):
            yield from map(str, batch.column(0).to_pylist())


def _documents(store: TokenStore, names: Iterator[str]) -> Iterator[tuple[str, Ids]]:
    for number in range(store.num_documents):
        yield next(names), store.document(number)
