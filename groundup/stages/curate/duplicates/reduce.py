"""What flows between map and reduce, for each method: the rows that are keyed, and what becomes of them.

A method is ``key(batch) -> rows`` and ``reduce(partition) -> decisions``. Every row begins with ``key`` (uint64: what
runs are sorted and cut by); a partition holds all rows of its keys, in any order. Documents are named by ``document``
(int64), their number in the order of their right to stay (``survivors.by_right_to_stay`` of all documents), or, where
a method is said to take ids, by any column that orders.

| method | key | payload | reduce gives | then |
|---|---|---|---|---|
| exact | first 8 bytes of ``exact`` | check, document | decisions | - |
| near | each band key | document | buckets, joined over partitions | ``survivors`` with a store |
| pieces | key of a line or paragraph | check, priority, document, place | (document, place) to strike | by document |
| passages, 1 | fingerprint | document, place | (document, place) that are shared | by document |
| passages, 2 | key of a window | check, document, place | (document, place, later) | by document |
| semantic | cluster | document, closeness, embedding | decisions | - |

Decisions are rows of document, step, rule, detail, survivor, jaccard: a cluster is all rows of one survivor.
"""

from __future__ import annotations

from typing import Any, Final, Literal

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from groundup.stages.curate.duplicates.exact import EXACT
from groundup.stages.curate.duplicates.minhash import BANDS
from groundup.stages.curate.duplicates.passages import Fingerprints, Windows, first_and_others, shared
from groundup.stages.curate.duplicates.pieces import PieceRows, repeated
from groundup.stages.curate.duplicates.semantic import semantic_twins
from groundup.stages.curate.duplicates.survivors import Buckets, Twins, buckets_of
from groundup.stages.curate.engine.columns import lists

Ints = NDArray[np.int64]

KEY: Final = "key"
DOCUMENT: Final = "document"
_FIELDS: Final[list[tuple[str, Any]]] = [
    (DOCUMENT, pa.int64()),
    ("step", pa.string()),
    ("rule", pa.string()),
    ("detail", pa.string()),
    ("survivor", pa.int64()),
    ("jaccard", pa.float64()),
]
DECISIONS: Final = pa.schema(_FIELDS)


def decisions(twins: Twins, step: str, rule: str, measure: str = "Jaccard") -> pa.Table:
    """What goes, as rows of :data:`DECISIONS`."""
    count = len(twins.dropped)
    details = [f"{measure} {value:.3f} with one that stays" for value in twins.jaccard.tolist()]
    columns: list[Any] = [twins.dropped, [step] * count, [rule] * count, details, twins.survivor, twins.jaccard]
    arrays: list[Any] = [pa.array(each, field.type) for each, field in zip(columns, DECISIONS, strict=True)]
    return pa.table(arrays, schema=DECISIONS)


def exact_rows(batch: pa.RecordBatch, documents: Ints) -> pa.RecordBatch:
    """Rows of key, check, document from a batch that :class:`ExactKey` tagged; ``documents`` are (rows,) int64."""
    keys: list[Any] = batch.column(EXACT).to_pylist()
    packed = np.frombuffer(b"".join(keys), ">u8").astype(np.uint64).reshape(-1, 2)
    return _rows(key=packed[:, 0], check=packed[:, 1], document=documents)


def exact_reduce(partition: pa.Table, step: str = "duplicates") -> pa.Table:
    """Of documents with equal keys the first stays."""
    key, check, document = (_column(partition, name) for name in (KEY, "check", DOCUMENT))
    order = np.lexsort((document, check, key))
    first = np.ones(len(key), bool)
    first[1:] = (key[order][1:] != key[order][:-1]) | (check[order][1:] != check[order][:-1])
    leader = np.maximum.accumulate(np.where(first, np.arange(len(key)), 0))
    gone, stays = document[order][~first], document[order][leader][~first]
    by = np.argsort(gone, kind="stable")
    return decisions(Twins(gone[by], stays[by], np.ones(len(by))), step, "exact")


def near_rows(batch: pa.RecordBatch, documents: Ints) -> pa.RecordBatch:
    """Rows of key, document from a batch that :class:`MinHash` tagged."""
    bands = lists(batch, BANDS)
    low, high = int(bands.offsets[0]), int(bands.offsets[-1])
    return _rows(key=bands.values[low:high], document=np.repeat(documents, np.diff(bands.offsets)))


def near_reduce(partition: pa.Table) -> Buckets:
    """The buckets of a partition: ``survivors.joined`` puts those of all partitions together."""
    return buckets_of(_column(partition, KEY), _column(partition, DOCUMENT))


def piece_table(found: PieceRows, priority: NDArray[np.uint64], documents: Ints) -> pa.RecordBatch:
    """Rows of key, check, priority, document, place; ``priority`` and ``documents`` are of the rows of the batch."""
    return _rows(
        key=found.keys,
        check=found.checks,
        priority=priority[found.rows],
        document=documents[found.rows],
        place=found.places,
    )


def piece_reduce(partition: pa.Table, within: bool = True) -> pa.Table:
    """The (document, place) of the pieces to strike, by document and place."""
    key, check, priority, document, place = (
        _column(partition, name) for name in (KEY, "check", "priority", DOCUMENT, "place")
    )
    gone = repeated(key, check, priority, document, place, within)
    return _by_document(document=document[gone], place=place[gone])


def fingerprint_table(found: Fingerprints, documents: Ints) -> pa.RecordBatch:
    """Rows of key, document, place."""
    return _rows(key=found.hashes, document=documents[found.rows], place=found.places)


def fingerprint_reduce(partition: pa.Table) -> pa.Table:
    """The (document, place) of fingerprints that occur more than once, by document and place."""
    both = shared(_column(partition, KEY))
    return _by_document(document=_column(partition, DOCUMENT)[both], place=_column(partition, "place")[both])


def window_table(found: Windows, documents: Ints) -> pa.RecordBatch:
    """Rows of key, check, document, place."""
    return _rows(key=found.keys, check=found.checks, document=documents[found.rows], place=found.places)


def window_reduce(partition: pa.Table) -> pa.Table:
    """The (document, place, later) of repeated windows, by document and place; the first copy is not ``later``."""
    key, check, document, place = (_column(partition, name) for name in (KEY, "check", DOCUMENT, "place"))
    first, later = first_and_others(key, check, document, place)
    both = first | later
    return _by_document(document=document[both], place=place[both], later=later[both])


def semantic_rows(
    clusters: Ints, documents: Ints, closeness: NDArray[np.float32], vectors: pa.Array[Any]
) -> pa.RecordBatch:
    """Rows of key (the cluster), document, closeness, embedding (fixed_size_list<float>)."""
    return _rows(key=clusters.astype(np.uint64), document=documents, closeness=closeness, embedding=vectors)


def semantic_reduce(
    partition: pa.Table, min_cosine: float, keep: Literal["farthest", "longest"] = "farthest", step: str = "duplicates"
) -> pa.Table:
    """The documents of the clusters of a partition that go."""
    key, document, closeness = (_column(partition, name) for name in (KEY, DOCUMENT, "closeness"))
    embeddings: Any = partition.column("embedding").combine_chunks()
    flat = embeddings.flatten().to_numpy()
    vectors = flat.reshape(len(key), -1) if len(key) else np.zeros((0, 1), np.float32)
    found = []
    for cluster in np.unique(key):
        rows = np.flatnonzero(key == cluster)
        twins = semantic_twins(vectors[rows], document[rows], closeness[rows], min_cosine, keep)
        found.append(decisions(twins, step, "semantic", "cosine"))
    return pa.concat_tables([DECISIONS.empty_table(), *found]).sort_by(DOCUMENT)


def _rows(**columns: object) -> pa.RecordBatch:
    made: pa.RecordBatch = pa.record_batch(columns)  # type: ignore[call-overload,unused-ignore]
    return made


def _by_document(**columns: object) -> pa.Table:
    made: pa.Table = pa.table(columns)  # type: ignore[call-overload,unused-ignore]
    return made.sort_by([(DOCUMENT, "ascending"), ("place", "ascending")])


def _column(table: pa.Table, name: str) -> NDArray[Any]:
    return np.asarray(table.column(name).to_numpy())
