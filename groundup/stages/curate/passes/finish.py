"""The last pass: every document finds its place by id, with its verdict; corpus, rejects and ledger are written.

Benchmark items come last of all decisions: whether a shared run of words is evidence or a set phrase depends on how
many of the documents that are left hold it.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from groundup.artifact import ledger
from groundup.artifact.ledger import LEDGER
from groundup.base.files import sha256_json, write_json
from groundup.base.runner.runs import read_partition, write_run
from groundup.base.seeds import unit_interval
from groundup.stages.curate.engine.ids import id_words
from groundup.stages.curate.engine.operator import VERDICT
from groundup.stages.curate.passes.clean import DOCUMENT
from groundup.stages.curate.passes.counts import compute, counted, reasons
from groundup.stages.curate.passes.decisions import DECISIONS, gone, of_unit
from groundup.stages.curate.passes.inputs import Partition, UnitInput
from groundup.stages.curate.passes.tables import conform, names_and_types, table_schema
from groundup.text.document import CORPUS, REJECTS, ROWS_PER_GROUP
from groundup.text.overlap import SET_PHRASE_DOCUMENTS, Hit, evidence_beyond

PLACED: Final = table_schema(
    [
        *names_and_types(DOCUMENT),
        ("chars", pa.int64()),
        *((name, pa.string()) for name in VERDICT),
        ("survivor", pa.string()),
        ("similarity", pa.float64()),
        ("hit", pa.string()),
    ]
)
"""A document with its verdict. ``hit``: the benchmark item that it was dropped for and its shard of pages, as JSON."""

_JOINED: Final = PLACED.names[-6:]
_READ: Final = (*DOCUMENT.names, "chars", "hits")

COUNTS: Final = "counts.json"

CONTAMINATION: Final = table_schema(
    [
        ("benchmark", pa.string()),
        ("item", pa.string()),
        ("document", pa.string()),
        ("source", pa.string()),
        ("record", pa.string()),
        ("shard", pa.string()),
        ("shared_runs", pa.int64()),
        ("whole", pa.bool_()),
    ]
)
"""A document that went for a benchmark item: how many runs of words they share, and whether a whole text is there.

``shard`` is the table that its page came in, such as ``d9c7f02d36ce10b4/00003.parquet``: the start of the artifact's
digest, then the file. (Not its name: what another recipe called it would be in the bytes of this corpus.) If two tables
hold the very same pages it is the lesser one.
"""


@dataclass(frozen=True)
class PhraseCount:
    """Facts of a unit: in how many of its staying documents each run of words of a benchmark is."""

    @property
    def digest(self) -> str:
        """What defines the work."""
        return sha256_json(["phrases", 1])

    def __call__(self, payload: Any, folder: Path) -> dict[str, Any]:
        """Count; writes no file."""
        unit: UnitInput = payload
        hits = pq.read_table(unit.kept, columns=["hits"]).column("hits")
        leaves = gone(of_unit(unit.decisions, unit.number), len(hits))
        spread = Counter[int]()
        for _, text in _found(hits, ~leaves):
            spread.update(set().union(*(hit.runs for hit in read_hits(text))))
        return {"runs": {str(run): count for run, count in spread.items()}}


def set_phrases(facts: Sequence[Mapping[str, Any]], most: int = SET_PHRASE_DOCUMENTS) -> tuple[int, ...]:
    """The runs of words that more than ``most`` documents hold, ascending."""
    spread = Counter[str]()
    for one in facts:
        spread.update(one["runs"])
    return tuple(sorted(int(run) for run, count in spread.items() if count > most))


def _found(hits: Any, stays: NDArray[np.bool_]) -> list[tuple[int, str]]:
    """(row, hits) of the documents that stay and have any."""
    rows = np.flatnonzero(stays & np.asarray(hits.is_valid()))
    return [
        (row, str(text)) for row, text in zip(rows.tolist(), hits.take(pa.array(rows)).to_pylist(), strict=True) if text
    ]


def write_hits(hits: Sequence[Hit]) -> str | None:
    """Hits as JSON; None if there are none."""
    rows = [[hit.benchmark, hit.item_id, hit.ngrams, hit.whole, sorted(hit.runs)] for hit in hits]
    return json.dumps(rows, ensure_ascii=False) if rows else None


def read_hits(text: str) -> list[Hit]:
    """What :func:`write_hits` wrote."""
    return [Hit(name, item, count, whole, frozenset(runs)) for name, item, count, whole, runs in json.loads(text)]


@dataclass(frozen=True)
class Place:
    """Writes ``documents.arrow``: a unit's documents with their verdicts, as a run by id.

    Facts: how many stay, how many of them are held out, and the (place, id) that is first in line to be held out.
    """

    partitions: int
    phrases: tuple[int, ...]
    held_out: float
    seed: int

    @property
    def digest(self) -> str:
        """What defines the work."""
        return sha256_json(["place", 3, self.partitions, list(self.phrases), self.held_out, self.seed])

    def __call__(self, payload: Any, folder: Path) -> dict[str, Any]:
        """Join verdicts to documents."""
        unit: UnitInput = payload
        kept = pq.read_table(unit.kept, columns=list(_READ))
        verdicts = self._verdicts(unit, kept.column("hits"))
        which = np.full(kept.num_rows, -1)
        which[verdicts.column("row").to_numpy()] = np.arange(verdicts.num_rows)
        stays = which < 0
        place = pa.array(which, mask=stays)
        for name in _JOINED:
            kept = kept.append_column(name, verdicts.column(name).take(place))
        staying = [str(name) for name in kept.column("id").filter(pa.array(stays)).to_pylist()]
        dropped = pq.read_table(unit.kept.with_name("dropped.parquet"))
        table = pa.concat_tables([conform(kept, PLACED), conform(dropped, PLACED)])
        write_run(folder / "documents.arrow", table, id_words(table.column("id"))[:, 0], self.partitions)
        places = [(unit_interval(self.seed, "held_out", name), name) for name in staying]
        return {
            "staying": len(places),
            "held_out": sum(place < self.held_out for place, _ in places),
            "first": list(min(places, default=(1.0, ""))),
        }

    def _verdicts(self, unit: UnitInput, hits: Any) -> pa.Table:
        """The decisions on a unit's rows so far, and those for the sake of benchmark items on what they left."""
        before = of_unit(unit.decisions, unit.number)
        common = frozenset(self.phrases)
        rows = []
        for row, text in _found(hits, ~gone(before, len(hits))):
            hit = evidence_beyond(read_hits(text), common)
            if hit is not None:
                whole = ", a whole text" if hit.whole else ""
                rows.append(
                    {
                        "unit": unit.number,
                        "row": row,
                        "step": "decontaminate",
                        "rule": hit.benchmark,
                        "detail": f"item {hit.item_id}: {hit.ngrams} shared runs of words{whole}",
                        "hit": json.dumps([hit.benchmark, hit.item_id, hit.ngrams, hit.whole, unit.shard]),
                    }
                )
        schema = table_schema([*names_and_types(DECISIONS), ("hit", pa.string())])
        leaks = pa.Table.from_pylist(rows, schema=schema)
        return pa.concat_tables([before, leaks], promote_options="default").combine_chunks()


@dataclass(frozen=True)
class Finish:
    """Writes the ``corpus``, ``rejects``, ``ledger`` and ``contamination`` tables of one partition of ids, by id.

    ``counts.json`` is what is counted in them (:mod:`.counts`).
    """

    held_out: float
    seed: int
    forced: str
    pipeline: str

    @property
    def digest(self) -> str:
        """What defines the work."""
        return sha256_json(["finish", 6, self.held_out, self.seed, self.forced, self.pipeline])

    def __call__(self, payload: Any, folder: Path) -> dict[str, Any]:
        """Write the tables of a partition, and everything that is counted: too much to have in memory for all."""
        partition: Partition = payload
        table = by_id(read_partition(partition.runs, partition.number))
        stays = table.column("step").is_null()
        split = self._splits(table.column("id"), np.asarray(stays))
        table = table.append_column("split", pa.array(split, pa.string()))
        write_json(folder / COUNTS, {**counted(table), "held_out": split.count("held_out")})
        _write_ledger(folder / "ledger.parquet", self._ledger(table))
        dropped = table.filter(table.column("step").is_valid())
        _write(folder / "contamination.parquet", CONTAMINATION, _leaks(dropped))
        _write(folder / "rejects.parquet", REJECTS, _rejects(dropped))
        _write(folder / "corpus.parquet", CORPUS, table.filter(stays))
        return {}

    def _splits(self, ids: Any, stays: NDArray[np.bool_]) -> list[str | None]:
        """The split of each document; None for those that go."""
        out: list[str | None] = [None] * len(ids)
        rows = np.flatnonzero(stays)
        for row, name in zip(rows.tolist(), ids.take(pa.array(rows)).to_pylist(), strict=True):
            held_out = unit_interval(self.seed, "held_out", name) < self.held_out or name == self.forced
            out[row] = "held_out" if held_out else "train"
        return out

    def _ledger(self, table: pa.Table) -> pa.Table:
        """One entry an id: of a page that came twice, the copy that stays."""
        ids = id_words(table.column("id"))
        first = np.ones(len(ids), bool)
        first[1:] = np.any(ids[1:] != ids[:-1], axis=1)
        rows = table.drop_columns("text").filter(pa.array(first))
        return rows.append_column("pipeline", pa.array([self.pipeline] * rows.num_rows, pa.string()))


def by_id(table: pa.Table) -> pa.Table:
    """Documents in the order of their ids; of copies of a page the one that stays comes first, then by rule."""
    ids = id_words(table.column("id"))
    encoded: Any = table.column("rule").combine_chunks().fill_null("").dictionary_encode()
    names = encoded.dictionary.to_pylist()
    rank = np.empty(len(names), np.int64)
    rank[sorted(range(len(names)), key=names.__getitem__)] = np.arange(len(names))
    goes = np.asarray(table.column("step").is_valid())
    order = np.lexsort((rank[np.asarray(encoded.indices)], goes, ids[:, 1], ids[:, 0]))
    return table.take(order).combine_chunks()


def _leaks(dropped: pa.Table) -> pa.Table:
    hit = dropped.filter(dropped.column("hit").is_valid()).select(["id", "source", "record", "hit"])
    rows = []
    for row in hit.to_pylist():
        benchmark, item, runs, whole, shard = json.loads(row["hit"])
        found = {"benchmark": benchmark, "item": item, "shared_runs": runs, "whole": whole, "shard": shard}
        rows.append({**found, "document": row["id"], "source": row["source"], "record": row["record"]})
    return pa.Table.from_pylist(rows, schema=CONTAMINATION)


def _rejects(dropped: pa.Table) -> pa.Table:
    columns: dict[str, Any] = {name: dropped.column(name) for name in ("id", "source", "record", "step")}
    columns["reason"] = reasons(dropped)
    for name in ("detail", "text"):
        columns[name] = compute.fill_null(dropped.column(name), "")
    return pa.table(columns)


def _write_ledger(path: Path, table: pa.Table) -> None:
    """Write ledger rows; no file if there are none."""
    if table.num_rows:
        with ledger.writer(path) as writer:
            table = table.select(LEDGER.names).combine_chunks().cast(LEDGER)
            writer.write_table(table, row_group_size=ledger.ROWS_PER_GROUP)


def _write(path: Path, schema: pa.Schema, table: pa.Table) -> None:
    """Write the columns of a schema; no file if there are no rows."""
    if not table.num_rows:
        return
    table = table.select(schema.names).combine_chunks().cast(schema)
    with pq.ParquetWriter(path, schema, compression="zstd", compression_level=3, write_page_index=False) as writer:
        writer.write_table(table, row_group_size=ROWS_PER_GROUP)
