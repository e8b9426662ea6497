"""The document ledger: one row for every page that came in, kept or not, with what was decided and why.

It is Parquet (``ledger/NNNNN.parquet`` in a corpus), ordered by id, so DuckDB or any reader can query it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import count, islice
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds
import pyarrow.parquet as pq
from numpy.typing import NDArray

from groundup.base.errors import ArtifactError

_STRING: Final = pa.string()

_COLUMNS: Final[list[pa.Field[Any]]] = [
    pa.field("id", _STRING, nullable=False),
    pa.field("source", _STRING, nullable=False),
    pa.field("record", _STRING, nullable=False),
    pa.field("url", _STRING),
    pa.field("licence", _STRING, nullable=False),
    pa.field("author", _STRING),
    pa.field("found_licence", _STRING),
    pa.field("permission", _STRING),
    pa.field("media_type", _STRING),
    pa.field("page_bytes", pa.int64()),
    pa.field("extractor", _STRING),
    pa.field("language", _STRING),
    pa.field("language_score", pa.float64()),
    pa.field("chars", pa.int64()),
    pa.field("redactions", pa.map_(_STRING, pa.int32())),
    pa.field("step", _STRING),
    pa.field("rule", _STRING),
    pa.field("detail", _STRING),
    pa.field("survivor", _STRING),
    pa.field("similarity", pa.float64()),
    pa.field("split", _STRING),
    pa.field("pipeline", _STRING, nullable=False),
]

_ID_BYTES: Final = 32

LEDGER: Final = pa.schema(_COLUMNS)
"""``step`` and ``rule`` are null for a document that was kept. ``survivor`` is the id of the document for whose sake a
duplicate went, and so the name of its cluster; ``similarity`` is how alike they are: Jaccard's, or the cosine of
embeddings for semantic duplicates. ``redactions`` maps kinds to counts. ``split`` is null for what was dropped.
``pipeline`` hashes all rules that the document went through."""


ROWS_PER_GROUP: Final = 1 << 16
_ROWS_PER_SHARD: Final = 1 << 22
_ROWS_AT_ONCE: Final = 1 << 14
_AS_WORDS: Final = ("source", "licence", "found_licence", "permission", "media_type", "extractor", "language", "step",
                    "rule", "split", "pipeline")  # fmt: skip
"""Columns of few values: the others are as good as unique, and a dictionary of them would only be in the way."""
_AS_TEXTS: Final = ("id", "record", "url", "author", "detail", "survivor")


def writer(path: Path) -> pq.ParquetWriter:
    """A file of ledger rows. The bytes depend on the rows alone.

    Large groups, and texts apart from their lengths, are smaller and twice as fast to search; and the first level of
    zstd packs ids, which are as good as random, better than the third. What each of these gains: docs/ledger.md.
    """
    apart = dict.fromkeys(_AS_TEXTS, "DELTA_LENGTH_BYTE_ARRAY")
    encodings: Any = {"use_dictionary": list(_AS_WORDS), "column_encoding": apart}
    return pq.ParquetWriter(path, LEDGER, compression="zstd", compression_level=1, write_page_index=False, **encodings)


def write_shards(folder: Path, rows: Iterable[dict[str, Any]]) -> None:
    """Write rows as ``folder/00000.parquet`` and on; a bounded number of them is in memory at a time."""
    folder.mkdir()
    left = iter(rows)
    for number in count():
        shard = islice(left, _ROWS_PER_SHARD)
        first = list(islice(shard, _ROWS_AT_ONCE))
        if number and not first:
            return
        with writer(folder / f"{number:05d}.parquet") as file:
            while first:
                file.write_table(pa.Table.from_pylist(first, schema=LEDGER))
                first = list(islice(shard, _ROWS_AT_ONCE))


def find(folder: Path, wanted: str) -> list[dict[str, Any]]:
    """The entries whose id begins with ``wanted``, or whose record or address is it; ordered by id."""
    table = _dataset(folder).to_table(
        filter=ds.field("id").isin([wanted])
        | pc.starts_with(ds.field("id"), wanted)
        | (ds.field("record") == wanted)
        | (ds.field("url") == wanted)
    )
    return [dict(row) for row in table.sort_by("id").to_pylist()]


def cluster(folder: Path, survivor: str) -> list[dict[str, Any]]:
    """The entries that went for the sake of one document, ordered by id."""
    return [
        dict(row)
        for row in _dataset(folder).to_table(filter=ds.field("survivor") == survivor).sort_by("id").to_pylist()
    ]


def check(corpus: Path, name: str = "") -> None:
    """ArtifactError of one line unless the ledger of a corpus has its documents as kept, each once, and no others.

    ``corpus`` is the artifact's folder. Of both tables the ids are read, once, and compared by their number and two
    sums of hashes, so neither order nor memory matter. A corpus without a ledger is none to disagree with.
    """
    if not (corpus / "ledger").is_dir():
        return
    kept, there = (_sums(_ids(corpus / part)) for part in ("ledger", "corpus"))
    if kept == there:
        return
    missing, unknown = _difference(corpus)
    parts = [f"{len(missing):,} documents of the corpus are not in it as kept"] if missing else []
    parts += [f"{len(unknown):,} that it has as kept are not in the corpus"] if unknown else []
    parts += [] if parts else [f"it has {kept[0]:,} documents as kept, the corpus {there[0]:,}"]
    example = f", such as {min(missing or unknown)[:12]}" if missing or unknown else ""
    raise ArtifactError(
        f"the ledger of {name or corpus.name!r} disagrees with its corpus: {' and '.join(parts)}{example}; delete "
        f"{corpus} and run the recipe again"
    )


def _ids(folder: Path) -> Iterator[Any]:
    """The ids of a table's documents, of a ledger those that were kept, a batch at a time."""
    for path in sorted(folder.glob("*.parquet")):
        try:
            with pq.ParquetFile(path) as file:
                columns = [one for one in ("id", "step") if one in file.schema_arrow.names]
                for batch in file.iter_batches(batch_size=1 << 16, columns=columns):
                    ids: Any = batch.column("id")
                    yield ids.filter(batch.column("step").is_null()) if "step" in columns else ids
        except (pa.ArrowInvalid, KeyError) as error:
            raise ArtifactError(f"{path} is damaged ({str(error).splitlines()[0]}): make the corpus again") from None


def _sums(batches: Iterator[Any]) -> tuple[int, int, int]:
    """How many ids there are, and a sum and an exclusive or of their hashes: all the same in any order."""
    number = total = mixed = 0
    for ids in batches:
        hashes = _hashes(ids)
        number += len(hashes)
        total = (total + int(hashes.sum(dtype=np.uint64))) % (1 << 64)
        mixed ^= int(np.bitwise_xor.reduce(hashes)) if len(hashes) else 0
    return number, total, mixed


def _hashes(ids: Any) -> NDArray[np.uint64]:
    """64 bits of a hash of each id: its words one after the other through splitmix64. 0 for what is no id."""
    try:
        fixed = ids.cast(pa.binary()).cast(pa.binary(_ID_BYTES)).drop_null()
    except pa.ArrowInvalid:
        return np.zeros(len(ids), np.uint64)
    words = np.frombuffer(fixed.buffers()[1] or b"", np.uint64)[fixed.offset * 4 : (fixed.offset + len(fixed)) * 4]
    found = np.zeros(len(fixed), np.uint64)
    for word in words.reshape(-1, 4).T:
        found = (found ^ word) + np.uint64(0x9E3779B97F4A7C15)
        for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
            found = (found ^ (found >> np.uint64(shift))) * np.uint64(factor)
        found ^= found >> np.uint64(31)
    return found


def _difference(corpus: Path) -> tuple[set[str], set[str]]:
    """The ids that the ledger lacks as kept, and those that only it has: in memory, as something is wrong already."""
    kept, there = (
        {str(one) for ids in _ids(corpus / part) for one in ids.to_pylist()} for part in ("ledger", "corpus")
    )
    return there - kept, kept - there


def _dataset(folder: Path) -> ds.Dataset:
    return ds.dataset(sorted(folder.glob("*.parquet")), schema=LEDGER, format="parquet")
