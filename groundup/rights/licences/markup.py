"""A page of HTML as what a search for licences needs: its tags in order, its visible text, its blocks of JSON-LD.

Not a parser of HTML: one pass over the text that never goes back, so that its time is linear for any page (a value with
< or > in it is lost, nesting is only counted for a few elements). Tags are read up to 2,000 characters long.
"""

from __future__ import annotations

import html
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final

LONGEST_PAGE: Final = 4 << 20
"""Characters of a page that are looked at."""

_COUNTED: Final = frozenset({"footer", "figure", "figcaption", "pre", "code", "blockquote"})
_RAW: Final = frozenset({"script", "style", "textarea", "title", "template"})
_WITH_ATTRIBUTES: Final = frozenset({"a", "link", "meta", "area"})
_MARKS: Final = ("itemprop", "itemtype", "property", "rel=", "footer", "colophon", "licen", "siteinfo", "site-info")
_BLOCKS: Final = frozenset(
    {
        "p", "div", "li", "ul", "ol", "td", "th", "tr", "table", "h1", "h2", "h3", "h4", "h5", "h6", "hr", "section",
        "article", "header", "nav", "aside", "br", "dt", "dd", "dl", "form", "body", "main", "address", "center",
    }
) | _COUNTED  # fmt: skip
_NAME: Final = re.compile(r"/?[a-z][a-z0-9:-]*")
_LONGEST_TAG: Final = 2000
_COMMENTS: Final = 20
_MOST_TAGS: Final = 20_000
_SPACE: Final = re.compile(r"\s+")
_SIGNS: Final = {0xAD: None, **dict.fromkeys(range(0x2010, 0x2016), "-")}
"""Soft hyphens go and all sorts of hyphens become one: they stand in names of licences, too."""
_ATTRIBUTE: Final = re.compile(r"(?<![\w:.-])([a-zA-Z][\w:.-]{0,30})\s*=\s*(?:\"([^\"]*)\"|'([^']*)'|([^\s\"'<>=]+))")
_FOOTER: Final = re.compile(r"\b(?:site-?)?footer\b|colophon|licen[sc]e|site-?info", re.IGNORECASE)
"""Classes and ids of elements that hold what a page says of itself."""
_NEAR: Final = 300
"""Characters of text behind the beginning of such an element that count as in it: its end is not looked for."""
BREAK: Final = "\n"
"""Stands in the visible text where a block of the page begins or ends."""


@dataclass(frozen=True)
class Tag:
    """An opening tag. ``at`` is where it stands in the visible text; ``within`` the counted elements around it."""

    name: str
    attributes: dict[str, str]
    at: int
    within: frozenset[str]


@dataclass
class Markup:
    """What there is in a page. ``comments``: the first 20; ``data``: blocks of JSON-LD."""

    tags: list[Tag] = field(default_factory=list)
    text: str = ""
    quoted: list[tuple[int, int]] = field(default_factory=list)
    footers: list[tuple[int, int]] = field(default_factory=list)
    comments: list[str] = field(default_factory=list)
    data: list[str] = field(default_factory=list)

    def is_quoted(self, at: int) -> bool:
        """Whether a place of the visible text is within code or a quotation."""
        return any(start <= at < end for start, end in self.quoted)

    def is_footer(self, at: int) -> bool:
        """Whether a place of the visible text is where pages speak of themselves."""
        return any(start <= at < end for start, end in self.footers)


def read_markup(page: str) -> Markup:
    """The parts of a page.

    >>> found = read_markup('<p>Under <a rel="license" href="/x">terms</a></p>')
    >>> found.text.split(), found.tags[0].attributes["rel"]
    (['Under', 'terms'], 'license')
    """
    return _Reader(page[:LONGEST_PAGE]).read()


class _Reader:
    """Goes through what stands between one < and the next, once."""

    def __init__(self, page: str) -> None:
        self._page = page
        self._found = Markup()
        self._text: list[str] = []
        self._length = 0
        self._open: dict[str, int] = {}
        self._quote = -1
        self._within = ""  # of what nothing is a tag until its end: "!--" or the name of a raw element
        self._kept: list[str] | None = None

    def read(self) -> Markup:
        first, *pieces = self._page.split("<")
        self._add(first)
        for piece in pieces:
            if self._within:
                self._skip(piece)
            elif piece.startswith("!--"):
                self._within = "!--"
                self._kept = [] if len(self._found.comments) < _COMMENTS else None
                self._skip(piece[3:])
            else:
                self._tag(piece)
        if self._quote >= 0:
            self._found.quoted.append((self._quote, self._length))
        self._found.text = "".join(self._text)
        return self._found

    def _add(self, text: str) -> None:
        if not text:
            return
        if "\n" in text or "  " in text or "\t" in text:
            text = _SPACE.sub(" ", text)
        text = _unescaped(text) if "&" in text else text
        self._put(text if text.isascii() else text.translate(_SIGNS))

    def _put(self, text: str) -> None:
        self._text.append(text)
        self._length += len(text)

    def _skip(self, piece: str) -> None:
        """A piece within a comment or a raw element."""
        if self._within == "!--":
            inside, ended, rest = piece.partition("-->")
            if self._kept is not None:
                self._kept.append(inside)
            if ended:
                self._found.comments += ["<".join(self._kept)[:4000]] if self._kept is not None else []
                self._within, self._kept = "", None
                self._add(rest)
        elif piece[: len(self._within) + 1].lower() == f"/{self._within}":
            self._found.data += ["<".join(self._kept)] if self._kept is not None else []
            self._within, self._kept = "", None
            self._add(piece.partition(">")[2])
        elif self._kept is not None:
            self._kept.append(piece)

    def _tag(self, piece: str) -> None:
        inside, ended, text = piece.partition(">")
        small = inside[:_LONGEST_TAG].lower()
        named = _NAME.match(small)
        if not ended or named is None:
            self._add(f"<{piece}" if named is None and not piece.startswith(("!", "?")) else text)
            return
        name = named[0]
        if name.lstrip("/") in _BLOCKS:
            self._put(BREAK)
        if name.lstrip("/") in _COUNTED:
            self._count(name.lstrip("/"), -1 if name[0] == "/" else 1)
        if name in _WITH_ATTRIBUTES or (name[0] != "/" and any(mark in small for mark in _MARKS)):
            within = frozenset(one for one, depth in self._open.items() if depth > 0)
            tag = Tag(name, dict(_attributes(inside[len(name) : _LONGEST_TAG])), self._length, within)
            if len(self._found.tags) < _MOST_TAGS:
                self._found.tags.append(tag)
            if name not in ("a", "body", "html"):
                self._footer(tag)
        if name in _RAW and not small.endswith("/"):
            self._within = name
            self._kept = [text] if name == "script" and "ld+json" in small else None
        else:
            self._add(text)

    def _count(self, name: str, step: int) -> None:
        self._open[name] = max(0, self._open.get(name, 0) + step)
        if name == "footer" and step > 0:
            self._found.footers.append((self._length, 1 << 30))
        elif name == "footer" and self._found.footers:
            self._found.footers[-1] = (self._found.footers[-1][0], self._length)
        inside = any(self._open.get(one, 0) for one in ("pre", "code", "blockquote"))
        if inside and self._quote < 0:
            self._quote = self._length
        elif not inside and self._quote >= 0:
            self._found.quoted.append((self._quote, self._length))
            self._quote = -1

    def _footer(self, tag: Tag) -> None:
        named = f"{tag.attributes.get('class', '')} {tag.attributes.get('id', '')}"
        if len(named) > 1 and _FOOTER.search(named) and len(self._found.footers) < 100:
            self._found.footers.append((tag.at, tag.at + _NEAR))


def _attributes(rest: str) -> Iterator[tuple[str, str]]:
    for match in reversed(list(_ATTRIBUTE.finditer(rest))):  # of two equal names the first counts
        value = next((one for one in match.groups()[1:] if one is not None), "")
        yield match[1].lower(), _unescaped(value).strip()


def _unescaped(text: str) -> str:
    try:
        return html.unescape(text)
    except ValueError:  # a number of thousands of digits is no character
        return text
