"""The verb ``ledger``: whose text is in an artifact, under which terms, and what became of it, asked in SQL."""

from __future__ import annotations

import csv
import json
import math
import re
import sys
from collections.abc import Iterator, Sequence
from itertools import chain, islice
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from groundup.base.errors import RequestError
from groundup.verbs.options import JsonOption, WorkspaceOption, open_store

if TYPE_CHECKING:
    from groundup.artifact.record import Record
    from groundup.artifact.sql.ask import Answer
    from groundup.artifact.store import Store

EXAMPLES: Final = (
    'Which licences are in this model?  groundup ledger base --sql "SELECT licence, sum(tokens) FROM reads GROUP BY ALL'
    '"   ·   Which models saw this site?  groundup ledger --sql "SELECT DISTINCT r.model FROM reads r JOIN documents d '
    "ON d.id = r.document WHERE d.url LIKE 'https://example.org/%'\"   ·   Why was this page dropped?  groundup ledger "
    "corpus --sql \"SELECT step, rule, detail FROM documents WHERE record = 'index.html'\""
)
_READS: Final = re.compile(r"\breads\b", re.I)
_MEASURED: Final = 200
"""Rows that are looked at for the width of columns; the others are printed as they come."""
_WIDEST: Final = 80


def ledger(
    reference: Annotated[
        str | None,
        typer.Argument(help="An artifact, with all that it was made from; everything in the workspace if not given."),
    ] = None,
    sql: Annotated[
        str | None,
        typer.Option(help="One SELECT over documents, terms, signals, tokens, reads, rules, artifacts, lineage, …"),
    ] = None,
    workspace: WorkspaceOption = None,
    as_json: JsonOption = False,
    as_csv: Annotated[bool, typer.Option("--csv", help="Print comma-separated values.")] = False,
) -> None:
    """Ask what an artifact was made from: a summary, or any question in SQL over documents, terms, tokens and steps.

    'DESCRIBE documents' tells the columns of a view, 'SHOW TABLES' the views. Nothing can be changed.
    """
    from groundup.artifact.sql.ask import lineage_records, open_ledger
    from groundup.artifact.sql.summary import lines, summary

    if as_json and as_csv:
        raise RequestError("give --json or --csv, not both")
    if as_csv and sql is None:
        raise RequestError("--csv goes with --sql: the summary is several tables")
    store = open_store(workspace)
    record = None if reference is None else store.find(reference, verify=False).record
    if sql is None or _READS.search(sql):
        _make_reads(store, lineage_records(store, record))
    with open_ledger(store, record) as opened:
        if sql is not None:
            _print(opened.ask(sql), as_json=as_json, as_csv=as_csv)
            return
        found = summary(opened)
    if as_json:
        print(json.dumps(found, indent=2, ensure_ascii=False))
    else:
        print("\n".join(lines(found)).rstrip() or f"nothing to tell of: {store.workspace} holds no documents")


def _make_reads(store: Store, records: Sequence[Record]) -> None:
    """What the models among them read, where it isn't known yet; a line for those of which it can't be told."""
    from groundup.artifact.sql.files import reads_folder
    from groundup.base.errors import GroundupError
    from groundup.base.progress import Progress

    for record in records:
        if record.stage != "pretrain" or record.kind != "model" or reads_folder(store, record).is_dir():
            continue
        from groundup.readings import Trained, keep_reads  # brings torch

        progress = Progress()
        try:
            keep_reads(store, Trained.find(store, store.open(record.digest, verify=False)), progress)
        except GroundupError as error:
            progress.note(f"reads of {record.name}: {error}")


def _print(answer: Answer, *, as_json: bool, as_csv: bool) -> None:
    if as_json:
        _print_json(answer.as_dicts())
    elif as_csv:
        writer = csv.writer(sys.stdout, lineterminator="\n")
        writer.writerow(answer.columns)
        writer.writerows([_plain(value) for value in row] for row in answer.rows)
    else:
        _print_table(answer)


def _print_json(rows: Iterator[dict[str, Any]]) -> None:
    """A list with a row a line, as they come: an answer may be longer than the memory."""
    first = next(rows, None)
    print("[" if first is not None else "[]")
    last = None
    for row in chain([] if first is None else [first], rows):
        if last is not None:
            print(f"{last},")
        last = json.dumps({name: _plain(value) for name, value in row.items()}, ensure_ascii=False)
    if last is not None:
        print(f"{last}\n]")


def _print_table(answer: Answer) -> None:
    from groundup.artifact.sql.summary import shown

    first = [[shown(value) for value in row] for row in islice(answer.rows, _MEASURED)]
    widths = [min(_WIDEST, max(len(cell) for cell in column)) for column in zip(answer.columns, *first, strict=True)]
    for row in chain([list(answer.columns)], first, ([shown(value) for value in row] for row in answer.rows)):
        cells = (cell if len(cell) <= _WIDEST else f"{cell[: _WIDEST - 1]}…" for cell in row)
        print("  ".join(cell.ljust(width) for cell, width in zip(cells, widths, strict=True)).rstrip())


def _plain(value: Any) -> Any:
    """A value as JSON has it: numbers, texts, lists; bytes as text where they are, dates as ISO 8601."""
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, bytes):
        return value.decode("utf-8", "backslashreplace")
    if isinstance(value, dict):
        return {str(key): _plain(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(one) for one in value]
    iso = getattr(value, "isoformat", None)
    return iso() if callable(iso) else float(value) if type(value).__name__ == "Decimal" else str(value)
