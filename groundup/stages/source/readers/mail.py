"""Mailing lists: mbox files (RFC 4155) and maildir folders, one page a message: its subject and its own text.

Attachments are left out, and of alternatives the plain one is taken. Addresses in the text stay for redaction to find.
"""

from __future__ import annotations

import email
import email.message
import email.policy
import email.utils
import re
from collections.abc import Iterator
from typing import Any, Final

from groundup.stages.source.readers.encodings import decode_any
from groundup.stages.source.readers.reading import Page, Reading
from groundup.stages.source.readers.text import HTML, PLAIN, whole
from groundup.stages.source.unpack import Member, read_lines

_QUOTED_FROM: Final = re.compile(rb"^>(>*From )", re.M)
_LONGEST_LINE: Final = 1 << 20


def read_mbox(member: Member, reading: Reading) -> Iterator[Page]:
    """A page a message. A message starts at a line ``From …`` that is the first, or after an empty line."""
    for number, message in enumerate(_messages(member, reading), 1):
        record = f"message {number}" if member.lone else f"{member.name} message {number}"
        if message is None:
            reading.skip("too_large", record)
        else:
            yield from _pages(_QUOTED_FROM.sub(rb"\1", message), record, reading)


def read_message(member: Member, reading: Reading) -> Iterator[Page]:
    """The one message that a file of a maildir holds."""
    content = whole(member, reading)
    if content is not None:
        yield from _pages(content, member.name, reading)


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


def _pages(content: bytes, record: str, reading: Reading) -> Iterator[Page]:
    try:
        message = email.message_from_bytes(content, policy=email.policy.default)
        part = _body(message)
        text = _characters(part) if part is not None else ""
        subject, date, archived = (_header(message, name) for name in ("Subject", "Date", "Archived-At"))
    except Exception as error:  # the parser meets all the mail there is, and gives up in many ways
        reading.refuse("bad_message", record, f"{record} can't be parsed ({type(error).__name__})")
        return
    if text is None or part is None or not text.strip():
        reading.skip("unknown_encoding" if text is None else "empty" if part is not None else "no_text", record)
        return
    if part.get_content_type() == HTML:
        yield Page(record, HTML, "utf-8", _url(archived), text.encode("utf-8", "replace"), _date(date))
        return
    whole_text = f"{subject}\n\n{text}" if subject else text
    content = whole_text.replace("\r\n", "\n").encode("utf-8", "replace")
    yield Page(record, PLAIN, "utf-8", _url(archived), content, _date(date))


def _body(message: Any) -> Any:
    """The part with the message's own text: plain before HTML, never an attachment."""
    for kind in ("text/plain", HTML):
        for part in message.walk():
            if part.get_content_type() == kind and part.get_content_disposition() != "attachment":
                return part
    return None


def _characters(part: Any) -> str | None:
    payload = part.get_payload(decode=True) or b""
    said = part.get_content_charset()
    if said:
        try:
            return str(payload.decode(said))
        except (UnicodeError, LookupError):
            pass
    found = decode_any(payload)
    return found[0] if found else None


def _header(message: Any, name: str) -> str:
    value = message.get(name)
    return " ".join(str(value).split()) if value is not None else ""


def _url(archived: str) -> str | None:
    address = archived.strip("<> ")
    return address if address.startswith(("http://", "https://")) else None


def _date(value: str) -> str | None:
    try:
        return email.utils.parsedate_to_datetime(value).isoformat()
    except (ValueError, TypeError, OverflowError):
        return None
