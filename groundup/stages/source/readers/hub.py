"""Data sets of the Hugging Face hub, or laid out as there in a local folder, row by row and never whole."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import Any

from groundup.base.errors import DataError, missing_extra
from groundup.stages.source.readers.reading import Page, Reading
from groundup.stages.source.readers.rows import columns_read, row_pages


def read_hub(reading: Reading) -> Iterator[Page]:
    """The rows of one split. DataError of one line if there is no such data set, or no hub to be reached."""
    try:
        import datasets
    except ImportError:
        raise missing_extra("datasets", "huggingface") from None
    # Its client announces each attempt to reach the hub; whether it was reached is told in one line below.
    logging.getLogger("huggingface_hub").setLevel(logging.ERROR)
    file = reading.file
    place = f"hf://{file.dataset}"
    rows = _explained(_rows(datasets, reading), place)
    yield from row_pages(((f"row {number}", row) for number, row in enumerate(rows, 1)), place, reading)


def _rows(datasets: Any, reading: Reading) -> Iterator[Any]:
    file = reading.file
    found = datasets.load_dataset(file.dataset, file.subset, split=file.split, revision=file.revision, streaming=True)
    names = found.column_names
    if names:
        wanted = columns_read(file)
        if file.text_field not in names:
            known = ", ".join(sorted(names))
            raise DataError(f"hf://{file.dataset} lacks the field {file.text_field!r} (fields: {known})")
        found = found.select_columns([name for name in names if name in wanted])
    yield from found


def _explained(rows: Iterator[Any], place: str) -> Iterator[Any]:
    try:
        yield from rows
    except DataError:
        raise
    except Exception as error:  # the hub's client raises errors of its own, of its HTTP client and of its parsers
        what = "".join(str(error).splitlines()[:1])[:200]
        raise DataError(f"{place} can't be read ({type(error).__name__}: {what})") from None
