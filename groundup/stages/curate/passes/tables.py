"""The schemas of tables between passes, and tables brought into them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import pyarrow as pa


def table_schema(columns: Iterable[tuple[str, Any]]) -> pa.Schema:
    """A schema of nullable columns."""
    return pa.schema([pa.field(name, kind) for name, kind in columns])


def names_and_types(schema: pa.Schema) -> list[tuple[str, Any]]:
    """What :func:`table_schema` made a schema of."""
    return [(field.name, field.type) for field in schema]


def conform(batch: pa.RecordBatch | pa.Table, schema: pa.Schema) -> pa.Table:
    """The columns of a schema in its order and types; null where the batch has none."""
    there = set(batch.schema.names)
    columns: Sequence[Any] = [
        batch.column(field.name).cast(field.type) if field.name in there else pa.nulls(batch.num_rows, field.type)
        for field in schema
    ]
    return pa.table(dict(zip(schema.names, columns, strict=True)), schema=schema)
