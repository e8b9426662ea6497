"""Dumps of a MediaWiki (``pages-articles.xml``), read as a stream: one page an article, in the dump's newest revision.

Redirects and pages outside the wanted namespaces are counted and left out. Export schema 0.10 and 0.11.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import Any, Final
from urllib.parse import quote

from groundup.stages.source.readers.reading import Page, Reading, iso_date, where
from groundup.stages.source.readers.text import PLAIN
from groundup.stages.source.readers.wikitext import STANDARD, plain_text
from groundup.stages.source.readers.xml import elements
from groundup.stages.source.unpack import Member

WIKITEXT: Final = "text/x-wiki"
_NO_PROSE: Final = frozenset({"6", "14"})
"""The namespaces of files and categories."""


def read_wikipedia(member: Member, reading: Reading) -> Iterator[Page]:
    """The articles of a dump. DamageError if the XML breaks off."""
    base: str | None = None
    dropped = set(STANDARD)
    for element in elements(member.stream, where(member, reading), ("base", "namespace", "page"), reading.max_size * 8):
        if element is None:
            reading.skip("too_large", member.name)
        elif element.tag == "base":
            base = (element.text or "").rpartition("/")[0] or None
        elif element.tag == "namespace":
            if element.get("key") in _NO_PROSE:
                dropped.add((element.text or "").lower())
        else:
            page = _page(element, base, dropped, reading)
            if page is not None:
                yield page


def _page(element: Any, base: str | None, dropped: Collection[str], reading: Reading) -> Page | None:
    fields: dict[str, Any] = {child.tag: child for child in element}
    title = (fields["title"].text or "").strip() if "title" in fields else ""
    namespace = fields["ns"].text if "ns" in fields else "0"
    if namespace not in map(str, reading.file.namespaces):
        reading.skip("other_namespace", title, f"namespace {namespace}")
        return None
    if "redirect" in fields:
        reading.skip("redirect", title)
        return None
    revision = {child.tag: child for child in fields["revision"]} if "revision" in fields else {}
    model = (revision["model"].text or "wikitext") if "model" in revision else "wikitext"
    if model != "wikitext":
        reading.skip("other_model", title, model)
        return None
    text = (revision["text"].text or "") if "text" in revision else ""
    kept = text if reading.file.wikitext == "raw" else plain_text(text, title, dropped)
    content = kept.encode()
    if not kept.strip():
        reading.skip("empty", title)
        return None
    if len(content) > reading.max_size:
        reading.skip("too_large", title)
        return None
    url = f"{base}/{quote(title.replace(' ', '_'), safe='/:,()')}" if base and title else None
    date = iso_date(revision["timestamp"].text) if "timestamp" in revision else None
    media_type = WIKITEXT if reading.file.wikitext == "raw" else PLAIN
    return Page(title, media_type, "utf-8", url, content, date)
