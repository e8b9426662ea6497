"""PDF by its text layer (pypdf); a scanned page without one gives nothing.

Parsing goes on in a guarded process with limits of time and memory: a page tree in a circle, a stream that unpacks to
gigabytes, a drawing of millions of steps cost one row in what was left out. The process is started for the first
document and ends with the source.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Final

from groundup.base.guard import Failure, Guard
from groundup.stages.source.readers.pdf_text import Layer, prepare, text_layer
from groundup.stages.source.readers.reading import Page, Reading, overrun, where
from groundup.stages.source.readers.text import PLAIN, whole
from groundup.stages.source.unpack import Member

SECONDS: Final = 120.0
"""Processor time for a document: pypdf takes a hundredth to a tenth of a second a sheet, so a book of a thousand dense
ones is within."""
MEMORY_BYTES: Final = 1 << 30
"""Memory for a document beyond that of the idle parser. pypdf ends a stream at 75 MB, which takes twice as much: some
such fit, and a machine that trains models has this to spare."""

_LOCKED: Final = frozenset({"DependencyError", "FileNotDecryptedError", "WrongPasswordError"})
"""What pypdf raises of documents that it can't decrypt; the first where it lacks the package for a cipher."""


def read_pdf(member: Member, reading: Reading) -> Iterator[Page]:
    """One page of the pages artifact for a document, its sheets with an empty line between them."""
    content = whole(member, reading)
    if content is None:
        return
    guard = reading.guard(_guard)
    (found,) = guard.map([content])
    if isinstance(found, Failure):
        reason, what = overrun(found, guard) or _explained(found)
        reading.refuse(reason, member.name, f"{where(member, reading)} {what}")
    elif found.encrypted:
        reading.refuse("encrypted", member.name, f"{where(member, reading)} is encrypted; unlock it first")
    elif not found.text.strip() and not found.too_long:
        reading.skip("no_text_layer", member.name)
    else:
        text = found.text.encode("utf-8", "replace")
        if found.too_long or len(text) > reading.max_size:
            reading.skip("too_large", member.name, "its text")
        else:
            yield Page(member.name, PLAIN, "utf-8", None, text, found.date)


def _guard(max_size: int) -> Guard[bytes, Layer]:
    return Guard(partial(text_layer, max_size), SECONDS, MEMORY_BYTES, prepare)


def _explained(failure: Failure) -> tuple[str, str]:
    """The reason that a failure is counted under, and what happened."""
    if failure.detail == "LimitReachedError":  # pypdf's own limits on what its streams unpack to
        return "unpacks_too_far", "has a stream that unpacks too far"
    if failure.detail in _LOCKED:
        return "encrypted", "is encrypted; unlock it first"
    return "bad_pdf", f"can't be parsed ({failure.detail})"
