"""Bytes to characters where nobody said how: byte order mark, UTF-8, UTF-16 by its zero bytes, then statistics.

UTF-8 is tried first because text in another encoding is almost never valid UTF-8 by chance. The statistics are
Mozilla's (by resiliparse); where its guess doesn't fit the bytes, charset-normalizer's. A guess must decode every byte.
"""

from __future__ import annotations

import codecs
from typing import Final

from groundup.base.errors import missing_extra

_MARKS: Final = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_SAMPLE: Final = 1 << 16
_MANY_ZEROS: Final = 0.2
_BINARY_ZEROS: Final = 0.001


def decode_any(content: bytes) -> tuple[str, str] | None:
    """(text, encoding by its Python name) of bytes in an unknown encoding; None if they are no text.

    >>> decode_any("caf\\u00e9".encode("utf-16"))
    ('café', 'utf-16')
    >>> decode_any(bytes(range(256))) is None
    True
    """
    for mark, name in _MARKS:
        if content.startswith(mark):
            return _tried(content, name)
    found = _tried(content, "utf-8") if content.count(0) <= _BINARY_ZEROS * len(content) else None
    return found or _utf16(content) or _by_statistics(content)


def _tried(content: bytes, name: str) -> tuple[str, str] | None:
    try:
        return content.decode(name), name
    except (UnicodeError, LookupError):
        return None


def _utf16(content: bytes) -> tuple[str, str] | None:
    """UTF-16 without a mark: every second byte of what is not Chinese or the like is often zero."""
    sample = content[:_SAMPLE]
    half = max(1, len(sample) // 2)
    even, odd = sample[::2].count(0) / half, sample[1::2].count(0) / half
    if max(even, odd) < _MANY_ZEROS or min(even, odd) > max(even, odd) / 4:
        return None
    return _tried(content, "utf-16-le" if odd > even else "utf-16-be")


def _by_statistics(content: bytes) -> tuple[str, str] | None:
    if content.count(0) > _BINARY_ZEROS * len(content):
        return None
    try:
        from resiliparse.parse.encoding import detect_encoding
    except ImportError:
        raise missing_extra("resiliparse", "curate") from None
    sample = content[:_SAMPLE]
    guess = _sound(_tried(content, _python_name(detect_encoding(sample))))
    if guess:
        return guess
    try:
        from charset_normalizer import from_bytes
    except ImportError:
        raise missing_extra("charset-normalizer", "curate") from None
    best = from_bytes(sample).best()
    return _sound(_tried(content, best.encoding)) if best is not None else None


def _python_name(label: str | None) -> str:
    try:
        return codecs.lookup(label or "").name
    except LookupError:
        return ""


def _sound(found: tuple[str, str] | None) -> tuple[str, str] | None:
    """Control characters in what was decoded say that it was no text, or not in that encoding."""
    if found is None:
        return None
    sample = found[0][:_SAMPLE]
    odd = sum((char < " " and char not in "\t\n\r\f") or "\x7f" <= char <= "\x9f" for char in sample)
    return None if odd > 0.005 * len(sample) else found
