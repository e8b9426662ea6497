"""What most people ask of a ledger first: documents by source, licence and verdict, their tokens, and who read them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from groundup.artifact.present import clean
from groundup.artifact.sql.ask import Ledger

_QUESTIONS: Final = {
    "documents": """
        SELECT * FROM (SELECT corpus, source, licence, coalesce(step, 'kept') AS verdict, count(*) AS documents
                       FROM documents GROUP BY ALL)
        ORDER BY corpus, source, licence, verdict <> 'kept', documents DESC, verdict""",
    "tokens": """
        SELECT store, source, licence, split, count(*) AS documents, sum(tokens)::BIGINT AS tokens
        FROM tokens GROUP BY ALL ORDER BY store, source, licence, split DESC""",
    "reads": """
        SELECT model, source, licence, count(DISTINCT place) AS documents, count(DISTINCT step) AS steps,
               sum(tokens)::BIGINT AS tokens
        FROM reads GROUP BY ALL ORDER BY model, source, licence""",
    "withdrawals": "SELECT kind, count(*) AS entries FROM withdrawals GROUP BY ALL ORDER BY kind",
}
_TITLES: Final = {
    "documents": "documents, by what became of them",
    "tokens": "tokens in stores",
    "reads": "what models read, over all their epochs",
    "withdrawals": "entries in the register of withdrawals",
}


def summary(ledger: Ledger) -> dict[str, list[dict[str, Any]]]:
    """The four tables, each a list of rows; empty where there is nothing of the kind."""
    return {name: list(ledger.ask(question).as_dicts()) for name, question in _QUESTIONS.items()}


def lines(found: dict[str, list[dict[str, Any]]]) -> Iterator[str]:
    """For people: the tables that hold something."""
    for name, rows in found.items():
        if rows:
            yield _TITLES[name]
            yield from (f"  {line}" for line in aligned(list(rows[0]), [list(row.values()) for row in rows]))
            yield ""


def aligned(columns: list[str], rows: list[list[Any]]) -> Iterator[str]:
    """A table in plain text: numbers to the right, and what a terminal would obey made visible."""
    numbers = [bool(rows) and all(isinstance(row[at], int | float) for row in rows) for at in range(len(columns))]
    table = [columns, *([shown(value) for value in row] for row in rows)]
    widths = [max(len(row[at]) for row in table) for at in range(len(columns))]
    for row in table:
        cells = zip(row, widths, numbers, strict=True)
        yield "  ".join(cell.rjust(width) if right else cell.ljust(width) for cell, width, right in cells).rstrip()


def shown(value: Any) -> str:
    """A value in a cell of a table."""
    if value is None:
        return "-"
    if isinstance(value, int) and not isinstance(value, bool):
        return f"{value:,}"
    return clean(f"{value:g}" if isinstance(value, float) else str(value)).replace("\n", "␊")
