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

from groundup.artifact.ledger import LEDGER
from groundup.base.files import sha256_json
from groundup.base.seeds import unit_interval
from groundup.stages.curate.engine.operator import VERDICT
from groundup.stages.curate.engine.runs import id_keys, read_partition, write_run
from groundup.stages.curate.passes.clean import DOCUMENT
from groundup.stages.curate.passes.decisions import DECISIONS, gone, of_unit
from groundup.stages.curate.passes.exact import Partition
from groundup.stages.curate.passes.near import UnitInput
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
"""A document with its verdict. ``hit``: the benchmark item that it was dropped for, as JSON."""

CONTAMINATION: Final = table_schema(
    [
        ("benchmark", pa.string()),
        ("item", pa.string()),
        ("document", pa.string()),
        ("source", pa.string()),
        ("record", pa.string()),
        ("shared_runs", pa.int64()),
        ("whole", pa.bool_()),
    ]
)
"""A document that went for a benchmark item: how many runs of words they share, and whether a whole text is there."""

_SAMPLES: Final = 3
_SAMPLE_CHARS: Final = 1500


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
        hits = pq.read_table(unit.kept, columns=["hits"]).column("hits").to_pylist()
        leaves = gone(of_unit(unit.decisions, unit.number), len(hits))
        spread = Counter[int]()
        for text, goes in zip(hits, leaves.tolist(), strict=True):
            if text and not goes:
                spread.update(set().union(*(hit.runs for hit in read_hits(text))))
        return {"runs": {str(run): count for run, count in spread.items()}}


def set_phrases(facts: Sequence[Mapping[str, Any]], most: int = SET_PHRASE_DOCUMENTS) -> tuple[int, ...]:
    """The runs of words that more than ``most`` documents hold, ascending."""
    spread = Counter[str]()
    for one in facts:
        spread.update(one["runs"])
    return tuple(sorted(int(run) for run, count in spread.items() if count > most))


def write_hits(hits: Sequence[Hit]) -> str | None:
    """Hits as JSON; None if there are none."""
    rows = [[hit.benchmark, hit.item_id, hit.ngrams, hit.whole, sorted(hit.runs)] for hit in hits]
    return json.dumps(rows, ensure_ascii=False) if rows else None


def read_hits(text: str) -> list[Hit]:
    """What :func:`write_hits` wrote."""
    return [Hit(name, item, count, whole, frozenset(runs)) for name, item, count, whole, runs in json.loads(text)]


@dataclass(frozen=True)
class Place:
    """Writes ``documents.parquet``: a unit's documents with their verdicts, as a run by id.

    Facts: how many stay, how many of them are held out, and the (place, id) that is first in line to be held out.
    """

    partitions: int
    phrases: tuple[int, ...]
    held_out: float
    seed: int

    @property
    def digest(self) -> str:
        """What defines the work."""
        return sha256_json(["place", 1, self.partitions, list(self.phrases), self.held_out, self.seed])

    def __call__(self, payload: Any, folder: Path) -> dict[str, Any]:
        """Join verdicts to documents."""
        unit: UnitInput = payload
        kept = pq.read_table(unit.kept)
        decisions = pa.concat_tables(
            [of_unit(unit.decisions, unit.number), self._leaks(unit, kept)], promote_options="default"
        )
        columns: dict[str, list[Any]] = {name: [None] * kept.num_rows for name in (*PLACED.names[-6:],)}
        for row in decisions.to_pylist():
            for name in columns:
                columns[name][row["row"]] = row.get(name)
        stays = [step is None for step in columns["step"]]
        verdicts = {name: pa.array(values, PLACED.field(name).type) for name, values in columns.items()}
        for name, array in verdicts.items():
            kept = kept.append_column(name, array)
        dropped = pq.read_table(unit.kept.with_name("dropped.parquet"))
        table = pa.concat_tables([conform(kept, PLACED), conform(dropped, PLACED)])
        ids = [str(name) for name in table.column("id").to_pylist()]
        write_run(folder / "documents.parquet", table, id_keys(ids), self.partitions)
        places = [
            (unit_interval(self.seed, "held_out", name), name)
            for name, staying in zip(ids, stays, strict=False)
            if staying
        ]
        return {
            "staying": len(places),
            "held_out": sum(place < self.held_out for place, _ in places),
            "first": list(min(places, default=(1.0, ""))),
        }

    def _leaks(self, unit: UnitInput, kept: pa.Table) -> pa.Table:
        before = gone(of_unit(unit.decisions, unit.number), kept.num_rows)
        hits = kept.column("hits").to_pylist()
        common = frozenset(self.phrases)
        rows = []
        for row in np.flatnonzero(~before).tolist():
            text = hits[row]
            hit = evidence_beyond(read_hits(text), common) if text else None
            if hit is not None:
                whole = ", a whole text" if hit.whole else ""
                rows.append(
                    {
                        "unit": unit.number,
                        "row": row,
                        "step": "decontaminate",
                        "rule": hit.benchmark,
                        "detail": f"item {hit.item_id}: {hit.ngrams} shared runs of words{whole}",
                        "hit": json.dumps([hit.benchmark, hit.item_id, hit.ngrams, hit.whole]),
                    }
                )
        schema = table_schema([*names_and_types(DECISIONS), ("hit", pa.string())])
        return pa.Table.from_pylist(rows, schema=schema) if rows else DECISIONS.empty_table()


@dataclass(frozen=True)
class Finish:
    """Writes the ``corpus``, ``rejects``, ``ledger`` and ``contamination`` tables of one partition of ids, by id."""

    held_out: float
    seed: int
    forced: str
    pipeline: str

    @property
    def digest(self) -> str:
        """What defines the work."""
        return sha256_json(["finish", 3, self.held_out, self.seed, self.forced, self.pipeline])

    def __call__(self, payload: Any, folder: Path) -> dict[str, Any]:
        """Write the tables of a partition; facts: everything that is counted."""
        partition: Partition = payload
        table = read_partition(partition.runs, partition.number)
        rows = sorted(table.to_pylist(), key=lambda row: (row["id"], row["step"] is not None, row["rule"] or ""))
        for row in rows:
            row["split"] = self._split(row) if row["step"] is None else None
        kept = [row for row in rows if row["step"] is None]
        dropped = [row for row in rows if row["step"] is not None]
        _write(folder / "corpus.parquet", CORPUS, kept)
        _write(folder / "rejects.parquet", REJECTS, [_reject(row) for row in dropped])
        _write(folder / "ledger.parquet", LEDGER, self._ledger(rows))
        _write(folder / "contamination.parquet", CONTAMINATION, [_leak(row) for row in dropped if row["hit"]])
        held_out = sum(row["split"] == "held_out" for row in kept)
        return {**counted(rows), "held_out": held_out}

    def _split(self, row: Mapping[str, Any]) -> str:
        out = unit_interval(self.seed, "held_out", row["id"]) < self.held_out or row["id"] == self.forced
        return "held_out" if out else "train"

    def _ledger(self, rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
        """One entry an id: of a page that came twice, the copy that stays."""
        first: dict[str, dict[str, Any]] = {}
        for row in rows:
            first.setdefault(row["id"], row)
        return [{**row, "pipeline": self.pipeline} for row in first.values()]


def _leak(row: Mapping[str, Any]) -> dict[str, Any]:
    benchmark, item, runs, whole = json.loads(row["hit"])
    found = {"benchmark": benchmark, "item": item, "shared_runs": runs, "whole": whole}
    return {**found, "document": row["id"], "source": row["source"], "record": row["record"]}


def _reject(row: Mapping[str, Any]) -> dict[str, Any]:
    return {**row, "reason": f"{row['step']}:{row['rule']}", "detail": row["detail"] or "", "text": row["text"] or ""}


def _write(path: Path, schema: pa.Schema, rows: Sequence[Mapping[str, Any]]) -> None:
    if not rows:
        return
    columns = {name: [row.get(name) for row in rows] for name in schema.names}
    table = pa.table({name: pa.array(values, schema.field(name).type) for name, values in columns.items()})
    with pq.ParquetWriter(path, schema, compression="zstd", compression_level=3, write_page_index=False) as writer:
        writer.write_table(table.cast(schema), row_group_size=ROWS_PER_GROUP)


def counted(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """What a partition's documents add up to, JSON; facts of partitions are merged by adding."""
    groups, redactions, hits = Counter[str](), Counter[str](), Counter[str]()
    chars, sizes, text_bytes = Counter[str](), Counter[str](), 0
    domains = Counter[str]()
    samples: dict[str, list[dict[str, Any]]] = {}
    page: dict[str, Any] | None = None
    for row in rows:
        reason = "" if row["step"] is None else f"{row['step']}:{row['rule']}"
        text = row["text"] or ""
        key = json.dumps([row["source"], row["licence"], row["language"], row["extractor"], reason], ensure_ascii=False)
        groups[key] += 1
        chars[key] += len(text)
        sizes[key] += row["page_bytes"] or 0
        if row["url"]:
            domains[json.dumps([domain_of(row["url"]), reason], ensure_ascii=False)] += 1
        if page is None and not reason and row["media_type"] == "text/html":
            page = {**{name: row[name] for name in _SHOWN}, "text": text[:_SAMPLE_CHARS]}
        if not reason:
            text_bytes += len(text.encode())
            redactions.update(dict(row["redactions"] or ()))
        elif row["hit"]:
            hits[json.dumps(json.loads(row["hit"])[:2], ensure_ascii=False)] += 1
        shown = samples.setdefault(reason, [])
        if len(shown) < _SAMPLES:
            shown.append({**{name: row[name] for name in _SHOWN}, "text": text[:_SAMPLE_CHARS]})
    return {
        "groups": dict(groups),
        "chars": dict(chars),
        "sizes": dict(sizes),
        "text_bytes": text_bytes,
        "domains": dict(domains),
        "redactions": dict(redactions),
        "hits": dict(hits),
        "samples": samples,
        "page": page,
    }


_SHOWN: Final = ("id", "source", "record", "url", "media_type", "detail", "survivor")


def domain_of(url: str) -> str:
    """The host of an address, lower-cased; as it stands if it has none.

    >>> domain_of("https://Example.org:80/a?b")
    'example.org'
    """
    host = url.partition("//")[2] or url
    return host.partition("/")[0].partition("?")[0].rpartition("@")[2].partition(":")[0].lower()
