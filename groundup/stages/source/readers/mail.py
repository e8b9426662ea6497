"""Mailing lists: mbox files (RFC 4155) and maildir folders, one page a message: its subject and its own text.

Attachments are left out, and of alternatives the plain one is taken. Addresses in the text stay for redaction to find.
Messages are parsed in a guarded process, many at a time.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Final

from groundup.base.guard import Failure, Guard
from groundup.stages.source.readers.mail_text import Mail, parse
from groundup.stages.source.readers.reading import Page, Reading, overrun
from groundup.stages.source.readers.text import HTML, PLAIN, whole
from groundup.stages.source.unpack import Member, read_lines

SECONDS: Final = 10.0
"""Processor time for a message: ordinary mail takes a thousandth of a second, its largest attachments a tenth."""
MEMORY_BYTES: Final = 512 << 20
"""Memory for a message, or more where pages may be large: it is held, split and decoded, several times over."""
_COPIES: Final = 16

_QUOTED_FROM: Final = re.compile(rb"^>(>*From )", re.M)
_LONGEST_LINE: Final = 1 << 20
_AT_ONCE: Final = 64
_BYTES_AT_ONCE: Final = 1 << 20


def read_mbox(member: Member, reading: Reading) -> Iterator[Page]:
    """A page a message. A message starts at a line ``From …`` that is the first, or after an empty line."""
    messages: list[tuple[str, bytes | None]] = []
    size = 0
    for number, message in enumerate(_messages(member, reading), 1):
        record = f"message {number}" if member.lone else f"{member.name} message {number}"
        messages.append((record, None if message is None else _QUOTED_FROM.sub(rb"\1", message)))
        size += len(message or b"")
        if len(messages) >= _AT_ONCE or size >= _BYTES_AT_ONCE:
            yield from _pages(messages, reading)
            messages, size = [], 0
    yield from _pages(messages, reading)


def read_message(member: Member, reading: Reading) -> Iterator[Page]:
    """The one message that a file of a maildir holds."""
    content = whole(member, reading)
    if content is not None:
        yield from _pages([(member.name, content)], reading)


def _messages(member: Member, reading: Reading) -> Iterator[bytes | None]:
    lines: list[bytes] = []
    size, started, empty = 0, False, True
    for _, _, line in read_lines(member.stream, _LONGEST_LINE):
        if empty and line is not None and line.startswith(b"From "):
            if started:
                yield _joined(lines) if size <= reading.max_size else None
            lines, size, started, empty = [], 0, True, False
            continue
        if not started and line is not None and line.strip():
            reading.refuse("no_mbox", member.name, f"{member.name} is no mbox file: it doesn't begin with 'From '")
            return
        size += len(line) if line is not None else reading.max_size + 1
        if line is not None and size <= reading.max_size:
            lines.append(line)
        empty = line is not None and not line.strip()
    if started:
        yield _joined(lines) if size <= reading.max_size else None


def _joined(lines: list[bytes]) -> bytes:
    """A message without the empty line that ends it."""
    return b"".join(lines[:-1] if lines and not lines[-1].strip() else lines)


def _guard(max_size: int) -> Guard[bytes, Mail]:
    return Guard(parse, SECONDS, max(MEMORY_BYTES, _COPIES * max_size))


def _pages(messages: Iterable[tuple[str, bytes | None]], reading: Reading) -> Iterator[Page]:
    """The pages of (record, message); None stands for one that was too large."""
    guard = reading.guard(_guard)
    parsed = iter(guard.map([content for _, content in messages if content is not None]))
    for record, content in messages:
        if content is None:
            reading.skip("too_large", record)
            continue
        found = next(parsed)
        if isinstance(found, Failure):
            reason, what = overrun(found, guard) or ("bad_message", f"can't be parsed ({found.detail})")
            reading.refuse(reason, record, f"{record} {what}")
        elif not found.has_text or found.text is None or not found.text.strip():
            nothing = "empty" if found.text is not None else "unknown_encoding"
            reading.skip(nothing if found.has_text else "no_text", record)
        else:
            yield _page(record, found, found.text)


def _page(record: str, found: Mail, text: str) -> Page:
    if found.is_html:
        return Page(record, HTML, "utf-8", found.url, text.encode("utf-8", "replace"), found.date)
    whole_text = f"{found.subject}\n\n{text}" if found.subject else text
    content = whole_text.replace("\r\n", "\n").encode("utf-8", "replace")
    return Page(record, PLAIN, "utf-8", found.url, content, found.date)
