"""Pages out of files: raw HTML stays bytes; text, Markdown and JSONL rows become UTF-8 text."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import Any, Final

from groundup.base.errors import DataError
from groundup.stages.source.config import SourceFile
from groundup.stages.source.unpack import Member, members, read_lines, read_whole

_FORMATS: Final = {
    ".html": "html",
    ".htm": "html",
    ".xhtml": "html",
    ".txt": "text",
    ".text": "text",
    ".md": "markdown",
    ".markdown": "markdown",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
}
_MEDIA_TYPES: Final = {"html": "text/html", "text": "text/plain", "markdown": "text/markdown", "jsonl": "text/plain"}
_HEADING: Final = re.compile(r"#{1,6}[ \t]+(?P<title>.*?)[ \t#]*")
_FENCE: Final = re.compile(r"\s{0,3}(```|~~~)")
_LETTER_OR_DIGIT: Final = re.compile(r"[^\W_]")


@dataclass(frozen=True)
class Page:
    """A page as it came. ``encoding`` is None where it has to be detected."""

    record: str
    media_type: str
    encoding: str | None
    url: str | None
    content: bytes


def pages_of(file: SourceFile, path: Path, max_size: int, skipped: Counter[str]) -> Iterator[Page]:
    """The pages of a source in order; what is left out is counted in ``skipped`` by reason.

    Raises DataError for damaged files, text that is not UTF-8, rows that are not JSON or lack the text field.
    """
    seen: Counter[str] = Counter()
    for member in members(path):
        format_ = _FORMATS.get(PurePath(member.name).suffix.lower()) if file.format == "auto" else file.format
        if format_ is None:
            if member.lone:
                raise DataError(f"{path.name}: can't tell what it holds from its name; set 'format'")
            skipped["unknown_ending"] += 1
            continue
        for page in _member(file, path, member, format_, max_size, skipped):
            seen[page.record] += 1
            # An archive may hold two files of one name: each page needs a record of its own.
            again = f"{page.record} ({seen[page.record]})" if seen[page.record] > 1 else page.record
            yield Page(again, page.media_type, page.encoding, page.url, page.content)


def _member(
    file: SourceFile, path: Path, member: Member, format_: str, max_size: int, skipped: Counter[str]
) -> Iterator[Page]:
    where = path.name if member.lone else f"{path.name}: {member.name}"
    if format_ == "jsonl":
        for record, url, text in _rows(file, member, where, max_size, skipped):
            yield from _text_pages(file, record, url, text, format_)
        return
    content = read_whole(member.stream, max_size)
    if content is None:
        skipped["too_large"] += 1
    elif not content.strip():
        skipped["empty"] += 1
    elif format_ == "html":
        yield Page(member.name, _MEDIA_TYPES[format_], None, None, content)
    else:
        yield from _text_pages(file, member.name, None, decode(content, where, 0), format_)


def _rows(
    file: SourceFile, member: Member, where: str, max_size: int, skipped: Counter[str]
) -> Iterator[tuple[str, str | None, str]]:
    for number, row in json_rows(member, where, max_size, skipped):
        text = row.get(file.text_field)
        if not isinstance(text, str):
            problem = "has no text in" if file.text_field in row else "lacks"
            known = ", ".join(sorted(row)) or "none"
            raise DataError(f"{where} line {number} {problem} the field {file.text_field!r} (fields: {known})")
        if re.search(r"[\ud800-\udfff]", text):
            raise DataError(f"{where} line {number}: the text has a lone surrogate, which is not Unicode text")
        if not text.strip():
            skipped["empty"] += 1
            continue
        title = row.get(file.title_field) if file.title_field else None
        if file.title_field and not isinstance(title, str):
            raise DataError(f"{where} line {number} lacks the title field {file.title_field!r}")
        url = row.get("url")
        yield title if isinstance(title, str) else f"line {number}", url if isinstance(url, str) else None, text


def json_rows(member: Member, where: str, max_size: int, skipped: Counter[str]) -> Iterator[tuple[int, dict[str, Any]]]:
    """(line number, row) for each JSON object; DataError that names line and byte for anything else."""
    for number, offset, line in read_lines(member.stream, max_size):
        if line is None:
            skipped["too_large"] += 1
            continue
        text = decode(line, f"{where} line {number}", offset)
        if not text.strip():
            continue
        try:
            row = json.loads(text)
        except ValueError as error:
            raise DataError(f"{where} line {number} is not valid JSON ({error})") from None
        except RecursionError:
            raise DataError(f"{where} line {number} is nested too deeply") from None
        if not isinstance(row, dict):
            raise DataError(f"{where} line {number} is a {type(row).__name__}, expected a JSON object")
        yield number, row


def decode(content: bytes, where: str, offset: int) -> str:
    """UTF-8 text without its byte order mark; DataError that names the byte, counted from ``offset``, otherwise."""
    try:
        text = content.decode("utf-8")
    except UnicodeDecodeError as error:
        raise DataError(
            f"{where} is not UTF-8: byte 0x{content[error.start]:02x} at offset {offset + error.start}; "
            "convert it, or set 'format: html' if it is a page whose encoding must be detected"
        ) from None
    return text.removeprefix("\ufeff")


def _text_pages(file: SourceFile, record: str, url: str | None, text: str, format_: str) -> Iterator[Page]:
    media_type = _MEDIA_TYPES["markdown" if file.split_headings else format_]
    if not file.split_headings:
        yield Page(record, media_type, "utf-8", url, text.encode())
        return
    for number, (title, section) in enumerate(split_at_headings(text), 1):
        yield Page(f"{record}#{number} {title}".rstrip(), media_type, "utf-8", url, section.encode())


def split_at_headings(text: str) -> list[tuple[str, str]]:
    """(heading, section with its heading) for each Markdown section, as in CommonMark's ATX headings.

    A heading with nothing below it (a title page, ``VOLUME I``) goes with the section after it. Nothing is lost:
    the sections put together are the text. A ``#`` inside a fenced code block is no heading.

    >>> split_at_headings("# Book\\n\\n## One\\nIt began.\\n## Two\\nIt ended.\\n")
    [('One', '# Book\\n\\n## One\\nIt began.\\n'), ('Two', '## Two\\nIt ended.\\n')]
    """
    sections: list[tuple[str, str]] = []
    title, held, has_body, fenced = "", "", False, False
    for line in text.splitlines(keepends=True):
        fenced ^= bool(_FENCE.match(line))
        heading = None if fenced else _HEADING.fullmatch(line.strip("\r\n"))
        if heading and has_body:
            sections.append((title, held))
            held, has_body = "", False
        if heading:
            title = heading["title"]
        else:
            has_body = has_body or bool(_LETTER_OR_DIGIT.search(line))
        held += line
    if has_body or not sections:
        return [*sections, (title, held)]
    last_title, last = sections[-1]
    return [*sections[:-1], (last_title, last + held)]
