"""Labelled texts for a classifier: where they are read from, and which of them train, tune and test it.

The part that a text belongs to follows from the seed and the text itself. So equal texts never lie on both sides, and
neither the order of rows nor the number of files changes a model.
"""

from __future__ import annotations

import gzip
import hashlib
import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from groundup.base.errors import DataError, RequestError
from groundup.base.files import sha256_json
from groundup.base.seeds import unit_interval

LEAST: Final = 10
"""Texts of each label that every part must have."""

_PARTS: Final = ("train", "tune", "test")


@dataclass(frozen=True)
class Examples:
    """Labelled texts, ordered by hash. ``parts``: (rows,) 0 train, 1 tune, 2 test."""

    texts: tuple[str, ...]
    labels: NDArray[np.bool_]
    parts: NDArray[np.int8]
    conflicting: int
    """Texts that were given as both, and left out."""
    repeated: int
    """Texts that were given more than once, and count once."""
    digest: str
    """The SHA-256 of all of them."""

    def rows(self, part: str) -> NDArray[np.int64]:
        """Which rows are in a part."""
        return np.flatnonzero(self.parts == _PARTS.index(part))


def split_examples(positives: Iterable[str], negatives: Iterable[str], seed: int, tune: float, test: float) -> Examples:
    """Labelled texts in three parts; RequestError if a part has fewer than ``LEAST`` of either label."""
    found: dict[str, tuple[str, bool]] = {}
    conflicting: set[str] = set()
    repeated = 0
    for label, texts in ((True, positives), (False, negatives)):
        for text in texts:
            name = hashlib.sha256(text.encode("utf-8", "replace")).hexdigest()
            if name in found:
                repeated += found[name][1] == label
                if found[name][1] != label:
                    conflicting.add(name)
                continue
            found[name] = (text, label)
    for name in conflicting:
        del found[name]
    names = sorted(found)
    places = np.array([unit_interval(seed, "examples", name) for name in names])
    parts = np.where(places < test, 2, np.where(places < test + tune, 1, 0)).astype(np.int8)
    labels = np.array([found[name][1] for name in names], np.bool_)
    for number, part in enumerate(_PARTS):
        for label, kind in ((True, "positive"), (False, "negative")):
            count = int(((parts == number) & (labels == label)).sum())
            if count < LEAST:
                raise RequestError(
                    f"{count} {kind} examples to {part} with; give more: at least {LEAST} to train, tune and test each"
                )
    digest = sha256_json([[name, found[name][1]] for name in names])
    return Examples(tuple(found[name][0] for name in names), labels, parts, len(conflicting), repeated, digest)


def read_texts(paths: Sequence[Path], column: str = "text") -> Iterator[str]:
    """The texts of JSON-lines (plain or gzip) and Parquet files; null and empty ones are left out.

    RequestError for a file that isn't there, is of another kind, or lacks the column; DataError for a damaged one.
    """
    for path in paths:
        if not path.is_file():
            raise RequestError(f"no file {path}")
        if path.name.endswith(".parquet"):
            yield from _parquet(path, column)
        elif path.name.endswith((".jsonl", ".jsonl.gz", ".json", ".json.gz", ".ndjson")):
            yield from _json_lines(path, column)
        else:
            raise RequestError(f"{path.name}: examples are read from .jsonl, .jsonl.gz and .parquet files")


def _parquet(path: Path, column: str) -> Iterator[str]:
    try:
        with pq.ParquetFile(path) as file:
            if column not in file.schema_arrow.names:
                raise RequestError(f"{path.name} has no column {column!r}")
            for batch in file.iter_batches(columns=[column]):
                yield from (text for text in batch.column(0).to_pylist() if text)
    except (pa.ArrowInvalid, OSError):
        raise DataError(f"{path.name} is not a readable Parquet file") from None


def _json_lines(path: Path, column: str) -> Iterator[str]:
    opened = gzip.open(path, "rb") if path.name.endswith(".gz") else path.open("rb")  # noqa: SIM115
    number = 0
    try:
        with opened as file:
            for number, line in enumerate(file, 1):
                if not line.strip():
                    continue
                row = json.loads(line)
                if not isinstance(row, dict) or column not in row:
                    raise RequestError(f"{path.name}, line {number}: no field {column!r}")
                if row[column]:
                    yield str(row[column])
    except (ValueError, OSError, EOFError):
        raise DataError(f"{path.name} is damaged at line {number + 1 if number else 1}") from None
