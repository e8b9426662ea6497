"""The text layer of a PDF by pypdf: what the guarded process does. It imports little, so that it starts quickly.

The order of words is that of the file, which for most documents is that of reading. Nothing is caught here that only
means that a file is broken: whoever calls learns the name of the exception and counts it.
"""

from __future__ import annotations

import io
import logging
import re
from typing import Any, Final, NamedTuple

from groundup.base.errors import missing_extra

_HYPHENATED: Final = re.compile(r"(?<=[^\W\d_])[-\u00ad\u2010]\n(?=[a-z])")
_TOO_MANY_BLANK: Final = re.compile(r"\n{3,}")


class Layer(NamedTuple):
    """What a document gave. ``date``: when it says that it was made, in ISO 8601."""

    text: str = ""
    date: str | None = None
    encrypted: bool = False
    too_long: bool = False


def prepare() -> None:
    """Load pypdf, outside the limits; RequestError if it is not installed."""
    try:
        import pypdf  # noqa: F401
    except ImportError:
        raise missing_extra("pypdf", "pdf") from None
    logging.getLogger("pypdf").setLevel(logging.CRITICAL)  # it reports each oddity of each file


def text_layer(most_chars: int, content: bytes) -> Layer:
    """The text of all sheets, an empty line between two; ``too_long``, and no text, beyond ``most_chars``.

    Raises what pypdf raises of a file that it can't read.
    """
    import pypdf

    document = pypdf.PdfReader(io.BytesIO(content), strict=False)
    if document.is_encrypted and not document.decrypt(""):
        return Layer(encrypted=True)
    sheets: list[str] = []
    size = 0
    for sheet in document.pages:
        found = sheet.extract_text()
        size += len(found)
        if size > most_chars:
            return Layer(too_long=True)
        sheets.append(found.strip())
    text = "\n\n".join(sheet for sheet in sheets if sheet)
    return Layer(_TOO_MANY_BLANK.sub("\n\n", _HYPHENATED.sub("", text)), _date(document))


def _date(document: Any) -> str | None:
    try:
        date = document.metadata.creation_date if document.metadata else None
        return date.isoformat() if date else None
    except MemoryError:
        raise
    except Exception:  # what a document says of itself may be anything
        return None
