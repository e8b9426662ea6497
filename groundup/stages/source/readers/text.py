"""HTML, plain text and Markdown: HTML stays bytes, text becomes UTF-8 where it is, and is kept as it is elsewhere."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

from groundup.base.errors import DataError
from groundup.stages.source.readers.author import html_author
from groundup.stages.source.readers.encodings import decode_any
from groundup.stages.source.readers.reading import Page, Reading, where
from groundup.stages.source.unpack import Member, read_whole

HTML: Final = "text/html"
PLAIN: Final = "text/plain"
MARKDOWN: Final = "text/markdown"

_HEADING: Final = re.compile(r"#{1,6}[ \t]+(?P<title>.*)")
_FENCE: Final = re.compile(r"\s{0,3}(```|~~~)")
_LETTER_OR_DIGIT: Final = re.compile(r"[^\W_]")


def whole(member: Member, reading: Reading) -> bytes | None:
    """The content of a file that is one page; None, counted, if it is too long or has nothing but white space."""
    content = read_whole(member.stream, reading.max_size)
    if content is None:
        reading.skip("too_large", member.name)
    elif not content.strip():
        reading.skip("empty", member.name)
        return None
    return content


def read_html(member: Member, reading: Reading) -> Iterator[Page]:
    """The page as it is; its encoding is found when it is parsed."""
    content = whole(member, reading)
    if content is not None:
        yield Page(member.name, HTML, None, None, content, author=html_author(content))


def read_text(member: Member, reading: Reading) -> Iterator[Page]:
    """Plain text."""
    yield from _characters(member, reading, PLAIN)


def read_markdown(member: Member, reading: Reading) -> Iterator[Page]:
    """Markdown, whole or by headings."""
    yield from _characters(member, reading, MARKDOWN)


def _characters(member: Member, reading: Reading, media_type: str) -> Iterator[Page]:
    content = whole(member, reading)
    if content is None:
        return
    place = where(member, reading)
    if reading.strict:
        yield from text_pages(reading, member.name, None, decode(content, place, 0), media_type)
        return
    found = decode_any(content)
    if found is None:
        reading.refuse("unknown_encoding", member.name, f"{place} is no text, or in an encoding that can't be told")
        return
    text, encoding = found
    if not text.strip():
        reading.skip("empty", member.name)
    elif encoding.startswith("utf-8") or reading.file.split_headings:
        yield from text_pages(reading, member.name, None, text, media_type)
    else:
        yield Page(member.name, media_type, encoding, None, content)


def text_pages(
    reading: Reading,
    record: str,
    url: str | None,
    text: str,
    media_type: str,
    date: str | None = None,
    author: str | None = None,
) -> Iterator[Page]:
    """A text as one page, or as one for each section if the source says so."""
    if not reading.file.split_headings:
        content = text.encode()
        if media_type == HTML and author is None:
            author = html_author(content, "utf-8")
        yield Page(record, media_type, "utf-8", url, content, date, author=author)
        return
    for number, (title, section) in enumerate(split_at_headings(text), 1):
        name = f"{record}#{number} {title}".rstrip()
        yield Page(name, MARKDOWN, "utf-8", url, section.encode(), date, author=author)


def decode(content: bytes, place: str, offset: int) -> str:
    """UTF-8 text without its byte order mark; DataError that names the byte, counted from ``offset``, otherwise."""
    try:
        text = content.decode("utf-8")
    except UnicodeDecodeError as error:
        raise DataError(
            f"{place} is not UTF-8: byte 0x{content[error.start]:02x} at offset {offset + error.start}; "
            "convert it, or set 'format: html' if it is a page whose encoding must be detected"
        ) from None
    return text.removeprefix("\ufeff")


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
            title = heading["title"].rstrip(" \t#")
        else:
            has_body = has_body or bool(_LETTER_OR_DIGIT.search(line))
        held += line
    if has_body or not sections:
        return [*sections, (title, held)]
    last_title, last = sections[-1]
    return [*sections[:-1], (last_title, last + held)]
