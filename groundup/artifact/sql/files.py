"""What lies where in Parquet, and how DuckDB is told to read it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import pyarrow as pa
import pyarrow.parquet as pq

from groundup.artifact.record import Record
from groundup.artifact.store import Store
from groundup.base.errors import ArtifactError

_READ_COLUMNS: Final[list[pa.Field[Any]]] = [
    pa.field("store", pa.string(), nullable=False),
    pa.field("place", pa.int64(), nullable=False),
    pa.field("epoch", pa.int32(), nullable=False),
    pa.field("step", pa.int64(), nullable=False),
    pa.field("tokens", pa.int32(), nullable=False),
]
READS: Final = pa.schema(_READ_COLUMNS)
"""What each step of a model read, ordered by step. ``store`` is the start of a token store's digest and ``place`` the
row of its ``documents.parquet``: numbers are a fifth of the ids, and the store says what they mean."""


def schema(columns: Sequence[tuple[str, Any]]) -> pa.Schema:
    """A schema of columns that may be null."""
    return pa.schema([pa.field(name, kind) for name, kind in columns])


def short(digest: str) -> str:
    """How the views name an artifact: as its folder is called."""
    return digest[:16]


def folder_of(store: Store, record: Record) -> Path:
    """Where an artifact lies."""
    return store.artifacts / short(record.digest)


def reads_folder(store: Store, record: Record) -> Path:
    """Where what a model's steps read is kept once somebody has asked for it."""
    return store.workspace / "indexes" / short(record.digest) / "reads"


def parquet_files(folder: Path) -> list[Path]:
    """The shards of a table, in order; none if there is no such table."""
    return sorted(folder.glob("*.parquet"), key=lambda path: (len(path.name), path.name))


def columns_of(path: Path) -> list[str]:
    """The names of a file's columns; ArtifactError if it is no Parquet file."""
    try:
        return list(pq.read_schema(path).names)
    except (pa.ArrowInvalid, OSError) as error:
        raise ArtifactError(f"{path} is damaged ({str(error).splitlines()[0]}): make the artifact again") from None


def quoted(text: str) -> str:
    """A string in SQL.

    >>> quoted("it's")
    "'it''s'"
    """
    return "'" + text.replace("'", "''") + "'"


def scan(paths: Sequence[Path], numbered: bool = False) -> str:
    """The rows of some files in SQL; ``numbered`` adds ``file_row_number``, from 0 in each file."""
    listed = ", ".join(quoted(str(path.absolute())) for path in paths)
    return f"read_parquet([{listed}]{', file_row_number = true' if numbered else ''})"


def sql_type(kind: Any) -> str:
    """DuckDB's name of an Arrow type, of those that our tables have.

    >>> sql_type(pa.map_(pa.string(), pa.int32()))
    'MAP(VARCHAR, INTEGER)'
    """
    if pa.types.is_map(kind):
        return f"MAP({sql_type(kind.key_type)}, {sql_type(kind.item_type)})"
    if pa.types.is_list(kind):
        return f"{sql_type(kind.value_type)}[]"
    return _TYPES[kind]


_TYPES: Final[Mapping[Any, str]] = {
    pa.string(): "VARCHAR",
    pa.int32(): "INTEGER",
    pa.int64(): "BIGINT",
    pa.float32(): "FLOAT",
    pa.float64(): "DOUBLE",
    pa.bool_(): "BOOLEAN",
    pa.binary(): "BLOB",
}


def selected(wanted: pa.Schema, there: Sequence[str]) -> str:
    """The columns of a schema in its types, for SELECT; those that an older file lacks are null."""
    return ", ".join(
        f"CAST({_name(field.name) if field.name in there else 'NULL'} AS {sql_type(field.type)}) AS {_name(field.name)}"
        for field in wanted
    )


def _name(column: str) -> str:
    return f'"{column}"'
