"""Rows of JSON lines or Parquet, each a page by the name of a field."""

from __future__ import annotations

import codecs
import json
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Final

import pyarrow as pa
import pyarrow.parquet as pq

from groundup.base.errors import DataError
from groundup.stages.source.bounded import SMALL, BombError, DamageError
from groundup.stages.source.config import SourceFile
from groundup.stages.source.readers.author import clean_author
from groundup.stages.source.readers.reading import Page, Reading, iso_date, where
from groundup.stages.source.readers.text import HTML, MARKDOWN, PLAIN, decode, text_pages
from groundup.stages.source.unpack import Member, read_lines

MEDIA_TYPES: Final = {"text": PLAIN, "markdown": MARKDOWN, "html": HTML}
LONE_SURROGATE: Final = re.compile(r"[\ud800-\udfff]")
_AUTHORS: Final = ("author", "creator")
_PARQUET_ROWS: Final = 64
_BATCH_BYTES: Final = 1 << 30
"""Bytes that the rows of a Parquet file may take at a time, unless a single one takes more."""
_UNREADABLE: Final = (pa.ArrowInvalid, pa.ArrowNotImplementedError, pa.ArrowMemoryError, pa.ArrowCapacityError)
_PIECE: Final = 1 << 16
_BETWEEN: Final = " \t\r\n,"
_GAP: Final = re.compile(f"[{_BETWEEN}]*+")

Bad = Callable[[str, int, str], None]
"""Called with (reason, line number, message) for a line that is no JSON object."""


def read_jsonl(member: Member, reading: Reading) -> Iterator[Page]:
    """A page a line; a line that can't be read is counted, unless the reading is strict."""
    place = where(member, reading)

    def bad(reason: str, number: int, message: str) -> None:
        reading.refuse(reason, f"{member.name} line {number}", message)

    def large(number: int) -> None:
        reading.skip("too_large", f"{member.name} line {number}")

    rows = ((f"line {number}", row) for number, row in _json_rows(member, place, reading.max_size, large, bad))
    yield from row_pages(rows, place, reading)


def read_parquet(member: Member, reading: Reading) -> Iterator[Page]:
    """A page a row of a Parquet file, a few rows in memory at a time. DamageError if it can't be read."""
    place = where(member, reading)
    if member.place is None:
        message = f"{place}: a Parquet file must lie open, not in an archive or compressed; unpack it"
        reading.refuse("packed_parquet", member.name, message)
        return
    try:
        with pq.ParquetFile(member.stream) as file:
            wanted = _columns(file.schema_arrow, place, reading)
            number = 0
            for batch in _batches(file, wanted, place, reading):
                named = ((f"row {number + at}", row) for at, row in enumerate(_rows(batch), 1))
                yield from row_pages(named, place, reading)
                number += batch.num_rows
    except (*_UNREADABLE, OSError, EOFError) as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise
        what = "".join(str(error).splitlines()[:1])
        raise DamageError(place, f"is damaged or no Parquet file ({what}); fetch it again") from None


def _batches(file: Any, wanted: list[str], place: str, reading: Reading) -> Iterator[Any]:
    """Batches of a few rows: as many as may all be as long as their group is when unpacked, for a group that holds one
    long text in a dictionary may repeat it in every row.

    BombError for a group that unpacks further than a file may. How far that is its metadata say, and they may lie: a
    page of a file made so takes up to 2 GiB, which is what the format has room for.
    """
    starts = tuple(f"{name}." for name in wanted)
    for number in range(file.metadata.num_row_groups):
        group = file.metadata.row_group(number)
        chunks = [group.column(at) for at in range(group.num_columns)]
        chunks = [chunk for chunk in chunks if f"{chunk.path_in_schema}.".startswith(starts)]
        packed = sum(chunk.total_compressed_size for chunk in chunks)
        unpacked = sum(chunk.total_uncompressed_size for chunk in chunks)
        if unpacked > max(SMALL, reading.rules.max_ratio * packed):
            raise BombError(place, f"unpacks to more than {reading.rules.max_ratio:g} times its size; see max_ratio")
        rows = max(1, min(_PARQUET_ROWS, _BATCH_BYTES // max(1, unpacked)))
        yield from file.iter_batches(batch_size=rows, row_groups=[number], columns=wanted)


def _rows(batch: Any) -> Iterator[dict[str, Any]]:
    """The rows of a batch, one at a time."""
    for values in zip(*batch.columns, strict=True):
        yield {name: _value(value) for name, value in zip(batch.schema.names, values, strict=True)}


def _value(scalar: Any) -> Any:
    """A value as Python's: bytes where a text is not UTF-8, None for a date that Python can't hold."""
    try:
        return scalar.as_py()
    except UnicodeDecodeError:
        return scalar.as_buffer().to_pybytes() if hasattr(scalar, "as_buffer") else None
    except (ValueError, OverflowError, KeyError):  # the last: a time zone that nobody knows
        return None


def _columns(schema: Any, place: str, reading: Reading) -> list[str]:
    for name in (reading.file.text_field, reading.file.title_field, reading.file.author_field):
        if name and name not in schema.names:
            known = ", ".join(sorted(schema.names)) or "none"
            raise DataError(f"{place} lacks the field {name!r} (fields: {known})")
    wanted = columns_read(reading.file)
    return [name for name in schema.names if name in wanted]


def columns_read(file: SourceFile) -> set[str]:
    """The fields of a row that are looked at."""
    named = {file.text_field, file.title_field, file.author_field} - {None}
    return {"url", "date", "timestamp", *(() if file.author_field else _AUTHORS), *map(str, named)}


def row_pages(rows: Iterable[tuple[str, Mapping[str, Any]]], place: str, reading: Reading) -> Iterator[Page]:
    """The pages of (record, row) pairs."""
    media_type = MEDIA_TYPES[reading.file.rows]
    for record, row in rows:
        text = _text(record, row, place, reading)
        if text is None:
            continue
        title = _title(record, row, place, reading)
        url = row.get("url")
        date = next((found for name in ("date", "timestamp") if (found := _date(row.get(name)))), None)
        author = _author(record, row, place, reading)
        yield from text_pages(reading, title, url if isinstance(url, str) else None, text, media_type, date, author)


def _author(record: str, row: Mapping[str, Any], place: str, reading: Reading) -> str | None:
    """Who a row says wrote it; DataError if it lacks the field that was named before any page was found."""
    name = reading.file.author_field
    if name and name not in row and (reading.strict or not reading.found):
        known = ", ".join(sorted(row)) or "none"
        raise DataError(f"{place} {record} lacks the author field {name!r} (fields: {known})")
    names = (name,) if name else _AUTHORS
    return next((found for one in names if (found := clean_author(row.get(one)))), None)


def _date(value: object) -> str | None:
    stamp = getattr(value, "isoformat", None)
    return stamp() if callable(stamp) else iso_date(value)


def _text(record: str, row: Mapping[str, Any], place: str, reading: Reading) -> str | None:
    name = reading.file.text_field
    text = row.get(name)
    if isinstance(text, bytes):
        try:
            text = text.decode("utf-8")
        except UnicodeDecodeError:
            reading.refuse("not_utf8", record, f"{place} {record}: the text is not UTF-8")
            return None
    if not isinstance(text, str):
        known = ", ".join(sorted(row)) or "none"
        if name in row:
            reading.refuse("no_text", record, f"{place} {record} has no text in the field {name!r} (fields: {known})")
        else:
            reading.misnamed("no_text", record, f"{place} {record} lacks the field {name!r} (fields: {known})")
        return None
    if LONE_SURROGATE.search(text):
        message = f"{place} {record}: the text has a lone surrogate, which is not Unicode text"
        reading.refuse("lone_surrogate", record, message)
        return None
    if not text.strip():
        reading.skip("empty", record)
        return None
    if len(text) * 4 > reading.max_size and len(text.encode()) > reading.max_size:
        reading.skip("too_large", record)
        return None
    return text


def _title(record: str, row: Mapping[str, Any], place: str, reading: Reading) -> str:
    name = reading.file.title_field
    if not name:
        return record
    title = row.get(name)
    if isinstance(title, str) and not LONE_SURROGATE.search(title):
        return title
    if reading.strict or not reading.found:
        raise DataError(f"{place} {record} lacks the title field {name!r}")
    return record


def json_rows(member: Member, place: str, max_size: int, skipped: Counter[str]) -> Iterator[tuple[int, dict[str, Any]]]:
    """(line number, row) for each JSON object; DataError that names line and byte for anything else."""

    def large(number: int) -> None:
        skipped["too_large"] += 1

    def bad(reason: str, number: int, message: str) -> None:
        raise DataError(message)

    yield from _json_rows(member, place, max_size, large, bad)


def _json_rows(
    member: Member, place: str, max_size: int, large: Callable[[int], None], bad: Bad
) -> Iterator[tuple[int, dict[str, Any]]]:
    for number, offset, line in read_lines(member.stream, max_size):
        if line is None:
            large(number)
            continue
        try:
            text = decode(line, f"{place} line {number}", offset)
        except DataError as error:
            bad("not_utf8", number, str(error))
            continue
        if not text.strip():
            continue
        try:
            row = json.loads(text)
        except ValueError as error:
            bad("bad_json", number, f"{place} line {number} is not valid JSON ({error})")
        except RecursionError:
            bad("too_deep", number, f"{place} line {number} is nested too deeply")
        else:
            if isinstance(row, dict):
                yield number, row
            else:
                bad("no_object", number, f"{place} line {number} is a {type(row).__name__}, expected a JSON object")


def json_objects(member: Member, reading: Reading) -> Iterator[tuple[str, dict[str, Any]]]:
    """(record, object) for each object of JSON lines, or of one JSON list, of which one item is in memory at a time."""
    prefix = "" if member.lone else f"{member.name} "
    if member.stream.peek(64).lstrip()[:1] != b"[":
        place = where(member, reading)

        def bad(reason: str, number: int, message: str) -> None:
            reading.refuse(reason, f"{prefix}line {number}", message)

        def large(number: int) -> None:
            reading.skip("too_large", f"{prefix}line {number}")

        for number, row in _json_rows(member, place, reading.max_size, large, bad):
            yield f"{prefix}line {number}", row
        return
    for number, item in enumerate(_json_list(member, reading), 1):
        record = f"{prefix}item {number}"
        if isinstance(item, dict):
            yield record, item
        else:
            reading.refuse("no_object", record, f"{where(member, reading)} {record} is a {type(item).__name__}")


def _start(held: str, at: int) -> int:
    """Where the next item begins, from ``at`` on."""
    gap = _GAP.match(held, at)
    return gap.end() if gap else at


def _json_list(member: Member, reading: Reading) -> Iterator[Any]:
    """The items of a JSON list. DamageError at the first that is no JSON, as nobody knows where the next one starts."""
    reader = codecs.getreader("utf-8-sig")(member.stream)
    parser = json.JSONDecoder()
    held, at, started, number = "", 0, False, 0
    place = where(member, reading)
    try:
        while piece := reader.read(_PIECE):
            held, at = held[at:] + piece, 0
            if not started:
                held = held.lstrip(_BETWEEN + "[")
                started = True
            while (at := _start(held, at)) < len(held) and held[at] != "]":
                try:
                    item, at = parser.raw_decode(held, at)
                except json.JSONDecodeError:
                    if len(held) - at > reading.max_size:
                        raise DamageError(place, f"can't be read after item {number}: bad JSON, or too long") from None
                    break
                number += 1
                yield item
            if held.startswith("]", at):
                held, at = held[at:].rstrip(), 0
                if held != "]":
                    break
    except UnicodeDecodeError:
        raise DamageError(place, f"is not UTF-8 after item {number}") from None
    except RecursionError:
        raise DamageError(place, f"is nested too deeply after item {number}") from None
    if held[at:].strip() != "]":
        raise DamageError(place, f"is damaged or cut off after item {number}; fetch it again")
