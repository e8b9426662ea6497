"""A mail message by Python's email package: what the guarded process does. It imports little, so it starts quickly.

The package takes time with the square of a header's length and of the depth of parts within parts, and about a
kilobyte for a part of five bytes; so hostile mail is a matter of limits, not of rules.
"""

from __future__ import annotations

import email
import email.message
import email.policy
import email.utils
from typing import Any, Final, NamedTuple

from groundup.stages.source.readers.encodings import decode_any

HTML: Final = "text/html"


class Mail(NamedTuple):
    """What a message says. ``text`` is None if its encoding can't be told, ``has_text`` False if no part holds text."""

    text: str | None
    has_text: bool
    is_html: bool
    subject: str
    date: str | None
    url: str | None


def parse(content: bytes) -> Mail:
    """The message's own text and what its header says of it. Raises whatever the parser raises of broken mail."""
    message = email.message_from_bytes(content, policy=email.policy.default)
    part = _body(message)
    text = _characters(part) if part is not None else ""
    subject, date, archived = (_header(message, name) for name in ("Subject", "Date", "Archived-At"))
    is_html = part is not None and part.get_content_type() == HTML
    return Mail(text, part is not None, is_html, subject, _date(date), _url(archived))


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
