"""Pages out of a source: which reader reads which file, and that no two pages have the same name and content."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import PurePath
from typing import Final

from groundup.base.errors import DataError
from groundup.stages.source.bounded import DamageError
from groundup.stages.source.config import SourceFile
from groundup.stages.source.places import Place
from groundup.stages.source.readers.arc import read_arc
from groundup.stages.source.readers.code import read_code
from groundup.stages.source.readers.forum import read_stackexchange, read_threads
from groundup.stages.source.readers.hub import read_hub
from groundup.stages.source.readers.mail import read_mbox, read_message
from groundup.stages.source.readers.pdf import read_pdf
from groundup.stages.source.readers.reading import Page, Reader, Reading
from groundup.stages.source.readers.rows import read_jsonl, read_parquet
from groundup.stages.source.readers.seen import Seen
from groundup.stages.source.readers.text import read_html, read_markdown, read_text
from groundup.stages.source.readers.warc import read_warc
from groundup.stages.source.readers.wikipedia import read_wikipedia
from groundup.stages.source.unpack import Member, unpack
from groundup.text.document import document_id

_ENDINGS: Final = {
    ".html": "html",
    ".htm": "html",
    ".xhtml": "html",
    ".txt": "text",
    ".text": "text",
    ".md": "markdown",
    ".markdown": "markdown",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".parquet": "parquet",
    ".warc": "warc",
    ".wet": "warc",
    ".wat": "warc",
    ".arc": "arc",
    ".mbox": "mbox",
    ".eml": "maildir",
    ".pdf": "pdf",
}
_READERS: Final[dict[str, Reader]] = {
    "html": read_html,
    "text": read_text,
    "markdown": read_markdown,
    "jsonl": read_jsonl,
    "parquet": read_parquet,
    "warc": read_warc,
    "arc": read_arc,
    "wikipedia": read_wikipedia,
    "code": read_code,
    "mbox": read_mbox,
    "maildir": read_message,
    "stackexchange": read_stackexchange,
    "threads": read_threads,
    "pdf": read_pdf,
}
_WIKI_ROOT: Final = b"<mediawiki"


def pages_of(places: Iterable[Place], reading: Reading) -> Iterator[tuple[str, Page]]:
    """(document id, page) for each page of a source, in order; what is left out is counted in ``reading`` by reason.

    DataError for a source whose rows lack the field that the text should be in, and, if the reading is strict, for
    whatever else can't be read.
    """
    reading.rules.as_is = lambda name: _format(reading.file, name) == "warc"
    seen = Seen()
    with closing(reading):
        for page in _all_pages(places, reading):
            one = document_id(reading.file.name, page.record, page.content)
            if not seen.new_id(one):
                reading.skip("duplicate_id", page.record)
                continue
            reading.found += 1
            record = seen.record(page.record)
            if record != page.record:
                page = replace(page, record=record)
                one = document_id(reading.file.name, record, page.content)
            yield one, page


def _all_pages(places: Iterable[Place], reading: Reading) -> Iterator[Page]:
    if reading.file.format == "huggingface":
        yield from read_hub(reading)
        return
    for member in unpack(places, reading.rules):
        try:
            yield from _member(member, reading)
        except DamageError as error:
            reading.rules.lost(error, member.name)


def _member(member: Member, reading: Reading) -> Iterator[Page]:
    format_ = _format(reading.file, member.name)
    if format_ is None and member.name.endswith(".xml") and _WIKI_ROOT in member.stream.peek(512)[:512]:
        format_ = "wikipedia"
    if format_ is None:
        if member.lone:
            raise DataError(f"{reading.file.place}: can't tell what it holds from its name; set 'format'")
        reading.skip("unknown_ending", member.name)
        return
    yield from _READERS[format_](member, reading)


def _format(file: SourceFile, name: str) -> str | None:
    if file.format != "auto":
        return file.format
    path = PurePath(name)
    return "stackexchange" if path.name == "Posts.xml" else _ENDINGS.get(path.suffix.lower())
