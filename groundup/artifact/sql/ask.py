"""Ask an artifact and all that it was made from, in SQL, with DuckDB in this process.

Nothing can be written and nothing else can be read: only SELECT is carried out, on the files of the views, without the
network, without extensions, and with settings that no query can change. Memory is bounded; what doesn't fit goes to a
folder that is deleted at the end.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

from groundup.artifact.ledger import check
from groundup.artifact.lineage import trace
from groundup.artifact.record import Record
from groundup.artifact.sql import plain
from groundup.artifact.sql.files import folder_of
from groundup.artifact.sql.views import views
from groundup.artifact.store import Store
from groundup.base.errors import ArtifactError, RequestError, ResourceError, missing_extra

MEMORY: Final = "1280MiB"
"""What DuckDB counts itself; the process stays within 2 GiB with it (``benchmarks/ledger.py``)."""
THREADS: Final = 2

_ROWS: Final = 1024
_SETTINGS: Final[dict[str, Any]] = {
    "memory_limit": MEMORY,
    "threads": THREADS,
    "autoinstall_known_extensions": False,
    "autoload_known_extensions": False,
    "python_enable_replacements": False,  # else the name of a variable of this program would be a table
    "preserve_insertion_order": False,
}
_LONGEST_ERROR: Final = 300


@dataclass(frozen=True)
class Answer:
    """The columns of an answer and its rows, which are fetched as they are asked for."""

    columns: tuple[str, ...]
    rows: Iterator[tuple[Any, ...]]

    def as_dicts(self) -> Iterator[dict[str, Any]]:
        """The rows by name of column."""
        return (dict(zip(self.columns, row, strict=True)) for row in self.rows)


class Ledger:
    """The views over some artifacts, open. Close it, or use it in a ``with``."""

    def __init__(self, connection: Any, spill: Path, library: Any) -> None:
        self._connection = connection
        self._spill = spill
        self._library = library

    def ask(self, query: str, values: Sequence[Any] = ()) -> Answer:
        """The answer to one SELECT, whose ``?`` are ``values``; RequestError of one line for anything else."""
        try:
            statements = self._connection.extract_statements(query)
            if len(statements) != 1 or statements[0].type != self._library.StatementType.SELECT:
                raise RequestError("a question is one SELECT: nothing can be changed, no other file read or written")
            asked = self._connection.cursor().execute(query, list(values))  # so that several answers can be open
            columns = tuple(column[0] for column in asked.description)
        except self._library.Error as error:
            raise self._told(error) from None
        return Answer(columns, self._rows(asked))

    def _rows(self, asked: Any) -> Iterator[tuple[Any, ...]]:
        try:
            while rows := asked.fetchmany(_ROWS):
                yield from rows
        except self._library.Error as error:
            raise self._told(error) from None

    def _told(self, error: Exception) -> Exception:
        """An error of DuckDB in one line: what is wrong, without the query again."""
        text = str(error).partition("\nLINE ")[0]
        line = " ".join(text.split())[:_LONGEST_ERROR]
        if isinstance(error, self._library.OutOfMemoryException):
            return ResourceError(f"the question takes more than {MEMORY} of memory, or more disk than there is: {line}")
        if isinstance(error, self._library.IOException):
            return ArtifactError(f"a file of the ledger can't be read: {line}")
        return RequestError(f"SQL: {line}")

    def close(self) -> None:
        """Let the files go and delete what was put on disk."""
        self._connection.close()
        shutil.rmtree(self._spill, ignore_errors=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace_: TracebackType | None
    ) -> None:
        self.close()


def lineage_records(store: Store, record: Record | None) -> list[Record]:
    """The records of an artifact and all that it was made from, or of everything in the workspace."""
    if record is None:
        return [artifact.record for artifact in store.all()]
    return [branch.record for branch in trace(store, record).walk()]


def open_ledger(store: Store, record: Record | None = None, *, verify: bool = True) -> Ledger:
    """Open the views over an artifact and all that it was made from; over the whole workspace for None.

    What models read is there once :func:`groundup.readings.keep_reads` has made it. ArtifactError if the ledger of one
    of the corpora disagrees with it, which ``verify`` looks for by all ids, or an ancestor is gone.
    """
    try:
        import duckdb
    except ImportError:
        raise missing_extra("duckdb", "rights") from None
    records = lineage_records(store, record)
    for one in records:
        if verify and one.kind == "corpus":
            check(folder_of(store, one), one.name)
    made = views(store, records)
    spill = Path(tempfile.mkdtemp(prefix="groundup-ledger-"))
    connection = duckdb.connect(":memory:", config=_SETTINGS)
    try:
        connection.execute("SET temp_directory = ?", [str(spill)])
        _create_tables(connection, store, records)
        for name, query in made.sql.items():
            connection.execute(f"CREATE VIEW {name} AS {query}")
        connection.execute("SET allowed_paths = ?", [[str(path.absolute()) for path in made.files]])
        connection.execute("SET enable_external_access = false")
        connection.execute("SET lock_configuration = true")
    except duckdb.Error as error:
        connection.close()
        shutil.rmtree(spill, ignore_errors=True)
        raise ArtifactError(f"the ledger can't be opened: {' '.join(str(error).split())[:_LONGEST_ERROR]}") from None
    return Ledger(connection, spill, duckdb)


def _create_tables(connection: Any, store: Store, records: Sequence[Record]) -> None:
    tables = {
        "artifacts": plain.artifacts(records),
        "lineage": plain.lineage(records),
        "terms": plain.terms(records),
        "rule_order": plain.rules(records),
        "withdrawals": plain.withdrawals(store.workspace),
    }
    for name, table in tables.items():
        connection.register(f"arrow_{name}", table)
        connection.execute(f"CREATE TABLE {name} AS SELECT * FROM arrow_{name}")
        connection.unregister(f"arrow_{name}")
