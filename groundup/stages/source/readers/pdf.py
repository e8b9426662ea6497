"""PDF by its text layer (pypdf); a scanned page without one gives nothing.

The order of words is that of the file, which for most documents is that of reading. Parsing ends at a limit of time
and of text; a document that stops the parser is counted.
"""

from __future__ import annotations

import io
import logging
import re
import time
from collections.abc import Iterator
from typing import Any, Final

from groundup.base.errors import missing_extra
from groundup.stages.source.readers.reading import Page, Reading, where
from groundup.stages.source.readers.text import PLAIN, whole
from groundup.stages.source.unpack import Member

MAX_SECONDS: Final = 60.0
_HYPHENATED: Final = re.compile(r"(?<=[^\W\d_])[-\u00ad\u2010]\n(?=[a-z])")
_TOO_MANY_BLANK: Final = re.compile(r"\n{3,}")


def read_pdf(member: Member, reading: Reading) -> Iterator[Page]:
    """One page of the pages artifact for a document, its sheets with an empty line between them."""
    try:
        import pypdf
    except ImportError:
        raise missing_extra("pypdf", "pdf") from None
    content = whole(member, reading)
    if content is None:
        return
    logging.getLogger("pypdf").setLevel(logging.CRITICAL)  # it reports each oddity of each file
    try:
        document = pypdf.PdfReader(io.BytesIO(content), strict=False)
        if document.is_encrypted and not document.decrypt(""):
            reading.skip("encrypted", member.name)
            return
        text = _text(document, reading)
    except (Exception, RecursionError) as error:  # a parser of hostile files fails in every way there is
        reading.refuse("bad_pdf", member.name, f"{where(member, reading)} can't be parsed ({type(error).__name__})")
        return
    if text is None:
        reading.skip("too_slow", member.name, f"more than {MAX_SECONDS:g} seconds")
    elif not text.strip():
        reading.skip("no_text_layer", member.name)
    else:
        yield Page(member.name, PLAIN, "utf-8", None, text.encode("utf-8", "replace"), _date(document))


def _text(document: Any, reading: Reading) -> str | None:
    until = time.monotonic() + MAX_SECONDS
    sheets, size = [], 0
    for sheet in document.pages:
        found = sheet.extract_text()
        size += len(found)
        if size > reading.max_size:
            break
        if time.monotonic() > until:
            return None
        sheets.append(found.strip())
    text = "\n\n".join(sheet for sheet in sheets if sheet)
    return _TOO_MANY_BLANK.sub("\n\n", _HYPHENATED.sub("", text))


def _date(document: Any) -> str | None:
    try:
        date = document.metadata.creation_date if document.metadata else None
        return date.isoformat() if date else None
    except Exception:  # what a document says of itself may be anything
        return None
