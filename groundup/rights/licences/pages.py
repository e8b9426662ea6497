"""Which licence a page states, and which it only mentions.

*Stated*: about the page itself. A link with ``rel=license`` (HTML, section 4.6.7.10; RFC 4946 and RFC 8288 for the
header ``Link``), ``license`` of the page's or article's JSON-LD, microdata or RDFa (schema.org, ccREL), a ``meta`` of
Dublin Core, a sentence that says so ("This work is licensed under …", "Except where otherwise noted, …"), a licence
link in the page's footer, an SPDX tag in a comment at its top. *Mentioned*: everything else, such as a link to
creativecommons.org in running text, the licence of a picture or a data set, code that is shown.

Only what is stated can bind or free a page. If a page states several licences, all hold: who knows which part each is
about? A page that says "all rights reserved" states no licence: that is what the law says of every page.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final, Literal

from groundup.rights.licences.expression import together, try_normal
from groundup.rights.licences.markup import BREAK, Markup, read_markup
from groundup.rights.licences.names import by_name, by_url, by_words
from groundup.rights.licences.sentences import is_about_page, named_in

Strength = Literal["stated", "mentioned"]

EVIDENCE: Final = 200
"""Characters of a statement that are kept as evidence."""

_SIGNS: Final = (
    b"creativecommons", b"creative commons", b"cc-by", b"cc by", b" cc0", b">cc0", b"(cc0", b"licensed under",
    b"available under the",
    b"released under", b"distributed under", b"terms of the", b"spdx-license", b"dcterms", b"dc.rights", b"dc:rights",
    b'"license', b"'license", b"=license", b"cc:license", b"/licenses/", b'"licence',
)  # fmt: skip
_SPDX: Final = re.compile(r"SPDX-License-Identifier:[ \t]*([\w.+-][\w.+() -]{0,200})")
_LINK_HEADER: Final = re.compile(r"<([^<>]{1,400})>\s*((?:;[^,<>]{0,200})*)")
_URL_IN_TEXT: Final = re.compile(r"https?://[^\s<>\"')\]]{4,250}")
_WORDS: Final = re.compile(
    r"creative commons|\bCC[ -](?:BY|0)|\bCC0\b|\blicen[sc]ed\b|\bunder (?:the|a|an) ", re.IGNORECASE
)
_VERSION: Final = re.compile(r"-\d\.\d(?:-[A-Z]+)?$")
FOOTER: Final = "footer"
_MOST: Final = 200
"""Places of a page that are looked at more closely."""

_REL: Final = frozenset({"license", "licence", "cc:license", "dct:license", "dcterms:license", "dc:license"})
_META: Final = frozenset(
    {
        "dcterms.license", "dcterms:license", "dc.rights.license", "dc.license", "dcterms.rights", "dcterms:rights",
        "dc.rights", "dc:rights", "license", "licence", "rights", "copyright", "cc:license", "dc.rights.uri",
    }
)  # fmt: skip
_PROPERTIES: Final = frozenset({"license", "cc:license", "dct:license", "dcterms:license", "schema:license"})
_OTHER_THINGS: Final = re.compile(
    r"image|photo|video|audio|media|dataset|software|product|music|movie|3dmodel|map|drawing|painting|font|comment",
    re.IGNORECASE,
)
"""Types of schema.org that are not the page's text."""
_OTHER_KEYS: Final = frozenset(
    {
        "image", "video", "audio", "logo", "thumbnail", "associatedmedia", "haspart", "citation", "isbasedon",
        "comment", "mentions", "itemlistelement", "about", "primaryimageofpage", "encoding", "distribution",
        "isrelatedto",
    }
)  # fmt: skip


@dataclass(frozen=True)
class Statement:
    """A licence that a page names: SPDX expression, how strongly, in which place, and the words or the address."""

    licence: str
    strength: Strength
    place: str
    evidence: str


def may_name_licence(content: bytes) -> bool:
    """Whether it is worth looking: a quick look at the bytes, which most pages fail."""
    small = content.lower()
    return any(sign in small for sign in _SIGNS)


def stated(statements: Iterable[Statement]) -> str | None:
    """What a page states, as one expression in normal form; None if it states nothing."""
    found = sorted({one.licence for one in statements if one.strength == "stated"})
    rest = [one for one in found if not any(_is_short_for(one, other) for other in found)]
    return together(rest) if rest else None


def _is_short_for(licence: str, other: str) -> bool:
    """Whether a name in words means a fuller one: "CC BY" beside CC-BY-4.0, CC-BY-3.0 beside CC-BY-3.0-DE."""
    start, whole = licence.removeprefix("LicenseRef-"), other.removeprefix("LicenseRef-")
    return (
        start.startswith("CC-")
        and re.fullmatch(re.escape(start) + r"(?:-\d\.\d)?(?:-[A-Z]{2,3})?", whole) is not None
        and (len(whole) > len(start) and (whole[len(start) + 1].isdigit() or start[-1].isdigit()))
    )


def page_statements(page: str, headers: Mapping[str, str] | None = None) -> list[Statement]:
    """Every licence that an HTML page names, in the order of places, each once a place and strength.

    >>> page_statements('<a rel="license" href="https://creativecommons.org/licenses/by/4.0/">CC</a>')[0].strength
    'stated'
    """
    markup = read_markup(page)
    parts = (_of_header(headers or {}), _of_data(markup), _of_tags(markup), _of_comments(markup), _of_text(markup))
    return _one_footer(list(dict.fromkeys(one for part in parts for one in part)))


def text_statements(text: str) -> list[Statement]:
    """The same for plain text and Markdown: tags, addresses and sentences."""
    markup = Markup(text=re.sub(r"[ \t]*\n[ \t]*", BREAK, text[: 1 << 20]))
    tags = (
        Statement(found, "stated" if at < 2000 else "mentioned", "SPDX tag", _cut(tag))
        for at, tag in ((match.start(), match[1]) for match in _SPDX.finditer(markup.text))
        if (found := _expression(tag)) is not None
    )
    links = (
        _judged(markup, licence, match.start(), match.end(), "address")
        for match in _first(_URL_IN_TEXT.finditer(markup.text))
        if (licence := by_url(match[0].rstrip(".,;"))) is not None
    )
    return list(dict.fromkeys([*tags, *links, *_of_text(markup)]))


def _of_header(headers: Mapping[str, str]) -> Iterator[Statement]:
    for target, parameters in _LINK_HEADER.findall(headers.get("link", "")[:8000]):
        rel = re.search(r";\s*rel\s*=\s*\"?([^\";]+)", parameters, re.IGNORECASE)
        licence = by_url(target.strip()) if rel and "license" in rel[1].lower().split() else None
        if licence is not None:
            yield Statement(licence, "stated", "header", _cut(target))


def _of_tags(markup: Markup) -> Iterator[Statement]:
    item_type = ""
    for tag in markup.tags:
        values = tag.attributes
        item_type = values.get("itemtype", item_type)
        if tag.name == "meta":
            yield from _of_meta(values)
            continue
        address = values.get("href") or values.get("resource") or values.get("content") or ""
        licence = by_url(address) if address else None
        if licence is None:
            continue
        rel = {*values.get("rel", "").lower().split(), *values.get("property", "").lower().split()}
        item = values.get("itemprop", "").lower().split()
        if "figure" in tag.within:
            yield Statement(licence, "mentioned", "figure", _cut(address))
        elif rel & _REL:
            yield Statement(licence, "stated", "rel=license", _cut(address))
        elif _PROPERTIES & {*item, *rel}:
            strength: Strength = "mentioned" if _OTHER_THINGS.search(item_type) else "stated"
            yield Statement(licence, strength, "property", _cut(address))
        else:
            yield _judged(markup, licence, tag.at, tag.at, "link")


def _of_meta(values: Mapping[str, str]) -> Iterator[Statement]:
    name = (values.get("name") or values.get("property") or values.get("itemprop") or "").lower()
    content = values.get("content", "")
    if name not in _META or not content:
        return
    address = _URL_IN_TEXT.search(content)
    licence = (by_url(address[0]) if address else None) or by_name(content) or by_words(content)
    if licence is not None:
        yield Statement(licence, "stated", "meta", _cut(content))


def _of_data(markup: Markup) -> Iterator[Statement]:
    for block in markup.data[:50]:
        try:
            data = json.loads(block[: 1 << 20])
        except (ValueError, RecursionError):
            continue
        yield from _of_node(data, "stated", 0)


def _of_node(node: Any, strength: Strength, depth: int) -> Iterator[Statement]:
    """Licences in JSON-LD. What is said of pictures, data sets and parts is not said of the page."""
    if depth > 20:
        return
    if isinstance(node, list):
        for one in node[:1000]:
            yield from _of_node(one, strength, depth + 1)
    if not isinstance(node, dict):
        return
    kind = json.dumps(node.get("@type", ""))
    here: Strength = "mentioned" if strength == "mentioned" or _OTHER_THINGS.search(kind) else "stated"
    for key, value in node.items():
        if key.rpartition("/")[2].rpartition(":")[2] == "license":
            for one in value if isinstance(value, list) else [value]:
                said = (one.get("@id") or one.get("url") or one.get("name") or "") if isinstance(one, dict) else one
                licence = (by_url(said) or by_name(said)) if isinstance(said, str) else None
                if licence is not None:
                    yield Statement(licence, here, "JSON-LD", _cut(str(said)))
        elif isinstance(value, (dict, list)):
            yield from _of_node(value, "mentioned" if key.lower() in _OTHER_KEYS else here, depth + 1)


def _of_comments(markup: Markup) -> Iterator[Statement]:
    for comment in markup.comments:
        tag = _SPDX.search(comment)
        licence = _expression(tag[1]) if tag else None
        if tag is not None and licence is not None:
            yield Statement(licence, "stated", "comment", _cut(tag[1]))


def _of_text(markup: Markup) -> Iterator[Statement]:
    """Licences in words. A name is only looked for where a sentence speaks of licensing."""
    for match in _first(_WORDS.finditer(markup.text)):
        before, after = _window(markup.text, match.start(), match.end())
        words = match[0] + after
        licence = by_words(words[:EVIDENCE]) if match[0][0] in "cC" else named_in(words)
        if licence is not None:
            yield _placed(markup, licence, match.start(), before, words, "text")


def _judged(markup: Markup, licence: str, start: int, end: int, place: str) -> Statement:
    """A licence link without a mark: stated if its sentence is about the page, or if it is in the footer."""
    before, after = _window(markup.text, start, end)
    return _placed(markup, licence, start, before, after, place)


def _placed(markup: Markup, licence: str, at: int, before: str, after: str, place: str) -> Statement:
    evidence = _cut(before[-80:] + after[:120])
    if markup.is_quoted(at):
        return Statement(licence, "mentioned", place, evidence)
    if is_about_page(before, after):
        return Statement(licence, "stated", place, evidence)
    if markup.is_footer(at) and is_about_page(before, after, footer=True):
        return Statement(licence, "stated", FOOTER, evidence)
    return Statement(licence, "mentioned", place, evidence)


def _one_footer(found: list[Statement]) -> list[Statement]:
    """A footer with several licences has credits of pictures, say, and not the licence of the page."""
    bare = [one.licence for one in found if one.place == FOOTER]
    if len({_VERSION.sub("", name).removeprefix("LicenseRef-") for name in bare}) < 2:
        return found
    return [replace(one, strength="mentioned") if one.place == FOOTER else one for one in found]


def _window(text: str, start: int, end: int) -> tuple[str, str]:
    """The text before and behind a place, within its block, at most 250 characters each."""
    before = text[max(0, start - 250) : start].rpartition(BREAK)[2]
    return before, text[end : end + 250].partition(BREAK)[0]


def _expression(tag: str) -> str | None:
    return try_normal(tag.strip(" -*/")) or try_normal(tag.split()[0])


def _first(matches: Iterator[re.Match[str]]) -> Iterator[re.Match[str]]:
    return (match for _, match in zip(range(_MOST), matches, strict=False))


def _cut(text: str) -> str:
    return " ".join(text.split())[:EVIDENCE]
