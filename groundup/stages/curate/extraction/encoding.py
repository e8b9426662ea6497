"""Bytes to characters: in which encoding a page is, and what becomes of bytes that don't fit it.

In this order: a byte order mark; UTF-8 where the whole page is valid UTF-8 and says so with letters beyond ASCII (a
page of another encoding hardly ever is, while pages that declare another and are UTF-8 are common); what the HTTP
header or the page's own ``<meta charset>`` says; what Mozilla's detector finds. Bytes without a meaning in that
encoding become U+FFFD; nothing is left out and nothing is raised.
"""

from __future__ import annotations

import codecs
from typing import Final

from groundup.base.errors import missing_extra

_MARKS: Final = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_SHIFTS: Final = (b"\x1b$", b"\x1b(", b"~{")
"""Marks of encodings that write other scripts in bytes of ASCII: ISO-2022 and HZ."""
_SAMPLE: Final = 4096


def decode(content: bytes, encoding: str | None = None, *, meta: bool = True) -> str:
    """The characters of a page. ``encoding`` is what came with it, if anything did; ``meta``: look for what the page
    says of itself, as HTML does.

    >>> decode('<meta charset="iso-8859-1"><p>caf\\u00e9'.encode("latin-1"))[-4:]
    'café'
    >>> decode('<meta charset="iso-8859-1"><p>caf\\u00e9'.encode())[-4:]
    'café'
    >>> decode(b"a\\xff\\xfeb", "utf-8")
    'a\\ufffd\\ufffdb'
    """
    for mark, name in _MARKS:
        if content.startswith(mark):
            return content.decode(name, "replace")
    if not any(shift in content for shift in _SHIFTS) and b"\0" not in content[:_SAMPLE]:
        try:
            text = content.decode("utf-8")
        except UnicodeDecodeError:
            pass
        else:
            if encoding is None or len(text) < len(content) or _same_as_ascii(encoding):
                return text
    name = _known(encoding) or _wide(content) or _found(content, meta) or "utf-8"
    try:
        return content.decode(name, "replace")
    except UnicodeError:  # a codec that knows no replacement, such as idna
        return content.decode("utf-8", "replace")


def _same_as_ascii(encoding: str) -> bool:
    """Whether bytes of ASCII mean in this encoding what they mean in ASCII."""
    name = _known(encoding)
    return name is None or not name.startswith(("utf_16", "utf-16", "utf_32", "utf-32", "utf_7", "utf-7"))


def _known(label: str | None) -> str | None:
    """Python's codec for a label of the web platform, where ``latin1`` means Windows' superset of it."""
    if not label:
        return None
    try:
        from resiliparse.parse.encoding import map_encoding_to_html5
    except ImportError:
        raise missing_extra("resiliparse", "curate") from None
    name = map_encoding_to_html5(label, fallback_utf8=False) or label
    try:
        codec = codecs.lookup(name)
    except (LookupError, ValueError):  # a label that no codec of Python's has, such as x-user-defined
        return None
    return codec.name if codec._is_text_encoding else None  # or "base64" would be one


def _wide(content: bytes) -> str | None:
    """UTF-16 without a byte order mark: every other byte of Latin text is zero."""
    sample = content[:_SAMPLE]
    even, odd = sample[::2].count(0), sample[1::2].count(0)
    half = len(sample) // 2
    if half >= 8 and odd > 0.4 * half and even < 0.1 * half:
        return "utf-16-le"
    if half >= 8 and even > 0.4 * half and odd < 0.1 * half:
        return "utf-16-be"
    return None


def _found(content: bytes, meta: bool) -> str | None:
    try:
        from resiliparse.parse.encoding import detect_encoding
    except ImportError:
        raise missing_extra("resiliparse", "curate") from None
    return _known(detect_encoding(content, from_html_meta=meta))
