"""Who wrote an HTML page, where it says so: ``meta`` elements and JSON-LD (schema.org), found without parsing it.

Taken is ``<meta name="author">``, else the author of the page's JSON-LD, else ``<meta property="article:author">``,
which is often the address of a profile. Comments, scripts and text that only looks like an element don't count. The
scan is linear in the page, and most pages are done after one search for the word.
"""

from __future__ import annotations

import html
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

LONGEST: Final = 200
"""Characters of an author that are kept; what is longer is no name, and is not kept at all."""

_MOST_NAMES: Final = 16
_LONGEST_TAG: Final = 4096
_LONGEST_JSON: Final = 1 << 20
_START: Final = 1024
"""Bytes in which a page says its encoding (HTML, 4.2.5.5)."""
_CHARSET: Final = re.compile(rb"charset\s*+=\s*+[\"']?([A-Za-z0-9_:.-]++)", re.I)
_WORD: Final = re.compile(rb"author", re.I)
_OPENS: Final = re.compile(
    r"<(?:(!--)|(meta|script|style|title|textarea|noscript|template|xmp|iframe)(?=[\s/>]))", re.I
)
_ATTRIBUTE: Final = re.compile(r"([^\s\"'<>/=]++)(?:\s*+=\s*+(?:\"([^\"]*+)\"|'([^']*+)'|([^\s\"'>]++)))?+")
_META: Final = {"author": 0, "article:author": 2}
_LINKED_DATA: Final = 1
_NOT_THE_PAGE: Final = frozenset({"comment", "review", "userreview", "criticreview"})


def html_author(content: bytes, encoding: str | None = None) -> str | None:
    """The author of a page; None where it names none.

    >>> html_author(b'<head><meta name="author" content="Ada  Lovelace"></head>')
    'Ada Lovelace'
    >>> html_author(b'<!-- <meta name="author" content="nobody"> --><p>by the author</p>')
    """
    if not _WORD.search(content) and b"\0" not in content[:_START]:  # UTF-16 has a zero in every letter
        return None
    text = _text(content, encoding)
    best: tuple[int, str] | None = None
    for rank, name in _found(text):
        if best is None or rank < best[0]:
            best = (rank, name)
            if rank == 0:
                break
    return best[1] if best else None


def clean_author(value: object) -> str | None:
    """A name in one line; None for what is no string, empty, longer than LONGEST or no valid Unicode.

    >>> clean_author(" Ada\\n Lovelace "), clean_author(7), clean_author("x" * 999)
    ('Ada Lovelace', None, None)
    """
    if not isinstance(value, str) or len(value) > 4 * LONGEST:
        return None
    name = " ".join(value.split())
    fine = 0 < len(name) <= LONGEST and name.isprintable() and "\ufffd" not in name  # a lone surrogate is not printable
    return name if fine else None


def _text(content: bytes, encoding: str | None) -> str:
    """The characters of a page, well enough to find a name: a byte without a meaning spoils the name that it is in."""
    marked = "utf-16" if content.startswith((b"\xff\xfe", b"\xfe\xff")) else None
    for known in (marked, encoding, "utf-8-sig"):
        try:
            if known:
                return content.decode(known)
        except (UnicodeError, LookupError):
            continue
    if b"\0" in content[:_START]:
        return content.decode("utf-16-le" if content[1:2] == b"\0" else "utf-16-be", "replace")
    said = _CHARSET.search(content, 0, _START)
    try:
        return content.decode(said[1].decode("ascii") if said else "cp1252", "replace")
    except (UnicodeError, LookupError):
        return content.decode("cp1252", "replace")


def _found(text: str) -> Iterator[tuple[int, str]]:
    """(rank, name) of every author that the page names, the least rank being the one to take."""
    at = 0
    while (match := _OPENS.search(text, at)) is not None:
        if match[1]:
            end = text.find("-->", match.end() - 2)  # <!--> is a whole comment
            if end < 0:
                return
            at = end + 3
            continue
        name = match[2].lower()
        attributes, at = _attributes(text, match.end())
        if name == "meta":
            rank = _META.get((attributes.get("name") or attributes.get("property") or "").strip().lower())
            author = clean_author(html.unescape(attributes.get("content", "")))
            if rank is not None and author:
                yield rank, author
            continue
        # What stands in these elements is text and no element, up to their end or that of the page.
        closing = re.compile(f"</{name}(?=[\\s/>])", re.I).search(text, at)
        if name == "script" and "ld+json" in attributes.get("type", "").lower():
            author = _linked(text[at : closing.start() if closing else len(text)])
            if author:
                yield _LINKED_DATA, author
        if closing is None:
            return
        at = closing.end()


def _attributes(text: str, at: int) -> tuple[dict[str, str], int]:
    """The attributes of an element whose name ends at ``at``, and where it ends; the first of two of a name counts."""
    found: dict[str, str] = {}
    end = min(len(text), at + _LONGEST_TAG)
    while at < end:
        if text[at] == ">":
            return found, at + 1
        match = _ATTRIBUTE.match(text, at, end)
        if match is None:
            at += 1
            continue
        value = next((part for part in match.groups()[1:] if part is not None), "")
        found.setdefault(match[1].lower(), value)
        at = match.end()
    return found, at


def _linked(text: str) -> str | None:
    """The author of the first thing in JSON-LD that has one and is not a comment on the page."""
    if len(text) > _LONGEST_JSON or '"author"' not in text:
        return None
    try:
        data = json.loads(text)
    except (ValueError, RecursionError):
        return None
    things = [one for one in _listed(data) if isinstance(one, Mapping)]
    things += [one for thing in things for one in _listed(thing.get("@graph")) if isinstance(one, Mapping)]
    named = {one["@id"]: one for one in things if isinstance(one.get("@id"), str)}
    for thing in things:
        kinds = {kind.lower() for kind in _listed(thing.get("@type")) if isinstance(kind, str)}
        if "author" in thing and not kinds & _NOT_THE_PAGE:
            author = _names(thing["author"], named)
            if author:
                return author
    return None


def _names(value: Any, named: Mapping[str, Any]) -> str | None:
    names = []
    for one in _listed(value)[:_MOST_NAMES]:
        if isinstance(one, Mapping) and "name" not in one:
            reference = one.get("@id")
            one = named.get(reference, one) if isinstance(reference, str) else one
        whole = one.get("name") if isinstance(one, Mapping) else one
        name = clean_author(html.unescape(whole)) if isinstance(whole, str) else None
        if name:
            names.append(name)
    return clean_author("; ".join(dict.fromkeys(names)))


def _listed(value: Any) -> Sequence[Any]:
    return value if isinstance(value, list) else [] if value is None else [value]
