"""The main text of a page, without menus, scripts and markup.

resiliparse (Bevendorff et al. 2018) parses HTML as browsers do and drops what its rules take for navigation, short
lists included; block structure becomes line breaks, ``<pre>`` keeps its own. The encoding is the page's byte order
mark or ``<meta charset>``, or else what Mozilla's detector finds. Plain text and Markdown pass as they are.
"""

from __future__ import annotations

import codecs
from typing import Final

from groundup.base.errors import missing_extra

HTML: Final = "text/html"
_MARKS: Final = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)


def extract(content: bytes, media_type: str, encoding: str | None) -> str:
    """The text of a page: UTF-8 content that is not HTML is only decoded."""
    if media_type != HTML:
        return content.decode(encoding or "utf-8")
    try:
        from resiliparse.extract.html2text import extract_plain_text
    except ImportError:
        raise missing_extra("resiliparse", "curate") from None
    return str(extract_plain_text(decode_html(content), main_content=True, preserve_formatting=True, alt_texts=False))


def decode_html(content: bytes) -> str:
    """The characters of an HTML page; bytes that its encoding doesn't have become U+FFFD.

    >>> decode_html('<meta charset="iso-8859-1"><p>caf\\u00e9'.encode("latin-1"))[-4:]
    'café'
    """
    for mark, name in _MARKS:
        if content.startswith(mark):
            return content.decode(name, "replace")
    try:
        from resiliparse.parse.encoding import bytes_to_str, detect_encoding
    except ImportError:
        raise missing_extra("resiliparse", "curate") from None
    name = detect_encoding(content, from_html_meta=True) or "utf-8"
    try:
        codecs.lookup(name)
    except LookupError:  # a label of the web platform that Python has no codec for, such as x-user-defined
        name = "utf-8"
    return str(bytes_to_str(content, name, errors="replace"))
