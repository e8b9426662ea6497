"""Work units of tables: ranges of row groups, cut by the amount of data in them and never by the number of workers."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from groundup.base.errors import DataError


@dataclass(frozen=True)
class Unit:
    """Row groups ``first`` to ``last`` (exclusive) of a table whose file has this hash."""

    path: Path
    sha256: str
    first: int
    last: int
    rows: int
    size: int
    """Bytes of the rows, uncompressed."""

    @property
    def identity(self) -> dict[str, str | int]:
        """What names the unit wherever its file lies."""
        return {"sha256": self.sha256, "first": self.first, "last": self.last}


def cut(tables: Sequence[tuple[Path, str]], target: int) -> list[Unit]:
    """The units of tables, given as (path, SHA-256): about ``target`` bytes each, ordered by hash and place.

    A table that is there twice counts twice: its rows are duplicates, which the reader has to tell.
    """
    units: list[Unit] = []
    for path, sha256 in sorted(tables, key=lambda table: (table[1], str(table[0]))):
        try:
            metadata = pq.read_metadata(path)
        except (pa.ArrowInvalid, OSError) as error:
            raise DataError(f"{path.name} is not a readable Parquet file ({str(error).splitlines()[0]})") from None
        groups = [metadata.row_group(number) for number in range(metadata.num_row_groups)]
        first = rows = size = 0
        for number, group in enumerate(groups, 1):
            rows += group.num_rows
            size += group.total_byte_size
            if size >= target or number == len(groups):
                units.append(Unit(path, sha256, first, number, rows, size))
                first, rows, size = number, 0, 0
    return units


def read(unit: Unit, columns: Sequence[str] | None = None, batch_bytes: int = 4 << 20) -> Iterator[pa.RecordBatch]:
    """The rows of a unit in order, in batches of about ``batch_bytes``; DataError if the file is damaged."""
    try:
        with pq.ParquetFile(unit.path) as file:
            for group in range(unit.first, unit.last):
                size = max(1, file.metadata.row_group(group).total_byte_size)
                rows = file.metadata.row_group(group).num_rows
                each = max(1, rows * batch_bytes // size)
                for batch in file.read_row_group(group, columns=list(columns) if columns else None).to_batches():
                    for start in range(0, batch.num_rows, each):
                        yield batch.slice(start, each)
    except (pa.ArrowInvalid, OSError) as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise
        raise DataError(f"{unit.path.name} is not a readable Parquet file ({str(error).splitlines()[0]})") from None
