"""What a token store says of its documents: rows of ``documents.parquet``, picked by number."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from groundup.base.errors import ArtifactError

DOCUMENTS: Final = "documents.parquet"
ABOUT: Final = ("id", "source", "url", "licence")


def described(folder: Path, documents: Sequence[int], columns: Sequence[str] = ABOUT) -> dict[int, dict[str, Any]]:
    """The ``columns`` of documents of the training split, which are the first rows of the table, by their number.

    Only the row groups that hold them are read. ArtifactError if the table is damaged, or has fewer rows.
    """
    found: dict[int, dict[str, Any]] = {}
    wanted, first = np.asarray(sorted(set(documents)), np.int64), 0
    try:
        with pq.ParquetFile(folder / DOCUMENTS) as file:
            for group in range(file.num_row_groups):
                end = first + file.metadata.row_group(group).num_rows
                here = wanted[(wanted >= first) & (wanted < end)]
                if len(here):
                    rows = file.read_row_group(group, columns=list(columns)).take(here - first).to_pylist()
                    found |= dict(zip(here.tolist(), rows, strict=True))
                first = end
    except (pa.ArrowInvalid, KeyError, FileNotFoundError) as error:
        why = str(error).splitlines()[0]
        raise ArtifactError(f"{folder / DOCUMENTS} can't be read ({why}); make the token store again") from None
    if len(found) != len(wanted):
        raise ArtifactError(f"{folder / DOCUMENTS} lacks documents of the store: make the token store again")
    return found
