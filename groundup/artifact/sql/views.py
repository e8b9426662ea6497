"""The views over Parquet files: documents, tokens, reads, signals, and the verdict of each rule on each document."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import pyarrow as pa

from groundup.artifact.ledger import LEDGER
from groundup.artifact.record import Record
from groundup.artifact.sql.files import (
    columns_of,
    folder_of,
    parquet_files,
    quoted,
    reads_folder,
    scan,
    schema,
    selected,
    short,
    sql_type,
)
from groundup.artifact.store import Store

_S: Final = pa.string()
_N: Final = pa.int64()

SIGNALS: Final = schema(
    [("url", _S), ("at", _S), ("decision", _S), ("protocol", _S), ("place", _S), ("verdict", _S), ("value", _S),
     ("decided", pa.bool_()), ("document", _S), ("evidence", pa.binary())]
)  # fmt: skip
"""What :mod:`groundup.rights.signals` writes beside pages; ``document`` is where the evidence stands."""

_RANGES: Final = schema(
    [("id", _S), ("split", _S), ("copy", pa.int32()), ("source", _S), ("licence", _S), ("url", _S), ("bytes", _N)]
)

_EMPTY: Final = {
    "documents": [("corpus", "VARCHAR"), ("digest", "VARCHAR"), *((one.name, sql_type(one.type)) for one in LEDGER)],
    "tokens": [
        ("store", "VARCHAR"), ("digest", "VARCHAR"), *((one.name, sql_type(one.type)) for one in _RANGES),
        ("place", "BIGINT"), ("first", "BIGINT"), ("last", "BIGINT"), ("tokens", "BIGINT"), ("shard", "VARCHAR"),
    ],
    "reads": [
        ("model", "VARCHAR"), ("digest", "VARCHAR"), ("store", "VARCHAR"), ("place", "BIGINT"),
        ("document", "VARCHAR"), ("source", "VARCHAR"), ("licence", "VARCHAR"), ("epoch", "INTEGER"),
        ("step", "BIGINT"), ("tokens", "INTEGER"),
    ],
    "signals": [("pages", "VARCHAR"), ("digest", "VARCHAR"), *((one.name, sql_type(one.type)) for one in SIGNALS)],
}  # fmt: skip

RULES_VIEW: Final = """
SELECT d.corpus, d.digest, d.id AS document, r.place, r.step,
       CASE WHEN f.place = r.place THEN d.rule ELSE r.rule END AS rule,
       CASE WHEN f.place = r.place THEN 'failed' ELSE 'passed' END AS verdict,
       CASE WHEN f.place = r.place THEN d.detail END AS detail,
       CASE WHEN f.place = r.place THEN d.survivor END AS survivor
FROM documents d
JOIN rule_order r ON r.digest = d.digest
LEFT JOIN (SELECT a.digest, a.place, a.step, b.rule
           FROM rule_order a JOIN (SELECT DISTINCT digest, step, rule FROM documents WHERE step IS NOT NULL) b
           ON a.digest = b.digest AND a.step = b.step AND (a.rule IS NULL OR a.rule = b.rule)) f
    ON f.digest = d.digest AND f.step = d.step AND f.rule = d.rule
WHERE (d.step IS NULL OR r.place <= f.place)
  AND (r.of = 'all' OR (r.of = 'code') = (coalesce(d.language, '') = 'zxx_Zxxx'))
UNION ALL
SELECT d.corpus, d.digest, d.id, NULL, d.step, d.rule, 'failed', d.detail, d.survivor
FROM documents d
WHERE d.step IS NOT NULL AND NOT EXISTS (
    SELECT 1 FROM rule_order r
    WHERE r.digest = d.digest AND r.step = d.step AND (r.rule IS NULL OR r.rule = d.rule)
      AND (r.of = 'all' OR (r.of = 'code') = (coalesce(d.language, '') = 'zxx_Zxxx')))
"""
"""A document passed all rules before the one that it failed, and met none behind it; one that was kept passed all. A
step about prose meets no source code, which curation knows by its language, and the step about code no prose. Where a
record doesn't tell the order of its rules, or tells of no such rule, the failure alone is known."""


@dataclass
class Views:
    """The SQL of each view, and the files that all of them read."""

    sql: dict[str, str] = field(default_factory=dict)
    files: list[Path] = field(default_factory=list)


def views(store: Store, records: Sequence[Record]) -> Views:
    """The views over the artifacts with these records."""
    made = Views()
    parts = {
        "documents": _shards(store, records, made.files, "corpus", "ledger", LEDGER),
        "tokens": _tokens(store, records, made.files),
        "reads": _reads(store, records, made.files),
        "signals": _shards(store, records, made.files, "pages", "signals", SIGNALS),
    }
    for name, part in parts.items():
        nothing = ", ".join(f'CAST(NULL AS {kind}) AS "{column}"' for column, kind in _EMPTY[name])
        made.sql[name] = "\nUNION ALL\n".join(part) or f"SELECT {nothing} WHERE false"
    made.sql["rules"] = RULES_VIEW
    return made


def _named(record: Record, name: str) -> str:
    return f"SELECT {quoted(record.name)} AS {name}, {quoted(short(record.digest))} AS digest"


def _table(folder: Path, schema: pa.Schema, files: list[Path]) -> tuple[list[Path], str]:
    """The shards of a table and the columns to select; none if it isn't there."""
    found = parquet_files(folder)
    files += found
    return found, selected(schema, columns_of(found[0])) if found else ""


def _shards(
    store: Store, records: Sequence[Record], files: list[Path], kind: str, table: str, schema: pa.Schema
) -> list[str]:
    """A part for each artifact of a kind that has the table: its rows, and in a column called ``kind`` its name."""
    parts = []
    for record in records:
        if record.kind == kind:
            found, columns = _table(folder_of(store, record) / table, schema, files)
            parts += [f"{_named(record, kind)}, {columns} FROM {scan(found)}"] if found else []
    return parts


def _tokens(store: Store, records: Sequence[Record], files: list[Path]) -> list[str]:
    parts = []
    for record, path in _ranges(store, records):
        files.append(path)
        columns = selected(_RANGES, columns_of(path))
        parts.append(
            f'{_named(record, "store")}, {columns}, file_row_number AS place, "start" AS "first", '
            f'"end" - 1 AS "last", "end" - "start" AS tokens, split || \'.bin\' AS shard '
            f"FROM {scan([path], numbered=True)}"
        )
    return parts


def _ranges(store: Store, records: Sequence[Record]) -> Iterator[tuple[Record, Path]]:
    for record in records:
        path = folder_of(store, record) / "documents.parquet"
        if record.kind == "tokens" and path.is_file():
            yield record, path


def _reads(store: Store, records: Sequence[Record], files: list[Path]) -> list[str]:
    """For each model and each of its stores: numbers from the file of reads, names from the store."""
    ranges = {record.digest: (record, path) for record, path in _ranges(store, records)}
    parts = []
    for record in records:
        found = parquet_files(reads_folder(store, record))
        files += found
        for link in record.inputs.get("tokens", ()) if found else ():
            if link.digest not in ranges:
                continue
            tokens, path = ranges[link.digest]
            parts.append(
                f"{_named(record, 'model')}, {quoted(tokens.name)} AS store, r.place, t.id AS document, t.source, "
                f"t.licence, r.epoch, r.step, r.tokens FROM {scan(found)} r JOIN {scan([path], numbered=True)} t "
                f"ON t.file_row_number = r.place WHERE r.store = {quoted(short(tokens.digest))}"
            )
    return parts


def described() -> dict[str, Sequence[tuple[str, Any]]]:
    """The columns of the views over files, for those who write about them."""
    return dict(_EMPTY)
