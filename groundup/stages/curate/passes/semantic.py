"""Semantic duplicates: embeddings are clustered, and within a cluster those above a cosine go (Abbas et al. 2023).

Vectors come from the words (:mod:`.tfidf`) or from a file (:mod:`.given`). A sample of them, drawn by document id,
gives the centroids; each vector goes to the nearest, and the members of a cluster meet in sorted runs. Which documents
there are decides how many clusters, who is in the sample, and all the rest: not how they were cut into units, in which
order they came, or how many workers there are. Inner products are exact, see :func:`.duplicates.semantic.on_grid`.

A cluster is compared as a whole in one process. How large it will be is known from the sample; one that would be too
large (a corpus that is half boilerplate has one) is split by the hash of the id, and each part is compared by itself.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from groundup.base.files import sha256_file, sha256_json
from groundup.base.runner import units
from groundup.base.runner.jobs import Done, Job, Work, free
from groundup.base.runner.runs import partitions_for, read_partition, write_run
from groundup.base.seeds import unit_interval
from groundup.stages.curate.duplicates.minhash import mixed
from groundup.stages.curate.duplicates.semantic import Ints, assign, centroids, semantic_twins
from groundup.stages.curate.duplicates.survivors import by_right_to_stay
from groundup.stages.curate.engine.ids import id_words
from groundup.stages.curate.passes.decisions import DECISIONS, write_decisions
from groundup.stages.curate.passes.given import FileMap, Join, NameMap, embedding_files, given_runs
from groundup.stages.curate.passes.inputs import Partition
from groundup.stages.curate.passes.tfidf import SlotCount, Tfidf, Weighed, all_frequencies
from groundup.stages.curate.passes.vectors import VECTORS, unpacked

Keep = Literal["farthest", "longest"]

STEP: Final = "semantic_dedup"

_CLUSTER: Final = 4096
"""Documents of a cluster, about, while the root of all documents is less: their cosines are a second's work."""
_MOST_BYTES: Final = 128 << 20
"""Vectors that are compared as a whole, about: 262,144 documents in 256 dimensions."""
_SAMPLE_LEAST: Final = 4096
_SAMPLE_EACH: Final = 64
"""Vectors of the sample for each centroid; FAISS asks for 39 to 256."""
_SAMPLE_NUMBERS: Final = 1 << 26
"""Most numbers in the sample: 256 MiB as float32."""


def clusters_for(documents: int) -> int:
    """How many clusters: of about 4,096 documents each, or the root of their number where that is more.

    At the root, comparing a document with all centroids costs as much as with its cluster; work grows as the number of
    documents to the power 1.5. The paper's own are of that order (50,000 for the 440 million of LAION, 11,000 for C4).

    >>> [clusters_for(count) for count in (0, 4096, 100_000, 400_000_000)]
    [1, 1, 25, 20000]
    """
    return max(1, -(-documents // max(_CLUSTER, math.isqrt(documents))))


@dataclass(frozen=True)
class Sample:
    """Writes ``sample.parquet``: (id, vector) of a share of the documents, drawn by id."""

    share: float

    @property
    def digest(self) -> str:
        """What defines the work."""
        return sha256_json(["sample of vectors", 1, self.share])

    def __call__(self, payload: Any, folder: Path) -> dict[str, Any]:
        """Draw; the payload is a ``vectors.parquet``."""
        vectors: Path = payload
        table = pq.read_table(vectors, columns=["id", "vector"])
        drawn = [unit_interval(0, STEP, name) < self.share for name in table.column("id").to_pylist()]
        sample = table.filter(pa.array(drawn, pa.bool_()))
        pq.write_table(sample, folder / "sample.parquet", use_dictionary=False, compression="zstd", compression_level=1)
        return {"sample": sample.num_rows}


@dataclass(frozen=True)
class Centres:
    """The files of the centroids, ``centres``, and of how many ``parts`` each cluster is split into: (clusters,) int64.

    ``clusters`` counts clusters, ``split`` those of several parts.
    """

    centres: Path
    parts: Path
    clusters: int
    split: int


@dataclass(frozen=True)
class Placed:
    """Vectors that are to be given to clusters: their file, and the centroids."""

    vectors: Path
    centres: Centres


@dataclass(frozen=True)
class ClusterMap:
    """Writes ``clusters.arrow``: the vectors with the cosine with their centroid, a run by part of a cluster.

    Keys are hashes of the numbers of clusters and parts, for runs are cut at equal places of the range of keys.
    """

    partitions: int

    @property
    def digest(self) -> str:
        """What defines the work."""
        return sha256_json(["clusters", 2, self.partitions])

    def __call__(self, payload: Any, folder: Path) -> dict[str, Any]:
        """Find the nearest centroids."""
        job: Placed = payload
        table = pq.read_table(job.vectors)
        clusters, closeness = assign(unpacked(table.column("vector")), np.load(job.centres.centres))
        parts = np.load(job.centres.parts).astype(np.uint64)[clusters]
        part = mixed(id_words(table.column("id"))[:, 1]) % parts
        keys = mixed(clusters.astype(np.uint64) | (part << np.uint64(32)))
        table = table.append_column("key", pa.array(keys)).append_column("closeness", pa.array(closeness))
        write_run(folder / "clusters.arrow", table, keys, self.partitions)
        return {"documents": table.num_rows}


@dataclass(frozen=True)
class ClusterReduce:
    """Writes ``decisions.parquet`` on the clusters of a partition."""

    min_cosine: float
    keep: Keep

    @property
    def digest(self) -> str:
        """What defines the work."""
        return sha256_json(["semantic", 1, self.min_cosine, self.keep])

    def __call__(self, payload: Any, folder: Path) -> dict[str, Any]:
        """Decide, cluster by cluster."""
        partition: Partition = payload
        table = read_partition(partition.runs, partition.number)
        decisions = cluster_decisions(table, self.min_cosine, self.keep)
        write_decisions(folder / "decisions.parquet", decisions)
        _, sizes = np.unique(table.column("key").to_numpy(), return_counts=True)
        return {"dropped": decisions.num_rows, "largest": int(sizes.max(initial=0))}


def cluster_decisions(table: pa.Table, min_cosine: float, keep: Keep) -> pa.Table:
    """The decisions on rows (unit, row, chars, id, vector, key, closeness); rows of one key are compared."""
    keys, closeness, unit, row = (table.column(name).to_numpy() for name in ("key", "closeness", "unit", "row"))
    vector: Any = table.column("vector").combine_chunks()
    order = by_right_to_stay(table.column("chars").to_numpy(), id_words(table.column("id")))
    order = order[np.argsort(keys[order], kind="stable")]
    gone, stays, cosines = [np.zeros(0, np.int64)], [np.zeros(0, np.int64)], [np.zeros(0)]
    for rows in np.split(order, np.flatnonzero(np.diff(keys[order])) + 1):
        vectors = unpacked(vector.take(pa.array(rows)))
        twins = semantic_twins(vectors, np.arange(len(rows)), closeness[rows], min_cosine, keep)
        gone.append(rows[twins.dropped])
        stays.append(rows[twins.survivor])
        cosines.append(twins.jaccard)
    dropped, cosine = np.concatenate(gone), np.concatenate(cosines)
    survivors = table.column("id").take(np.concatenate(stays)).to_pylist()
    count = len(survivors)
    return pa.table(
        {
            "unit": pa.array(unit[dropped]),
            "row": pa.array(row[dropped]),
            "step": [STEP] * count,
            "rule": ["semantic_duplicate"] * count,
            "detail": [
                f"of {name} (cosine {value:.3f})" for name, value in zip(survivors, cosine.tolist(), strict=True)
            ],
            "survivor": survivors,
            "similarity": pa.array(cosine),
        },
        schema=DECISIONS,
    )


# -- the passes, one after the other -------------------------------------------------------------------------------


@dataclass(frozen=True)
class Hands:
    """How jobs are done: ``do`` takes what the progress line says, the work and its jobs. Sizes are in bytes."""

    do: Callable[[str, Work, Sequence[Job]], list[Done]]
    home: Path
    unit_bytes: int
    partition_bytes: int


@dataclass(frozen=True)
class Found:
    """The files with the decisions, and what was counted."""

    decisions: list[Path]
    counts: dict[str, int]


def find(
    jobs: Sequence[Job], hands: Hands, *, min_cosine: float, keep: Keep, clusters: int | None, given: Path | None
) -> Found:
    """Semantic duplicates among the documents of ``jobs``, whose payloads are :class:`~.near.UnitInput`.

    ``clusters`` is by default as :func:`clusters_for` has it; ``given`` is the file of embeddings, if there is one.
    """
    vectors = _tfidf(jobs, hands) if given is None else _given(given, jobs, hands)
    documents = sum(done.facts["documents"] for done in vectors)
    with_vector = sum(done.facts["vectors"] for done in vectors)
    counts = {"documents": documents, "without_embedding": documents - with_vector}
    if not with_vector:
        return Found([], {**counts, "clusters": 0, "split_clusters": 0, "largest_cluster": 0, "dropped": 0})
    dim = vectors[0].facts["dim"]
    found = _centres(vectors, clusters or clusters_for(with_vector), with_vector, dim, hands)
    defined = {"centres": sha256_file(found.centres), "parts": sha256_file(found.parts)}
    placed = [
        Job(
            {"vectors": done.hashes[VECTORS], **defined},
            max(1, done.facts["vectors"] * 2 * dim),
            Placed(done.file(VECTORS), found),
            (done.file(VECTORS),),
        )
        for done in vectors
    ]
    count = partitions_for(2 * with_vector * dim, hands.partition_bytes)
    mapped = hands.do("clusters", ClusterMap(count), placed)
    runs = tuple(done.file("clusters.arrow") for done in mapped)
    hashes = sha256_json([done.hashes["clusters.arrow"] for done in mapped])
    size = max(1, with_vector * 2 * dim // count)
    reduced = hands.do(
        "semantic duplicates",
        ClusterReduce(min_cosine, keep),
        [Job({"runs": hashes, "partition": at}, size, Partition(at, runs), runs) for at in range(count)],
    )
    for one in vectors:
        free(one, VECTORS)
    for one in mapped:
        free(one, "clusters.arrow")
    counts["clusters"] = found.clusters
    counts["split_clusters"] = found.split
    counts["largest_cluster"] = max(done.facts["largest"] for done in reduced)
    counts["dropped"] = sum(done.facts["dropped"] for done in reduced)
    return Found([done.file("decisions.parquet") for done in reduced], counts)


def _tfidf(jobs: Sequence[Job], hands: Hands) -> list[Done]:
    """``vectors.parquet`` of each unit, from the words of its documents."""
    counted = hands.do("word counts", SlotCount(), jobs)
    frequencies, documents = all_frequencies(counted)
    path = hands.home / "frequencies.npy"
    np.save(path, frequencies)
    defined = {"frequencies": sha256_file(path), "documents": documents}
    weighed = [
        Job({**job.identity, **defined}, job.size, Weighed(job.payload, path, documents), job.reads) for job in jobs
    ]
    return hands.do("embeddings", Tfidf(), weighed)


def _given(path: Path, jobs: Sequence[Job], hands: Hands) -> list[Done]:
    """``vectors.parquet`` of each partition of ids, from a file of embeddings."""
    files = [(file, sha256_file(file)) for file in embedding_files(path)]
    parts = units.cut(files, hands.unit_bytes)
    count = partitions_for(sum(part.size for part in parts), hands.partition_bytes)
    mapped = hands.do("embeddings", FileMap(count), [Job(part.identity, part.size, part) for part in parts])
    given = given_runs(mapped)
    named = hands.do("documents by id", NameMap(count), jobs)
    names = [done.file("names.arrow") for done in named]
    defined = {
        "given": sha256_json([done.hashes[name] for done in mapped for name in done.facts["runs"]]),
        "names": sha256_json([done.hashes["names.arrow"] for done in named]),
    }
    size, reads = max(1, sum(part.size for part in parts) // count), (*names, *given)
    joined = hands.do(
        "embeddings by id",
        Join(),
        [
            Job({**defined, "partition": at}, size, (Partition(at, names), Partition(at, given)), reads)
            for at in range(count)
        ],
    )
    for done in mapped:
        free(done, *done.facts["runs"])
    for done in named:
        free(done, "names.arrow")
    return joined


def _centres(vectors: Sequence[Done], clusters: int, documents: int, dim: int, hands: Hands) -> Centres:
    """The centroids, made from a sample of bounded size, and the parts of clusters that the sample says are large."""
    rows = min(max(_SAMPLE_LEAST, _SAMPLE_EACH * clusters), max(1, _SAMPLE_NUMBERS // dim))
    share = 1.0 if rows >= documents else rows / documents
    jobs = [
        Job(
            {"vectors": done.hashes[VECTORS]},
            max(1, done.facts["vectors"]),
            done.file(VECTORS),
            (done.file(VECTORS),),
        )
        for done in vectors
    ]
    drawn = hands.do("sample", Sample(share), jobs)
    table = pa.concat_tables([pq.read_table(done.file("sample.parquet")) for done in drawn]).sort_by("id")
    points = unpacked(table.column("vector"))
    centres = centroids(points, min(clusters, len(points)))
    parts = _parts(assign(points, centres)[0], len(centres), documents, max(1, _MOST_BYTES // (2 * dim)))
    paths = hands.home / "centres.npy", hands.home / "parts.npy"
    np.save(paths[0], centres)
    np.save(paths[1], parts)
    return Centres(*paths, len(parts), int(np.count_nonzero(parts > 1)))


def _parts(sample: Ints, clusters: int, documents: int, most: int) -> Ints:
    """Into how many parts each cluster is split, by the clusters of a sample of all documents; most have one.

    >>> _parts(np.array([0, 0, 0, 1]), clusters=3, documents=4000, most=1000).tolist()
    [3, 1, 1]
    """
    return np.maximum(1, -(-np.bincount(sample, minlength=clusters) * documents // (len(sample) * most)))
